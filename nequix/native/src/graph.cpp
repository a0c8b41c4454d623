#include "graph.h"

#include <algorithm>
#include <cmath>

namespace nequix {

EdgeOrder::EdgeOrder(const Graph& graph, double cutoff, const std::vector<int>& cells)
    : edges(graph.n_edges), first(graph.n_nodes + 1), count(graph.n_nodes) {
  for (int64_t e = 0; e < graph.n_edges; e++) first[graph.receivers[e] + 1]++;
  for (int64_t a = 0; a < graph.n_nodes; a++) first[a + 1] += first[a];
  // By segment of the radial table: a counting sort of each receiver's edges, which keeps their own order.
  const int n_cells = static_cast<int>(cells.size());
  const int n_bins = cells.back() + 1;
  const double scale = n_cells / cutoff;
  std::vector<int> places(n_bins + 1);
  std::vector<int> bins;
  for (int64_t a = 0; a < graph.n_nodes; a++) {
    std::fill(places.begin(), places.end(), 0);
    bins.clear();
    for (int64_t e = first[a]; e < first[a + 1]; e++) {
      const double* r = graph.vectors + 3 * e;
      const double d = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
      const int bin = d < cutoff ? cells[std::min(static_cast<int>(d * scale), n_cells - 1)] : -1;
      bins.push_back(bin);
      if (bin >= 0) places[bin + 1]++;
    }
    for (int b = 0; b < n_bins; b++) places[b + 1] += places[b];
    count[a] = places[n_bins];
    for (size_t i = 0; i < bins.size(); i++)
      if (bins[i] >= 0) edges[first[a] + places[bins[i]]++] = static_cast<int>(first[a] + i);
  }
}

std::vector<int64_t> partition_receivers(const std::vector<int64_t>& first, int n_threads) {
  constexpr double edges_per_atom = 4;  // an atom costs about as much as that many edges
  const int64_t n_nodes = static_cast<int64_t>(first.size()) - 1;
  std::vector<int64_t> bounds(n_threads + 1, n_nodes);
  bounds[0] = 0;
  const double total = static_cast<double>(first[n_nodes]) + edges_per_atom * n_nodes;
  int thread = 1;
  for (int64_t a = 0; a < n_nodes && thread < n_threads; a++)
    while (thread < n_threads && first[a] + edges_per_atom * a >= total * thread / n_threads)
      bounds[thread++] = a;
  return bounds;
}

SenderRows::SenderRows(int n_threads, int64_t n_nodes, const EdgeOrder& order,
                       const std::vector<int64_t>& bounds, const int32_t* senders)
    : row(n_threads * n_nodes, -1), count(n_threads) {
  for (int64_t a = 0; a < n_nodes; a++) row[a] = static_cast<int>(a);
  count[0] = n_nodes;
  for (int thread = 1; n_nodes && thread < n_threads; thread++) {
    int* rows = row.data() + thread * n_nodes;
    for (int64_t e = order.first[bounds[thread]]; e < order.first[bounds[thread + 1]]; e++)
      if (rows[senders[e]] < 0) rows[senders[e]] = static_cast<int>(count[thread]++);
  }
}

}  // namespace nequix
