#include "model_impl.h"

#include <algorithm>
#include <tuple>

#include "error.h"
#include "evaluation.h"
#include "part.h"
#include "validation.h"

namespace nequix {

template <class T>
ModelImpl<T>::ModelImpl(const nequix_spec& spec, const Instructions& instructions) : ModelBase(instructions) {
  check_specification(spec, Radial<T>::degree);
  paths_.resize(spec.n_layers);
  layers_.resize(spec.n_layers);
  for (int t = 0; t < spec.n_layers; t++) copy_layer(spec, t);
  readout_.assign(spec.readout, spec.readout + spec.layers[spec.n_layers - 1].out[0]);
  offset_.assign(spec.offset, spec.offset + spec.n_species);
  cells_.assign(spec.cells, spec.cells + spec.n_cells);
  middles_.assign(spec.middles, spec.middles + spec.n_segments);
  halves_.assign(spec.halves, spec.halves + spec.n_segments);
  int most_channels = 0;
  for (const std::vector<Path>& paths : paths_)
    for (const Path& path : paths) most_channels = std::max(most_channels, path.channels);
  model_ = {spec.n_species,       spec.lmax,      spec.n_layers,   spec.n_cells,    cells_.data(),
            middles_.data(),      halves_.data(), spec.cutoff,     spec.gate_scale, spec.epsilon,
            spec.layer_norm != 0, layers_.data(), readout_.data(), offset_.data(),  most_channels};
}

template <class T>
void ModelImpl<T>::copy_layer(const nequix_spec& spec, int t) {
  const nequix_layer& source = spec.layers[t];
  Layer<T>& layer = layers_[t];
  layer = {};
  for (int p = 0; p < source.n_paths; p++) {
    const nequix_path& path = source.paths[p];
    paths_[t].push_back({path.l1, path.l2, path.l3, path.channels, path.weight, path.message});
  }
  // Paths that read the same features follow one another, so that these stay in the cache.
  std::stable_sort(paths_[t].begin(), paths_[t].end(),
                   [](const Path& a, const Path& b) { return a.l1 < b.l1; });
  layer.n_paths = source.n_paths;
  layer.paths = paths_[t].data();
  layer.n_weights = source.n_weights;
  for (int l = 0; l < DEGREES; l++) {
    const int in = source.in[l];
    const int pre = source.pre[l];
    const int message = source.message[l];
    const int rows = t ? in : spec.n_species;
    layer.in[l] = in;
    layer.pre[l] = pre;
    layer.message[l] = message;
    layer.out[l] = source.out[l];
    layer.gate[l] = source.gate[l];
    layer.norm[l] = static_cast<T>(source.norm[l]);
    layer.linear_1[l] = copy_matrix(source.linear_1[l], rows, in, false);
    layer.linear_2[l] = copy_matrix(source.linear_2[l], message, pre, false);
    layer.linear_2_t[l] = copy_matrix(source.linear_2[l], message, pre, true);
    layer.skip[l] = copy_matrix(source.skip[l], rows, pre, false);
    if (t) {
      layer.linear_1_t[l] = copy_matrix(source.linear_1[l], in, in, true);
      layer.skip_t[l] = copy_matrix(source.skip[l], in, pre, true);
    }
    if (pre) layer.gain[l] = copy_matrix(source.gain[l], 1, pre, false);
  }
  layer.table = copy_table(source.table, spec.n_segments, source.n_weights, spec.degree);
}

template <class T>
const T* ModelImpl<T>::copy_matrix(const double* values, int64_t rows, int64_t columns, bool transpose) {
  if (!values) return nullptr;
  arrays_.emplace_back(rows * columns);
  T* copy = arrays_.back().get();
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++)
      copy[transpose ? c * rows + r : r * columns + c] = static_cast<T>(values[r * columns + c]);
  return copy;
}

template <class T>
const T* ModelImpl<T>::copy_table(const double* table, int64_t n_segments, int64_t n_weights, int degree) {
  const int64_t powers = degree + 1;
  arrays_.emplace_back(n_segments * n_weights * powers);
  T* copy = arrays_.back().get();
  for (int64_t s = 0; s < n_segments; s++)
    for (int64_t c = 0; c < n_weights; c++)
      for (int64_t k = 0; k < powers; k++)
        copy[((s * (n_weights / PAD) + c / PAD) * powers + degree - k) * PAD + c % PAD] =
            static_cast<T>(table[(s * n_weights + c) * powers + k]);
  return copy;
}

template <class T>
bool ModelImpl<T>::has_shape_of(const ModelImpl& other) const {
  const auto shape = [](const ModelImpl& m) {
    return std::make_tuple(m.model_.n_species, m.model_.lmax, m.model_.n_layers, m.model_.norm,
                           m.model_.cutoff, &m.instructions);
  };
  if (shape(*this) != shape(other)) return false;
  for (int t = 0; t < model_.n_layers; t++) {
    const Layer<T>& a = layers_[t];
    const Layer<T>& b = other.layers_[t];
    if (a.n_weights != b.n_weights || a.n_paths != b.n_paths) return false;
    for (int l = 0; l < DEGREES; l++)
      if (a.in[l] != b.in[l] || a.message[l] != b.message[l] || a.pre[l] != b.pre[l] ||
          a.out[l] != b.out[l] || a.gate[l] != b.gate[l])
        return false;
    // The working memory fits the widest path.
    const auto place = [](const Path& p) {
      return std::make_tuple(p.l1, p.l2, p.l3, p.channels, p.weight, p.message);
    };
    for (int p = 0; p < a.n_paths; p++)
      if (place(a.paths[p]) != place(b.paths[p])) return false;
  }
  return true;
}

template <class T>
void ModelImpl<T>::evaluate(const std::vector<const ModelBase*>& members, int n_shared, const Graph& graph,
                            const Outputs& outputs, int n_threads) const {
  check_threads(n_threads);
  check_graph(graph, model_.n_species, outputs.energies);
  const std::vector<int64_t> first = first_edges(graph);
  const PartGraph edges = {graph.n_nodes, graph.n_nodes, first.data(),
                           graph.vectors, graph.senders, graph.species};
  std::vector<Member<T>> views;
  for (const ModelBase* base : members) {
    const auto* member = dynamic_cast<const ModelImpl*>(base);
    require(member && has_shape_of(*member), "member " + text(static_cast<int64_t>(views.size())) +
                                                 " differs from the first one in shape, precision or cutoff");
    views.push_back({&member->model_, {}});
    views.back().order.update(edges, model_.cutoff, member->cells_);
  }
  evaluate_members(views, kernels_of<T>(instructions), n_shared, edges, outputs, n_threads);
  for (const ModelBase* member : members) member->calls++;
}

template <class T>
std::unique_ptr<PartBase> ModelImpl<T>::create_part(int n_threads) const {
  check_threads(n_threads);
  return std::make_unique<Part<T>>(model_, cells_, kernels_of<T>(instructions), calls, n_threads);
}

template class ModelImpl<float>;
template class ModelImpl<double>;

}  // namespace nequix
