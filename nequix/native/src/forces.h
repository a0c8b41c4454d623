// Forces and virials from the gradient by edge vectors.
#ifndef NEQUIX_FORCES_H
#define NEQUIX_FORCES_H

#include "graph.h"

namespace nequix {

// As nequix_forces. The graph's species are not read.
void sum_forces(const Graph& graph, int64_t n_graphs, const int32_t* node_graph, const double* gradient,
                double* forces, double* virials);

}  // namespace nequix

#endif
