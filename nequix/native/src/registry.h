// Models by key: a compiled program refers to its model by a number, because addresses are not stable.
#ifndef NEQUIX_REGISTRY_H
#define NEQUIX_REGISTRY_H

#include <cstdint>
#include <memory>

#include "model_impl.h"

// The handle that the C interface returns.
struct nequix_model {
  std::unique_ptr<nequix::ModelBase> impl;
  std::shared_ptr<nequix_model>
      self;  // until destroyed; evaluations that use it meanwhile keep it a little longer
};

namespace nequix {

// Let a model be found until it is destroyed; of equal keys the last counts.
void register_model(const std::shared_ptr<nequix_model>& model, int64_t key);

// The model that was registered under a key and lives, otherwise null.
std::shared_ptr<nequix_model> find_model(int64_t key);

}  // namespace nequix

#endif
