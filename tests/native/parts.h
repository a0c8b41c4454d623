// A graph divided among parts at random, evaluated with exchanges between them, and calls in any order.
#ifndef PARTS_H
#define PARTS_H

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "specification.h"

// What one part has; arrays are exactly as long as the interface says.
struct Share {
  std::vector<int32_t> receivers, ghosts;  // atoms of the graph
  std::vector<int32_t> edges;              // edges of the graph
  std::vector<int64_t> first = {0};
  std::vector<int32_t> senders, species;
  std::vector<double> vectors, energies, gradient;
  nequix_part* part = nullptr;

  Share(const Graph& g, const std::vector<int32_t>& owned, Random& random) : receivers(owned) {
    const int n = static_cast<int>(g.species.size());
    std::vector<int32_t> node(n, -1);
    for (size_t i = 0; i < receivers.size(); i++) node[receivers[i]] = static_cast<int32_t>(i);
    for (const int32_t atom : receivers)
      for (size_t e = 0; e < g.senders.size(); e++)
        if (g.receivers[e] == atom) edges.push_back(static_cast<int32_t>(e));
    // Backwards, so that ghosts have another order than their atoms; one that is not needed among them.
    const auto add_ghost = [&](int32_t atom) {
      node[atom] = static_cast<int32_t>(receivers.size() + ghosts.size());
      ghosts.push_back(atom);
    };
    for (size_t i = edges.size(); i-- > 0;)
      if (node[g.senders[edges[i]]] < 0) add_ghost(g.senders[edges[i]]);
    ghosts.push_back(random.below(n));
    size_t edge = 0;
    for (const int32_t atom : receivers) {
      for (; edge < edges.size() && g.receivers[edges[edge]] == atom; edge++) {
        senders.push_back(node[g.senders[edges[edge]]]);
        for (int c = 0; c < 3; c++) vectors.push_back(g.vectors[3 * edges[edge] + c]);
      }
      first.push_back(static_cast<int64_t>(edge));
    }
    for (const std::vector<int32_t>* atoms : {&receivers, &ghosts})
      for (const int32_t atom : *atoms) species.push_back(g.species[atom]);
    energies.resize(receivers.size());
    gradient.resize(vectors.size());
  }

  const char* begin(bool with_gradient = true) {
    return nequix_part_begin(part, receivers.size(), species.size(), first.data(), vectors.data(),
                             senders.data(), species.data(), with_gradient, energies.data(), gradient.data());
  }
};

template <class T>
class Division {
 public:
  Division(const nequix_model* model, const Graph& g, int n_parts, Random& random) : graph_(g) {
    std::vector<std::vector<int32_t>> owned(n_parts);
    for (size_t a = 0; a < g.species.size(); a++)
      owned[random.below(n_parts)].push_back(static_cast<int32_t>(a));
    for (const std::vector<int32_t>& atoms : owned) shares_.emplace_back(g, atoms, random);
    for (Share& share : shares_) keep(nequix_part_create(model, 1 + random.below(3), &share.part));
  }
  ~Division() {
    for (const Share& share : shares_) nequix_part_destroy(share.part);
  }
  Division(const Division&) = delete;
  Division& operator=(const Division&) = delete;

  // Take all parts through a step. Returns the first message, or an empty text.
  std::string evaluate(bool with_gradient, std::vector<double>& energies, std::vector<double>& gradient) {
    const int n_layers = nequix_part_layers(shares_[0].part);
    for (Share& share : shares_) keep(share.begin(with_gradient));
    for (int t = 0; t < n_layers; t++) {
      if (t) exchange(t, false);
      for (Share& share : shares_) keep(nequix_part_forward(share.part, t));
    }
    for (int t = with_gradient ? n_layers - 1 : -1; t >= 0; t--) {
      for (Share& share : shares_) keep(nequix_part_backward(share.part, t));
      if (t) exchange(t, true);
    }
    energies.assign(graph_.species.size(), 0);
    gradient.assign(graph_.vectors.size(), 0);
    for (const Share& share : shares_) {
      for (size_t i = 0; i < share.receivers.size(); i++) energies[share.receivers[i]] = share.energies[i];
      for (size_t i = 0; i < share.gradient.size(); i++)
        gradient[3 * share.edges[i / 3] + i % 3] = share.gradient[i];
    }
    return message_;
  }

 private:
  void keep(const char* message) {
    if (message && message_.empty()) message_ = message;
  }

  // Bring features to ghosts, or derivatives to receivers, through buffers that are not aligned.
  void exchange(int t, bool derivatives) {
    const int64_t bytes = nequix_part_width(shares_[0].part, t);
    const size_t width = bytes / sizeof(T);
    std::vector<T> table(graph_.species.size() * width);
    std::vector<T> row(width);
    for (const Share& share : shares_) {
      const std::vector<int32_t>& atoms = derivatives ? share.ghosts : share.receivers;
      std::vector<char> buffer(1 + atoms.size() * bytes);
      keep(nequix_part_read(share.part, derivatives, t, atoms.size(), nullptr,
                            derivatives ? share.receivers.size() : 0, buffer.data() + 1));
      for (size_t i = 0; i < atoms.size(); i++) {
        std::memcpy(row.data(), buffer.data() + 1 + i * bytes, bytes);
        for (size_t k = 0; k < width; k++)
          table[atoms[i] * width + k] = row[k] + (derivatives ? table[atoms[i] * width + k] : T(0));
      }
    }
    for (const Share& share : shares_) {
      const std::vector<int32_t>& atoms = derivatives ? share.receivers : share.ghosts;
      std::vector<char> buffer(1 + atoms.size() * bytes);
      std::vector<int32_t> nodes;
      for (size_t i = atoms.size(); i-- > 0;) {  // listed backwards
        std::memcpy(buffer.data() + 1 + nodes.size() * bytes, table.data() + atoms[i] * width, bytes);
        nodes.push_back(static_cast<int32_t>(i + (derivatives ? 0 : share.receivers.size())));
      }
      keep(nequix_part_write(share.part, derivatives, t, nodes.size(), nodes.data(), 0, buffer.data() + 1));
    }
  }

  const Graph& graph_;
  std::vector<Share> shares_;
  std::string message_;
};

// Calls in any order, with any layers and nodes, between the right ones: each must give a message or be the
// one that comes next.
class RandomCaller {
 public:
  RandomCaller(const nequix_model* model, const Graph& g, Random& random)
      : random_(random), share_(g, {0, 2, 3}, random) {
    nequix_part_create(model, 2, &share_.part);
    n_layers_ = nequix_part_layers(share_.part);
    n_nodes_ = static_cast<int>(share_.species.size());
  }
  ~RandomCaller() { nequix_part_destroy(share_.part); }
  RandomCaller(const RandomCaller&) = delete;
  RandomCaller& operator=(const RandomCaller&) = delete;

  // Returns the number of random calls that gave a message, or -1 if a right call failed or a wrong one ran.
  int run(int n_calls) {
    int refused = 0;
    for (int i = 0; i < n_calls; i++) {
      if (random_.below(3) == 0 && !call_next()) return -1;
      const int outcome = call_any();
      if (outcome < 0) return -1;
      refused += outcome;
    }
    return refused;
  }

 private:
  int end() const { return (with_gradient_ ? 2 : 1) * n_layers_; }

  const char* begin() {
    with_gradient_ = random_.below(4) != 0;
    const char* message = share_.begin(with_gradient_);
    stage_ = 0;
    return message;
  }

  bool call_next() {
    if (stage_ < 0 || stage_ == end()) return !begin();
    if (stage_ > 0 && stage_ < n_layers_) {
      std::vector<char> rows(share_.ghosts.size() * nequix_part_width(share_.part, stage_));
      if (nequix_part_write(share_.part, 0, stage_, share_.ghosts.size(), nullptr, 3, rows.data()))
        return false;
    }
    const char* message = stage_ < n_layers_ ? nequix_part_forward(share_.part, stage_)
                                             : nequix_part_backward(share_.part, 2 * n_layers_ - 1 - stage_);
    stage_++;
    return !message;
  }

  // Returns 1 for a message, 0 if the call was right, -1 if it ran though it was not.
  int call_any() {
    const int t = random_.below(n_layers_ + 2) - 1;
    switch (random_.below(8)) {
      case 0: return begin() ? -1 : 0;
      case 1: return judge(nequix_part_forward(share_.part, t), t);
      case 2: return judge(nequix_part_backward(share_.part, t), 2 * n_layers_ - 1 - t);
      default: return exchange(t, random_.below(2), random_.below(2), random_.below(2));
    }
  }

  int judge(const char* message, int stage) {
    if (message) return 1;
    if (stage != stage_ || stage >= end()) return -1;
    stage_++;
    return 0;
  }

  int exchange(int t, bool derivatives, bool write, bool listed) {
    std::vector<int32_t> nodes(random_.below(6));
    bool exist = true;
    for (int32_t& node : nodes) {
      node = random_.below(8) ? random_.below(n_nodes_) : random_.below(3 * n_nodes_) - n_nodes_;
      exist = exist && node >= 0 && node < n_nodes_;
    }
    const int64_t n = static_cast<int64_t>(nodes.size());
    const int start = random_.below(n_nodes_ + 2) - 1;
    std::vector<char> rows(n * nequix_part_width(share_.part, t));
    const int32_t* list = listed && n ? nodes.data() : nullptr;
    if (!list) exist = start >= 0 && start + n <= n_nodes_;
    const char* message = write ? nequix_part_write(share_.part, derivatives, t, n, list, start, rows.data())
                                : nequix_part_read(share_.part, derivatives, t, n, list, start, rows.data());
    const bool right =
        t >= 1 && t < n_layers_ && stage_ == (derivatives ? 2 * n_layers_ - t : t) && stage_ < end() && exist;
    return message ? (right ? -1 : 1) : (right ? 0 : -1);
  }

  Random& random_;
  Share share_;
  int n_layers_, n_nodes_;
  int stage_ = -1;
  bool with_gradient_ = false;
};

#endif
