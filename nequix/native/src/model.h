// What the kernels read: a model in one precision, and one evaluation of it. Plain data: this header is compiled
// for several instruction sets, so that it must not hold a function that a linker could mistake for another's.
#ifndef NEQUIX_MODEL_H
#define NEQUIX_MODEL_H

namespace nequix {

enum { DEGREES = 4, HARMONICS = 16, TILE = 16, PAD = 16 };

// Degree of the radial polynomials: known to the compiler, as their evaluation takes a third of all time.
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
  int in[DEGREES], message[DEGREES], pre[DEGREES], out[DEGREES];  // channels; pre: before the activation
  int gate[DEGREES];                                              // first gate of each degree, in pre[0]
  int n_weights, n_paths;
  const Path* paths;
  const T* table;  // (segment, block of PAD columns, power from the highest, column)
  const T *linear_1[DEGREES], *linear_1_t[DEGREES];  // of the first layer: a row a species
  const T *linear_2[DEGREES], *linear_2_t[DEGREES];
  const T *skip[DEGREES], *skip_t[DEGREES];
  const T* gain[DEGREES];
  T norm[DEGREES];  // weight of each degree in the mean square
};

template <class T>
struct Model {
  int n_species, lmax, n_layers, n_cells;
  const int* cells;  // segment of each of equal parts of [0, cutoff]
  const double *middles, *halves;
  double cutoff;
  double gate_scale, epsilon;
  bool norm;
  const Layer<T>* layers;
  const double *readout, *offset;
  long most_channels;  // of a path
};

// Features are one block a degree, (atom, component, channel).
template <class T>
struct Evaluation {
  const Model<T>* model;
  int start;  // first layer that runs forwards: h, x and z of those before are there already
  long n_nodes;
  const double* vectors;
  const int *senders, *species;
  const long* first;  // edge of each receiver, and their number
  const int* order;   // each receiver's edges within the cutoff, from short to long, from first[i] on
  const int* count;   // how many those are
  const double* seed;
  double *energies, *gradient;
  T** x;              // by layer and degree, x[t * DEGREES + l]: senders' features; the first layer reads its linear_1 instead
  T** z;              // as x: features before the activation
  T** h;              // as x: features that enter a layer; of one layer more, which are those that leave the last
  T* dh[2][DEGREES];  // of even and odd layers
  T** dx;             // of each thread, by degree: dx[thread * DEGREES + l], with rows of its own
  const int* row;     // of each thread and atom: row[thread * n_nodes + a], -1 where it has none; the first has all, in order
  const long* n_rows;  // of each thread
  T** scratch;        // of each thread
  const long* bounds;  // first receiver of each thread, and their number
  int n_threads;
  void (*wait)(void*);  // until all threads arrive
  void* team;
};

// Receivers whose messages exist at one time.
enum { CHUNK = 8 };

template <class T>
struct Kernels {
  void (*run)(const Evaluation<T>&, int thread);
  long (*scratch)(const Model<T>&);  // values that a thread needs
};

struct Instructions {
  const char* name;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace nequix

#endif
