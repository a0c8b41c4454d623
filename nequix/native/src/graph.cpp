#include "graph.h"

#include <algorithm>
#include <cmath>

namespace nequix {

std::vector<int64_t> first_edges(const Graph& graph) {
  std::vector<int64_t> first(graph.n_nodes + 1);
  for (int64_t e = 0; e < graph.n_edges; e++) first[graph.receivers[e] + 1]++;
  for (int64_t a = 0; a < graph.n_nodes; a++) first[a + 1] += first[a];
  return first;
}

void EdgeOrder::update(const PartGraph& graph, double cutoff, const std::vector<int>& cells) {
  int* sorted = edges.resize(graph.first[graph.n_receivers]);
  int* within = count.resize(graph.n_receivers);
  // By segment of the radial table: a counting sort of each receiver's edges, which keeps their own order.
  const int n_cells = static_cast<int>(cells.size());
  const int n_bins = cells.back() + 1;
  const double scale = n_cells / cutoff;
  std::vector<int> places(n_bins + 1);
  std::vector<int> bins;
  for (int64_t a = 0; a < graph.n_receivers; a++) {
    const int64_t first = graph.first[a];
    std::fill(places.begin(), places.end(), 0);
    bins.clear();
    for (int64_t e = first; e < graph.first[a + 1]; e++) {
      const double* r = graph.vectors + 3 * e;
      const double d = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
      const int bin = d < cutoff ? cells[std::min(static_cast<int>(d * scale), n_cells - 1)] : -1;
      bins.push_back(bin);
      if (bin >= 0) places[bin + 1]++;
    }
    for (int b = 0; b < n_bins; b++) places[b + 1] += places[b];
    within[a] = places[n_bins];
    for (size_t i = 0; i < bins.size(); i++)
      if (bins[i] >= 0) sorted[first + places[bins[i]]++] = static_cast<int>(first + i);
  }
}

int64_t EdgeOrder::bytes() const { return edges.bytes() + count.bytes(); }

std::vector<int64_t> partition_receivers(const PartGraph& graph, int n_threads) {
  constexpr double edges_per_atom = 4;  // an atom costs about as much as that many edges
  const int64_t n = graph.n_receivers;
  std::vector<int64_t> bounds(n_threads + 1, n);
  bounds[0] = 0;
  const double total = static_cast<double>(graph.first[n]) + edges_per_atom * n;
  int thread = 1;
  for (int64_t a = 0; a < n && thread < n_threads; a++)
    while (thread < n_threads && graph.first[a] + edges_per_atom * a >= total * thread / n_threads)
      bounds[thread++] = a;
  return bounds;
}

void SenderRows::update(const PartGraph& graph, const std::vector<int64_t>& bounds) {
  const int n_threads = static_cast<int>(bounds.size()) - 1;
  int* rows = row.resize(n_threads * graph.n_nodes);
  count.assign(n_threads, 0);
  for (int64_t a = 0; a < graph.n_nodes; a++) rows[a] = static_cast<int>(a);
  count[0] = graph.n_nodes;
  for (int thread = 1; thread < n_threads; thread++) {
    rows += graph.n_nodes;
    std::fill_n(rows, graph.n_nodes, -1);
    for (int64_t e = graph.first[bounds[thread]]; e < graph.first[bounds[thread + 1]]; e++)
      if (rows[graph.senders[e]] < 0) rows[graph.senders[e]] = static_cast<int>(count[thread]++);
  }
}

int64_t SenderRows::bytes() const { return row.bytes(); }

}  // namespace nequix
