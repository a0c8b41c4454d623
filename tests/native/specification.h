// Small specifications and graphs for the drivers, as a caller of the C interface makes them. The numbers are
// the same with every compiler.
#ifndef SPECIFICATION_H
#define SPECIFICATION_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <vector>

#include "nequix.h"

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33);
  }
  int below(int n) { return static_cast<int>(next() % n); }
  double uniform(double low, double high) { return low + (high - low) * (next() / 2147483648.0); }

 private:
  uint64_t state_;
};

// A specification whose fields may be changed before fill() gives it arrays, each exactly as long as the
// fields say: what reads beyond is found by a sanitizer.
struct Specification {
  std::vector<nequix_layer> layers;
  std::vector<std::vector<nequix_path>> paths;
  nequix_spec spec = {};

  // Degrees 0 to 3 with 16 channels each (0: 32), as many of them in each layer as harmonics up to lmax can
  // have made, and all paths between them.
  Specification(int degree, int lmax, int n_layers, int n_segments = 8)
      : layers(n_layers, nequix_layer{}), paths(n_layers) {
    for (int t = 0; t < n_layers; t++) {
      nequix_layer& layer = layers[t];
      const bool last = t == n_layers - 1;
      for (int l = 0; l < 4; l++) {
        layer.in[l] = l <= t * lmax ? (l ? 16 : 32) : 0;
        layer.out[l] = l <= (last ? 0 : (t + 1) * lmax) ? (l ? 16 : 32) : 0;
      }
      for (int l1 = 0; l1 < 4; l1++)
        for (int l2 = 0; l2 <= lmax; l2++)
          for (int l3 = std::abs(l1 - l2); l3 <= l1 + l2 && l3 < 4; l3++) {
            if (!layer.in[l1] || !layer.out[l3] || (l1 + l2 + l3) % 2) continue;
            paths[t].push_back({l1, l2, l3, layer.in[l1], layer.n_weights, layer.message[l3]});
            layer.n_weights += layer.in[l1];
            layer.message[l3] += layer.in[l1];
          }
      for (int l = 0; l < 4; l++) {
        layer.pre[l] = layer.out[l];
        layer.norm[l] = 0.25;
      }
      for (int l = 1; l < 4; l++)
        if (layer.out[l]) {
          layer.gate[l] = layer.pre[0];
          layer.pre[0] += layer.out[l];
        }
      layer.n_paths = static_cast<int>(paths[t].size());
    }
    spec.n_species = 2;
    spec.lmax = lmax;
    spec.n_layers = n_layers;
    spec.n_cells = n_segments;
    spec.n_segments = n_segments;
    spec.degree = degree;
    spec.layer_norm = 1;
    spec.cutoff = 4;
    spec.gate_scale = 1.7;
    spec.epsilon = 1e-12;
  }

  void fill(Random& random) {
    const auto array = [&](int64_t n, double size) -> const double* {
      arrays_.emplace_back(n > 0 && n < 1000000 ? n : 1);
      for (double& value : arrays_.back()) value = random.uniform(-size, size);
      return arrays_.back().data();
    };
    const auto matrix = [&](int64_t rows, int64_t columns, double size) {
      return rows && columns ? array(rows < 1000000 && columns < 1000000 ? rows * columns : 1, size)
                             : nullptr;
    };
    const auto count = [](int n) { return n < 1 || n > 64 ? 1 : n; };
    cells_.clear();
    for (int c = 0; c < count(spec.n_cells); c++) cells_.push_back(std::min(c, count(spec.n_segments) - 1));
    middles_.clear();
    halves_.clear();
    for (int s = 0; s < count(spec.n_segments); s++) {
      halves_.push_back(spec.cutoff / 2 / count(spec.n_segments));
      middles_.push_back((2 * s + 1) * halves_.back());
    }
    layers.resize(count(spec.n_layers), layers.back());
    paths.resize(layers.size(), paths.back());
    for (size_t t = 0; t < layers.size(); t++) {
      nequix_layer& layer = layers[t];
      paths[t].resize(count(layer.n_paths), {0, 0, 0, 32, 0, 0});
      layer.paths = paths[t].data();
      const int64_t segments = count(spec.n_segments);
      layer.table = matrix(segments * (int64_t{spec.degree} + 1), layer.n_weights, 0.5);
      for (int l = 0; l < 4; l++) {
        const int rows = t ? layer.in[l] : spec.n_species;
        layer.linear_1[l] = layer.in[l] ? matrix(rows, layer.in[l], 0.3) : nullptr;
        layer.linear_2[l] = matrix(layer.message[l], layer.pre[l], 0.2);
        layer.skip[l] = layer.in[l] ? matrix(rows, layer.pre[l], 0.3) : nullptr;
        layer.gain[l] = matrix(1, layer.pre[l], 1.5);
      }
    }
    spec.layers = layers.data();
    spec.cells = cells_.data();
    spec.middles = middles_.data();
    spec.halves = halves_.data();
    spec.readout = array(layers.back().out[0], 1);
    spec.offset = array(spec.n_species, 1);
  }

 private:
  std::deque<std::vector<double>> arrays_;
  std::vector<int32_t> cells_;
  std::vector<double> middles_, halves_;
};

// All pairs of n atoms in a box of 5 A; some are beyond the cutoff.
struct Graph {
  std::vector<double> vectors;
  std::vector<int32_t> senders, receivers, species, graphs;

  Graph(int n, Random& random) {
    std::vector<double> x(3 * n);
    for (double& value : x) value = random.uniform(0, 5);
    for (int i = 0; i < n; i++) {
      species.push_back(i % 2);
      graphs.push_back(i * 2 / n);
      for (int j = 0; j < n; j++) {
        if (i == j) continue;
        senders.push_back(j);
        receivers.push_back(i);
        for (int c = 0; c < 3; c++) vectors.push_back(x[3 * j + c] - x[3 * i + c]);
      }
    }
  }

  const char* evaluate(const nequix_model* model, std::vector<double>& energies,
                       std::vector<double>& gradient, int threads) const {
    energies.assign(species.size(), 0);
    gradient.assign(vectors.size(), 0);
    return nequix_evaluate(model, species.size(), senders.size(), vectors.data(), senders.data(),
                           receivers.data(), species.data(), nullptr, energies.data(), gradient.data(),
                           threads);
  }
};

#endif
