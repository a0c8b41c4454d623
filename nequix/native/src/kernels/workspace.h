// A thread's working memory.
#ifndef NEQUIX_KERNELS_WORKSPACE_H
#define NEQUIX_KERNELS_WORKSPACE_H

#include "dense.h"
#include "simd.h"

namespace nequix::NEQUIX_ISA {
namespace {

template <class T>
struct Workspace {
  T* A[DEGREES];                 // summed messages of a chunk of receivers, then the gradient by them
  T* dz[DEGREES];                // gradient by the features before the activation, of a chunk
  double* wide;                  // what is computed in float64
  T* W;                          // radial weights of a tile and path
  T* dW;                         // their slopes
  typename Vector<T>::type* dY;  // gradient by the harmonics, lanes not yet summed, of a tile
};

// Lay out a workspace from `start`. Returns how many values it takes; with out = null it only counts.
template <class T>
int64_t lay_out(const Model<T>& model, T* start, Workspace<T>* out) {
  int64_t message[DEGREES] = {};
  int64_t pre[DEGREES] = {};
  int64_t wide = 0;
  const auto raise = [](int64_t& most, int64_t n) {
    if (n > most) most = n;
  };
  for (int t = 0; t < model.n_layers; t++) {
    const Layer<T>& layer = model.layers[t];
    int64_t per_atom = 0;
    for (int l = 0; l < DEGREES; l++) {
      const int64_t rows = CHUNK * (2 * l + 1);
      raise(message[l], rows * layer.message[l]);
      raise(pre[l], rows * layer.pre[l]);
      per_atom += (2 * l + 1) * static_cast<int64_t>(layer.pre[l]);
    }
    raise(wide, per_atom);  // of the activation
    for (const int columns : {layer.in[0], layer.message[0], layer.pre[0]})
      raise(wide, ROWS * static_cast<int64_t>(columns));  // of the matrix products
  }
  int64_t used = 0;
  const auto take = [&](int64_t n) {
    T* place = out ? start + used : nullptr;
    used += (n + PAD - 1) / PAD * PAD;
    return place;
  };
  Workspace<T> w;
  w.dY = reinterpret_cast<typename Vector<T>::type*>(take(TILE * HARMONICS * Vector<T>::size));
  for (int l = 0; l < DEGREES; l++) {
    w.A[l] = take(message[l]);
    w.dz[l] = take(pre[l]);
  }
  w.wide = reinterpret_cast<double*>(take(wide * (sizeof(double) / sizeof(T))));
  w.W = take(TILE * model.most_channels);
  w.dW = take(TILE * model.most_channels);
  if (out) *out = w;
  return used;
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
