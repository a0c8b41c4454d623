// Messages of a tile along one tensor-product path, and their derivatives.
//
// Sender's features x, harmonics Y, radial weights w and couplings C make A[k] += sum_ij C[i,j,k] (w x)[i]
// Y[j]. With M[i,k] = sum_j C[i,j,k] Y[j], computed once for all edges of the tile, channels are streamed:
// the sums stay in registers.
#ifndef NEQUIX_KERNELS_MESSAGES_H
#define NEQUIX_KERNELS_MESSAGES_H

#include "geometry.h"

namespace nequix::NEQUIX_ISA {
namespace {

// Inputs and outputs of the work on a path.
template <class T>
struct PathTask {
  const Tile<T>* tile;
  int l1 = -1;
  int channels;
  const T* W;   // radial weights, a row per edge
  const T* dW;  // their slopes
  const T* x[TILE];
  T* dx[TILE];
  T* A;  // the receiver's messages of this path, or the gradient by them
  int64_t stride;
  typename Vector<T>::type* dY;  // HARMONICS of each edge; the place of the first, a constant, has the slope
};

template <class T, int L1, int L2, int L3, int B>
INLINE void forward_channels(const PathTask<T>& task, const T* M, int u) {
  using V = typename Vector<T>::type;
  constexpr int I = 2 * L1 + 1;
  constexpr int K = 2 * L3 + 1;
  Block<V, B> out[K];
  // Sums of tiles are added to the receiver's: this rounds less than adding edge by edge.
  for (int k = 0; k < K; k++)
    for (int b = 0; b < B; b++) out[k].v[b] = V{};
  const T* W = task.W + u;
  for (int e = 0; e < task.tile->n; e++) {
    const Block<V, B> w(W);
    Block<V, B> x[I];
    for (int i = 0; i < I; i++) {
      x[i] = Block<V, B>(task.x[e] + i * task.channels + u);
      for (int b = 0; b < B; b++) x[i].v[b] *= w.v[b];
    }
    Coupling<L1, L2, L3>::template message<T, V, B>(M + e, x, out);
    W += task.channels;
  }
  for (int k = 0; k < K; k++) {
    Block<V, B> total(task.A + k * task.stride + u);
    for (int b = 0; b < B; b++) total.v[b] += out[k].v[b];
    total.save(task.A + k * task.stride + u);
  }
}

template <class T, int L1, int L2, int L3>
void forward_path(const PathTask<T>& task) {
  constexpr int step = Vector<T>::size;
  using Path = Coupling<L1, L2, L3>;
  typename Tile<T>::W matrices[Path::size];
  Path::template contract<T>(task.tile->Y + L2 * L2, matrices);
  const T* M = reinterpret_cast<const T*>(matrices);
  int u = 0;
  for (; u + 2 * step <= task.channels; u += 2 * step) forward_channels<T, L1, L2, L3, 2>(task, M, u);
  for (; u < task.channels; u += step) forward_channels<T, L1, L2, L3, 1>(task, M, u);
}

// For one edge q[i] = sum_k M[i,k] dA[k] gives dx = w q and dw = x q, hence the slope along the edge.
template <class T, int L1, int L2, int L3, int B, bool with_dx>
INLINE void backward_channels(const PathTask<T>& task, const T* M, int e, int u, typename Vector<T>::type* dY,
                              typename Vector<T>::type& slope) {
  using V = typename Vector<T>::type;
  using Path = Coupling<L1, L2, L3>;
  constexpr int I = 2 * L1 + 1;
  const Block<V, B> w(task.W + e * task.channels + u);
  {
    Block<V, B> q[I];
    Block<V, B> dw;
    for (int i = 0; i < I; i++)
      for (int b = 0; b < B; b++) q[i].v[b] = V{};
    Path::template feature_adjoint<T, V, B>(M + e, task.A + u, task.stride, q);
    for (int b = 0; b < B; b++) dw.v[b] = V{};
    for (int i = 0; i < I; i++) {
      const Block<V, B> x(task.x[e] + i * task.channels + u);
      for (int b = 0; b < B; b++) dw.v[b] += x.v[b] * q[i].v[b];
      if (with_dx) {
        T* p = task.dx[e] + i * task.channels + u;
        Block<V, B> dx(p);
        for (int b = 0; b < B; b++) dx.v[b] += w.v[b] * q[i].v[b];
        dx.save(p);
      }
    }
    slope += dot(dw, Block<V, B>(task.dW + e * task.channels + u));
  }
  if (!L2) return;
  // Reload instead of keeping values in registers: there are not enough for both loops, and spills cost more.
  if (L1 && L3) __asm__ volatile("" ::: "memory");
  Block<V, B> x[I];
  for (int i = 0; i < I; i++) {
    x[i] = Block<V, B>(task.x[e] + i * task.channels + u);
    for (int b = 0; b < B; b++) x[i].v[b] *= w.v[b];
  }
  Path::template harmonic_adjoint<T, V, B>(x, task.A + u, task.stride, dY);
}

template <class T, int L1, int L2, int L3, bool with_dx>
void backward_path(const PathTask<T>& task) {
  using V = typename Vector<T>::type;
  using Path = Coupling<L1, L2, L3>;
  constexpr int step = Vector<T>::size;
  constexpr int J = 2 * L2 + 1;
  typename Tile<T>::W matrices[Path::size];
  Path::template contract<T>(task.tile->Y + L2 * L2, matrices);
  const T* M = reinterpret_cast<const T*>(matrices);
  for (int e = 0; e < task.tile->n; e++) {
    V* place = task.dY + e * HARMONICS + L2 * L2;
    V dY[J];
    V slope = task.dY[e * HARMONICS];
    for (int j = 0; j < J; j++) dY[j] = place[j];
    int u = 0;
    for (; u + 2 * step <= task.channels; u += 2 * step)
      backward_channels<T, L1, L2, L3, 2, with_dx>(task, M, e, u, dY, slope);
    for (; u < task.channels; u += step)
      backward_channels<T, L1, L2, L3, 1, with_dx>(task, M, e, u, dY, slope);
    if (L2 > 0)
      for (int j = 0; j < J; j++) place[j] = dY[j];
    task.dY[e * HARMONICS] = slope;
  }
}

#define NEQUIX_PATH_KEY(l1, l2, l3) ((l1) * 16 + (l2) * 4 + (l3))

template <class T>
void forward(const Path& path, const PathTask<T>& task) {
  switch (NEQUIX_PATH_KEY(path.l1, path.l2, path.l3)) {
#define VISIT(L1, L2, L3) \
  case NEQUIX_PATH_KEY(L1, L2, L3): forward_path<T, L1, L2, L3>(task); break;
    NEQUIX_PATHS(VISIT)
#undef VISIT
  }
}

// The first layer's features are scalars that the species determines: their derivatives are not needed.
template <class T>
void backward(const Path& path, const PathTask<T>& task, bool first_layer) {
  switch (NEQUIX_PATH_KEY(path.l1, path.l2, path.l3)) {
#define VISIT(L1, L2, L3)                          \
  case NEQUIX_PATH_KEY(L1, L2, L3):                \
    if (L1 == 0 && first_layer)                    \
      backward_path<T, L1, L2, L3, L1 != 0>(task); \
    else                                           \
      backward_path<T, L1, L2, L3, true>(task);    \
    break;
    NEQUIX_PATHS(VISIT)
#undef VISIT
  }
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
