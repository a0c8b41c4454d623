// Files in the safetensors format, held in memory: a header of JSON, which says what the tensors are, and
// their bytes. Nothing that the header claims is believed before it was compared with the size of the file.
#ifndef NEQUIX_SAFETENSORS_H
#define NEQUIX_SAFETENSORS_H

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace nequix {

struct Tensor {
  std::string type;            // F32, F64, I32, ...
  std::vector<int64_t> shape;  // at most three dimensions
  const unsigned char* data;   // little-endian, not aligned
  int64_t count;               // numbers, all inside the file
};

struct Safetensors {
  // Throws std::invalid_argument, which says what is wrong. The bytes must outlive the object.
  Safetensors(const unsigned char* bytes, int64_t size);

  std::map<std::string, std::string> metadata;
  std::map<std::string, Tensor> tensors;
  std::map<std::string, int64_t> places;  // first byte of each metadata value in the file
};

}  // namespace nequix

#endif
