#include "evaluation.h"

#include <algorithm>

#include "array.h"
#include "threads.h"

namespace nequix {
namespace {

// The features of all layers, their derivatives and the threads' workspaces.
template <class T>
class Memory {
 public:
  // Without rows of senders there are no derivatives.
  Memory(const Model<T>& model, int64_t n_nodes, const SenderRows* rows, int n_threads, int64_t workspace)
      : x_(model.n_layers * DEGREES),
        z_(model.n_layers * DEGREES),
        h_((model.n_layers + 1) * DEGREES),
        dx_(n_threads * DEGREES),
        workspaces_(n_threads) {
    for (int l = 0; l < DEGREES; l++) allocate_degree(model, n_nodes, l, rows);
    for (T*& place : workspaces_) place = take(workspace);
  }

  // Give the features that enter a layer memory of their own, which the layers after it do not overwrite.
  void keep_input(const Model<T>& model, int64_t n_nodes, int layer) {
    for (int l = 0; l < DEGREES; l++)
      h_[layer * DEGREES + l] = take(n_nodes * (2 * l + 1) * most_out(model, l));
  }

  void bind(Evaluation<T>& e) {
    e.x = x_.data();
    e.z = z_.data();
    e.h = h_.data();
    e.dx = dx_.data();
    e.workspace = workspaces_.data();
    for (int i = 0; i < 2; i++) std::copy_n(dh_[i], DEGREES, e.dh[i]);
  }

 private:
  static int64_t most_out(const Model<T>& model, int l) {
    int64_t most = 0;
    for (int t = 0; t < model.n_layers; t++) most = std::max<int64_t>(most, model.layers[t].out[l]);
    return most;
  }

  T* take(int64_t n) {
    arrays_.emplace_back(n);
    return arrays_.back().get();
  }

  void allocate_degree(const Model<T>& model, int64_t n_nodes, int l, const SenderRows* rows) {
    const int n_layers = model.n_layers;
    const int64_t components = 2 * l + 1;
    const int64_t n = n_nodes * components;
    int64_t most_in = 0;
    for (int t = 1; t < n_layers; t++) most_in = std::max<int64_t>(most_in, model.layers[t].in[l]);
    for (int t = 0; t < n_layers; t++) z_[t * DEGREES + l] = take(n * model.layers[t].pre[l]);
    // Without derivatives two buffers do for all layers: while one is written, other threads read the last
    // one.
    T* buffers[2] = {};
    for (int i = 0; !rows && i < std::min(2, n_layers - 1); i++) buffers[i] = take(n * most_in);
    for (int t = 1; t < n_layers; t++)
      x_[t * DEGREES + l] = rows ? take(n * model.layers[t].in[l]) : buffers[(t - 1) % 2];
    for (int i = 0; i < 2; i++) {
      T* buffer = take(n * most_out(model, l));
      for (int t = i; t <= n_layers; t += 2) h_[t * DEGREES + l] = buffer;
      if (rows) dh_[i][l] = take(n * most_out(model, l));
    }
    if (!rows) return;
    for (size_t thread = 0; thread < workspaces_.size(); thread++)
      dx_[thread * DEGREES + l] = take(rows->count[thread] * components * most_in);
  }

  std::vector<Array<T>> arrays_;
  std::vector<T*> x_, z_, h_, dx_, workspaces_;
  T* dh_[2][DEGREES] = {};
};

}  // namespace

template <class T>
void evaluate_members(const std::vector<Member<T>>& members, const Kernels<T>& kernels, int n_shared,
                      const Graph& graph, const double* seed, double* energies, double* gradient,
                      int n_threads) {
  const Model<T>& model = *members[0].model;
  const EdgeOrder& order = members[0].order;
  n_threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_threads, graph.n_nodes)));
  n_shared = std::min(n_shared, model.n_layers - 1);
  const std::vector<int64_t> bounds = partition_receivers(order.first, n_threads);
  const SenderRows rows(n_threads, gradient ? graph.n_nodes : 0, order, bounds, graph.senders);
  Memory<T> memory(model, graph.n_nodes, gradient ? &rows : nullptr, n_threads,
                   kernels.workspace_size(model));
  if (members.size() > 1) memory.keep_input(model, graph.n_nodes, n_shared);
  Barrier barrier(n_threads);

  std::vector<Evaluation<T>> evaluations;
  for (size_t m = 0; m < members.size(); m++) {
    Evaluation<T> e = {};
    memory.bind(e);
    e.model = members[m].model;
    e.start = m ? n_shared : 0;
    e.n_nodes = graph.n_nodes;
    e.vectors = graph.vectors;
    e.senders = graph.senders;
    e.species = graph.species;
    e.first = members[m].order.first.data();
    e.order = members[m].order.edges.data();
    e.count = members[m].order.count.data();
    e.seed = seed;
    e.energies = energies + m * graph.n_nodes;
    e.gradient = gradient ? gradient + 3 * m * graph.n_edges : nullptr;
    e.row = rows.row.data();
    e.n_rows = rows.count.data();
    e.bounds = bounds.data();
    e.n_threads = n_threads;
    e.wait = [](void* waiting) { static_cast<Barrier*>(waiting)->wait(); };
    e.barrier = &barrier;
    evaluations.push_back(e);
  }
  run_threads(n_threads, [&](int thread) {
    for (const Evaluation<T>& e : evaluations) {
      kernels.run(e, thread);
      barrier.wait();  // the next one has the same memory
    }
  });
}

template void evaluate_members(const std::vector<Member<float>>&, const Kernels<float>&, int, const Graph&,
                               const double*, double*, double*, int);
template void evaluate_members(const std::vector<Member<double>>&, const Kernels<double>&, int, const Graph&,
                               const double*, double*, double*, int);

}  // namespace nequix
