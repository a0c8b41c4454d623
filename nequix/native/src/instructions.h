// The instruction sets that the kernels are compiled for, and which of them this machine has.
#ifndef NEQUIX_INSTRUCTIONS_H
#define NEQUIX_INSTRUCTIONS_H

#include "model.h"

namespace nequix {

// The kernels of the named instruction set or, if the name is null, of the best. Throws if this machine lacks
// it.
const Instructions& choose_instructions(const char* name);

template <class T>
const Kernels<T>& kernels_of(const Instructions& instructions);

}  // namespace nequix

#endif
