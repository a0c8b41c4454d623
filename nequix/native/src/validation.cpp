#include "validation.h"

#include <cmath>
#include <cstdlib>
#include <string>

#include "error.h"
#include "model.h"

namespace nequix {

static_assert(DEGREES == +NEQUIX_DEGREES && PAD == +NEQUIX_PAD, "the interface and the kernels agree");

namespace {

// Limits far beyond any model, so that no index of the kernels can overflow: degrees times paths times
// channels fit 32 bits.
constexpr int32_t MOST_LAYERS = 1024;
constexpr int32_t MOST_SPECIES = 65536;
constexpr int32_t MOST_SEGMENTS = 1 << 20;
constexpr int32_t MOST_PATHS = 64;
constexpr int32_t MOST_CHANNELS = 1 << 17;
constexpr int32_t MOST_WEIGHTS = MOST_PATHS * MOST_CHANNELS;

std::string range(const std::string& name, int64_t value, int64_t least, int64_t most) {
  return name + " = " + text(value) + ", expected " + text(least) + " to " + text(most);
}

void check_range(const std::string& name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) fail(range(name, value, least, most));
}

void check_pointer(const void* pointer, const std::string& name) {
  if (!pointer) fail(name + " is null");
}

// Arrays of degrees, in messages: "in[2]"
std::string entry(const char* name, int l) { return std::string(name) + "[" + text(l) + "]"; }

void check_radial(const nequix_spec& spec, int degree) {
  require(spec.degree == degree, "the radial table has degree " + text(spec.degree) + ", expected " +
                                     text(degree) + " in this precision");
  check_range("n_segments", spec.n_segments, 1, MOST_SEGMENTS);
  check_range("n_cells", spec.n_cells, 1, MOST_SEGMENTS);
  check_pointer(spec.cells, "cells");
  check_pointer(spec.middles, "middles");
  check_pointer(spec.halves, "halves");
  require(spec.cutoff > 0 && std::isfinite(spec.cutoff) && std::isfinite(spec.n_cells / spec.cutoff),
          "cutoff = " + std::to_string(spec.cutoff) + ", expected a positive length in A");
  for (int c = 0; c < spec.n_cells; c++)
    if (spec.cells[c] < (c ? spec.cells[c - 1] : 0) || spec.cells[c] >= spec.n_segments)
      fail("cells[" + text(c) + "] = " + text(spec.cells[c]) + ", expected segments 0 to " +
           text(spec.n_segments - 1) + " that ascend");
  for (int s = 0; s < spec.n_segments; s++)
    if (!(spec.halves[s] > 0) || !std::isfinite(1 / spec.halves[s]) || !std::isfinite(spec.middles[s]))
      fail("segment " + text(s) + " of the radial table: expected a finite middle and a positive half width");
}

void check_channels(const nequix_layer& layer, const std::string& where) {
  const struct {
    const char* name;
    const int32_t* channels;
    int64_t most;
  } arrays[] = {{"in", layer.in, MOST_CHANNELS},
                {"message", layer.message, MOST_WEIGHTS},
                {"pre", layer.pre, DEGREES * MOST_CHANNELS},
                {"out", layer.out, MOST_CHANNELS},
                {"gate", layer.gate, DEGREES * MOST_CHANNELS}};
  for (const auto& array : arrays)
    for (int l = 0; l < DEGREES; l++) {
      const int32_t n = array.channels[l];
      check_range(where + entry(array.name, l), n, 0, array.most);
      if (n % PAD)
        fail(where + entry(array.name, l) + " = " + text(n) + ", expected a multiple of " + text(PAD));
    }
  check_range(where + "n_weights", layer.n_weights, PAD, MOST_WEIGHTS);
  if (layer.n_weights % PAD)
    fail(where + "n_weights = " + text(layer.n_weights) + ", expected a multiple of " + text(PAD));
}

// The first layer starts from scalars of the species, and the last one leaves scalars to the readout.
void check_ends(const nequix_spec& spec, int t, const std::string& where) {
  const nequix_layer& layer = spec.layers[t];
  for (int l = 0; l < DEGREES; l++) {
    if (t == 0 && l > 0 && (layer.in[l] || layer.linear_1[l] || layer.skip[l]))
      fail(where + "degree " + text(l) + " enters the first layer, expected scalars only");
    if (t == spec.n_layers - 1 && l > 0 && layer.out[l])
      fail(where + "degree " + text(l) + " leaves the last layer, expected scalars only");
    if (t > 0 && layer.in[l] != spec.layers[t - 1].out[l])
      fail(where + entry("in", l) + " = " + text(layer.in[l]) + ", but " + text(spec.layers[t - 1].out[l]) +
           " channels leave the layer before");
  }
}

void check_matrices(const nequix_layer& layer, bool norm, const std::string& where) {
  for (int l = 0; l < DEGREES; l++) {
    require(!layer.linear_1[l] || layer.in[l], where + entry("linear_1", l) + " has no channels");
    require(!layer.linear_2[l] || (layer.message[l] && layer.pre[l]),
            where + entry("linear_2", l) + " has no channels");
    require(!layer.skip[l] || (layer.in[l] && layer.pre[l]), where + entry("skip", l) + " has no channels");
    require(!norm || !layer.pre[l] || layer.gain[l], where + entry("gain", l) + " is null");
    require(std::isfinite(layer.norm[l]), where + entry("norm", l) + " is not finite");
  }
}

// Before the activation, degree 0 has the scalars and one gate for each channel of the other degrees.
void check_gates(const nequix_layer& layer, const std::string& where) {
  require(layer.out[0] > 0, where + "out[0] = 0, expected scalars");
  int64_t scalars = 0;
  for (int l = 0; l < DEGREES; l++) scalars += layer.out[l];
  require(layer.pre[0] == scalars, where + "pre[0] = " + text(layer.pre[0]) + ", expected the " +
                                       text(scalars) + " scalars and gates of the channels that leave");
  for (int l = 1; l < DEGREES; l++) {
    require(layer.pre[l] == layer.out[l], where + entry("pre", l) + " = " + text(layer.pre[l]) + ", but " +
                                              text(layer.out[l]) + " channels leave");
    if (!layer.out[l]) continue;
    const int64_t end = static_cast<int64_t>(layer.gate[l]) + layer.out[l];
    require(layer.gate[l] >= layer.out[0] && end <= layer.pre[0],
            where + "gates " + text(layer.gate[l]) + " to " + text(end - 1) + " of degree " + text(l) +
                " are not among those of pre[0], " + text(layer.out[0]) + " to " + text(layer.pre[0] - 1));
    for (int k = 1; k < l; k++)
      require(!layer.out[k] || layer.gate[k] >= end || layer.gate[k] + layer.out[k] <= layer.gate[l],
              where + "degrees " + text(k) + " and " + text(l) + " share gates");
  }
}

void check_paths(const nequix_layer& layer, int lmax, const std::string& layer_name) {
  for (int p = 0; p < layer.n_paths; p++) {
    const nequix_path& path = layer.paths[p];
    const std::string where = layer_name + "path " + text(p) + ": ";
    require(path.l1 >= 0 && path.l1 < DEGREES && path.l2 >= 0 && path.l2 <= lmax && path.l3 >= 0 &&
                path.l3 < DEGREES && path.l3 >= std::abs(path.l1 - path.l2) && path.l3 <= path.l1 + path.l2 &&
                (path.l1 + path.l2 + path.l3) % 2 == 0,
            where + "degrees " + text(path.l1) + ", " + text(path.l2) + " and " + text(path.l3) +
                " do not couple, or lie beyond lmax or 3");
    require(path.channels > 0 && path.channels == layer.in[path.l1],
            where + "channels = " + text(path.channels) + ", but " + text(layer.in[path.l1]) + " enter");
    require(layer.linear_1[path.l1], where + entry("linear_1", path.l1) + " is null");
    require(layer.linear_2[path.l3], where + entry("linear_2", path.l3) + " is null");
    const auto inside = [&](int64_t start, int64_t size) {
      return start >= 0 && start % PAD == 0 && start + path.channels <= size;
    };
    require(inside(path.weight, layer.n_weights), where + "weight = " + text(path.weight) +
                                                      ", but n_weights = " + text(layer.n_weights) +
                                                      "; expected a multiple of 16 inside");
    require(inside(path.message, layer.message[path.l3]),
            where + "message = " + text(path.message) + ", but " + entry("message", path.l3) + " = " +
                text(layer.message[path.l3]) + "; expected a multiple of 16 inside");
  }
}

}  // namespace

void check_specification(const nequix_spec& spec, int degree) {
  check_range("n_layers", spec.n_layers, 1, MOST_LAYERS);
  check_range("n_species", spec.n_species, 1, MOST_SPECIES);
  check_range("lmax", spec.lmax, 0, DEGREES - 1);
  check_pointer(spec.layers, "layers");
  check_pointer(spec.readout, "readout");
  check_pointer(spec.offset, "offset");
  check_radial(spec, degree);
  for (int t = 0; t < spec.n_layers; t++) {
    const nequix_layer& layer = spec.layers[t];
    const std::string where = "layer " + text(t) + ": ";
    check_range(where + "n_paths", layer.n_paths, 1, MOST_PATHS);
    check_pointer(layer.paths, where + "paths");
    check_pointer(layer.table, where + "table");
    check_channels(layer, where);
    check_ends(spec, t, where);
    check_matrices(layer, spec.layer_norm != 0, where);
    check_gates(layer, where);
    check_paths(layer, spec.lmax, where);
  }
}

void check_count(int64_t n, const char* what) {
  if (n < 0 || n >= INT32_MAX) fail(range(what, n, 0, INT32_MAX - 1));
}

void check_array(const void* array, int64_t n, const char* name) {
  if (n > 0) check_pointer(array, name);
}

void check_threads(int32_t n_threads) { check_range("n_threads", n_threads, 1, NEQUIX_MOST_THREADS); }

namespace {

void check_species(const int32_t* species, int64_t n, int n_species) {
  for (int64_t a = 0; a < n; a++)
    if (species[a] < 0 || species[a] >= n_species)
      fail("atom " + text(a) + " has species " + text(species[a]) + ", expected 0 to " + text(n_species - 1));
}

bool is_finite(const double* r) {
  // The sum is finite unless one of them is not, or they are huge: one test in place of three.
  return std::isfinite(r[0] + r[1] + r[2]) ||
         (std::isfinite(r[0]) && std::isfinite(r[1]) && std::isfinite(r[2]));
}

void check_first_edges(const PartGraph& graph) {
  check_array(graph.first, graph.n_receivers, "first");
  for (int64_t a = 0; a <= graph.n_receivers; a++)
    if (a ? graph.first[a] < graph.first[a - 1] : graph.first[0] != 0)
      fail("first[" + text(a) + "] = " + text(graph.first[a]) +
           ", expected numbers of edges that ascend from 0");
  check_count(graph.first[graph.n_receivers], "the number of edges");
}

}  // namespace

void check_graph(const Graph& graph, int n_species, const double* energies) {
  check_count(graph.n_nodes, "n_nodes");
  check_count(graph.n_edges, "n_edges");
  check_array(graph.species, graph.n_nodes, "species");
  check_array(energies, graph.n_nodes, "energies");
  check_array(graph.vectors, graph.n_edges, "vectors");
  check_array(graph.senders, graph.n_edges, "senders");
  check_array(graph.receivers, graph.n_edges, "receivers");
  check_species(graph.species, graph.n_nodes, n_species);
  int32_t last = 0;
  for (int64_t e = 0; e < graph.n_edges; e++) {
    const int32_t sender = graph.senders[e];
    const int32_t receiver = graph.receivers[e];
    const double* r = graph.vectors + 3 * e;
    if (sender < 0 || sender >= graph.n_nodes || receiver < last || receiver >= graph.n_nodes ||
        !is_finite(r))
      fail("edge " + text(e) + " runs from atom " + text(sender) + " to " + text(receiver) + " of " +
           text(graph.n_nodes) + "; expected atoms that exist, receivers that ascend and finite vectors");
    last = receiver;
  }
}

void check_part(const PartGraph& graph, int n_species, const double* energies, bool with_gradient,
                const double* gradient) {
  check_count(graph.n_nodes, "n_nodes");
  check_range("n_receivers", graph.n_receivers, 0, graph.n_nodes);
  check_array(graph.species, graph.n_nodes, "species");
  check_species(graph.species, graph.n_nodes, n_species);
  if (!graph.n_receivers) return;
  check_array(energies, graph.n_receivers, "energies");
  check_first_edges(graph);
  const int64_t n_edges = graph.first[graph.n_receivers];
  check_array(graph.vectors, n_edges, "vectors");
  check_array(graph.senders, n_edges, "senders");
  if (with_gradient) check_array(gradient, n_edges, "gradient");
  for (int64_t e = 0; e < n_edges; e++)
    if (graph.senders[e] < 0 || graph.senders[e] >= graph.n_nodes || !is_finite(graph.vectors + 3 * e))
      fail("edge " + text(e) + " comes from node " + text(graph.senders[e]) + " of " + text(graph.n_nodes) +
           "; expected nodes that exist and finite vectors");
}

void check_nodes(const NodeList& nodes, int64_t n_nodes) {
  check_count(nodes.n, "n");
  if (!nodes.nodes && (nodes.start < 0 || nodes.start > n_nodes || nodes.n > n_nodes - nodes.start))
    fail("nodes from " + text(nodes.start) + " on, " + text(nodes.n) + " of them, are not among the " +
         text(n_nodes) + " nodes");
  for (int64_t i = 0; nodes.nodes && i < nodes.n; i++)
    if (nodes.nodes[i] < 0 || nodes.nodes[i] >= n_nodes)
      fail("nodes[" + text(i) + "] = " + text(nodes.nodes[i]) + ", but there are " + text(n_nodes) +
           " nodes");
}

}  // namespace nequix
