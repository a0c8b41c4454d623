#include "evaluation.h"

#include <algorithm>

namespace nequix {
namespace {

// One thread's part of all stages.
template <class T>
void run_stages(const Evaluation<T>& e, const Kernels<T>& kernels, int thread) {
  const int last = e.model->n_layers - 1;
  for (int t = e.start; t <= last; t++) {
    kernels.forward(e, t, thread);
    if (t < last) e.wait(e.barrier);
  }
  for (int t = last; e.gradient && t >= 0; t--) kernels.backward(e, t, thread);
}

}  // namespace

template <class T>
void EvaluationContext<T>::prepare(const Model<T>& model, const Kernels<T>& kernels, const PartGraph& graph,
                                   bool with_gradient, int n_threads) {
  n_threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_threads, graph.n_receivers)));
  bounds_ = partition_receivers(graph, n_threads);
  if (with_gradient) rows_.update(graph, bounds_);
  memory_.resize(model, graph, with_gradient ? &rows_ : nullptr, n_threads, kernels.workspace_size(model));
  barrier_.emplace(n_threads);
}

template <class T>
Evaluation<T> EvaluationContext<T>::bind(const Model<T>& model, const PartGraph& graph,
                                         const EdgeOrder& order, double* energies, double* gradient) {
  Evaluation<T> e = {};
  memory_.bind(e);
  e.model = &model;
  e.n_receivers = graph.n_receivers;
  e.n_nodes = graph.n_nodes;
  e.vectors = graph.vectors;
  e.senders = graph.senders;
  e.species = graph.species;
  e.first = graph.first;
  e.order = order.edges.get();
  e.count = order.count.get();
  e.energies = energies;
  e.gradient = gradient;
  e.row = rows_.row.get();
  e.n_rows = rows_.count.data();
  e.bounds = bounds_.data();
  e.n_threads = n_threads();
  e.wait = [](void* barrier) { static_cast<Barrier*>(barrier)->wait(); };
  e.barrier = &*barrier_;
  return e;
}

template <class T>
void evaluate_members(const std::vector<Member<T>>& members, const Kernels<T>& kernels, int n_shared,
                      const PartGraph& graph, const Outputs& outputs, int n_threads) {
  const Model<T>& model = *members[0].model;
  n_shared = std::min(n_shared, model.n_layers - 1);
  EvaluationContext<T> context;
  context.prepare(model, kernels, graph, outputs.gradient != nullptr, n_threads);
  if (members.size() > 1) context.memory().keep_input(model, graph.n_receivers, n_shared);
  std::vector<Evaluation<T>> evaluations;
  for (size_t m = 0; m < members.size(); m++) {
    const int64_t n_edges = graph.first[graph.n_receivers];
    evaluations.push_back(context.bind(*members[m].model, graph, members[m].order,
                                       outputs.energies + m * graph.n_receivers,
                                       outputs.gradient ? outputs.gradient + 3 * m * n_edges : nullptr));
    Evaluation<T>& e = evaluations.back();
    e.start = m ? n_shared : 0;
    e.seed = outputs.seed;
    e.features = m ? nullptr : outputs.features;
    for (int t = 0; t < model.n_layers; t++) e.n_features += model.layers[t].out[0];
  }
  run_threads(context.n_threads(), [&](int thread) {
    for (const Evaluation<T>& e : evaluations) {
      run_stages(e, kernels, thread);
      e.wait(e.barrier);  // the next one has the same memory
    }
  });
}

template class EvaluationContext<float>;
template class EvaluationContext<double>;
template void evaluate_members(const std::vector<Member<float>>&, const Kernels<float>&, int,
                               const PartGraph&, const Outputs&, int);
template void evaluate_members(const std::vector<Member<double>>&, const Kernels<double>&, int,
                               const PartGraph&, const Outputs&, int);

}  // namespace nequix
