// Graphs as the C interface takes them, and what an evaluation makes of them: edges in order, receivers and
// rows of senders by thread.
#ifndef NEQUIX_GRAPH_H
#define NEQUIX_GRAPH_H

#include <cstdint>
#include <vector>

#include "array.h"

namespace nequix {

// Whole structures.
struct Graph {
  int64_t n_nodes, n_edges;
  const double* vectors;     // (n_edges, 3), A
  const int32_t* senders;    // (n_edges)
  const int32_t* receivers;  // (n_edges), ascending
  const int32_t* species;    // (n_nodes)
};

// Nodes of which only the first ones have edges: the receivers. The others are ghosts, which only send.
struct PartGraph {
  int64_t n_receivers, n_nodes;
  const int64_t* first;    // (n_receivers + 1), the first edge of each receiver, and the number of edges
  const double* vectors;   // (n_edges, 3), A
  const int32_t* senders;  // (n_edges)
  const int32_t* species;  // (n_nodes)
};

// The first edge of each node, and the number of edges.
std::vector<int64_t> first_edges(const Graph& graph);

// What is evaluated on a graph: arrays of the caller, one row per member.
struct Outputs {
  const double* seed;  // weight of each energy in the sum whose gradient is taken; null: ones
  double* energies;    // (n_members, n_nodes)
  double* gradient;    // (n_members, n_edges, 3); null: not wanted
  double* features;    // (n_nodes, padded scalars of all layers) of the first member; null: not wanted
};

// The edges of each receiver within the cutoff, from short to long. Keeps its memory from graph to graph.
struct EdgeOrder {
  // `cells` are the segments of equal parts of [0, cutoff], ascending.
  void update(const PartGraph& graph, double cutoff, const std::vector<int>& cells);
  int64_t bytes() const;

  ReusableArray<int> edges;  // those of receiver i from first[i] on
  ReusableArray<int> count;  // edges of each receiver within the cutoff
};

// Divide receivers among threads, with about as many edges each: the first receiver of each thread, and the
// number of all.
std::vector<int64_t> partition_receivers(const PartGraph& graph, int n_threads);

// Where each thread keeps what it sums over senders. It has rows only for the nodes that send to its
// receivers, so that memory does not grow as the number of threads times that of nodes. The first thread has
// rows for all, to which the others' are added. Keeps its memory from graph to graph.
struct SenderRows {
  void update(const PartGraph& graph, const std::vector<int64_t>& bounds);
  int64_t bytes() const;

  ReusableArray<int> row;      // row[thread * n_nodes + node]; -1 where a thread has none
  std::vector<int64_t> count;  // rows of each thread
};

}  // namespace nequix

#endif
