// A graph as the C interface takes it, and what an evaluation makes of it: edges in order, receivers and rows
// of senders by thread.
#ifndef NEQUIX_GRAPH_H
#define NEQUIX_GRAPH_H

#include <cstdint>
#include <vector>

namespace nequix {

struct Graph {
  int64_t n_nodes, n_edges;
  const double* vectors;     // (n_edges, 3), A
  const int32_t* senders;    // (n_edges)
  const int32_t* receivers;  // (n_edges), ascending
  const int32_t* species;    // (n_nodes)
};

// The edges of each receiver within the cutoff, from short to long.
struct EdgeOrder {
  // `cells` are the segments of equal parts of [0, cutoff], ascending.
  EdgeOrder(const Graph& graph, double cutoff, const std::vector<int>& cells);

  std::vector<int> edges;      // those of receiver i from first[i] on
  std::vector<int64_t> first;  // the first edge of each receiver, and the number of all
  std::vector<int> count;      // edges of each receiver within the cutoff
};

// Divide receivers among threads, with about as many edges each: the first receiver of each thread, and the
// number of all.
std::vector<int64_t> partition_receivers(const std::vector<int64_t>& first, int n_threads);

// Where each thread keeps what it sums over senders. It has rows only for the atoms that send to its
// receivers, so that memory does not grow as the number of threads times that of atoms. The first thread has
// rows for all, to which the others' are added.
struct SenderRows {
  SenderRows(int n_threads, int64_t n_nodes, const EdgeOrder& order, const std::vector<int64_t>& bounds,
             const int32_t* senders);

  std::vector<int> row;        // row[thread * n_nodes + atom]; -1 where a thread has none
  std::vector<int64_t> count;  // rows of each thread
};

}  // namespace nequix

#endif
