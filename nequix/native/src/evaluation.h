// One evaluation: its memory and its threads.
#ifndef NEQUIX_EVALUATION_H
#define NEQUIX_EVALUATION_H

#include <cstdint>
#include <vector>

#include "graph.h"
#include "instructions.h"
#include "model.h"

namespace nequix {

template <class T>
struct Member {
  const Model<T>* model;
  EdgeOrder order;
};

// Evaluate models of one shape on a checked graph, one after the other in the same memory. Before layer
// n_shared only the first runs forwards.
template <class T>
void evaluate_members(const std::vector<Member<T>>& members, const Kernels<T>& kernels, int n_shared,
                      const Graph& graph, const double* seed, double* energies, double* gradient,
                      int n_threads);

}  // namespace nequix

#endif
