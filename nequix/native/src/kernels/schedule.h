// The stages of an evaluation: layers, chunks of receivers, tiles; what threads do between two barriers.
#ifndef NEQUIX_KERNELS_SCHEDULE_H
#define NEQUIX_KERNELS_SCHEDULE_H

#include "activation.h"
#include "dense.h"
#include "geometry.h"
#include "messages.h"
#include "radial.h"
#include "workspace.h"

namespace nequix::NEQUIX_ISA {
namespace {

// Features of degree l in layer t, and a layer's arrays by atom.
template <class T>
INLINE T* rows_of(T* array, int64_t atom, int l, int channels) {
  return array + atom * (2 * l + 1) * channels;
}

// ------------------------------------------------------------------------------------------------- tiles

template <class T>
void bind_senders(const Evaluation<T>& e, int t, const Path& path, const Tile<T>& tile, PathTask<T>& task,
                  int thread) {
  const Layer<T>& layer = e.model->layers[t];
  const int64_t row = (2 * path.l1 + 1) * static_cast<int64_t>(path.channels);
  task.channels = path.channels;
  if (path.l1 == task.l1) return;  // paths of one degree follow one another
  task.l1 = path.l1;
  for (int i = 0; i < tile.n; i++) {
    const int64_t sender = tile.sender[i];
    task.x[i] = t ? e.x[t * DEGREES + path.l1] + sender * row : layer.linear_1[0] + e.species[sender] * row;
    if (t && e.gradient)
      task.dx[i] = e.dx[thread * DEGREES + path.l1] + e.row[thread * e.n_nodes + sender] * row;
  }
}

// Call work(receiver, start) for the tiles of a chunk of receivers: those with the shortest edges first, so
// that the coefficients that they need are still in the cache when the next receiver needs them.
template <class T, class F>
INLINE void visit_tiles(const Evaluation<T>& e, int64_t begin, int64_t end, F work) {
  int most = 0;
  for (int64_t a = begin; a < end; a++)
    if (e.count[a] > most) most = e.count[a];
  for (int start = 0; start < most; start += TILE)
    for (int64_t a = begin; a < end; a++)
      if (start < e.count[a]) work(a, start);
}

template <class T>
void forward_tile(const Evaluation<T>& e, int t, int64_t begin, int64_t receiver, int start,
                  Workspace<T>& space) {
  const Layer<T>& layer = e.model->layers[t];
  Tile<T> tile;
  prepare_tile(e, receiver, start, tile);
  PathTask<T> task;
  task.tile = &tile;
  task.W = space.W;
  for (int p = 0; p < layer.n_paths; p++) {
    const Path& path = layer.paths[p];
    bind_senders(e, t, path, tile, task, 0);
    task.stride = layer.message[path.l3];
    task.A = space.A[path.l3] + (receiver - begin) * (2 * path.l3 + 1) * task.stride + path.message;
    radial_weights<T, false>(layer, path, tile, space.W, space.W);
    forward(path, task);
  }
}

template <class T>
void backward_tile(const Evaluation<T>& e, int t, int64_t begin, int64_t receiver, int start,
                   Workspace<T>& space, int thread) {
  using V = typename Vector<T>::type;
  const Layer<T>& layer = e.model->layers[t];
  Tile<T> tile;
  prepare_tile(e, receiver, start, tile);
  for (int i = 0; i < TILE * HARMONICS; i++) space.dY[i] = V{};
  PathTask<T> task;
  task.tile = &tile;
  task.W = space.W;
  task.dW = space.dW;
  task.dY = space.dY;
  for (int p = 0; p < layer.n_paths; p++) {
    const Path& path = layer.paths[p];
    bind_senders(e, t, path, tile, task, thread);
    task.stride = layer.message[path.l3];
    task.A = space.A[path.l3] + (receiver - begin) * (2 * path.l3 + 1) * task.stride + path.message;
    radial_weights<T, true>(layer, path, tile, space.W, space.dW);
    backward(path, task, t == 0);
  }
  accumulate_gradient(e, tile, space.dY);
}

// ------------------------------------------------------------------------------------------------- chunks

// x = h linear_1: the senders' features that a layer's edges read.
template <class T>
void mix_senders(const Evaluation<T>& e, int t, int64_t begin, int64_t end, Workspace<T>& space) {
  const Layer<T>& layer = e.model->layers[t];
  for (int l = 0; l < DEGREES; l++)
    if (layer.linear_1[l]) {
      const int64_t n = layer.in[l];
      const int64_t from = begin * (2 * l + 1);
      multiply(l, end * (2 * l + 1) - from, n, n, e.h[t * DEGREES + l] + from * n, layer.linear_1[l],
               e.x[t * DEGREES + l] + from * n, false, space.wide);
    }
}

template <class T>
void forward_chunk(const Evaluation<T>& e, int t, int64_t begin, int64_t end, Workspace<T>& space) {
  const Layer<T>& layer = e.model->layers[t];
  const bool last = t == e.model->n_layers - 1;
  for (int l = 0; l < DEGREES; l++)
    for (int64_t i = 0; i < (end - begin) * (2 * l + 1) * layer.message[l]; i++) space.A[l][i] = 0;
  visit_tiles(e, begin, end, [&](int64_t a, int start) { forward_tile(e, t, begin, a, start, space); });
  // z = A linear_2 + h skip
  for (int l = 0; l < DEGREES; l++) {
    const int64_t rows = (end - begin) * (2 * l + 1);
    const int64_t from = begin * (2 * l + 1);
    const int64_t pre = layer.pre[l];
    if (!pre) continue;
    T* z = e.z[t * DEGREES + l] + from * pre;
    bool written = false;
    if (layer.linear_2[l]) {
      multiply(l, rows, layer.message[l], pre, space.A[l], layer.linear_2[l], z, false, space.wide);
      written = true;
    }
    if (t && layer.skip[l]) {
      multiply(l, rows, layer.in[l], pre, e.h[t * DEGREES + l] + from * layer.in[l], layer.skip[l], z,
               written, space.wide);
      written = true;
    }
    if (!written)
      for (int64_t i = 0; i < rows * pre; i++) z[i] = 0;
    if (t == 0 && layer.skip[l])  // a row per species, of scalars
      for (int64_t a = 0; a < rows; a++)
        for (int64_t u = 0; u < pre; u++) z[a * pre + u] += layer.skip[l][e.species[begin + a] * pre + u];
  }
  for (int64_t a = begin; a < end; a++) {
    T* z[DEGREES];
    T* h[DEGREES];
    for (int l = 0; l < DEGREES; l++) {
      z[l] = rows_of(e.z[t * DEGREES + l], a, l, layer.pre[l]);
      h[l] = rows_of(e.h[(t + 1) * DEGREES + l], a, l, layer.out[l]);
    }
    const Activation<T> activation{*e.model, layer};
    if (last) e.energies[a] = activation.energy(z) + e.model->offset[e.species[a]];
    if (!last || e.features) activation.forward(z, h);
    if (e.features) {
      double* features = e.features + a * e.n_features;
      for (int before = 0; before < t; before++) features += e.model->layers[before].out[0];
      for (int u = 0; u < layer.out[0]; u++) features[u] = h[0][u];
    }
  }
}

template <class T>
void backward_chunk(const Evaluation<T>& e, int t, int64_t begin, int64_t end, Workspace<T>& space,
                    int thread) {
  const Layer<T>& layer = e.model->layers[t];
  for (int64_t a = begin; a < end; a++) {
    T* z[DEGREES];
    T* dh[DEGREES];
    T* dz[DEGREES];
    for (int l = 0; l < DEGREES; l++) {
      z[l] = rows_of(e.z[t * DEGREES + l], a, l, layer.pre[l]);
      dh[l] = rows_of(e.dh[(t + 1) % 2][l], a, l, layer.out[l]);
      dz[l] = rows_of(space.dz[l], a - begin, l, layer.pre[l]);
    }
    Activation<T>{*e.model, layer}.backward(z, dh, dz, space.wide);
  }
  for (int l = 0; l < DEGREES; l++) {
    const int64_t rows = (end - begin) * (2 * l + 1);
    const int64_t from = begin * (2 * l + 1);
    const int64_t pre = layer.pre[l];
    if (t && layer.in[l]) {
      T* dh = e.dh[t % 2][l] + from * layer.in[l];
      if (layer.skip[l])
        multiply(l, rows, pre, layer.in[l], space.dz[l], layer.skip_t[l], dh, false, space.wide);
      else
        for (int64_t i = 0; i < rows * layer.in[l]; i++) dh[i] = 0;
    }
    if (layer.linear_2[l])
      multiply(l, rows, pre, layer.message[l], space.dz[l], layer.linear_2_t[l], space.A[l], false,
               space.wide);
  }
  visit_tiles(e, begin, end,
              [&](int64_t a, int start) { backward_tile(e, t, begin, a, start, space, thread); });
}

// Add what all threads summed over nodes begin to end - 1, thread by thread so that the digits do not depend
// on timing.
template <class T>
void collect_senders(const Evaluation<T>& e, int t, int64_t begin, int64_t end) {
  const Layer<T>& layer = e.model->layers[t];
  for (int l = 0; l < DEGREES; l++) {
    if (!layer.linear_1[l]) continue;
    const int64_t row = (2 * l + 1) * static_cast<int64_t>(layer.in[l]);
    for (int other = 1; other < e.n_threads; other++)
      for (int64_t a = begin; a < end; a++) {
        const int64_t place = e.row[other * e.n_nodes + a];
        if (place < 0) continue;
        T* total = e.dx[l] + a * row;
        const T* part = e.dx[other * DEGREES + l] + place * row;
        for (int64_t i = 0; i < row; i++) total[i] += part[i];
      }
  }
}

// Take the complete dx of layer t through linear_1 to the features that entered the layer.
template <class T>
void unmix_senders(const Evaluation<T>& e, int t, int64_t begin, int64_t end, Workspace<T>& space) {
  const Layer<T>& layer = e.model->layers[t];
  for (int l = 0; l < DEGREES; l++) {
    if (!layer.linear_1[l]) continue;
    const int64_t n = layer.in[l];
    const int64_t from = begin * (2 * l + 1) * n;
    multiply(l, (end - begin) * (2 * l + 1), n, n, e.dx[l] + from, layer.linear_1_t[l], e.dh[t % 2][l] + from,
             true, space.wide);
  }
}

// ------------------------------------------------------------------------------------------------- stages

// Where derivatives start: at the energies of receivers begin to end - 1.
template <class T>
void seed_derivatives(const Evaluation<T>& e, int64_t begin, int64_t end) {
  const Model<T>& model = *e.model;
  const int n = model.layers[model.n_layers - 1].out[0];
  for (int64_t a = begin; a < end; a++)
    for (int u = 0; u < n; u++)
      e.dh[model.n_layers % 2][0][a * n + u] = static_cast<T>((e.seed ? e.seed[a] : 1.0) * model.readout[u]);
  for (int64_t i = 3 * e.first[begin]; i < 3 * e.first[end]; i++) e.gradient[i] = 0;
}

template <class T>
void clear_senders(const Evaluation<T>& e, int t, int thread) {
  for (int l = 0; l < DEGREES; l++) {
    const int64_t row = (2 * l + 1) * static_cast<int64_t>(e.model->layers[t].in[l]);
    for (int64_t i = 0; i < e.n_rows[thread] * row; i++) e.dx[thread * DEGREES + l][i] = 0;
  }
}

// One thread's part of a forward stage.
template <class T>
void forward_layer(const Evaluation<T>& e, int t, int thread) {
  Workspace<T> space;
  lay_out(*e.model, e.workspace[thread], &space);
  const int64_t begin = e.bounds[thread];
  const int64_t end = e.bounds[thread + 1];
  if (t && t == e.start) {  // the layer before was another model's
    mix_senders(e, t, begin, end, space);
    e.wait(e.barrier);
  }
  for (int64_t a = begin; a < end; a += CHUNK)
    forward_chunk(e, t, a, a + CHUNK < end ? a + CHUNK : end, space);
  if (t + 1 < e.model->n_layers) mix_senders(e, t + 1, begin, end, space);
}

// One thread's part of a backward stage. It finishes dx of the nodes that it reads in the next stage, so that
// threads need not wait in between.
template <class T>
void backward_layer(const Evaluation<T>& e, int t, int thread) {
  Workspace<T> space;
  lay_out(*e.model, e.workspace[thread], &space);
  const int64_t begin = e.bounds[thread];
  const int64_t end = e.bounds[thread + 1];
  if (t == e.model->n_layers - 1) {
    seed_derivatives(e, begin, end);
  } else {
    unmix_senders(e, t + 1, begin, end, space);
    if (t) e.wait(e.barrier);  // until nobody reads the dx that is cleared next
  }
  if (t) clear_senders(e, t, thread);
  for (int64_t a = begin; a < end; a += CHUNK)
    backward_chunk(e, t, a, a + CHUNK < end ? a + CHUNK : end, space, thread);
  if (!t) return;
  e.wait(e.barrier);
  collect_senders(e, t, begin, end);
  const int64_t n_ghosts = e.n_nodes - e.n_receivers;
  collect_senders(e, t, e.n_receivers + n_ghosts * thread / e.n_threads,
                  e.n_receivers + n_ghosts * (thread + 1) / e.n_threads);
}

template <class T>
int64_t workspace_size(const Model<T>& model) {
  return lay_out<T>(model, nullptr, nullptr);
}

}  // namespace
}  // namespace nequix::NEQUIX_ISA

#endif
