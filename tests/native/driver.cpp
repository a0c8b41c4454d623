// Drives the library without Python, for sanitizers: a small model of every kind of path, one and several
// threads, two models at once, and arguments that must be refused: driver [ROUNDS [MODEL_FILE]].
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "fuzz.h"
#include "fuzz_file.h"
#include "nequix.h"
#include "parts.h"
#include "specification.h"

namespace {

Random generator(1);

void require(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what.c_str());
  std::exit(1);
}

// A call that must fail, with these words in its message.
void refused(const char* message, const char* words) {
  require(message, std::string("no message about ") + words);
  require(std::strstr(message, words), std::string(message) + " does not say: " + words);
}

void compare_threads(const nequix_model* model, const Graph& g, int bits) {
  const int n = static_cast<int>(g.species.size());
  std::vector<double> energies, gradient, others, slopes;
  require(!g.evaluate(model, energies, gradient, 1), "one thread");
  for (const int threads : {2, 3}) {
    std::vector<double> alone(n);
    require(!nequix_evaluate(model, n, g.senders.size(), g.vectors.data(), g.senders.data(),
                             g.receivers.data(), g.species.data(), nullptr, alone.data(), nullptr, threads),
            "no derivatives");
    for (int i = 0; i < n; i++)
      require(std::abs(alone[i] - energies[i]) <= (bits == 64 ? 1e-9 : 1e-3) * (1 + std::abs(energies[i])),
              "the same");
    require(!g.evaluate(model, others, slopes, threads), "several threads");
    double largest = 1;
    for (const double slope : gradient) largest = std::max(largest, std::abs(slope));
    for (size_t i = 0; i < slopes.size(); i++)
      require(std::abs(slopes[i] - gradient[i]) <= (bits == 64 ? 1e-12 : 1e-4) * largest, "the same");
  }
}

// Features of the last element are written, and do not depend on the number of threads.
void compare_features(const nequix_model* model, const Graph& g, int64_t n_features) {
  const int64_t n = static_cast<int64_t>(g.species.size());
  std::vector<double> first;
  for (const int threads : {1, 3}) {
    std::vector<double> energies(n), features(n * n_features, NAN);
    require(!nequix_features(model, n, g.senders.size(), g.vectors.data(), g.senders.data(),
                             g.receivers.data(), g.species.data(), energies.data(), features.data(), threads),
            "features");
    if (first.empty()) first = features;
    for (int64_t i = 0; i < n * n_features; i++)
      require(std::abs(features[i] - first[i]) <= 1e-3 * (1 + std::abs(first[i])), "the same features");
  }
}

void compare_members(const nequix_model* model, const Graph& g) {
  const int n = static_cast<int>(g.species.size());
  const nequix_model* members[] = {model, model, model};
  std::vector<double> others, slopes;
  for (const int shared : {0, 1, 9}) {
    std::vector<double> all(3 * n), gradients(3 * g.vectors.size());
    require(
        !nequix_evaluate_members(members, 3, shared, n, g.senders.size(), g.vectors.data(), g.senders.data(),
                                 g.receivers.data(), g.species.data(), all.data(), gradients.data(), 2),
        "several members");
    require(!g.evaluate(model, others, slopes, 2), "one member");
    for (size_t i = 0; i < gradients.size(); i++)
      require(gradients[i] == slopes[i % slopes.size()], "the same forces");
    for (size_t i = 0; i < all.size(); i++) require(all[i] == others[i % others.size()], "the same energies");
  }
}

template <class T>
void compare_parts(const nequix_model* model, const Graph& g) {
  std::vector<double> energies, gradient, others, slopes;
  require(!g.evaluate(model, energies, gradient, 1), "the undivided graph");
  double largest = 1;
  for (const double slope : gradient) largest = std::max(largest, std::abs(slope));
  for (const int n_parts : {1, 2, 5}) {
    Division<T> division(model, g, n_parts, generator);
    for (const bool with_gradient : {true, false, true}) {
      const std::string message = division.evaluate(with_gradient, others, slopes);
      require(message.empty(), message);
      for (size_t i = 0; i < energies.size(); i++) require(others[i] == energies[i], "the same energies");
      for (size_t i = 0; i < slopes.size() && with_gradient; i++)
        require(std::abs(slopes[i] - gradient[i]) <= (sizeof(T) == 8 ? 1e-12 : 1e-4) * largest,
                "the same gradient");
    }
  }
  const int refused_calls = RandomCaller(model, Graph(5, generator), generator).run(200);
  require(refused_calls > 50, "messages about calls out of order, and only about those");
}

// Exchanges that are large enough for several threads, with nodes that are listed many times.
void copy_many_rows(const nequix_model* model) {
  Share share(Graph(5, generator), {0, 2, 3}, generator);
  require(!nequix_part_create(model, 3, &share.part) && !share.begin(), "a part");
  require(!nequix_part_forward(share.part, 0), "the first layer");
  const int64_t bytes = nequix_part_width(share.part, 1);
  const int64_t n = (3 << 20) / bytes + 1;
  std::vector<int32_t> nodes(n);
  for (int32_t& node : nodes) node = generator.below(static_cast<int>(share.species.size()));
  std::vector<char> rows(n * bytes), again(n * bytes);
  const auto copy = [&](auto* function, void* buffer) {
    require(!function(share.part, 0, 1, n, nodes.data(), 0, buffer), "a large exchange");
  };
  copy(nequix_part_read, rows.data());
  copy(nequix_part_write, rows.data());
  copy(nequix_part_read, again.data());
  require(rows == again, "the same rows");
  nequix_part_destroy(share.part);
}

void refuse_parts(const nequix_model* model) {
  nequix_part* part = nullptr;
  refused(nequix_part_create(nullptr, 1, &part), "model is null");
  refused(nequix_part_create(model, 1, nullptr), "part is null");
  refused(nequix_part_create(model, 0, &part), "n_threads = 0, expected 1 to 1024");
  require(!part, "no part after a message");
  refused(nequix_part_begin(nullptr, 0, 0, nullptr, nullptr, nullptr, nullptr, 0, nullptr, nullptr),
          "part is null");
  refused(nequix_part_forward(nullptr, 0), "part is null");
  refused(nequix_part_backward(nullptr, 0), "part is null");
  refused(nequix_part_read(nullptr, 0, 1, 0, nullptr, 0, nullptr), "part is null");
  refused(nequix_part_write(nullptr, 0, 1, 0, nullptr, 0, nullptr), "part is null");
  require(!nequix_part_layers(nullptr) && !nequix_part_width(nullptr, 1) && !nequix_part_bytes(nullptr),
          "no part");
  nequix_part_destroy(nullptr);
  require(!nequix_part_create(model, 2, &part), "a part");
  require(!nequix_part_width(part, INT32_MIN) && !nequix_part_width(part, 0) &&
              !nequix_part_width(part, nequix_part_layers(part)),
          "no exchange");
  const int64_t first[] = {0, 1};
  const int32_t senders[] = {1}, species[] = {0, 0};
  const double vectors[] = {1, 0, 0};
  double energies[1];
  const auto begin = [&](int64_t n_receivers, int64_t n_nodes, const int64_t* edges, const double* r,
                         bool gradient) {
    return nequix_part_begin(part, n_receivers, n_nodes, edges, r, senders, species, gradient, energies,
                             nullptr);
  };
  require(!begin(1, 2, first, vectors, false), "energies only");
  refused(begin(1, 2, first, vectors, true), "gradient is null");
  refused(begin(1, 2, nullptr, vectors, false), "first is null");
  refused(begin(1, 2, first, nullptr, false), "vectors is null");
  refused(begin(3, 2, first, vectors, false), "n_receivers = 3, expected 0 to 2");
  refused(begin(-1, 2, first, vectors, false), "n_receivers = -1");
  refused(begin(1, INT64_MAX, first, vectors, false), "n_nodes = 9223372036854775807");
  require(!nequix_part_begin(part, 0, 0, nullptr, nullptr, nullptr, nullptr, 1, nullptr, nullptr),
          "arrays of no elements");
  require(!nequix_part_forward(part, 0), "a part without atoms");
  if (nequix_part_layers(part) > 1) {
    refused(nequix_part_read(part, 0, 1, INT64_MAX, nullptr, 1, nullptr), "n = 9223372036854775807");
    refused(nequix_part_read(part, 0, 1, 1, nullptr, INT64_MAX, nullptr), "are not among the 0 nodes");
  }
  nequix_part_destroy(part);
}

void refuse_graphs(const nequix_model* model) {
  std::vector<double> energies, gradient;
  Graph bad(9, generator);
  bad.species[3] = 2;
  refused(bad.evaluate(model, energies, gradient, 2), "atom 3 has species 2, expected 0 to 1");
  bad = Graph(9, generator);
  bad.senders[5] = 9;
  refused(bad.evaluate(model, energies, gradient, 2), "edge 5 runs from atom 9");
  bad = Graph(9, generator);
  bad.vectors[7] = NAN;
  refused(bad.evaluate(model, energies, gradient, 2), "edge 2 runs");
  bad = Graph(2, generator);
  bad.vectors[0] = bad.vectors[1] = 1.5e308;  // finite, but their sum is not
  require(!bad.evaluate(model, energies, gradient, 2), "long vectors");
  const Graph g(3, generator);
  refused(g.evaluate(model, energies, gradient, 0), "n_threads = 0, expected 1 to 1024");
  refused(g.evaluate(model, energies, gradient, 1025), "n_threads = 1025");
  refused(g.evaluate(nullptr, energies, gradient, 1), "model is null");
  const auto evaluate = [&](int64_t n_nodes, int64_t n_edges, bool species, bool results) {
    return nequix_evaluate(model, n_nodes, n_edges, g.vectors.data(), nullptr, g.receivers.data(),
                           species ? g.species.data() : nullptr, nullptr, results ? energies.data() : nullptr,
                           nullptr, 1);
  };
  refused(evaluate(-1, 0, true, true), "n_nodes = -1");
  refused(evaluate(3, -1, true, true), "n_edges = -1");
  refused(evaluate(INT64_MAX, 0, true, true), "n_nodes = 9223372036854775807");
  refused(evaluate(3, 0, false, true), "species is null");
  refused(evaluate(3, 0, true, false), "energies is null");
  refused(evaluate(3, 6, true, true), "senders is null");
  require(!evaluate(3, 0, true, true) && !evaluate(0, 0, false, false), "arrays of no elements");
}

void refuse_forces() {
  const Graph g(4, generator);
  std::vector<double> forces(12), virials(18);
  const auto sum = [&](int64_t n_nodes, int64_t n_edges, int64_t n_graphs, const double* gradient) {
    return nequix_forces(n_nodes, n_edges, n_graphs, g.vectors.data(), g.senders.data(), g.receivers.data(),
                         g.graphs.data(), gradient, forces.data(), virials.data());
  };
  const double* gradient = g.vectors.data();
  require(!sum(4, 12, 2, gradient), "forces");
  refused(sum(-4, 12, 2, gradient), "n_nodes = -4, expected 0 to 2147483646");
  refused(sum(4, -12, 2, gradient), "n_edges = -12");
  refused(sum(4, 12, -2, gradient), "n_graphs = -2");
  refused(sum(4, 12, INT64_MAX / 9, gradient), "n_graphs = ");
  refused(sum(4, 12, 1, gradient), "atom 2 belongs to structure 1 of 1");
  refused(sum(3, 12, 2, gradient), "of 3; expected atoms that exist");
  refused(sum(4, 12, 2, nullptr), "gradient is null");
}

// What C callers get wrong: widths that are not padded, numbers whose sums overflow, degrees where there are
// none.
void refuse_specifications(int bits, int degree) {
  const auto create = [&](const auto& change, const char* words) {
    Specification made(degree, 3, 2);
    change(made);
    made.fill(generator);
    nequix_model* model = nullptr;
    refused(nequix_create(&made.spec, bits, nullptr, &model), words);
    require(!model, "no model after a message");
  };
  create([](auto& s) { s.spec.lmax = 4; }, "lmax = 4, expected 0 to 3");
  create([](auto& s) { s.spec.n_layers = 0; }, "n_layers = 0");
  create([](auto& s) { s.spec.degree = 7; }, "the radial table has degree 7");
  create([](auto& s) { s.spec.cutoff = NAN; }, "expected a positive length");
  create([](auto& s) { s.layers[1].n_weights += 1; }, "layer 1: n_weights = ");
  create([](auto& s) { s.layers[1].message[2] += 8; }, "expected a multiple of 16");
  create([](auto& s) { s.layers[0].in[1] = 16; }, "degree 1 enters the first layer");
  create([](auto& s) { s.layers[1].out[1] = 16; }, "degree 1 leaves the last layer");
  create([](auto& s) { s.layers[1].in[0] = 48; }, "layer 1: in[0] = 48, but 32 channels leave");
  create([](auto& s) { s.layers[0].gate[1] = INT32_MAX - 15; }, "gate[1] = 2147483632");
  create([](auto& s) { s.layers[0].gate[2] = s.layers[0].gate[1]; }, "degrees 1 and 2 share gates");
  create([](auto& s) { s.paths[1][2].weight = INT32_MAX - 15; }, "layer 1: path 2: weight = 2147483632");
  create([](auto& s) { s.paths[1][2].message = -16; }, "path 2: message = -16");
  create([](auto& s) { s.paths[1][0].l3 = 1; }, "degrees 0, 0 and 1 do not couple");
  Specification made(degree, 1, 1);
  made.fill(generator);
  nequix_model* model = nullptr;
  refused(nequix_create(nullptr, bits, nullptr, &model), "spec is null");
  refused(nequix_create(&made.spec, bits, nullptr, nullptr), "model is null");
  refused(nequix_create(&made.spec, 16, nullptr, &model), "bits = 16, expected 32 or 64");
  refused(nequix_create(&made.spec, bits, "mmx", &model), "this machine lacks the instructions 'mmx'");
  refused(nequix_register(nullptr, 1), "model is null");
  require(!nequix_instructions(nullptr) && !nequix_calls(nullptr), "no model");
  nequix_sizes(nullptr);
  nequix_destroy(nullptr);
}

// Models whose layers have equal widths, but in one of which a wider path makes a thread need more memory.
void refuse_members(int bits, int degree) {
  nequix_model* models[2] = {};
  Specification narrow(degree, 1, 2), wide(degree, 1, 2);
  narrow.paths[1][0] = narrow.paths[1][1];
  for (int i = 0; i < 2; i++) {
    Specification& made = i ? wide : narrow;
    made.fill(generator);
    require(!nequix_create(&made.spec, bits, nullptr, &models[i]), "models of the same widths");
  }
  const Graph g(3, generator);
  std::vector<double> energies(6);
  refused(nequix_evaluate_members(models, 2, 0, 3, 6, g.vectors.data(), g.senders.data(), g.receivers.data(),
                                  g.species.data(), energies.data(), nullptr, 1),
          "member 1 differs from the first one");
  nequix_model* const none[] = {models[0], nullptr};
  refused(nequix_evaluate_members(none, 2, 0, 3, 6, g.vectors.data(), g.senders.data(), g.receivers.data(),
                                  g.species.data(), energies.data(), nullptr, 1),
          "models[1] is null");
  refused(nequix_evaluate_members(none, -1, 0, 3, 6, g.vectors.data(), g.senders.data(), g.receivers.data(),
                                  g.species.data(), energies.data(), nullptr, 1),
          "n_models = -1");
  for (nequix_model* model : models) nequix_destroy(model);
}

void exercise(int bits, int degree, int lmax, const char* instructions) {
  Specification made(degree, lmax, 4);
  made.fill(generator);
  nequix_model* model = nullptr;
  const char* message = nequix_create(&made.spec, bits, instructions, &model);
  if (message && std::strstr(message, "this machine lacks")) {
    std::printf("%s: %s\n", instructions, message);
    return;
  }
  require(!message, message ? message : "");
  for (const int n : {1, 2, 9, 40}) {
    const Graph g(n, generator);
    compare_threads(model, g, bits);
    compare_members(model, g);
    int64_t n_features = 0;
    for (const nequix_layer& layer : made.layers) n_features += layer.out[0];
    compare_features(model, g, n_features);
    if (n > 9) continue;
    bits == 64 ? compare_parts<double>(model, g) : compare_parts<float>(model, g);
  }
  refuse_graphs(model);
  refuse_parts(model);
  copy_many_rows(model);
  const Graph g(20, generator);
  const auto work = [&] {
    std::vector<double> e, d;
    for (int i = 0; i < 3; i++) require(!g.evaluate(model, e, d, 2), "at once");
  };
  std::thread first(work), second(work);
  first.join();
  second.join();
  require(nequix_calls(model) > 0, "kernels that ran");
  nequix_destroy(model);
  std::printf("%s, %d bits, lmax %d: exercised\n", instructions, bits, lmax);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 0;
  for (const char* instructions : {"base", "avx2", "avx512"})
    for (const int lmax : {1, 3}) {
      exercise(32, 6, lmax, instructions);
      exercise(64, 11, lmax, instructions);
    }
  refuse_forces();
  for (const int bits : {32, 64}) {
    const int degree = bits == 32 ? 6 : 11;
    refuse_specifications(bits, degree);
    refuse_members(bits, degree);
    const std::vector<int> outcomes = Fuzz().run(bits, degree, rounds);
    std::printf("%d bits: %d specifications accepted, %d refused\n", bits, outcomes[0], outcomes[1]);
    require(!rounds || (outcomes[0] > rounds / 50 && outcomes[1] > rounds / 2),
            "both outcomes, and nothing between");
  }
  if (argc > 2) {
    const std::vector<int> outcomes = FuzzFile(argv[2]).run(rounds);
    std::printf("%d model files opened, %d refused\n", outcomes[0], outcomes[1]);
    require(!rounds || (outcomes[0] > rounds / 50 && outcomes[1] > rounds / 2), "both outcomes of files");
  }
  std::puts("passed");
}
