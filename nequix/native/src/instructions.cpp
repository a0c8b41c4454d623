#include "instructions.h"

#include <cstring>
#include <string>
#include <vector>

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

// The best first.
std::vector<const Instructions*> available() {
  std::vector<const Instructions*> sets;
#ifdef NEQUIX_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    sets.push_back(&avx512::instructions);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&avx2::instructions);
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
