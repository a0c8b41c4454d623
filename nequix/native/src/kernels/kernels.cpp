// The model's arithmetic for one instruction set (docs/native.md explains the loops).
#include "schedule.h"

#define NEQUIX_TEXT_OF(x) #x
#define NEQUIX_TEXT(x) NEQUIX_TEXT_OF(x)

namespace nequix::NEQUIX_ISA {

extern const Instructions instructions;
const Instructions instructions = {NEQUIX_TEXT(NEQUIX_ISA),
                                   {forward_layer<float>, backward_layer<float>, workspace_size<float>},
                                   {forward_layer<double>, backward_layer<double>, workspace_size<double>}};

}  // namespace nequix::NEQUIX_ISA
