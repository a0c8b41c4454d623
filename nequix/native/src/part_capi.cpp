// The C interface to parts.
#include <memory>

#include "error.h"
#include "guarded.h"
#include "nequix.h"
#include "part.h"
#include "registry.h"

using nequix::guarded;
using nequix::require;

struct nequix_part {
  std::shared_ptr<nequix_model> model;  // lives as long as its parts
  std::unique_ptr<nequix::PartBase> impl;
};

extern "C" {

const char* nequix_part_create(const nequix_model* model, int32_t n_threads, nequix_part** part) {
  return guarded([&] {
    require(part, "part is null");
    *part = nullptr;
    require(model, "model is null");
    auto created = std::make_unique<nequix_part>();
    created->model = model->self;
    created->impl = model->impl->create_part(n_threads);
    *part = created.release();
  });
}

void nequix_part_destroy(nequix_part* part) { delete part; }

int32_t nequix_part_layers(const nequix_part* part) { return part ? part->impl->n_layers() : 0; }

int64_t nequix_part_width(const nequix_part* part, int32_t t) { return part ? part->impl->width(t) : 0; }

const char* nequix_part_begin(nequix_part* part, int64_t n_receivers, int64_t n_nodes, const int64_t* first,
                              const double* vectors, const int32_t* senders, const int32_t* species,
                              int32_t with_gradient, double* energies, double* gradient) {
  return guarded([&] {
    require(part, "part is null");
    part->impl->begin({n_receivers, n_nodes, first, vectors, senders, species}, with_gradient != 0, energies,
                      gradient);
  });
}

const char* nequix_part_forward(nequix_part* part, int32_t t) {
  return guarded([&] {
    require(part, "part is null");
    part->impl->forward(t);
  });
}

const char* nequix_part_backward(nequix_part* part, int32_t t) {
  return guarded([&] {
    require(part, "part is null");
    part->impl->backward(t);
  });
}

const char* nequix_part_read(const nequix_part* part, int32_t derivatives, int32_t t, int64_t n,
                             const int32_t* nodes, int64_t start, void* buffer) {
  return guarded([&] {
    require(part, "part is null");
    part->impl->read(derivatives != 0, t, {n, nodes, start}, buffer);
  });
}

const char* nequix_part_write(nequix_part* part, int32_t derivatives, int32_t t, int64_t n,
                              const int32_t* nodes, int64_t start, const void* buffer) {
  return guarded([&] {
    require(part, "part is null");
    part->impl->write(derivatives != 0, t, {n, nodes, start}, buffer);
  });
}

int64_t nequix_part_bytes(const nequix_part* part) { return part ? part->impl->bytes() : 0; }

}  // extern "C"
