// Data that the kernels read: a model in one precision, and one evaluation of it.
//
// Plain data. This header is compiled for several instruction sets, so that it must not hold a function that
// the linker could mistake for another's.
#ifndef NEQUIX_MODEL_H
#define NEQUIX_MODEL_H

#include <cstdint>

namespace nequix {

constexpr int DEGREES = 4;     // 0 to 3
constexpr int HARMONICS = 16;  // up to degree 3
constexpr int TILE = 16;       // edges of one receiver that are processed together
constexpr int CHUNK = 8;       // receivers with messages in memory at a time
constexpr int PAD = 16;        // channels are padded to a multiple of it

// Degree of the radial polynomials: known to the compiler, because their evaluation takes a third of the
// time.
template <class T>
struct Radial;
template <>
struct Radial<float> {
  static constexpr int degree = 6;
};
template <>
struct Radial<double> {
  static constexpr int degree = 11;
};

// One tensor-product path; channels are padded to a multiple of PAD.
struct Path {
  int l1, l2, l3;
  int channels;
  int weight;   // first column in the radial weights
  int message;  // first channel in the summed messages of degree l3
};

// Matrices are (in, out), row by row; those with _t the other way round. Absent ones are null.
template <class T>
struct Layer {
  // Channels by degree: of what enters, of the summed messages, before the activation (gates included), of
  // what leaves.
  int in[DEGREES], message[DEGREES], pre[DEGREES], out[DEGREES];
  int gate[DEGREES];  // first gate of each degree, in pre[0]
  int n_weights, n_paths;
  const Path* paths;  // by l1
  const T* table;     // (segment, block of PAD columns, power from the highest, column)
  const T *linear_1[DEGREES], *linear_1_t[DEGREES];  // of the first layer: a row per species
  const T *linear_2[DEGREES], *linear_2_t[DEGREES];
  const T *skip[DEGREES], *skip_t[DEGREES];  // of the first layer: a row per species
  const T* gain[DEGREES];
  T norm[DEGREES];  // weight of each degree in the mean square
};

template <class T>
struct Model {
  int n_species, lmax, n_layers, n_cells;
  const int* cells;                // segment of each of n_cells equal parts of [0, cutoff]
  const double *middles, *halves;  // of the segments, A
  double cutoff;                   // A
  double gate_scale, epsilon;
  bool norm;
  const Layer<T>* layers;
  const double *readout, *offset;
  int64_t most_channels;  // of a path
};

// One evaluation, shared by its threads. Nodes are the receivers, which have edges and energies, and then
// ghosts, which only send: x and dx have rows for all nodes, everything else for receivers. Features are one
// block per degree, (atom, component, channel); those of layer t and degree l are x[t * DEGREES + l].
template <class T>
struct Evaluation {
  const Model<T>* model;
  int start;  // first layer that runs forwards: h, x and z of those before are there already
  int64_t n_receivers, n_nodes;
  const double* vectors;
  const int *senders, *species;
  const int64_t* first;  // edge of each receiver, and their number
  const int* order;      // each receiver's edges within the cutoff, from short to long, from first[i] on
  const int* count;      // how many those are
  const double* seed;    // weight of each energy in the sum whose gradient is taken; null: ones
  double *energies, *gradient;
  double* features;    // scalars after each layer, by atom, n_features of them; null: not wanted
  int64_t n_features;  // of an atom
  T** x;               // senders' features after linear_1; the first layer reads its linear_1 instead
  T** z;               // features before the activation
  T** h;               // features that enter a layer; those of layer n_layers leave the last
  T* dh[2][DEGREES];   // gradient by h, of even and odd layers
  T** dx;              // gradient by x, dx[thread * DEGREES + l]: each thread sums into rows of its own
  const int* row;  // row[thread * n_nodes + atom], -1 where a thread has none; the first has all, in order
  const int64_t* n_rows;  // of each thread
  T** workspace;          // of each thread
  const int64_t* bounds;  // first receiver of each thread, and their number
  int n_threads;
  void (*wait)(void* barrier);  // until all threads arrive
  void* barrier;
};

// Stages, called by every thread of an evaluation: forward from layer `start` to the last, then backward to
// layer 0. All threads must have left a forward stage before any of them enters the next stage, forward or
// backward (except from the last forward stage to the backward one). Between backward stages they need not
// wait.
template <class T>
struct Kernels {
  // Evaluate layer t of the receivers, then x of layer t + 1, or the energies after the last layer.
  void (*forward)(const Evaluation<T>&, int t, int thread);
  // Differentiate layer t: add to the gradient and sum dx of all nodes. Expects the complete dx of layer t
  // + 1.
  void (*backward)(const Evaluation<T>&, int t, int thread);
  int64_t (*workspace_size)(const Model<T>&);  // values that a thread needs
};

struct Instructions {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace nequix

#endif
