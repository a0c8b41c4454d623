/* The C interface of the native kernels: a model is created once and evaluated on any number of graphs.

   Arrays are dense, in C order. Functions that can fail return a message, or null if all went well; the
   message lives until the same thread's next call. Counts, indices and pointers are checked, but arrays must
   be as long as the counts say; those of no elements may be null. After a failure what is in the results is
   undefined. Models may be used by several threads at once. */
#ifndef NEQUIX_H
#define NEQUIX_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NEQUIX_API __attribute__((visibility("default")))

enum {
  NEQUIX_DEGREES = 4, /* 0 to 3 */
  NEQUIX_PAD = 16,    /* channels are padded with zeros to a multiple of this */
  NEQUIX_MOST_THREADS = 1024
};

/* One tensor-product path; channels are padded to a multiple of NEQUIX_PAD, here and in all that follows. A
   layer has at most 64 paths, and a degree 131,072 channels. */
typedef struct {
  int32_t l1, l2, l3;
  int32_t channels;
  int32_t weight;  /* first column in the radial weights */
  int32_t message; /* first channel in the summed messages of degree l3 */
} nequix_path;

/* One interaction layer. Absent degrees have no channels, absent matrices are null; factors such as 1/sqrt(n)
   are part of the matrices. */
typedef struct {
  int32_t
      in[NEQUIX_DEGREES]; /* channels that enter; of the first layer scalars only, those of a species' row */
  int32_t message[NEQUIX_DEGREES]; /* of the summed messages */
  int32_t pre[NEQUIX_DEGREES];     /* before the activation, gates included */
  int32_t out[NEQUIX_DEGREES];     /* of what leaves; of the last layer scalars only */
  int32_t gate[NEQUIX_DEGREES];    /* first gate of each degree, in pre[0] */
  int32_t n_paths, n_weights;
  const nequix_path* paths;
  const double* table;                    /* (n_segments, n_weights, degree + 1): see nequix_spec */
  const double* linear_1[NEQUIX_DEGREES]; /* (in, in); of the first layer (n_species, in) */
  const double* linear_2[NEQUIX_DEGREES]; /* (message, pre) */
  const double* skip[NEQUIX_DEGREES];     /* (in, pre); of the first layer (n_species, pre) */
  const double* gain[NEQUIX_DEGREES];     /* (pre) */
  double norm[NEQUIX_DEGREES];            /* weight of a degree's squares in the mean square */
} nequix_layer;

/* Radial weights are polynomials in each segment of [0, cutoff], by ascending power of t = (d - middle) /
   half. The segments consist of cells, which are n_cells equal parts. */
typedef struct {
  int32_t n_species, lmax, n_layers, n_cells, n_segments, degree, layer_norm;
  const int32_t* cells;           /* segment of each cell, ascending */
  const double *middles, *halves; /* of each segment, A */
  double cutoff;                  /* A */
  double gate_scale;              /* 1 / normalisation of the activation */
  double epsilon;                 /* of the norm */
  const nequix_layer* layers;
  const double* readout; /* (channels of the last layer), eV */
  const double* offset;  /* (n_species), eV */
} nequix_spec;

typedef struct nequix_model nequix_model;

/* The sizes of nequix_path, nequix_layer and nequix_spec: a caller compares them with those that it was
 * compiled with. */
NEQUIX_API void nequix_sizes(int64_t sizes[3]);

/* A digest of the sources that this library was compiled from. */
NEQUIX_API const char* nequix_digest(void);

/* Create a model that computes in 32 or 64 bits, with the instructions named ("avx512", "avx2", "base") or,
   if null, the best that this machine has. It copies the arrays of the specification. On failure *model is
   null. */
NEQUIX_API const char* nequix_create(const nequix_spec* spec, int32_t bits, const char* instructions,
                                     nequix_model** model);
NEQUIX_API void nequix_destroy(nequix_model* model);

/* Let foreign functions find a model by a key other than 0, until it is destroyed; of equal keys the last
 * counts. */
NEQUIX_API const char* nequix_register(nequix_model* model, int64_t key);

/* The name of the instruction set that runs; null for no model. */
NEQUIX_API const char* nequix_instructions(const nequix_model* model);

/* Evaluate energies (n_nodes), eV, and unless null the gradient (n_edges, 3) of sum_a seed_a energy_a by
   vectors, eV/A. A null seed is all ones. Receivers ascend. The same number of threads gives the same digits.
 */
NEQUIX_API const char* nequix_evaluate(const nequix_model* model, int64_t n_nodes, int64_t n_edges,
                                       const double* vectors, const int32_t* senders,
                                       const int32_t* receivers, const int32_t* species, const double* seed,
                                       double* energies, double* gradient, int32_t n_threads);

/* The same for models that are equal before layer n_shared: what comes before it runs forwards once. Energies
   are (n_models, n_nodes), the gradient (n_models, n_edges, 3). Only shapes are checked, not whether these
   layers are equal. */
NEQUIX_API const char* nequix_evaluate_members(const nequix_model* const* models, int32_t n_models,
                                               int32_t n_shared, int64_t n_nodes, int64_t n_edges,
                                               const double* vectors, const int32_t* senders,
                                               const int32_t* receivers, const int32_t* species,
                                               double* energies, double* gradient, int32_t n_threads);

/* Sum the gradient into forces (n_nodes, 3), eV/A, and the symmetric virials (n_graphs, 3, 3) of structures,
   eV; node_graph is the structure of each node. */
NEQUIX_API const char* nequix_forces(int64_t n_nodes, int64_t n_edges, int64_t n_graphs,
                                     const double* vectors, const int32_t* senders, const int32_t* receivers,
                                     const int32_t* node_graph, const double* gradient, double* forces,
                                     double* virials);

/* How often a model was evaluated, which shows that the kernels ran. */
NEQUIX_API int64_t nequix_calls(const nequix_model* model);

#ifdef __cplusplus
}
#endif
#endif
