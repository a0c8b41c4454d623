// Model files that are damaged in some place, most of them with the right checksum: each must give a message
// or a model that can be evaluated, without a memory error.
#ifndef FUZZ_FILE_H
#define FUZZ_FILE_H

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "model_file.h"
#include "nequix.h"
#include "specification.h"

class FuzzFile {
 public:
  explicit FuzzFile(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) std::abort();
    for (int c; (c = std::fgetc(file)) != EOF;) sound_ += static_cast<char>(c);
    std::fclose(file);
    header_ = 8;
    for (int i = 0; i < 8; i++)
      header_ += static_cast<size_t>(static_cast<unsigned char>(sound_[i])) << 8 * i;
    const size_t place = sound_.find("\"dtype\":\"I32\"");
    const size_t offsets = sound_.find("\"data_offsets\":[", place);
    integers_ = header_ + std::strtoull(sound_.c_str() + offsets + 16, nullptr, 10);
  }

  // Returns how many files were opened and refused.
  std::vector<int> run(int rounds) {
    std::vector<int> outcomes = {0, 0};
    if (open(sound_)) std::abort();
    for (int round = 0; round < rounds; round++) {
      std::string bytes = sound_;
      for (int i = random_.below(2); i >= 0; i--) damage(bytes);
      const bool sealed = random_.below(8) && seal(bytes);
      const bool refused = open(bytes);
      outcomes[refused]++;
      if (!sealed && bytes != sound_ && !refused) std::abort();  // no checksum fits damaged bytes by chance
    }
    return outcomes;
  }

 private:
  // Open a copy that is exactly as long as it claims; return whether it was refused.
  bool open(const std::string& bytes) {
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const auto size = static_cast<int64_t>(exact.size());
    nequix_description description;
    nequix_model* model = nullptr;
    const char* unknown = nequix_describe(exact.data(), size, &description);
    if (!unknown && std::memchr(description.name, 0, sizeof description.name) == nullptr) std::abort();
    const char* message = nequix_open(exact.data(), size, 32, "base", &model);
    if ((message == nullptr) != (model != nullptr)) std::abort();
    if (!model) return true;
    Graph graph(3, random_);
    std::fill(graph.species.begin(), graph.species.end(), 0);
    std::vector<double> energies, gradient;
    graph.evaluate(model, energies, gradient, 1);
    nequix_destroy(model);
    return false;
  }

  void damage(std::string& bytes) {
    if (bytes.size() < header_ + 8) return;
    const auto place = [&](size_t from, size_t to) {
      return from + (static_cast<size_t>(random_.next()) % std::max<size_t>(1, to - from));
    };
    switch (random_.below(8)) {
      case 0: bytes.resize(place(0, bytes.size())); break;
      case 1: bytes[place(0, bytes.size())] ^= static_cast<char>(1 << random_.below(8)); break;
      case 2: bytes[place(0, 8)] = static_cast<char>(random_.next()); break;
      case 3: bytes[place(8, header_)] = static_cast<char>(random_.next()); break;
      case 4: bytes[place(8, header_)] = "0123456789{}[],:\"\\u"[random_.below(19)]; break;
      case 5: {  // another digit, so that the header stays readable
        const size_t digit = bytes.find_first_of("0123456789", place(8, header_));
        if (digit < header_) bytes[digit] = static_cast<char>('0' + random_.below(10));
        break;
      }
      case 6: {
        const int32_t values[] = {INT_MIN, INT_MAX, -16, -1, 0, 1, 2, 3, 4, 15, 16, 17, 32, 48, 1 << 30};
        write(bytes, place(integers_, bytes.size()) & ~size_t{3}, values[random_.below(15)]);
        break;
      }
      default: {
        const double values[] = {NAN, INFINITY, 0, -1, 1e300, 1e-320};
        write(bytes, place(header_, integers_) & ~size_t{7}, values[random_.below(6)]);
      }
    }
  }

  template <class T>
  static void write(std::string& bytes, size_t place, T value) {
    if (place + sizeof value <= bytes.size()) std::memcpy(&bytes[place], &value, sizeof value);
  }

  static bool seal(std::string& bytes) {
    const char* const key = "\"checksum\":\"";
    const size_t place = bytes.find(key) + std::strlen(key);
    if (bytes.find(key) == std::string::npos || place + 64 > bytes.size()) return false;
    const auto* start = reinterpret_cast<const unsigned char*>(bytes.data());
    bytes.replace(place, 64, nequix::file_checksum(start, static_cast<int64_t>(bytes.size()), place));
    return true;
  }

  std::string sound_;
  size_t header_ = 0, integers_ = 0;  // ends of the header and of the real numbers
  Random random_{11};
};

#endif
