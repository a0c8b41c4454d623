#include "instructions.h"

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#ifdef NEQUIX_X86
#  include <cpuid.h>
#endif

#include "error.h"

namespace nequix {

namespace base {
extern const Instructions instructions;
}
#ifdef NEQUIX_X86
namespace avx2 {
extern const Instructions instructions;
}
namespace avx512 {
extern const Instructions instructions;
}
#endif

namespace {

#ifdef NEQUIX_X86

// The vector instructions that processor and operating system support. Queried here, because the compilers'
// own
// __builtin_cpu_supports always returns false in libraries that some toolchains link.
struct Features {
  bool avx2 = false;
  bool avx512 = false;
};

Features detect_features() {
  Features features;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return features;
  const auto has = [](uint64_t word, std::initializer_list<int> bits) {
    for (const int bit : bits)
      if (!(word >> bit & 1)) return false;
    return true;
  };
  if (!has(c, {12, 27, 28})) return features;  // FMA, XGETBV, AVX
  unsigned enabled, upper;                     // registers that the operating system keeps
  __asm__("xgetbv" : "=a"(enabled), "=d"(upper) : "c"(0));
  if (!has(enabled, {1, 2}) || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
  features.avx2 = has(b, {5});
  features.avx512 = features.avx2 && has(b, {16, 17, 30, 31}) && has(enabled, {5, 6, 7});  // F, DQ, BW, VL
  return features;
}

#endif

// The best first.
std::vector<const Instructions*> available() {
  std::vector<const Instructions*> sets;
#ifdef NEQUIX_X86
  const Features features = detect_features();
  if (features.avx512) sets.push_back(&avx512::instructions);
  if (features.avx2) sets.push_back(&avx2::instructions);
#endif
  sets.push_back(&base::instructions);
  return sets;
}

}  // namespace

const Instructions& choose_instructions(const char* name) {
  std::string names;
  for (const Instructions* set : available()) {
    if (!name || !std::strcmp(name, set->name)) return *set;
    names += (names.empty() ? "" : ", ") + std::string(set->name);
  }
  fail("this machine lacks the instructions '" + std::string(name) +
       "', or there are no kernels for them; it has " + names);
}

template <>
const Kernels<float>& kernels_of<float>(const Instructions& instructions) {
  return instructions.f32;
}
template <>
const Kernels<double>& kernels_of<double>(const Instructions& instructions) {
  return instructions.f64;
}

}  // namespace nequix
