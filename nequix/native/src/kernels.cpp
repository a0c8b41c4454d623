// The model's arithmetic, compiled once for every instruction set (NEQUIX_ISA names it, NEQUIX_BYTES is the width
// of its vectors). Everything is in a namespace of its own and nothing of the standard library is used: a function
// compiled for wide vectors must never be linked where another instruction set expects it.
//
// docs/native.md explains the loops.
#include "model.h"

#define INLINE inline __attribute__((always_inline))

namespace nequix {
namespace NEQUIX_ISA {
namespace {

template <int bytes>
struct Integer;
template <>
struct Integer<4> {
  typedef int type;
};
template <>
struct Integer<8> {
  typedef long long type;
};

template <class T>
struct Vector {
  typedef T type __attribute__((vector_size(NEQUIX_BYTES)));
  typedef T memory __attribute__((vector_size(NEQUIX_BYTES), aligned(alignof(T)), may_alias));
  typedef typename Integer<sizeof(T)>::type index __attribute__((vector_size(NEQUIX_BYTES)));
  static constexpr int size = NEQUIX_BYTES / sizeof(T);
};
// One number of each edge of a tile.
typedef double Doubles __attribute__((vector_size(TILE * sizeof(double))));

template <class T>
INLINE typename Vector<T>::type load(const T* p) {
  return *reinterpret_cast<const typename Vector<T>::memory*>(p);
}
template <class T>
INLINE void store(T* p, typename Vector<T>::type v) {
  *reinterpret_cast<typename Vector<T>::memory*>(p) = v;
}
template <class T>
INLINE T sum(typename Vector<T>::type v) {
  T lanes[Vector<T>::size];
  store(lanes, v);
  for (int half = Vector<T>::size / 2; half; half /= 2)
    for (int i = 0; i < half; i++) lanes[i] += lanes[i + half];
  return lanes[0];
}

// Which lanes of two vectors to add, to go on with half as many vectors; by the number of lanes that stay together.
template <class T>
struct Lanes {
  static constexpr int L = Vector<T>::size;
  typename Integer<sizeof(T)>::type own[L][L] __attribute__((aligned(64))), other[L][L] __attribute__((aligned(64)));
  constexpr Lanes() : own(), other() {
    for (int half = L / 2; half; half /= 2)
      for (int i = 0; i < L; i++) own[half][i] = i & half ? L + i : i, other[half][i] = i & half ? L + (i ^ half) : i ^ half;
  }
};
template <class T>
constexpr Lanes<T> lanes;

// The sums of HARMONICS vectors. Halves of two vectors are added at a time: far fewer steps than one after the other.
template <class T>
INLINE void sum_rows(const typename Vector<T>::type* rows, T* sums) {
  typedef typename Vector<T>::type V;
  typedef typename Vector<T>::index Index;
  constexpr int L = Vector<T>::size;
  for (int first = 0; first < HARMONICS; first += L) {
    V v[L];
    for (int i = 0; i < L; i++) v[i] = rows[first + i];
#pragma GCC unroll 8
    for (int half = L / 2; half; half /= 2) {
      const Index own = load(lanes<T>.own[half]), other = load(lanes<T>.other[half]);
#pragma GCC unroll 8
      for (int i = 0; i < half; i++)
        v[i] = __builtin_shuffle(v[i], v[i + half], own) + __builtin_shuffle(v[i], v[i + half], other);
    }
    store(sums + first, v[0]);
  }
}

// B vectors of neighbouring channels.
template <class V, int B>
struct Block {
  V v[B];
  INLINE Block() {}
  template <class T>
  INLINE explicit Block(const T* p) {
    for (int b = 0; b < B; b++) v[b] = load(p + b * Vector<T>::size);
  }
  template <class T>
  INLINE void save(T* p) const {
    for (int b = 0; b < B; b++) store(p + b * Vector<T>::size, v[b]);
  }
};
template <class T, class V, int B>
INLINE void add(Block<V, B>& out, const Block<V, B>& x, T m) {
  for (int b = 0; b < B; b++) out.v[b] += x.v[b] * m;
}
template <class V, int B>
INLINE V dot(const Block<V, B>& x, const Block<V, B>& y) {
  V total = x.v[0] * y.v[0];
  for (int b = 1; b < B; b++) total += x.v[b] * y.v[b];
  return total;
}

#include "couplings.inc"

// ---------------------------------------------------------------------------------------------- edges

// Up to TILE edges of one receiver, in order of length.
template <class T>
struct Tile {
  typedef T W __attribute__((vector_size(TILE * sizeof(T))));
  int n;
  int edge[TILE], sender[TILE], segment[TILE];
  T t[TILE];  // place within the segment, -1 ... 1
  // Element by element through arrays: single elements of vectors are slow to set.
  double stretch[TILE], unit[3][TILE], inverse[TILE] __attribute__((aligned(128)));
  Doubles harmonic[HARMONICS];
  W Y[HARMONICS];
};

INLINE Doubles doubles(const double* values) {
  typedef double Unaligned __attribute__((vector_size(TILE * sizeof(double)), aligned(8), may_alias));
  return *reinterpret_cast<const Unaligned*>(values);
}

template <class T>
void prepare(const Evaluation<T>& e, long receiver, int start, Tile<T>& tile) {
  const Model<T>& model = *e.model;
  const int* order = e.order + e.first[receiver] + start;
  const int left = e.count[receiver] - start;
  tile.n = left < TILE ? left : TILE;
  double d[TILE], r[3][TILE];
  for (int i = 0; i < TILE; i++) {
    const int edge = order[i < tile.n ? i : 0];
    tile.edge[i] = edge;
    tile.sender[i] = e.senders[edge];
    for (int c = 0; c < 3; c++) r[c][i] = e.vectors[3 * static_cast<long>(edge) + c];
  }
  const double scale = model.n_cells / model.cutoff;
  for (int i = 0; i < TILE; i++) d[i] = __builtin_sqrt(r[0][i] * r[0][i] + r[1][i] * r[1][i] + r[2][i] * r[2][i]);
  for (int i = 0; i < TILE; i++) {
    const int cell = static_cast<int>(d[i] * scale);  // rounding may lead one too far
    const int segment = model.cells[cell < model.n_cells ? cell : model.n_cells - 1];
    tile.segment[i] = segment;
    tile.stretch[i] = 1 / model.halves[segment];
    tile.t[i] = static_cast<T>((d[i] - model.middles[segment]) * tile.stretch[i]);
    // Of a vector of no length: its direction is zero, and so is every harmonic above degree 0.
    const double inverse = d[i] > 0 ? 1 / d[i] : 1;
    tile.inverse[i] = inverse;
    for (int c = 0; c < 3; c++) tile.unit[c][i] = r[c][i] * inverse;
  }
  Doubles* Y = tile.harmonic;
  Y[0] = Doubles{} + 1.0;
  if (model.lmax > 0)
    for (int c = 0; c < 3; c++) Y[1 + c] = doubles(tile.unit[c]) * 1.7320508075688772;
  if (model.lmax > 1) raise_2(Y);
  if (model.lmax > 2) raise_3(Y);
  const int n = (model.lmax + 1) * (model.lmax + 1);
  for (int j = 0; j < n; j++) tile.Y[j] = __builtin_convertvector(Y[j], typename Tile<T>::W);
}

// Radial weights of E edges of one segment, and with S their slopes; W and dW have a row an edge.
template <class T, int E, bool S>
INLINE void polynomials(const T* table, const T* t, T* W, T* dW, int channels) {
  typedef typename Vector<T>::type V;
  constexpr int degree = Radial<T>::degree;
  V place[E];
  for (int e = 0; e < E; e++) place[e] = V{} + t[e];
  for (int u = 0; u < channels; u += Vector<T>::size) {
    const T* c = table + (u / PAD) * (degree + 1) * PAD + u % PAD;
    V value[E], slope[E];
    const V top = load(c), next = load(c + PAD);
    for (int e = 0; e < E; e++) slope[e] = top, value[e] = top * place[e] + next;
#pragma GCC unroll 16
    for (int k = 2; k <= degree; k++) {
      const V next = load(c + k * PAD);
      for (int e = 0; e < E; e++) {
        if (S) slope[e] = slope[e] * place[e] + value[e];
        value[e] = value[e] * place[e] + next;
      }
    }
    for (int e = 0; e < E; e++) {
      store(W + e * channels + u, value[e]);
      if (S) store(dW + e * channels + u, slope[e]);
    }
  }
}

// Not inlined, so that a profile tells it from the rest.
template <class T, bool S>
__attribute__((noinline)) void radial_weights(const Layer<T>& layer, const Path& path, const Tile<T>& tile, T* W, T* dW) {
  constexpr int powers = Radial<T>::degree + 1;
  const long row = static_cast<long>(layer.n_weights) * powers;
  const T* table = layer.table + static_cast<long>(path.weight) * powers;
  for (int e = 0; e < tile.n;) {
    const int segment = tile.segment[e];
    int run = 1;
    while (run < 4 && e + run < tile.n && tile.segment[e + run] == segment) run++;
    const T* c = table + segment * row;
    const T* t = tile.t + e;
    T *w = W + e * path.channels, *dw = dW + e * path.channels;
    switch (run) {
      case 1: polynomials<T, 1, S>(c, t, w, dw, path.channels); break;
      case 2: polynomials<T, 2, S>(c, t, w, dw, path.channels); break;
      case 3: polynomials<T, 3, S>(c, t, w, dw, path.channels); break;
      default: polynomials<T, 4, S>(c, t, w, dw, path.channels);
    }
    e += run;
  }
}

// What the work on a path reads and writes.
template <class T>
struct Work {
  const Tile<T>* tile;
  int l1 = -1, channels;
  const T *W, *dW;
  const T* x[TILE];
  T* dx[TILE];
  T* A;  // the receiver's messages of this path, or their gradient
  long stride;
  typename Vector<T>::type* dY;  // HARMONICS of each edge; in the place of the first, a constant, the slope
};

template <class T, int L1, int L2, int L3, int B>
INLINE void push_channels(const Work<T>& work, const T* M, int u) {
  typedef typename Vector<T>::type V;
  constexpr int I = 2 * L1 + 1, K = 2 * L3 + 1;
  Block<V, B> out[K];
  for (int k = 0; k < K; k++)
    for (int b = 0; b < B; b++) out[k].v[b] = V{};  // sums of tiles are added: less rounding than edge by edge
  const T* W = work.W + u;
  for (int e = 0; e < work.tile->n; e++, W += work.channels) {
    const Block<V, B> w(W);
    Block<V, B> x[I];
    for (int i = 0; i < I; i++) {
      x[i] = Block<V, B>(work.x[e] + i * work.channels + u);
      for (int b = 0; b < B; b++) x[i].v[b] *= w.v[b];
    }
    Coupling<L1, L2, L3>::template push<T, V, B>(M + e, x, out);
  }
  for (int k = 0; k < K; k++) {
    Block<V, B> total(work.A + k * work.stride + u);
    for (int b = 0; b < B; b++) total.v[b] += out[k].v[b];
    total.save(work.A + k * work.stride + u);
  }
}

template <class T, int L1, int L2, int L3>
void push(const Work<T>& work) {
  constexpr int step = Vector<T>::size;
  T M[Coupling<L1, L2, L3>::size * TILE] __attribute__((aligned(64)));
  Coupling<L1, L2, L3>::template mix<T>(work.tile->Y + L2 * L2, reinterpret_cast<typename Tile<T>::W*>(M));
  int u = 0;
  for (; u + 2 * step <= work.channels; u += 2 * step) push_channels<T, L1, L2, L3, 2>(work, M, u);
  for (; u < work.channels; u += step) push_channels<T, L1, L2, L3, 1>(work, M, u);
}

template <class T, int L1, int L2, int L3, int B, bool DX>
INLINE void pull_channels(const Work<T>& work, const T* M, int e, int u, typename Vector<T>::type* dY,
                          typename Vector<T>::type& slope) {
  typedef typename Vector<T>::type V;
  constexpr int I = 2 * L1 + 1;
  const Block<V, B> w(work.W + e * work.channels + u);
  {
    Block<V, B> q[I], dw;
    for (int i = 0; i < I; i++)
      for (int b = 0; b < B; b++) q[i].v[b] = V{};
    Coupling<L1, L2, L3>::template pull<T, V, B>(M + e, work.A + u, work.stride, q);
    for (int b = 0; b < B; b++) dw.v[b] = V{};
    for (int i = 0; i < I; i++) {
      const Block<V, B> x(work.x[e] + i * work.channels + u);
      for (int b = 0; b < B; b++) dw.v[b] += x.v[b] * q[i].v[b];
      if (DX) {
        T* p = work.dx[e] + i * work.channels + u;
        Block<V, B> dx(p);
        for (int b = 0; b < B; b++) dx.v[b] += w.v[b] * q[i].v[b];
        dx.save(p);
      }
    }
    slope += dot(dw, Block<V, B>(work.dW + e * work.channels + u));
  }
  if (!L2) return;
  if (L1 && L3) __asm__ volatile("" ::: "memory");  // load again what was loaded above: registers do not suffice for it
  Block<V, B> x[I];
  for (int i = 0; i < I; i++) {
    x[i] = Block<V, B>(work.x[e] + i * work.channels + u);
    for (int b = 0; b < B; b++) x[i].v[b] *= w.v[b];
  }
  Coupling<L1, L2, L3>::template bend<T, V, B>(x, work.A + u, work.stride, dY);
}

template <class T, int L1, int L2, int L3, bool DX>
void pull(const Work<T>& work) {
  typedef typename Vector<T>::type V;
  constexpr int step = Vector<T>::size, J = 2 * L2 + 1;
  T M[Coupling<L1, L2, L3>::size * TILE] __attribute__((aligned(64)));
  Coupling<L1, L2, L3>::template mix<T>(work.tile->Y + L2 * L2, reinterpret_cast<typename Tile<T>::W*>(M));
  for (int e = 0; e < work.tile->n; e++) {
    V* place = work.dY + e * HARMONICS + L2 * L2;
    V dY[J], slope = work.dY[e * HARMONICS];
    for (int j = 0; j < J; j++) dY[j] = place[j];
    int u = 0;
    for (; u + 2 * step <= work.channels; u += 2 * step)
      pull_channels<T, L1, L2, L3, 2, DX>(work, M, e, u, dY, slope);
    for (; u < work.channels; u += step) pull_channels<T, L1, L2, L3, 1, DX>(work, M, e, u, dY, slope);
    if (L2 > 0)
      for (int j = 0; j < J; j++) place[j] = dY[j];
    work.dY[e * HARMONICS] = slope;
  }
}

// The first layer's features are scalars of the species, whose derivatives nobody wants.
template <class T>
void dispatch(const Path& path, const Work<T>& work, bool backward, bool first) {
  switch (path.l1 * 16 + path.l2 * 4 + path.l3) {
#define VISIT(L1, L2, L3)                                               \
  case L1 * 16 + L2 * 4 + L3:                                           \
    if (!backward)                                                      \
      push<T, L1, L2, L3>(work);                                        \
    else if (L1 == 0 && first)                                          \
      pull<T, L1, L2, L3, L1 != 0>(work);                               \
    else                                                                \
      pull<T, L1, L2, L3, true>(work);                                  \
    break;
    NEQUIX_PATHS(VISIT)
#undef VISIT
  }
}

// Rows of a matrix product that are worked on together: so many that their sums fill the registers.
enum { ROWS = NEQUIX_BYTES == 64 ? 8 : 5 };

// A thread's room: messages of a chunk of receivers, what is computed in float64, radial weights and slopes of a tile,
// sums of a tile.
template <class T>
struct Room {
  typedef typename Vector<T>::type V;
  T* A[DEGREES];
  T* dz[DEGREES];
  double* wide;
  T *W, *dW;
  V* dY;
};

template <class T>
long room(const Model<T>& model, T* start, Room<T>* out) {
  long used = 0, most[2 * DEGREES] = {}, widest = 0;
  for (int t = 0; t < model.n_layers; t++) {
    const Layer<T>& layer = model.layers[t];
    long of_atom = 0;
    for (int l = 0; l < DEGREES; l++) {
      const long rows = CHUNK * (2 * l + 1);
      const long needs[2] = {rows * layer.message[l], rows * layer.pre[l]};
      for (int i = 0; i < 2; i++)
        if (needs[i] > most[2 * l + i]) most[2 * l + i] = needs[i];
      of_atom += (2 * l + 1) * layer.pre[l];
    }
    const long needs[4] = {of_atom, ROWS * layer.in[0], ROWS * layer.message[0], ROWS * layer.pre[0]};
    for (int i = 0; i < 4; i++)
      if (needs[i] > widest) widest = needs[i];
  }
  // Places are only counted where there is no room yet.
  auto take = [&](long n) {
    T* place = out ? start + used : nullptr;
    used += (n + PAD - 1) / PAD * PAD;
    return place;
  };
  Room<T> r;
  typedef typename Vector<T>::type V;
  r.dY = reinterpret_cast<V*>(take(TILE * HARMONICS * Vector<T>::size));
  for (int l = 0; l < DEGREES; l++) r.A[l] = take(most[2 * l]), r.dz[l] = take(most[2 * l + 1]);
  r.wide = reinterpret_cast<double*>(take(widest * (sizeof(double) / sizeof(T))));
  r.W = take(TILE * model.most_channels);
  r.dW = take(TILE * model.most_channels);
  if (out) *out = r;
  return used;
}

template <class T>
void place_work(const Evaluation<T>& e, int t, const Path& path, const Tile<T>& tile, Work<T>& work, int thread) {
  const Layer<T>& layer = e.model->layers[t];
  const long row = (2 * path.l1 + 1) * static_cast<long>(path.channels);
  work.channels = path.channels;
  if (path.l1 == work.l1) return;  // paths of one degree follow one another
  work.l1 = path.l1;
  for (int i = 0; i < tile.n; i++) {
    const long sender = tile.sender[i];
    work.x[i] = t ? e.x[t * DEGREES + path.l1] + sender * row : layer.linear_1[0] + e.species[sender] * row;
    if (t && e.gradient) work.dx[i] = e.dx[thread * DEGREES + path.l1] + e.row[thread * e.n_nodes + sender] * row;
  }
}

// Calls work(receiver, start) for the tiles of a chunk of receivers: those with the shortest edges first, so that the
// rows of the table that they need are still in the cache when the next receiver asks for them.
template <class T, class F>
INLINE void visit_tiles(const Evaluation<T>& e, long begin, long end, F work) {
  int most = 0;
  for (long a = begin; a < end; a++)
    if (e.count[a] > most) most = e.count[a];
  for (int start = 0; start < most; start += TILE)
    for (long a = begin; a < end; a++)
      if (start < e.count[a]) work(a, start);
}

template <class T>
void receive(const Evaluation<T>& e, int t, long begin, long receiver, int start, Room<T>& room) {
  const Layer<T>& layer = e.model->layers[t];
  Tile<T> tile;
  prepare(e, receiver, start, tile);
  Work<T> work;
  work.tile = &tile;
  work.W = room.W;
  for (int p = 0; p < layer.n_paths; p++) {
    const Path& path = layer.paths[p];
    place_work(e, t, path, tile, work, 0);
    work.stride = layer.message[path.l3];
    work.A = room.A[path.l3] + (receiver - begin) * (2 * path.l3 + 1) * work.stride + path.message;
    radial_weights<T, false>(layer, path, tile, room.W, room.W);
    dispatch(path, work, false, t == 0);
  }
}

// From the derivatives of the harmonics and of the length to that of the vector; adds to the gradient.
template <class T>
void differentiate(const Evaluation<T>& e, const Tile<T>& tile, const Room<T>& room) {
  const Model<T>& model = *e.model;
  Doubles dY[HARMONICS];
  const int n = (model.lmax + 1) * (model.lmax + 1);
  double sums[HARMONICS][TILE];
  for (int i = 0; i < TILE; i++) {
    T of_edge[HARMONICS];
    sum_rows<T>(room.dY + i * HARMONICS, of_edge);
    for (int j = 0; j < HARMONICS; j++) sums[j][i] = of_edge[j];
  }
  for (int j = 0; j < n; j++) dY[j] = doubles(sums[j]);
  const Doubles slope = dY[0] * doubles(tile.stretch);
  dY[0] = Doubles{};
  if (model.lmax > 2) lower_3(tile.harmonic, dY);
  if (model.lmax > 1) lower_2(tile.harmonic, dY);
  Doubles along = Doubles{}, g[3];
  for (int c = 0; c < 3; c++) {
    g[c] = model.lmax > 0 ? dY[1 + c] * 1.7320508075688772 : Doubles{};
    along += g[c] * doubles(tile.unit[c]);
  }
  for (int c = 0; c < 3; c++) {
    const Doubles unit = doubles(tile.unit[c]);
    const Doubles total = (g[c] - along * unit) * doubles(tile.inverse) + slope * unit;
    double of_edge[TILE];
    __builtin_memcpy(of_edge, &total, sizeof total);
    for (int i = 0; i < tile.n; i++) e.gradient[3 * static_cast<long>(tile.edge[i]) + c] += of_edge[i];
  }
}

template <class T>
void send_back(const Evaluation<T>& e, int t, long begin, long receiver, int start, Room<T>& room, int thread) {
  typedef typename Vector<T>::type V;
  const Layer<T>& layer = e.model->layers[t];
  Tile<T> tile;
  prepare(e, receiver, start, tile);
  for (int i = 0; i < TILE * HARMONICS; i++) room.dY[i] = V{};
  Work<T> work;
  work.tile = &tile;
  work.W = room.W, work.dW = room.dW;
  work.dY = room.dY;
  for (int p = 0; p < layer.n_paths; p++) {
    const Path& path = layer.paths[p];
    place_work(e, t, path, tile, work, thread);
    work.stride = layer.message[path.l3];
    work.A = room.A[path.l3] + (receiver - begin) * (2 * path.l3 + 1) * work.stride + path.message;
    radial_weights<T, true>(layer, path, tile, room.W, room.dW);
    dispatch(path, work, true, t == 0);
  }
  differentiate(e, tile, room);
}

// ---------------------------------------------------------------------------------------------- atoms

// Numbers of either precision as float64, and back.
typedef Vector<double>::type Wide;
template <class T>
struct Narrow {
  typedef T memory __attribute__((vector_size(Vector<double>::size * sizeof(T)), aligned(alignof(T)), may_alias));
};
template <class T>
INLINE Wide widen(const T* p) {
  return __builtin_convertvector(*reinterpret_cast<const typename Narrow<T>::memory*>(p), Wide);
}
template <class T>
INLINE void narrow(T* p, Wide v) {
  *reinterpret_cast<typename Narrow<T>::memory*>(p) = __builtin_convertvector(v, typename Narrow<T>::memory);
}

template <class T, int R, int B>
INLINE void multiply_rows(long n, long K, long N, const T* A, const T* M, T* C, bool accumulate) {
  typedef typename Vector<T>::type V;
  Block<V, B> out[R];
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) out[r].v[b] = V{};
  for (long k = 0; k < n; k++) {
    const Block<V, B> m(M + k * N);
    for (int r = 0; r < R; r++) add(out[r], m, A[r * K + k]);
  }
  for (int r = 0; r < R; r++) {
    if (accumulate)
      for (int b = 0; b < B; b++) out[r].v[b] += load(C + r * N + b * Vector<T>::size);
    out[r].save(C + r * N);
  }
}

template <class T, int R>
void multiply_panel(long n, long K, long N, const T* A, const T* M, T* C, bool accumulate) {
  constexpr int step = Vector<T>::size;
  long u = 0;
  for (; u + 2 * step <= N; u += 2 * step) multiply_rows<T, R, 2>(n, K, N, A, M + u, C + u, accumulate);
  for (; u < N; u += step) multiply_rows<T, R, 1>(n, K, N, A, M + u, C + u, accumulate);
}

// The same in float64; the rows of A are copied column by column into the room.
template <class T, int R, int B>
INLINE void multiply_rows_wide(long K, long N, const double* A, const T* M, T* C, bool accumulate) {
  constexpr int step = Vector<double>::size;
  Block<Wide, B> out[R];
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) out[r].v[b] = accumulate ? widen(C + r * N + b * step) : Wide{};
  for (long k = 0; k < K; k++) {
    Block<Wide, B> m;
    for (int b = 0; b < B; b++) m.v[b] = widen(M + k * N + b * step);
    for (int r = 0; r < R; r++) add(out[r], m, A[k * R + r]);
  }
  for (int r = 0; r < R; r++)
    for (int b = 0; b < B; b++) narrow(C + r * N + b * step, out[r].v[b]);
}

template <class T, int R>
void multiply_panel_wide(long K, long N, const T* A, const T* M, T* C, bool accumulate, double* room) {
  for (int r = 0; r < R; r++)
    for (long k = 0; k < K; k++) room[k * R + r] = A[r * K + k];
  constexpr int step = 2 * Vector<double>::size;  // divides PAD
  for (long u = 0; u < N; u += step) multiply_rows_wide<T, R, 2>(K, N, room, M + u, C + u, accumulate);
}

// C = A M, or C += A M, of features of a degree; sizes are multiples of PAD but for the number of rows. The scalars' are
// in float64: most of float32's error arises there, and in norm and gate, and little of the time.
template <class T>
void multiply(int degree, long rows, long K, long N, const T* A, const T* M, T* C, bool accumulate, double* room) {
  if (degree == 0 && sizeof(T) < sizeof(double)) {
    long r = 0;
    for (; r + ROWS <= rows; r += ROWS) multiply_panel_wide<T, ROWS>(K, N, A + r * K, M, C + r * N, accumulate, room);
    for (; r < rows; r++) multiply_panel_wide<T, 1>(K, N, A + r * K, M, C + r * N, accumulate, room);
    return;
  }
  // Sums of parts are added: less rounding than in one go.
  constexpr long part = 64;
  for (long k = 0; k < K; k += part) {
    const long n = K - k < part ? K - k : part;
    const bool add = accumulate || k > 0;
    long r = 0;
    for (; r + ROWS <= rows; r += ROWS) multiply_panel<T, ROWS>(n, K, N, A + r * K + k, M + k * N, C + r * N, add);
    for (; r < rows; r++) multiply_panel<T, 1>(n, K, N, A + r * K + k, M + k * N, C + r * N, add);
  }
}

// Norm and gate of one atom, in float64. With dh and dz also their derivatives: dz from dh.
template <class T>
struct Activation {
  const Model<T>& model;
  const Layer<T>& layer;

  double scale(T* const* z) const {
    if (!model.norm) return 1;
    double square = 0;
    for (int l = 0; l < DEGREES; l++) {
      const long n = (2 * l + 1) * static_cast<long>(layer.pre[l]);
      Wide lanes = {};
      for (long i = 0; i < n; i += Vector<double>::size) lanes += widen(z[l] + i) * widen(z[l] + i);
      if (n) square += sum<double>(lanes) * layer.norm[l];
    }
    return 1 / __builtin_sqrt(square + model.epsilon);
  }

  double gain(int l, int u) const { return model.norm ? layer.gain[l][u] : 1; }

  // silu(y) c, and its derivative
  double open(double y) const { return y * model.gate_scale / (1 + __builtin_exp(-y)); }
  double slope(double y) const {
    const double p = 1 / (1 + __builtin_exp(-y));
    return p * (1 + y * (1 - p)) * model.gate_scale;
  }

  void forward(T* const* z, T* const* h) const {
    const double s = scale(z);
    for (int u = 0; u < layer.out[0]; u++) h[0][u] = static_cast<T>(open(z[0][u] * gain(0, u) * s));
    for (int l = 1; l < DEGREES; l++)
      for (int u = 0; u < layer.out[l]; u++) {
        const int gate = layer.gate[l] + u;
        const double factor = open(z[0][gate] * gain(0, gate) * s) * gain(l, u) * s;
        for (int m = 0; m <= 2 * l; m++)
          h[l][m * layer.out[l] + u] = static_cast<T>(z[l][m * layer.out[l] + u] * factor);
      }
  }

  // The readout of the last layer's scalars.
  double energy(T* const* z) const {
    const double s = scale(z);
    double total = 0;
    for (int u = 0; u < layer.out[0]; u++) total += open(z[0][u] * gain(0, u) * s) * model.readout[u];
    return total;
  }

  // The room is for the derivatives by the normalised features.
  void backward(T* const* z, T* const* dh, T* const* dz, double* room) const {
    const double s = scale(z);
    double* dy[DEGREES];
    for (int l = 0; l < DEGREES; room += (2 * l + 1) * layer.pre[l], l++) dy[l] = room;
    double inner = 0;  // sum of z times dy
    for (int u = 0; u < layer.out[0]; u++) {
      const double g = gain(0, u);
      dy[0][u] = dh[0][u] * slope(z[0][u] * g * s) * g;
      inner += dy[0][u] * z[0][u];
    }
    for (int l = 1; l < DEGREES; l++)
      for (int u = 0; u < layer.out[l]; u++) {
        const int gate = layer.gate[l] + u;
        const double g = gain(l, u), y = z[0][gate] * gain(0, gate) * s, factor = open(y) * g;
        double closing = 0;
        for (int m = 0; m <= 2 * l; m++) {
          const long i = m * layer.out[l] + u;
          const double product = static_cast<double>(dh[l][i]) * z[l][i];
          closing += product;
          dy[l][i] = dh[l][i] * factor;
        }
        inner += closing * factor;
        dy[0][gate] = closing * g * s * slope(y) * gain(0, gate);
        inner += dy[0][gate] * z[0][gate];
      }
    for (int l = 0; l < DEGREES; l++) {
      const double pull = model.norm ? s * s * s * inner * layer.norm[l] : 0;
      for (long i = 0; i < (2 * l + 1) * static_cast<long>(layer.pre[l]); i++)
        dz[l][i] = static_cast<T>(dy[l][i] * s - z[l][i] * pull);
    }
  }
};

template <class T>
void mix_senders(const Evaluation<T>& e, int t, long begin, long end, Room<T>& room) {
  const Layer<T>& layer = e.model->layers[t];
  for (int l = 0; l < DEGREES; l++)
    if (layer.linear_1[l]) {
      const long n = layer.in[l], from = begin * (2 * l + 1);
      multiply(l, end * (2 * l + 1) - from, n, n, e.h[t * DEGREES + l] + from * n, layer.linear_1[l],
               e.x[t * DEGREES + l] + from * n, false, room.wide);
    }
}

template <class T>
void forward_chunk(const Evaluation<T>& e, int t, long begin, long end, Room<T>& room) {
  const Layer<T>& layer = e.model->layers[t];
  const bool last = t == e.model->n_layers - 1;
  for (int l = 0; l < DEGREES; l++)
    for (long i = 0; i < (end - begin) * (2 * l + 1) * layer.message[l]; i++) room.A[l][i] = 0;
  visit_tiles(e, begin, end, [&](long a, int start) { receive(e, t, begin, a, start, room); });
  for (int l = 0; l < DEGREES; l++) {
    const long rows = (end - begin) * (2 * l + 1), from = begin * (2 * l + 1), pre = layer.pre[l];
    if (!pre) continue;
    T* z = e.z[t * DEGREES + l] + from * pre;
    bool begun = false;
    if (layer.linear_2[l])
      multiply(l, rows, layer.message[l], pre, room.A[l], layer.linear_2[l], z, false, room.wide), begun = true;
    if (t && layer.skip[l])
      multiply(l, rows, layer.in[l], pre, e.h[t * DEGREES + l] + from * layer.in[l], layer.skip[l], z, begun, room.wide),
          begun = true;
    if (!begun)
      for (long i = 0; i < rows * pre; i++) z[i] = 0;
    if (t == 0 && layer.skip[l])
      for (long a = 0; a < rows; a++)
        for (long u = 0; u < pre; u++) z[a * pre + u] += layer.skip[l][e.species[begin + a] * pre + u];
  }
  for (long a = begin; a < end; a++) {
    T *z[DEGREES], *h[DEGREES];
    for (int l = 0; l < DEGREES; l++) {
      z[l] = e.z[t * DEGREES + l] + a * (2 * l + 1) * layer.pre[l];
      h[l] = e.h[(t + 1) * DEGREES + l] + a * (2 * l + 1) * layer.out[l];
    }
    if (last)
      e.energies[a] = Activation<T>{*e.model, layer}.energy(z) + e.model->offset[e.species[a]];
    else
      Activation<T>{*e.model, layer}.forward(z, h);
  }
}

template <class T>
void backward_chunk(const Evaluation<T>& e, int t, long begin, long end, Room<T>& room, int thread) {
  const Layer<T>& layer = e.model->layers[t];
  for (long a = begin; a < end; a++) {
    T *z[DEGREES], *dh[DEGREES], *dz[DEGREES];
    for (int l = 0; l < DEGREES; l++) {
      z[l] = e.z[t * DEGREES + l] + a * (2 * l + 1) * layer.pre[l];
      dh[l] = e.dh[(t + 1) % 2][l] + a * (2 * l + 1) * layer.out[l];
      dz[l] = room.dz[l] + (a - begin) * (2 * l + 1) * layer.pre[l];
    }
    Activation<T>{*e.model, layer}.backward(z, dh, dz, room.wide);
  }
  for (int l = 0; l < DEGREES; l++) {
    const long rows = (end - begin) * (2 * l + 1), from = begin * (2 * l + 1), pre = layer.pre[l];
    if (t && layer.in[l]) {
      T* dh = e.dh[t % 2][l] + from * layer.in[l];
      if (layer.skip[l])
        multiply(l, rows, pre, layer.in[l], room.dz[l], layer.skip_t[l], dh, false, room.wide);
      else
        for (long i = 0; i < rows * layer.in[l]; i++) dh[i] = 0;
    }
    if (layer.linear_2[l])
      multiply(l, rows, pre, layer.message[l], room.dz[l], layer.linear_2_t[l], room.A[l], false, room.wide);
  }
  visit_tiles(e, begin, end, [&](long a, int start) { send_back(e, t, begin, a, start, room, thread); });
}

template <class T>
void collect_senders(const Evaluation<T>& e, int t, long begin, long end, Room<T>& room) {
  const Layer<T>& layer = e.model->layers[t];
  for (int l = 0; l < DEGREES; l++) {
    if (!layer.linear_1[l]) continue;
    const long n = layer.in[l], row = (2 * l + 1) * n, from = begin * row;
    for (int other = 1; other < e.n_threads; other++)
      for (long a = begin; a < end; a++) {
        const long place = e.row[other * e.n_nodes + a];
        if (place < 0) continue;
        T* total = e.dx[l] + a * row;
        const T* part = e.dx[other * DEGREES + l] + place * row;
        for (long i = 0; i < row; i++) total[i] += part[i];
      }
    multiply(l, (end - begin) * (2 * l + 1), n, n, e.dx[l] + from, layer.linear_1_t[l], e.dh[t % 2][l] + from, true, room.wide);
  }
}

template <class T>
void forward(const Evaluation<T>& e, long begin, long end, Room<T>& room) {
  for (int t = e.start; t < e.model->n_layers; t++) {
    if (t) {
      mix_senders(e, t, begin, end, room);
      e.wait(e.team);
    }
    for (long a = begin; a < end; a += CHUNK) forward_chunk(e, t, a, a + CHUNK < end ? a + CHUNK : end, room);
  }
}

template <class T>
void backward(const Evaluation<T>& e, long begin, long end, Room<T>& room, int thread) {
  const Model<T>& model = *e.model;
  const int n = model.layers[model.n_layers - 1].out[0];
  for (long a = begin; a < end; a++)
    for (int u = 0; u < n; u++)
      e.dh[model.n_layers % 2][0][a * n + u] = static_cast<T>((e.seed ? e.seed[a] : 1.0) * model.readout[u]);
  for (long i = 3 * e.first[begin]; i < 3 * e.first[end]; i++) e.gradient[i] = 0;
  for (int t = model.n_layers - 1; t >= 0; t--) {
    const Layer<T>& layer = model.layers[t];
    if (t)
      for (int l = 0; l < DEGREES; l++)
        for (long i = 0; i < e.n_rows[thread] * (2 * l + 1) * layer.in[l]; i++) e.dx[thread * DEGREES + l][i] = 0;
    for (long a = begin; a < end; a += CHUNK)
      backward_chunk(e, t, a, a + CHUNK < end ? a + CHUNK : end, room, thread);
    if (t) {
      e.wait(e.team);
      collect_senders(e, t, begin, end, room);
      e.wait(e.team);
    }
  }
}

template <class T>
void run(const Evaluation<T>& e, int thread) {
  Room<T> mine;
  room(*e.model, e.scratch[thread], &mine);
  const long begin = e.bounds[thread], end = e.bounds[thread + 1];
  forward(e, begin, end, mine);
  if (e.gradient) backward(e, begin, end, mine, thread);
}

template <class T>
long scratch(const Model<T>& model) {
  return room<T>(model, nullptr, nullptr);
}

}  // namespace

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
extern const Instructions instructions;
const Instructions instructions = {TEXT(NEQUIX_ISA), {run<float>, scratch<float>}, {run<double>, scratch<double>}};

}  // namespace NEQUIX_ISA
}  // namespace nequix
