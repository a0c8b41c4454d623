// Models behind the C interface: a checked copy of the caller's arrays in the kernels' layout.
#ifndef NEQUIX_MODEL_IMPL_H
#define NEQUIX_MODEL_IMPL_H

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "array.h"
#include "graph.h"
#include "model.h"
#include "nequix.h"
#include "part.h"

namespace nequix {

// A model in either precision.
class ModelBase {
 public:
  explicit ModelBase(const Instructions& instructions) : instructions(instructions) {}
  virtual ~ModelBase() = default;

  // Evaluate members; this is the first of them; what comes before layer n_shared is equal in all and runs
  // forwards once. Throws for wrong arrays.
  virtual void evaluate(const std::vector<const ModelBase*>& members, int n_shared, const Graph& graph,
                        const Outputs& outputs, int n_threads) const = 0;

  // Create a part, which must not outlive the model; throws for a wrong number of threads.
  virtual std::unique_ptr<PartBase> create_part(int n_threads) const = 0;

  const Instructions& instructions;
  mutable std::atomic<int64_t> calls{0};
};

template <class T>
class ModelImpl : public ModelBase {
 public:
  ModelImpl(const nequix_spec& spec, const Instructions& instructions);

  void evaluate(const std::vector<const ModelBase*>& members, int n_shared, const Graph& graph,
                const Outputs& outputs, int n_threads) const override;
  std::unique_ptr<PartBase> create_part(int n_threads) const override;

 private:
  void copy_layer(const nequix_spec& spec, int t);
  // A copy of a matrix that lives as long as the model; null stays null.
  const T* copy_matrix(const double* values, int64_t rows, int64_t columns, bool transpose);
  // The radial table, a block of PAD columns after the other, powers descending.
  const T* copy_table(const double* table, int64_t n_segments, int64_t n_weights, int degree);
  // Whether the other has the same shape, so that both can be evaluated in the same memory.
  bool has_shape_of(const ModelImpl& other) const;

  Model<T> model_;
  std::vector<Layer<T>> layers_;
  std::vector<std::vector<Path>> paths_;
  std::vector<Array<T>> arrays_;
  std::vector<int> cells_;
  std::vector<double> middles_, halves_, readout_, offset_;
};

}  // namespace nequix

#endif
