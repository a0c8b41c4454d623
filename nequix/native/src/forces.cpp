#include "forces.h"

#include <algorithm>

#include "error.h"
#include "validation.h"

namespace nequix {
namespace {

void check(const Graph& graph, int64_t n_graphs, const int32_t* node_graph, const double* gradient,
           const double* forces, const double* virials) {
  check_count(graph.n_nodes, "n_nodes");
  check_count(graph.n_edges, "n_edges");
  check_count(n_graphs, "n_graphs");
  check_array(node_graph, graph.n_nodes, "node_graph");
  check_array(forces, graph.n_nodes, "forces");
  check_array(virials, n_graphs, "virials");
  check_array(graph.vectors, graph.n_edges, "vectors");
  check_array(graph.senders, graph.n_edges, "senders");
  check_array(graph.receivers, graph.n_edges, "receivers");
  check_array(gradient, graph.n_edges, "gradient");
  for (int64_t a = 0; a < graph.n_nodes; a++)
    if (node_graph[a] < 0 || node_graph[a] >= n_graphs)
      fail("atom " + text(a) + " belongs to structure " + text(node_graph[a]) + " of " + text(n_graphs));
}

}  // namespace

void sum_forces(const Graph& graph, int64_t n_graphs, const int32_t* node_graph, const double* gradient,
                double* forces, double* virials) {
  check(graph, n_graphs, node_graph, gradient, forces, virials);
  std::fill_n(forces, 3 * graph.n_nodes, 0.0);
  std::fill_n(virials, 9 * n_graphs, 0.0);
  for (int64_t e = 0; e < graph.n_edges; e++) {
    const int64_t i = graph.receivers[e];
    const int64_t j = graph.senders[e];
    if (i < 0 || i >= graph.n_nodes || j < 0 || j >= graph.n_nodes)
      fail("edge " + text(e) + " runs from atom " + text(j) + " to " + text(i) + " of " +
           text(graph.n_nodes) + "; expected atoms that exist");
    double* virial = virials + 9 * static_cast<int64_t>(node_graph[i]);
    for (int a = 0; a < 3; a++) {
      const double g = gradient[3 * e + a];
      forces[3 * i + a] += g;
      forces[3 * j + a] -= g;
      for (int b = 0; b < 3; b++) virial[3 * a + b] += 0.5 * g * graph.vectors[3 * e + b];
    }
  }
  for (int64_t g = 0; g < n_graphs; g++) {
    double* virial = virials + 9 * g;
    for (int a = 0; a < 3; a++)
      for (int b = 0; b <= a; b++) {
        const double total = virial[3 * a + b] + virial[3 * b + a];
        virial[3 * a + b] = total;
        virial[3 * b + a] = total;
      }
  }
}

}  // namespace nequix
