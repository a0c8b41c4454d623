#include "sha256.h"

#include <algorithm>

namespace nequix {
namespace {

// The first 32 bits of the fractions of the cube roots of the first 64 primes.
constexpr uint32_t ROOTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t rotate(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

}  // namespace

void Sha256::compress(const unsigned char* block) {
  uint32_t w[64];
  for (int i = 0; i < 16; i++)
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 | uint32_t{block[4 * i + 2]} << 8 |
           uint32_t{block[4 * i + 3]};
  for (int i = 16; i < 64; i++) {
    const uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
    const uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + low + w[i - 7] + high;
  }
  uint32_t v[8];  // a to h of the standard
  std::copy_n(state_, 8, v);
  for (int i = 0; i < 64; i++) {
    const uint32_t sum_e = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
    const uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    const uint32_t first = v[7] + sum_e + choice + ROOTS[i] + w[i];
    const uint32_t sum_a = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
    const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    std::copy_backward(v, v + 7, v + 8);
    v[4] += first;
    v[0] = first + sum_a + majority;
  }
  for (int i = 0; i < 8; i++) state_[i] += v[i];
}

void Sha256::update(const unsigned char* bytes, int64_t size) {
  total_ += static_cast<uint64_t>(size);
  while (size > 0) {
    if (filled_ == 0 && size >= BLOCK) {
      compress(bytes);
      bytes += BLOCK;
      size -= BLOCK;
      continue;
    }
    const int n = static_cast<int>(std::min<int64_t>(size, BLOCK - filled_));
    std::copy_n(bytes, n, buffer_ + filled_);
    bytes += n;
    size -= n;
    filled_ = (filled_ + n) % BLOCK;
    if (!filled_) compress(buffer_);
  }
}

std::string Sha256::hexdigest() {
  const uint64_t bits = 8 * total_;
  const unsigned char one = 0x80;
  const unsigned char zero = 0;
  update(&one, 1);
  while (filled_ != BLOCK - 8) update(&zero, 1);
  unsigned char length[8];
  for (int i = 0; i < 8; i++) length[i] = static_cast<unsigned char>(bits >> (56 - 8 * i));
  update(length, 8);
  std::string digest;
  for (const uint32_t word : state_)
    for (int shift = 28; shift >= 0; shift -= 4) digest += "0123456789abcdef"[word >> shift & 15];
  return digest;
}

}  // namespace nequix
