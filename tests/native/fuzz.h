// Specifications and arguments that are wrong in some field: each must give a message or be evaluated,
// without a memory error.
#ifndef FUZZ_H
#define FUZZ_H

#include <climits>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "parts.h"
#include "specification.h"

class Fuzz {
 public:
  // Returns how many specifications were accepted and refused.
  std::vector<int> run(int bits, int degree, int rounds) {
    std::vector<int> outcomes = {0, 0};
    for (int round = 0; round < rounds; round++) {
      Specification made(degree, random_.below(4), 1 + random_.below(3), 2);
      for (int i = random_.below(3); i >= 0; i--) change(made);
      made.fill(random_);
      if (random_.below(4) == 0) change_pointer(made);
      nequix_model* model = nullptr;
      const char* message = nequix_create(&made.spec, bits, "base", &model);
      outcomes[message ? 1 : 0]++;
      if ((message == nullptr) != (model != nullptr))
        outcomes[0] = INT_MIN;  // neither a message nor a model, or both
      if (model) evaluate(model, made.spec.n_species);
      nequix_destroy(model);
    }
    return outcomes;
  }

 private:
  int32_t value() {
    static const int32_t values[] = {
        INT32_MIN, INT32_MAX, 1 << 30, INT32_MAX - 15, -16, -1, 0, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32,
        33,        48,        64};
    return values[random_.below(sizeof values / sizeof *values)];
  }

  void change(Specification& made) {
    nequix_spec& spec = made.spec;
    nequix_layer& layer = made.layers[random_.below(static_cast<int>(made.layers.size()))];
    std::vector<nequix_path>& paths = made.paths[&layer - made.layers.data()];
    nequix_path& path = paths[random_.below(static_cast<int>(paths.size()))];
    const int l = random_.below(4);
    int32_t* const fields[] = {&spec.n_species,  &spec.lmax,    &spec.n_layers, &spec.n_cells,
                               &spec.n_segments, &spec.degree,  &layer.in[l],   &layer.message[l],
                               &layer.pre[l],    &layer.out[l], &layer.gate[l], &layer.n_paths,
                               &layer.n_weights, &path.l1,      &path.l2,       &path.l3,
                               &path.channels,   &path.weight,  &path.message,  &spec.layer_norm};
    const int kind = random_.below(sizeof fields / sizeof *fields + 3);
    if (kind < static_cast<int>(sizeof fields / sizeof *fields)) {
      *fields[kind] = value();
      return;
    }
    const double numbers[] = {0, -1, NAN, INFINITY, 1e-320, 1e300, 4};
    double* const reals[] = {&spec.cutoff, &layer.norm[l], &spec.epsilon};
    *reals[random_.below(3)] = numbers[random_.below(7)];
  }

  void change_pointer(Specification& made) {
    nequix_spec& spec = made.spec;
    nequix_layer& layer = made.layers[random_.below(static_cast<int>(made.layers.size()))];
    const int l = random_.below(4);
    const double** const pointers[] = {&spec.middles,  &spec.halves,       &spec.readout,
                                       &spec.offset,   &layer.linear_1[l], &layer.linear_2[l],
                                       &layer.skip[l], &layer.gain[l],     &layer.table};
    const int kind = random_.below(12);
    if (kind < 9)
      *pointers[kind] = nullptr;
    else if (kind == 9)
      spec.cells = nullptr;
    else if (kind == 10)
      spec.layers = nullptr;
    else
      layer.paths = nullptr;
  }

  // Graphs with a wrong number in some place, and sound ones.
  void evaluate(const nequix_model* model, int n_species) {
    for (const bool sound : {true, false}) {
      Graph graph(3 + random_.below(4), random_);
      for (int32_t& species : graph.species) species %= n_species;
      if (!sound) {
        std::vector<int32_t>* const arrays[] = {&graph.senders, &graph.receivers, &graph.species,
                                                &graph.graphs};
        std::vector<int32_t>& array = *arrays[random_.below(4)];
        array[random_.below(static_cast<int>(array.size()))] = value();
        const double numbers[] = {NAN, INFINITY, 1e308, 0, 1e-320, 4};
        graph.vectors[random_.below(static_cast<int>(graph.vectors.size()))] = numbers[random_.below(6)];
      }
      std::vector<double> energies, gradient;
      const int n = static_cast<int>(graph.species.size());
      const char* message = graph.evaluate(model, energies, gradient, sound ? 2 : value() % 2000 % 5);
      if (sound && message) std::abort();
      if (sound && n > 3 && RandomCaller(model, graph, random_).run(20) < 0) std::abort();
      const nequix_model* members[] = {model, model};
      energies.resize(2 * energies.size());
      gradient.resize(2 * gradient.size());
      nequix_evaluate_members(members, 2, value() & 3, n, graph.senders.size(), graph.vectors.data(),
                              graph.senders.data(), graph.receivers.data(), graph.species.data(),
                              energies.data(), random_.below(2) ? gradient.data() : nullptr, 1);
      std::vector<double> forces(3 * n), virials(9 * 2);
      nequix_forces(n, graph.senders.size(), 2, graph.vectors.data(), graph.senders.data(),
                    graph.receivers.data(), graph.graphs.data(), gradient.data(), forces.data(),
                    virials.data());
    }
  }

  Random random_{7};
};

#endif
