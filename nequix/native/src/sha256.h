// SHA-256 (FIPS 180-4), for the checksum of model files.
#ifndef NEQUIX_SHA256_H
#define NEQUIX_SHA256_H

#include <cstdint>
#include <string>

namespace nequix {

class Sha256 {
 public:
  void update(const unsigned char* bytes, int64_t size);
  // The digest in hexadecimal; nothing may be added afterwards.
  std::string hexdigest();

 private:
  void compress(const unsigned char* block);

  static constexpr int BLOCK = 64;
  uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  unsigned char buffer_[BLOCK];
  int filled_ = 0;
  uint64_t total_ = 0;
};

}  // namespace nequix

#endif
