// Behind the C interface: models are checked and copied into the kernels' layout, evaluations are checked, given
// memory and threads. Threads live as long as one evaluation: nothing is left over that a fork could lose.
#include "nequix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "model.h"
#include "registry.h"

namespace nequix {

namespace base {
extern const Instructions instructions;
}
#ifdef NEQUIX_X86
namespace avx2 {
extern const Instructions instructions;
}
namespace avx512 {
extern const Instructions instructions;
}
#endif

namespace {

static_assert(+DEGREES == +NEQUIX_DEGREES && +PAD == +NEQUIX_PAD, "the interface and the kernels agree");

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

std::string text(int64_t number) { return std::to_string(number); }

std::vector<const Instructions*> available() {
  std::vector<const Instructions*> found;
#ifdef NEQUIX_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    found.push_back(&avx512::instructions);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2::instructions);
#endif
  found.push_back(&base::instructions);
  return found;
}

const Instructions* choose(const char* name) {
  std::string names;
  for (const Instructions* one : available()) {
    if (!name || !std::strcmp(name, one->name)) return one;
    names += std::string(names.empty() ? "" : ", ") + one->name;
  }
  throw std::invalid_argument("instructions '" + std::string(name) + "' are not this machine's, which has " + names);
}

// Aligned to whole cache lines, so that no vector crosses one.
template <class T>
class Array {
 public:
  explicit Array(size_t n) : start_(static_cast<T*>(::operator new(n * sizeof(T) + 64, std::align_val_t(64)))) {}
  T* get() const { return start_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  std::unique_ptr<T, Free> start_;
};

// Waits until all threads arrive; sleeps, for the machine may be shared.
class Team {
 public:
  explicit Team(int n) : n_(n) {}
  void wait() {
    if (n_ == 1) return;
    std::unique_lock<std::mutex> lock(mutex_);
    const long round = round_;
    if (++arrived_ == n_) {
      arrived_ = 0;
      round_++;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return round_ != round; });
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_;
  const int n_;
  int arrived_ = 0;
  long round_ = 0;
};

}  // namespace

class Base {
 public:
  virtual ~Base() = default;
  // Evaluates members, of which this is the first; their layers before the one given are equal.
  virtual void evaluate(const std::vector<const Base*>& members, int shared, int64_t n_nodes, int64_t n_edges,
                        const double* vectors, const int32_t* senders, const int32_t* receivers,
                        const int32_t* species, const double* seed, double* energies, double* gradient,
                        int n_threads) const = 0;
  const Instructions* instructions = nullptr;
  mutable std::atomic<int64_t> calls{0};
};

template <class T>
const Kernels<T>& kernels_of(const Instructions* instructions);
template <>
const Kernels<float>& kernels_of<float>(const Instructions* instructions) {
  return instructions->f32;
}
template <>
const Kernels<double>& kernels_of<double>(const Instructions* instructions) {
  return instructions->f64;
}

template <class T>
class Made : public Base {
 public:
  Made(const nequix_spec& spec, const Instructions* chosen) {
    instructions = chosen;
    check(spec);
    paths_.resize(spec.n_layers);
    layers_.resize(spec.n_layers);
    for (int t = 0; t < spec.n_layers; t++) copy_layer(spec, t);
    const nequix_layer& last = spec.layers[spec.n_layers - 1];
    readout_.assign(spec.readout, spec.readout + last.out[0]);
    offset_.assign(spec.offset, spec.offset + spec.n_species);
    cells_.assign(spec.cells, spec.cells + spec.n_cells);
    middles_.assign(spec.middles, spec.middles + spec.n_segments);
    halves_.assign(spec.halves, spec.halves + spec.n_segments);
    model_ = {spec.n_species, spec.lmax, spec.n_layers, spec.n_cells, cells_.data(), middles_.data(),
              halves_.data(), spec.cutoff, spec.gate_scale, spec.epsilon, spec.layer_norm != 0, layers_.data(),
              readout_.data(), offset_.data(), most_channels_};
  }

  void evaluate(const std::vector<const Base*>& members, int shared, int64_t n_nodes, int64_t n_edges,
                const double* vectors, const int32_t* senders, const int32_t* receivers, const int32_t* species,
                const double* seed, double* energies, double* gradient, int n_threads) const override;

 private:
  bool is_like(const Made& other) const;
  static void check(const nequix_spec& spec);
  void copy_layer(const nequix_spec& spec, int t);
  const T* keep(const double* values, long rows, long columns, bool transposed) {
    if (!values) return nullptr;
    kept_.emplace_back(static_cast<size_t>(rows) * columns);
    T* copy = kept_.back().get();
    for (long r = 0; r < rows; r++)
      for (long c = 0; c < columns; c++)
        copy[transposed ? c * rows + r : r * columns + c] = static_cast<T>(values[r * columns + c]);
    return copy;
  }

  Model<T> model_;
  std::vector<Layer<T>> layers_;
  std::vector<std::vector<Path>> paths_;
  std::vector<Array<T>> kept_;
  std::vector<int> cells_;
  std::vector<double> middles_, halves_, readout_, offset_;
  long most_channels_ = 0;
};

template <class T>
void Made<T>::check(const nequix_spec& spec) {
  require(spec.n_layers >= 1 && spec.layers && spec.readout && spec.offset, "the specification lacks a part");
  require(spec.n_species >= 1, "n_species = " + text(spec.n_species));
  require(spec.lmax >= 0 && spec.lmax < DEGREES, "lmax = " + text(spec.lmax) + ", but kernels go to 3");
  require(spec.degree == Radial<T>::degree, "the radial table has degree " + text(spec.degree) + ", expected " +
                                                text(Radial<T>::degree));
  require(spec.n_segments >= 1 && spec.n_cells >= 1 && spec.cells && spec.middles && spec.halves,
          "the radial table is empty");
  for (int c = 0; c < spec.n_cells; c++)
    require(spec.cells[c] >= (c ? spec.cells[c - 1] : 0) && spec.cells[c] < spec.n_segments,
            "cell " + text(c) + " of the radial table is of no segment");
  for (int s = 0; s < spec.n_segments; s++) require(spec.halves[s] > 0, "a segment of the radial table is empty");
  require(spec.cutoff > 0 && std::isfinite(spec.cutoff), "the cutoff is not positive");
  for (int t = 0; t < spec.n_layers; t++) {
    const nequix_layer& layer = spec.layers[t];
    const std::string where = "layer " + text(t) + ": ";
    require(layer.table && layer.paths && layer.n_paths > 0, where + "no table or no paths");
    for (int l = 0; l < DEGREES; l++) {
      for (const int32_t n : {layer.in[l], layer.message[l], layer.pre[l], layer.out[l], layer.gate[l]})
        require(n >= 0 && n % PAD == 0, where + text(n) + " channels are no multiple of 16");
      require(!layer.linear_2[l] || (layer.message[l] && layer.pre[l]), where + "linear_2 without channels");
      require(!layer.skip[l] || (layer.in[l] && layer.pre[l]), where + "skip without channels");
      require(!spec.layer_norm || !layer.pre[l] || layer.gain[l], where + "no gains");
      require(l == 0 || layer.pre[l] == layer.out[l], where + "channels change in the gate");
      require(l == 0 || layer.gate[l] + layer.out[l] <= layer.pre[0], where + "gates beyond the scalars");
      if (t) require(layer.in[l] == spec.layers[t - 1].out[l], where + "what enters is not what left the last layer");
    }
    require(layer.out[0] > 0, where + "no scalars");
    require(layer.pre[0] == layer.out[0] + layer.out[1] + layer.out[2] + layer.out[3],
            where + "scalars before the activation that are neither scalars nor gates after it");
    for (int p = 0; p < layer.n_paths; p++) {
      const nequix_path& path = layer.paths[p];
      const bool degrees = path.l1 >= 0 && path.l1 < DEGREES && path.l2 >= 0 && path.l2 <= spec.lmax &&
                           path.l3 >= std::abs(path.l1 - path.l2) && path.l3 <= path.l1 + path.l2 &&
                           path.l3 < DEGREES && (path.l1 + path.l2 + path.l3) % 2 == 0;
      require(degrees, where + "there is no such path");
      require(path.channels == layer.in[path.l1] && path.channels > 0 && layer.linear_1[path.l1] &&
                  (t > 0 || path.l1 == 0),
              where + "a path reads what does not enter");
      require(path.weight >= 0 && path.weight % PAD == 0 && path.weight + path.channels <= layer.n_weights &&
                  path.message >= 0 && path.message % PAD == 0 &&
                  path.message + path.channels <= layer.message[path.l3],
              where + "a path leaves its array");
    }
  }
}

template <class T>
void Made<T>::copy_layer(const nequix_spec& spec, int t) {
  const nequix_layer& given = spec.layers[t];
  Layer<T>& layer = layers_[t];
  std::memset(&layer, 0, sizeof layer);
  for (int p = 0; p < given.n_paths; p++) {
    const nequix_path& path = given.paths[p];
    paths_[t].push_back({path.l1, path.l2, path.l3, path.channels, path.weight, path.message});
    if (path.channels > most_channels_) most_channels_ = path.channels;
  }
  // Paths that read the same features follow one another, so that these stay in the cache.
  std::stable_sort(paths_[t].begin(), paths_[t].end(), [](const Path& a, const Path& b) { return a.l1 < b.l1; });
  layer.n_paths = given.n_paths;
  layer.paths = paths_[t].data();
  layer.n_weights = given.n_weights;
  for (int l = 0; l < DEGREES; l++) {
    const long in = given.in[l], pre = given.pre[l], message = given.message[l];
    const long rows = t ? in : spec.n_species;
    layer.in[l] = in, layer.pre[l] = pre, layer.message[l] = message;
    layer.out[l] = given.out[l], layer.gate[l] = given.gate[l];
    layer.norm[l] = static_cast<T>(given.norm[l]);
    layer.linear_1[l] = keep(given.linear_1[l], rows, in, false);
    layer.linear_2[l] = keep(given.linear_2[l], message, pre, false);
    layer.linear_2_t[l] = keep(given.linear_2[l], message, pre, true);
    layer.skip[l] = keep(given.skip[l], rows, pre, false);
    if (t) layer.linear_1_t[l] = keep(given.linear_1[l], in, in, true);
    if (t) layer.skip_t[l] = keep(given.skip[l], in, pre, true);
    layer.gain[l] = pre ? keep(given.gain[l], 1, pre, false) : nullptr;
  }
  const long powers = spec.degree + 1, columns = given.n_weights;
  kept_.emplace_back(static_cast<size_t>(spec.n_segments) * columns * powers);
  T* table = kept_.back().get();
  for (long s = 0; s < spec.n_segments; s++)
    for (long c = 0; c < columns; c++)
      for (long k = 0; k < powers; k++)
        table[((s * (columns / PAD) + c / PAD) * powers + spec.degree - k) * PAD + c % PAD] =
            static_cast<T>(given.table[(s * columns + c) * powers + k]);
  layer.table = table;
}

namespace {

// The edges of each receiver within the cutoff, from short to long.
class Order {
 public:
  Order(int64_t n_nodes, int64_t n_edges, const double* vectors, const int32_t* receivers, double cutoff,
        const std::vector<int>& cells)
      : edges(n_edges), first(n_nodes + 1), count(n_nodes) {
    for (int64_t e = 0; e < n_edges; e++) first[receivers[e] + 1]++;
    for (int64_t a = 0; a < n_nodes; a++) first[a + 1] += first[a];
    // By segment of the table: a counting sort of each receiver's edges, whose own order is kept.
    const int n_cells = static_cast<int>(cells.size()), n_bins = cells.back() + 1;
    std::vector<int> places(n_bins + 1), bins;
    const double scale = n_cells / cutoff;
    for (int64_t a = 0; a < n_nodes; a++) {
      std::fill(places.begin(), places.end(), 0);
      bins.clear();
      for (long e = first[a]; e < first[a + 1]; e++) {
        const double *r = vectors + 3 * e, d = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
        const int bin = d < cutoff ? cells[std::min(static_cast<int>(d * scale), n_cells - 1)] : -1;
        bins.push_back(bin);
        if (bin >= 0) places[bin + 1]++;
      }
      for (int b = 0; b < n_bins; b++) places[b + 1] += places[b];
      count[a] = places[n_bins];
      for (size_t i = 0; i < bins.size(); i++)
        if (bins[i] >= 0) edges[first[a] + places[bins[i]]++] = static_cast<int>(first[a] + i);
    }
  }
  std::vector<int> edges;
  std::vector<long> first;
  std::vector<int> count;
};

// Where each thread keeps what it sums over senders: it has rows for the atoms that its receivers hear from alone, so
// that memory does not grow as the number of threads times that of atoms. The first has all, for the others to add to.
class Senders {
 public:
  Senders(int n_threads, int64_t n_nodes, const std::vector<long>& first, const std::vector<long>& bounds,
          const int32_t* senders)
      : row(n_threads * n_nodes, -1), count(n_threads) {
    for (int64_t a = 0; a < n_nodes; a++) row[a] = static_cast<int>(a);
    count[0] = n_nodes;
    for (int thread = 1; n_nodes && thread < n_threads; thread++) {
      int* mine = row.data() + thread * n_nodes;
      for (long e = first[bounds[thread]]; e < first[bounds[thread + 1]]; e++)
        if (mine[senders[e]] < 0) mine[senders[e]] = static_cast<int>(count[thread]++);
    }
  }
  std::vector<int> row;     // of each thread and atom; -1 where it has none
  std::vector<long> count;  // rows of each thread
};

void check_graph(int64_t n_nodes, int64_t n_edges, const double* vectors, const int32_t* senders,
                 const int32_t* receivers, const int32_t* species, int n_species) {
  require(n_nodes >= 0 && n_edges >= 0 && n_nodes < INT32_MAX && n_edges < INT32_MAX, "too many atoms or edges");
  for (int64_t a = 0; a < n_nodes; a++)
    require(species[a] >= 0 && species[a] < n_species, "atom " + text(a) + " has species " + text(species[a]) +
                                                           ", expected 0 to " + text(n_species - 1));
  for (int64_t e = 0; e < n_edges; e++) {
    if (senders[e] >= 0 && senders[e] < n_nodes && receivers[e] >= (e ? receivers[e - 1] : 0) &&
        receivers[e] < n_nodes && std::isfinite(vectors[3 * e] + vectors[3 * e + 1] + vectors[3 * e + 2]))
      continue;
    throw std::invalid_argument("edge " + text(e) + " runs from atom " + text(senders[e]) + " to " +
                                text(receivers[e]) + " of " + text(n_nodes) +
                                "; expected atoms that exist, receivers that ascend and finite vectors");
  }
}

// Shares of receivers with about as many edges each.
std::vector<long> share(const std::vector<long>& first, int n_threads) {
  const long n_nodes = static_cast<long>(first.size()) - 1;
  std::vector<long> bounds(n_threads + 1, n_nodes);
  bounds[0] = 0;
  // An atom costs about as much as four edges.
  const double total = static_cast<double>(first[n_nodes]) + 4.0 * n_nodes;
  for (long a = 0, thread = 1; a < n_nodes && thread < n_threads; a++)
    while (thread < n_threads && first[a] + 4.0 * a >= total * thread / n_threads) bounds[thread++] = a;
  return bounds;
}

}  // namespace

template <class T>
bool Made<T>::is_like(const Made& other) const {
  bool alike = model_.n_species == other.model_.n_species && model_.lmax == other.model_.lmax &&
               model_.n_layers == other.model_.n_layers && model_.norm == other.model_.norm &&
               model_.cutoff == other.model_.cutoff && instructions == other.instructions;
  for (int t = 0; alike && t < model_.n_layers; t++) {
    const Layer<T>&mine = layers_[t], &its = other.layers_[t];
    alike = mine.n_weights == its.n_weights && mine.n_paths == its.n_paths;
    for (int l = 0; alike && l < DEGREES; l++)
      alike = mine.in[l] == its.in[l] && mine.message[l] == its.message[l] && mine.pre[l] == its.pre[l] &&
              mine.out[l] == its.out[l] && mine.gate[l] == its.gate[l];
  }
  return alike;
}

template <class T>
void Made<T>::evaluate(const std::vector<const Base*>& members, int shared, int64_t n_nodes, int64_t n_edges,
                       const double* vectors, const int32_t* senders, const int32_t* receivers,
                       const int32_t* species, const double* seed, double* energies, double* gradient,
                       int n_threads) const {
  check_graph(n_nodes, n_edges, vectors, senders, receivers, species, model_.n_species);
  std::vector<const Made*> models;
  std::vector<Order> orders;
  for (const Base* member : members) {
    models.push_back(dynamic_cast<const Made*>(member));
    require(models.back() && is_like(*models.back()),
            "member " + text(models.size() - 1) + " is no model like the first");
    orders.emplace_back(n_nodes, n_edges, vectors, receivers, model_.cutoff, models.back()->cells_);
  }
  n_threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(n_threads, n_nodes)));
  const std::vector<long> bounds = share(orders[0].first, n_threads);

  std::vector<Array<T>> memory;
  const auto take = [&](int64_t n) {
    memory.emplace_back(static_cast<size_t>(n));
    return memory.back().get();
  };
  const int n_layers = model_.n_layers;
  shared = std::min(shared, n_layers - 1);
  std::vector<T*> x(n_layers * DEGREES), z(n_layers * DEGREES), h((n_layers + 1) * DEGREES);
  std::vector<T*> dx(n_threads * DEGREES), scratch(n_threads);
  Evaluation<T> e = {};
  e.n_nodes = n_nodes;
  e.vectors = vectors, e.senders = senders, e.species = species, e.seed = seed;
  e.x = x.data(), e.z = z.data(), e.h = h.data(), e.dx = dx.data(), e.scratch = scratch.data();
  e.bounds = bounds.data(), e.n_threads = n_threads;
  const Senders senders_of(n_threads, gradient ? n_nodes : 0, orders[0].first, bounds, senders);
  for (int l = 0; l < DEGREES; l++) {
    const int64_t rows = n_nodes * (2 * l + 1);
    int64_t most_in = 0, most_out = 0;
    for (int t = 0; t < n_layers; t++) {
      if (t) most_in = std::max<int64_t>(most_in, layers_[t].in[l]);
      most_out = std::max<int64_t>(most_out, rows * layers_[t].out[l]);
      z[t * DEGREES + l] = take(rows * layers_[t].pre[l]);
    }
    // Without derivatives every other layer has the same memory: while one is written, others read the last one.
    T* turns[2] = {};
    for (int i = 0; !gradient && i < std::min(2, n_layers - 1); i++) turns[i] = take(rows * most_in);
    for (int t = 1; t < n_layers; t++) x[t * DEGREES + l] = gradient ? take(rows * layers_[t].in[l]) : turns[(t - 1) % 2];
    for (int i = 0; i < 2; i++) {
      T* buffer = take(most_out);
      for (int t = i; t <= n_layers; t += 2) h[t * DEGREES + l] = buffer;
      if (gradient) e.dh[i][l] = take(most_out);
    }
    if (members.size() > 1) h[shared * DEGREES + l] = take(most_out);  // for all members to go on from
    for (int thread = 0; gradient && thread < n_threads; thread++)
      dx[thread * DEGREES + l] = take(senders_of.count[thread] * (2 * l + 1) * most_in);
  }
  e.row = senders_of.row.data(), e.n_rows = senders_of.count.data();
  const Kernels<T>& kernels = kernels_of<T>(instructions);
  for (int thread = 0; thread < n_threads; thread++) scratch[thread] = take(kernels.scratch(model_));
  Team team(n_threads);
  e.team = &team;
  e.wait = [](void* waiting) { static_cast<Team*>(waiting)->wait(); };
  std::vector<Evaluation<T>> evaluations(members.size(), e);
  for (size_t m = 0; m < members.size(); m++) {
    Evaluation<T>& one = evaluations[m];
    one.model = &models[m]->model_;
    one.start = m ? shared : 0;
    one.first = orders[m].first.data(), one.order = orders[m].edges.data(), one.count = orders[m].count.data();
    one.energies = energies + m * n_nodes;
    one.gradient = gradient ? gradient + 3 * m * n_edges : nullptr;
  }
  const auto work = [&](int thread) {
    for (const Evaluation<T>& one : evaluations) {
      kernels.run(one, thread);
      team.wait();  // the next one has the same memory
    }
  };

  std::vector<std::thread> others;
  std::mutex gate;  // nobody begins before all are there: a thread that cannot be made must leave none waiting
  bool abandoned = false;
  {
    std::lock_guard<std::mutex> closed(gate);
    try {
      for (int thread = 1; thread < n_threads; thread++)
        others.emplace_back([&, thread] {
          { std::lock_guard<std::mutex> passed(gate); }
          if (!abandoned) work(thread);
        });
    } catch (const std::exception&) {
      abandoned = true;
    }
  }
  if (!abandoned) work(0);
  for (std::thread& other : others) other.join();
  require(!abandoned, "the system refused to start " + text(n_threads) + " threads; ask for fewer");
  for (const Made* model : models) model->calls++;
}

}  // namespace nequix

struct nequix_model {
  std::unique_ptr<nequix::Base> made;
  std::shared_ptr<nequix_model> self;  // until destroyed; evaluations that have found it keep it a little longer
};

namespace nequix {
namespace {

std::mutex registry_mutex;

// Never destroyed: threads may outlive the end of the program.
std::map<int64_t, std::weak_ptr<nequix_model>>& registry() {
  static auto* models = new std::map<int64_t, std::weak_ptr<nequix_model>>;
  return *models;
}

}  // namespace

std::shared_ptr<nequix_model> find(int64_t key) {
  std::lock_guard<std::mutex> lock(registry_mutex);
  const auto found = registry().find(key);
  return found == registry().end() ? nullptr : found->second.lock();
}

}  // namespace nequix

namespace {

template <class F>
const char* guarded(F&& function) {
  static thread_local std::string message;
  try {
    function();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return "out of memory";
  } catch (const std::exception& error) {
    message = error.what();
    return message.c_str();
  }
}

}  // namespace

extern "C" {

void nequix_sizes(int64_t sizes[3]) {
  sizes[0] = sizeof(nequix_path), sizes[1] = sizeof(nequix_layer), sizes[2] = sizeof(nequix_spec);
}

const char* nequix_create(const nequix_spec* spec, int32_t bits, const char* instructions, nequix_model** model) {
  return guarded([&] {
    nequix::require(spec && model, "no specification");
    nequix::require(bits == 32 || bits == 64, "kernels compute in 32 or 64 bits, not " + nequix::text(bits));
    const nequix::Instructions* chosen = nequix::choose(instructions);
    std::unique_ptr<nequix::Base> made;
    if (bits == 32)
      made = std::make_unique<nequix::Made<float>>(*spec, chosen);
    else
      made = std::make_unique<nequix::Made<double>>(*spec, chosen);
    auto owned = std::make_shared<nequix_model>();
    owned->made = std::move(made);
    owned->self = owned;
    *model = owned.get();
  });
}

void nequix_destroy(nequix_model* model) {
  if (!model) return;
  const std::shared_ptr<nequix_model> last = std::move(model->self);
}

const char* nequix_register(nequix_model* model, int64_t key) {
  return guarded([&] {
    nequix::require(model && key, "no model, or no key");
    std::lock_guard<std::mutex> lock(nequix::registry_mutex);
    auto& models = nequix::registry();
    for (auto entry = models.begin(); entry != models.end();)
      entry = entry->second.expired() ? models.erase(entry) : std::next(entry);
    models[key] = model->self;
  });
}

const char* nequix_instructions(const nequix_model* model) { return model->made->instructions->name; }

int64_t nequix_calls(const nequix_model* model) { return model->made->calls; }

const char* nequix_evaluate(const nequix_model* model, int64_t n_nodes, int64_t n_edges, const double* vectors,
                            const int32_t* senders, const int32_t* receivers, const int32_t* species,
                            const double* seed, double* energies, double* gradient, int32_t n_threads) {
  return guarded([&] {
    nequix::require(model, "no model");
    model->made->evaluate({model->made.get()}, 0, n_nodes, n_edges, vectors, senders, receivers, species, seed,
                          energies, gradient, n_threads);
  });
}

const char* nequix_evaluate_members(const nequix_model* const* models, int32_t n_models, int32_t n_shared,
                                    int64_t n_nodes, int64_t n_edges, const double* vectors, const int32_t* senders,
                                    const int32_t* receivers, const int32_t* species, double* energies,
                                    double* gradient, int32_t n_threads) {
  return guarded([&] {
    nequix::require(models && n_models > 0 && n_shared >= 0, "no models");
    std::vector<const nequix::Base*> members;
    for (int m = 0; m < n_models; m++) {
      nequix::require(models[m], "no model " + nequix::text(m));
      members.push_back(models[m]->made.get());
    }
    members[0]->evaluate(members, n_shared, n_nodes, n_edges, vectors, senders, receivers, species, nullptr, energies,
                         gradient, n_threads);
  });
}

const char* nequix_forces(int64_t n_nodes, int64_t n_edges, int64_t n_graphs, const double* vectors,
                          const int32_t* senders, const int32_t* receivers, const int32_t* node_graph,
                          const double* gradient, double* forces, double* virials) {
  return guarded([&] {
    for (int64_t a = 0; a < n_nodes; a++)
      nequix::require(node_graph[a] >= 0 && node_graph[a] < n_graphs,
                      "atom " + nequix::text(a) + " is of no structure");
    std::memset(forces, 0, sizeof(double) * 3 * n_nodes);
    std::memset(virials, 0, sizeof(double) * 9 * n_graphs);
    for (int64_t e = 0; e < n_edges; e++) {
      const int32_t i = receivers[e], j = senders[e];
      nequix::require(i >= 0 && i < n_nodes && j >= 0 && j < n_nodes,
                      "edge " + nequix::text(e) + " joins atoms that do not exist");
      double* virial = virials + 9 * node_graph[i];
      for (int a = 0; a < 3; a++) {
        const double g = gradient[3 * e + a];
        forces[3 * static_cast<int64_t>(i) + a] += g;
        forces[3 * static_cast<int64_t>(j) + a] -= g;
        for (int b = 0; b < 3; b++) virial[3 * a + b] += 0.5 * g * vectors[3 * e + b];
      }
    }
    for (int64_t g = 0; g < n_graphs; g++)
      for (int a = 0; a < 3; a++)
        for (int b = 0; b <= a; b++) {
          double* virial = virials + 9 * g;
          virial[3 * a + b] = virial[3 * b + a] = virial[3 * a + b] + virial[3 * b + a];
        }
  });
}

}  // extern "C"
