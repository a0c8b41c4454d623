// Models by key: a compiled program names its model by a number that no address could stand for.
#ifndef NEQUIX_REGISTRY_H
#define NEQUIX_REGISTRY_H

#include <cstdint>
#include <memory>

#include "nequix.h"

namespace nequix {

// The model that was registered under a key and lives; null if there is none.
std::shared_ptr<nequix_model> find(int64_t key);

}  // namespace nequix

#endif
