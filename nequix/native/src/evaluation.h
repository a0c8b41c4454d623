// Evaluations: what the kernels read besides the model, and the loop over their stages.
#ifndef NEQUIX_EVALUATION_H
#define NEQUIX_EVALUATION_H

#include <cstdint>
#include <optional>
#include <vector>

#include "graph.h"
#include "instructions.h"
#include "memory.h"
#include "model.h"
#include "threads.h"

namespace nequix {

// What evaluations of one graph share. It may be prepared for one graph after the other, and keeps its
// memory.
template <class T>
class EvaluationContext {
 public:
  // Start for a checked graph, with at most this many threads.
  void prepare(const Model<T>& model, const Kernels<T>& kernels, const PartGraph& graph, bool with_gradient,
               int n_threads);

  // An evaluation of the graph by a model of the shape of the one that was prepared for. What it points to
  // lives until the next prepare().
  Evaluation<T> bind(const Model<T>& model, const PartGraph& graph, const EdgeOrder& order, double* energies,
                     double* gradient);

  int n_threads() const { return static_cast<int>(bounds_.size()) - 1; }
  Barrier& barrier() { return *barrier_; }
  Memory<T>& memory() { return memory_; }
  const Memory<T>& memory() const { return memory_; }
  int64_t bytes() const { return memory_.bytes() + rows_.bytes(); }

 private:
  std::vector<int64_t> bounds_;
  SenderRows rows_;
  Memory<T> memory_;
  std::optional<Barrier> barrier_;
};

template <class T>
struct Member {
  const Model<T>* model;
  EdgeOrder order;
};

// Evaluate models of one shape on a checked graph, one after the other in the same memory. Before layer
// n_shared only the first runs forwards.
template <class T>
void evaluate_members(const std::vector<Member<T>>& members, const Kernels<T>& kernels, int n_shared,
                      const PartGraph& graph, const Outputs& outputs, int n_threads);

}  // namespace nequix

#endif
