// Radial weights of a tile's edges: piecewise polynomials in place of the radial MLP.
#ifndef NEQUIX_KERNELS_RADIAL_H
#define NEQUIX_KERNELS_RADIAL_H

#include "geometry.h"

namespace nequix::NEQUIX_ISA {
namespace {

// Radial weights of E edges in one segment and, with `slopes`, their derivatives; W and dW have a row per
// edge.
template <class T, int E, bool slopes>
INLINE void polynomials(const T* table, const T* t, T* W, T* dW, int channels) {
  using V = typename Vector<T>::type;
  constexpr int degree = Radial<T>::degree;
  V place[E];
  for (int e = 0; e < E; e++) place[e] = V{} + t[e];
  for (int u = 0; u < channels; u += Vector<T>::size) {
    const T* c = table + (u / PAD) * (degree + 1) * PAD + u % PAD;
    V value[E];
    V slope[E];
    const V first = load(c);
    const V second = load(c + PAD);
    for (int e = 0; e < E; e++) {
      slope[e] = first;
      value[e] = first * place[e] + second;
    }
    UNROLL(16)
    for (int k = 2; k <= degree; k++) {
      const V next = load(c + k * PAD);
      for (int e = 0; e < E; e++) {
        if (slopes) slope[e] = slope[e] * place[e] + value[e];
        value[e] = value[e] * place[e] + next;
      }
    }
    for (int e = 0; e < E; e++) {
      store(W + e * channels + u, value[e]);
      if (slopes) store(dW + e * channels + u, slope[e]);
    }
  }
}

// Radial weights of a path. Edges are in order of length, so that up to four of a segment share its
// coefficients. Not inlined, so that a profile shows it apart from the rest.
template <class T, bool slopes>
__attribute__((noinline)) void radial_weights(const Layer<T>& layer, const Path& path, const Tile<T>& tile,
                                              T* W, T* dW) {
  constexpr int powers = Radial<T>::degree + 1;
  const int64_t row = static_cast<int64_t>(layer.n_weights) * powers;
  const T* table = layer.table + static_cast<int64_t>(path.weight) * powers;
  for (int e = 0; e < tile.n;) {
    const int segment = tile.segment[e];
    int run = 1;
    while (run < 4 && e + run < tile.n && tile.segment[e + run] == segment) run++;
    const T* c = table + segment * row;
    const T* t = tile.t + e;
    T* w = W + e * path.channels;
    T* dw = dW + e * path.channels;
    switch (run) {
      case 1: polynomials<T, 1, slopes>(c, t, w, dw, path.channels); break;
      case 2: polynomials<T, 2, slopes>(c, t, w, dw, path.channels); break;
      case 3: polynomials<T, 3, slopes>(c, t, w, dw, path.channels); break;
      default: polynomials<T, 4, slopes>(c, t, w, dw, path.channels);
    }
    e += run;
  }
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
