#include "part.h"

#include <algorithm>
#include <climits>

#include "error.h"
#include "threads.h"
#include "validation.h"

namespace nequix {
namespace {

constexpr int UNREAD = INT_MAX;  // of a ghost that sends to no receiver

}  // namespace

template <class T>
int64_t Part<T>::width(int t) const {
  if (t < 1 || t >= model_.n_layers) return 0;
  const Layer<T>& layer = model_.layers[t];
  int64_t numbers = 0;
  for (int l = 0; l < DEGREES; l++)
    if (layer.linear_1[l]) numbers += (2 * l + 1) * layer.in[l];
  return numbers * static_cast<int64_t>(sizeof(T));
}

template <class T>
RowBlocks<T> Part<T>::blocks(bool derivatives, int t) const {
  RowBlocks<T> blocks;
  const Layer<T>& layer = model_.layers[t];
  const Memory<T>& memory = context_.memory();
  for (int l = 0; l < DEGREES; l++)
    if (layer.linear_1[l])
      blocks.add(derivatives ? memory.derivatives(l) : memory.features(t, l), (2 * l + 1) * layer.in[l]);
  return blocks;
}

template <class T>
void Part<T>::begin(const PartGraph& graph, bool with_gradient, double* energies, double* gradient) {
  stages_.abandon();
  check_part(graph, model_.n_species, energies, with_gradient, gradient);
  int64_t* first = first_.resize(graph.n_receivers + 1);
  first[0] = 0;
  if (graph.n_receivers) std::copy_n(graph.first, graph.n_receivers + 1, first);
  graph_ = graph;
  graph_.first = first;
  order_.update(graph_, model_.cutoff, cells_);
  context_.prepare(model_, kernels_, graph_, with_gradient, n_threads_);
  evaluation_ = context_.bind(model_, graph_, order_, energies, with_gradient ? gradient : nullptr);
  find_senders();
  stages_.begin(with_gradient);
}

template <class T>
void Part<T>::find_senders() {
  int* written = written_.resize(n_ghosts());
  std::fill_n(written, n_ghosts(), UNREAD);
  const int* count = order_.count.get();
  for (int64_t a = 0; a < graph_.n_receivers; a++) {
    const int* edges = order_.edges.get() + graph_.first[a];
    for (int i = 0; i < count[a]; i++) {
      const int64_t ghost = graph_.senders[edges[i]] - graph_.n_receivers;
      if (ghost >= 0) written[ghost] = 0;
    }
  }
}

template <class T>
void Part<T>::check_features(int t) const {
  for (int64_t ghost = 0; ghost < n_ghosts(); ghost++)
    if (written_.get()[ghost] < t)
      fail("forward(" + text(t) + ") was called, but features " + text(t) + " of node " +
           text(graph_.n_receivers + ghost) + ", a ghost that sends to receivers, were not written");
}

template <class T>
void Part<T>::forward(int t) {
  stages_.check_forward(t);
  check_features(t);
  run_threads(context_.n_threads(), [&](int thread) { kernels_.forward(evaluation_, t, thread); });
  stages_.advance();
  if (t == model_.n_layers - 1) calls_++;
}

template <class T>
void Part<T>::backward(int t) {
  stages_.check_backward(t);
  run_threads(context_.n_threads(), [&](int thread) { kernels_.backward(evaluation_, t, thread); });
  stages_.advance();
}

template <class T>
void Part<T>::read(bool derivatives, int t, const NodeList& nodes, void* buffer) const {
  stages_.check_exchange(derivatives, t);
  check_nodes(nodes, graph_.n_nodes);
  check_array(buffer, nodes.n, "buffer");
  blocks(derivatives, t).read(nodes, static_cast<char*>(buffer), n_threads_);
}

template <class T>
void Part<T>::write(bool derivatives, int t, const NodeList& nodes, const void* buffer) {
  stages_.check_exchange(derivatives, t);
  check_nodes(nodes, graph_.n_nodes);
  check_array(buffer, nodes.n, "buffer");
  if (derivatives) {
    blocks(true, t).add_rows(nodes, static_cast<const char*>(buffer), n_threads_);
    return;
  }
  blocks(false, t).set_rows(nodes, static_cast<const char*>(buffer), n_threads_);
  int* written = written_.get();
  for (int64_t i = 0; i < nodes.n; i++) {
    const int64_t ghost = nodes[i] - graph_.n_receivers;
    if (ghost >= 0 && written[ghost] != UNREAD) written[ghost] = t;
  }
}

template <class T>
int64_t Part<T>::bytes() const {
  return context_.bytes() + order_.bytes() + first_.bytes() + written_.bytes();
}

template class Part<float>;
template class Part<double>;

}  // namespace nequix
