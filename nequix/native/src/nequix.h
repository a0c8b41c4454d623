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
  NEQUIX_VERSION = 1, /* of this interface: raised when a function or a structure changes */
  NEQUIX_DEGREES = 4, /* 0 to 3 */
  NEQUIX_PAD = 16,    /* channels are padded with zeros to a multiple of this */
  NEQUIX_MOST_THREADS = 1024,
  NEQUIX_MOST_ELEMENTS = 128
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

/* NEQUIX_VERSION of the library: a caller that loads the library compares it with its own. */
NEQUIX_API int64_t nequix_version(void);

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

/* What a model file says of its model. Texts are UTF-8, on one line, cut to fit, and empty where unknown. */
typedef struct {
  double cutoff; /* A */
  int32_t n_layers, n_species;
  int32_t precisions;                           /* of its tables: 32, 64, or 96 for both */
  int32_t atomic_numbers[NEQUIX_MOST_ELEMENTS]; /* of the species, ascending */
  char name[128], training_data[512], theory[256], licence[512], citation[1024], source[512];
  char digest[72];   /* SHA-256 of the weight file that it was exported from */
  char checksum[72]; /* SHA-256 of its contents */
} nequix_description;

/* Describe the model file that these bytes are, which `nequix lammps export` wrote. */
NEQUIX_API const char* nequix_describe(const void* bytes, int64_t size, nequix_description* description);

/* Create a model from the bytes of a model file, as nequix_create does from a specification. The bytes are
   not needed afterwards. */
NEQUIX_API const char* nequix_open(const void* bytes, int64_t size, int32_t bits, const char* instructions,
                                   nequix_model** model);

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

/* Evaluate energies (n_nodes), eV, and features (n_nodes, n): the scalars of every atom after each layer,
   side by side and padded, so that n is the sum of out[0] over the layers. */
NEQUIX_API const char* nequix_features(const nequix_model* model, int64_t n_nodes, int64_t n_edges,
                                       const double* vectors, const int32_t* senders,
                                       const int32_t* receivers, const int32_t* species, double* energies,
                                       double* features, int32_t n_threads);

/* Evaluate several models as nequix_evaluate does, which are equal before layer n_shared: what comes before
   it runs forwards once. Energies are (n_models, n_nodes), the gradient (n_models, n_edges, 3). Only shapes
   are checked, not whether these layers are equal. */
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

/* One share of a system that is divided among processes or computers (ranks), layer by layer.

   The nodes of a part are its receivers, 0 to n_receivers - 1, and then its ghosts: copies of atoms that are
   receivers of some part, of this one too if the box is periodic. Ghosts send to receivers and have no edges
   of their own, so they are needed up to one cutoff from a receiver, whatever the number of layers. Before
   every layer but the first, the caller copies the features of receivers to their ghosts; after it, on the
   way back, it adds the derivatives of ghosts to the receivers. A step of a model of L layers:

     nequix_part_begin
     nequix_part_forward(0)                          reads species only
     for t = 1 ... L-1:     exchange features t; nequix_part_forward(t)
     then, with a gradient:
     nequix_part_backward(L-1)
     for t = L-1 ... 1:     exchange derivatives t; nequix_part_backward(t-1)

   Exchange features t: nequix_part_read the receivers' rows, nequix_part_write them to their ghosts.
   Exchange derivatives t: nequix_part_read the ghosts' rows, nequix_part_write them to the receivers, which
   adds them. The energies of all parts are then those of the undivided system, and gradients are of its total
   energy. Any other order of calls gives a message and changes nothing; nequix_part_begin may always be
   called, and abandons an unfinished step.

   A part keeps its memory from step to step and is used by one thread at a time. Parts are independent of one
   another: those of one model may be used by several threads at once. */
typedef struct nequix_part nequix_part;

/* Create a part that computes with n_threads threads, 1 to NEQUIX_MOST_THREADS. The model may be destroyed
   before its parts. On failure *part is null. */
NEQUIX_API const char* nequix_part_create(const nequix_model* model, int32_t n_threads, nequix_part** part);
NEQUIX_API void nequix_part_destroy(nequix_part* part);

/* The number of layers, L; 0 for no part. */
NEQUIX_API int32_t nequix_part_layers(const nequix_part* part);

/* The bytes of a node's row in the exchanges of features t and of derivatives t, t = 1 ... L-1: a multiple of
   64. For other t, and for no part, 0. */
NEQUIX_API int64_t nequix_part_width(const nequix_part* part, int32_t t);

/* Begin a step. The edges of receiver i are first[i] to first[i + 1] - 1, first[0] = 0; n_edges below is
   first[n_receivers]. Edges from the cutoff on contribute nothing.

     first     (n_receivers + 1)  copied; null only if n_receivers = 0
     vectors   (n_edges, 3)       from receiver to sender, A
     senders   (n_edges)          nodes, ghosts among them
     species   (n_nodes)          of receivers and ghosts
     energies  (n_receivers)      eV; written by the last forward stage
     gradient  (n_edges, 3)       eV/A, of the total energy by vectors; complete after
                                  backward(0); not used if with_gradient is 0

   All but `first` are used until the step's last call: they must stay where they are, and unchanged. Whether
   there is a gradient is said by with_gradient, since arrays of no elements may be null. A part may have no
   receivers, no nodes or no edges. */
NEQUIX_API const char* nequix_part_begin(nequix_part* part, int64_t n_receivers, int64_t n_nodes,
                                         const int64_t* first, const double* vectors, const int32_t* senders,
                                         const int32_t* species, int32_t with_gradient, double* energies,
                                         double* gradient);

/* Evaluate layer t of the receivers, and what its successor needs of them. For t > 0 every ghost that sends
   to a receiver within the cutoff must have been given its features: if one was not, this gives a message. */
NEQUIX_API const char* nequix_part_forward(nequix_part* part, int32_t t);

/* Differentiate layer t: add to the gradient, and for t > 0 sum the derivatives by the features that entered
   the layer, of all nodes. */
NEQUIX_API const char* nequix_part_backward(nequix_part* part, int32_t t);

/* Copy rows of n nodes to a buffer, or from it: features (derivatives = 0; writing sets them) between
   forward(t - 1) and forward(t), or derivatives (derivatives = 1; writing adds to them) between backward(t)
   and backward(t - 1). The nodes are nodes[0] to nodes[n - 1] or, if nodes is null, start to start + n - 1;
   any node may be read and written, so that rows can be passed on from ghost to ghost. The buffer has n
   nequix_part_width(t) bytes, with any alignment. All numbers are in the model's precision, so that parts of
   one model can exchange rows between computers of one kind. */
NEQUIX_API const char* nequix_part_read(const nequix_part* part, int32_t derivatives, int32_t t, int64_t n,
                                        const int32_t* nodes, int64_t start, void* buffer);
NEQUIX_API const char* nequix_part_write(nequix_part* part, int32_t derivatives, int32_t t, int64_t n,
                                         const int32_t* nodes, int64_t start, const void* buffer);

/* The memory that the part holds, in bytes; 0 for no part. */
NEQUIX_API int64_t nequix_part_bytes(const nequix_part* part);

#ifdef __cplusplus
}
#endif
#endif
