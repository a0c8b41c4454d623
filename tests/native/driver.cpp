// Drives the library without Python, for sanitizers: a small model of every kind of path, one and several threads, two
// models at once, and arguments that must be refused.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "nequix.h"

namespace {

std::mt19937 generator(1);
std::vector<std::vector<double>> kept;

const double* random_values(size_t n, double size) {
  std::normal_distribution<double> normal(0, size);
  kept.emplace_back(n);
  for (double& value : kept.back()) value = normal(generator);
  return kept.back().data();
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

enum { LAYERS = 4 };

// Degrees 0 to 3 with 16 channels each (0: 32), as many of them in each layer as harmonics up to lmax can have made, and
// all paths between them.
struct Specification {
  std::vector<nequix_path> paths[LAYERS];
  nequix_layer layers[LAYERS];
  std::vector<int32_t> cells;
  std::vector<double> middles, halves;
  nequix_spec spec;

  Specification(int degree, int lmax) {
    const int n_species = 2, n_segments = 8;
    for (int s = 0; s < n_segments; s++) {
      cells.push_back(s);
      halves.push_back(0.25);
      middles.push_back(0.25 + 0.5 * s);
    }
    std::memset(layers, 0, sizeof layers);
    for (int t = 0; t < LAYERS; t++) {
      nequix_layer& layer = layers[t];
      const bool last = t == LAYERS - 1;
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
      for (int l = 0; l < 4; l++) layer.pre[l] = layer.out[l];
      for (int l = 1; l < 4; l++)
        if (layer.out[l]) layer.gate[l] = layer.pre[0], layer.pre[0] += layer.out[l];
      layer.n_paths = static_cast<int>(paths[t].size());
      layer.paths = paths[t].data();
      layer.table = random_values(static_cast<size_t>(n_segments) * layer.n_weights * (degree + 1), 0.3);
      for (int l = 0; l < 4; l++) {
        const int rows = t ? layer.in[l] : n_species;
        if (layer.in[l]) layer.linear_1[l] = random_values(rows * layer.in[l], 0.2);
        if (layer.message[l] && layer.pre[l]) layer.linear_2[l] = random_values(layer.message[l] * layer.pre[l], 0.1);
        if (layer.in[l] && layer.pre[l]) layer.skip[l] = random_values(rows * layer.pre[l], 0.2);
        if (layer.pre[l]) layer.gain[l] = random_values(layer.pre[l], 1);
        layer.norm[l] = 0.25;
      }
    }
    spec = {n_species, lmax, LAYERS, n_segments, n_segments, degree, 1, cells.data(), middles.data(), halves.data(),
            4.0, 1.7, 1e-12, layers, random_values(32, 1), random_values(n_species, 1)};
  }
};

struct Graph {
  std::vector<double> vectors;
  std::vector<int32_t> senders, receivers, species, graphs;

  explicit Graph(int n) {
    std::uniform_real_distribution<double> place(0, 5);
    std::vector<double> x(3 * n);
    for (double& value : x) value = place(generator);
    for (int i = 0; i < n; i++) {
      species.push_back(i % 2);
      graphs.push_back(i * 2 / n);
      for (int j = 0; j < n; j++) {
        if (i == j) continue;
        senders.push_back(j);
        receivers.push_back(i);
        for (int c = 0; c < 3; c++) vectors.push_back(x[3 * j + c] - x[3 * i + c]);  // some beyond the cutoff
      }
    }
  }
};

const char* evaluate(const nequix_model* model, const Graph& g, std::vector<double>& energies,
                     std::vector<double>& gradient, int threads) {
  energies.assign(g.species.size(), 0);
  gradient.assign(g.vectors.size(), 0);
  return nequix_evaluate(model, g.species.size(), g.senders.size(), g.vectors.data(), g.senders.data(), g.receivers.data(),
                         g.species.data(), nullptr, energies.data(), gradient.data(), threads);
}

void exercise(int bits, int degree, int lmax, const char* instructions) {
  Specification made(degree, lmax);
  nequix_model* model = nullptr;
  const char* message = nequix_create(&made.spec, bits, instructions, &model);
  if (message && std::strstr(message, "are not this machine's")) {
    std::printf("%s: %s\n", instructions, message);
    return;
  }
  require(!message, message);
  std::vector<double> energies, gradient, others, slopes;
  for (const int n : {1, 2, 9, 40}) {
    const Graph g(n);
    require(!evaluate(model, g, energies, gradient, 1), "one thread");
    for (const int threads : {2, 3}) {
      std::vector<double> alone(n);
      require(!nequix_evaluate(model, n, g.senders.size(), g.vectors.data(), g.senders.data(), g.receivers.data(),
                               g.species.data(), nullptr, alone.data(), nullptr, threads),
              "no derivatives");
      for (int i = 0; i < n; i++)
        require(std::abs(alone[i] - energies[i]) <= (bits == 64 ? 1e-9 : 1e-3) * (1 + std::abs(energies[i])), "the same");
      require(!evaluate(model, g, others, slopes, threads), "several threads");
      double largest = 1;
      for (const double slope : gradient) largest = std::max(largest, std::abs(slope));
      for (size_t i = 0; i < slopes.size(); i++)
        require(std::abs(slopes[i] - gradient[i]) <= (bits == 64 ? 1e-12 : 1e-4) * largest, "the same");
    }
    const nequix_model* members[] = {model, model, model};
    for (const int shared : {0, 1, 9}) {
      std::vector<double> all(3 * n), gradients(3 * g.vectors.size());
      require(!nequix_evaluate_members(members, 3, shared, n, g.senders.size(), g.vectors.data(), g.senders.data(),
                                       g.receivers.data(), g.species.data(), all.data(), gradients.data(), 2),
              "several members");
      require(!evaluate(model, g, others, slopes, 2), "one member");
      for (size_t i = 0; i < gradients.size(); i++) require(gradients[i] == slopes[i % slopes.size()], "the same forces");
      for (size_t i = 0; i < all.size(); i++) require(all[i] == others[i % others.size()], "the same energies");
    }
    std::vector<double> forces(3 * n), virials(18);
    require(!nequix_forces(n, g.senders.size(), 2, g.vectors.data(), g.senders.data(), g.receivers.data(), g.graphs.data(),
                           gradient.data(), forces.data(), virials.data()),
            "forces");
  }
  Graph bad(9);
  bad.species[3] = 2;
  require(evaluate(model, bad, energies, gradient, 2), "a species that is not there");
  bad = Graph(9);
  bad.senders[5] = 9;
  require(evaluate(model, bad, energies, gradient, 2), "an atom that is not there");
  bad = Graph(9);
  bad.vectors[7] = NAN;
  require(evaluate(model, bad, energies, gradient, 2), "a vector that is no number");
  nequix_spec wrong = made.spec;
  wrong.lmax = 4;
  nequix_model* none = nullptr;
  require(nequix_create(&wrong, bits, nullptr, &none) && !none, "a degree that is not there");
  const Graph g(20);
  const auto work = [&] {
    std::vector<double> e, d;
    for (int i = 0; i < 3; i++) require(!evaluate(model, g, e, d, 2), "at once");
  };
  std::thread first(work), second(work);
  first.join();
  second.join();
  require(nequix_calls(model) > 0, "kernels that ran");
  nequix_destroy(model);
  std::printf("%s, %d bits, lmax %d: exercised\n", instructions, bits, lmax);
}

}  // namespace

int main() {
  for (const char* instructions : {"base", "avx2", "avx512"})
    for (const int lmax : {1, 3}) {
      exercise(32, 6, lmax, instructions);
      exercise(64, 11, lmax, instructions);
    }
  std::puts("passed");
}
