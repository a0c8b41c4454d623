#include "memory.h"

#include <algorithm>

namespace nequix {
namespace {

template <class T>
int64_t most_in(const Model<T>& model, int l) {
  int64_t most = 0;
  for (int t = 1; t < model.n_layers; t++) most = std::max<int64_t>(most, model.layers[t].in[l]);
  return most;
}

template <class T>
int64_t most_out(const Model<T>& model, int l) {
  int64_t most = 0;
  for (int t = 0; t < model.n_layers; t++) most = std::max<int64_t>(most, model.layers[t].out[l]);
  return most;
}

}  // namespace

template <class T>
void Memory<T>::resize(const Model<T>& model, const PartGraph& graph, const SenderRows* rows, int n_threads,
                       int64_t workspace) {
  n_taken_ = 0;
  x_.assign(model.n_layers * DEGREES, nullptr);
  z_.assign(model.n_layers * DEGREES, nullptr);
  h_.assign((model.n_layers + 1) * DEGREES, nullptr);
  dx_.assign(n_threads * DEGREES, nullptr);
  workspaces_.assign(n_threads, nullptr);
  for (int l = 0; l < DEGREES; l++) take_degree(model, graph, l, rows);
  for (int thread = 0; thread < n_threads; thread++) {
    workspaces_[thread] = take(workspace);
    for (int l = 0; l < DEGREES; l++)
      dx_[thread * DEGREES + l] = take(rows ? rows->count[thread] * (2 * l + 1) * most_in(model, l) : 0);
  }
}

template <class T>
void Memory<T>::take_degree(const Model<T>& model, const PartGraph& graph, int l, bool derivatives) {
  const int n_layers = model.n_layers;
  const int64_t of_nodes = graph.n_nodes * (2 * l + 1);
  const int64_t of_receivers = graph.n_receivers * (2 * l + 1);
  for (int t = 0; t < n_layers; t++) z_[t * DEGREES + l] = take(of_receivers * model.layers[t].pre[l]);
  // Without derivatives two buffers do for all layers: while one is written, other threads read the last one.
  for (int t = 1; t < n_layers; t++) {
    const int64_t channels = derivatives ? model.layers[t].in[l] : t > 2 ? 0 : most_in(model, l);
    T* array = take(of_nodes * channels);
    x_[t * DEGREES + l] = derivatives || t <= 2 ? array : x_[(t - 2) * DEGREES + l];
  }
  for (int i = 0; i < 2; i++) {
    T* array = take(of_receivers * most_out(model, l));
    for (int t = i; t <= n_layers; t += 2) h_[t * DEGREES + l] = array;
    dh_[i][l] = take(derivatives ? of_receivers * most_out(model, l) : 0);
  }
}

template <class T>
void Memory<T>::keep_input(const Model<T>& model, int64_t n_receivers, int layer) {
  for (int l = 0; l < DEGREES; l++)
    h_[layer * DEGREES + l] = take(n_receivers * (2 * l + 1) * most_out(model, l));
}

template <class T>
void Memory<T>::bind(Evaluation<T>& e) {
  e.x = x_.data();
  e.z = z_.data();
  e.h = h_.data();
  e.dx = dx_.data();
  e.workspace = workspaces_.data();
  for (int i = 0; i < 2; i++) std::copy_n(dh_[i], DEGREES, e.dh[i]);
}

template <class T>
int64_t Memory<T>::bytes() const {
  int64_t total = 0;
  for (const ReusableArray<T>& array : arrays_) total += array.bytes();
  return total;
}

template <class T>
T* Memory<T>::take(int64_t n) {
  if (n_taken_ == arrays_.size()) arrays_.emplace_back();
  return arrays_[n_taken_++].resize(n);
}

template class Memory<float>;
template class Memory<double>;

}  // namespace nequix
