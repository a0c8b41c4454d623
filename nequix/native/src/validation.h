// Checks of the arguments of C callers: a message, never a memory error, as long as their arrays are as long
// as they
// say.
#ifndef NEQUIX_VALIDATION_H
#define NEQUIX_VALIDATION_H

#include <cstdint>

#include "graph.h"
#include "nequix.h"
#include "rows.h"

namespace nequix {

// All functions throw std::invalid_argument, which says what is wrong and where.

// A specification whose radial polynomials must have this degree.
void check_specification(const nequix_spec& spec, int degree);

// A graph for a model with n_species species, and its energies.
void check_graph(const Graph& graph, int n_species, const double* energies);

// A part's graph for a model with n_species species, and its results.
void check_part(const PartGraph& graph, int n_species, const double* energies, bool with_gradient,
                const double* gradient);

// Nodes of a graph of n_nodes, to be read or written.
void check_nodes(const NodeList& nodes, int64_t n_nodes);

void check_threads(int32_t n_threads);

// Counts of atoms, edges and other things, which must fit 32 bits.
void check_count(int64_t n, const char* what);

// An array of n numbers.
void check_array(const void* array, int64_t n, const char* name);

}  // namespace nequix

#endif
