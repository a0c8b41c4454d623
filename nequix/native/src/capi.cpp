// The C interface to models and whole graphs.
#include <memory>
#include <utility>
#include <vector>

#include "error.h"
#include "forces.h"
#include "guarded.h"
#include "instructions.h"
#include "model_file.h"
#include "model_impl.h"
#include "nequix.h"
#include "registry.h"

using nequix::guarded;
using nequix::require;
using nequix::text;

extern "C" {

int64_t nequix_version(void) { return NEQUIX_VERSION; }

void nequix_sizes(int64_t sizes[3]) {
  if (!sizes) return;
  sizes[0] = sizeof(nequix_path);
  sizes[1] = sizeof(nequix_layer);
  sizes[2] = sizeof(nequix_spec);
}

const char* nequix_digest(void) {
  return
#include "digest.inc"
      ;
}

const char* nequix_create(const nequix_spec* spec, int32_t bits, const char* instructions,
                          nequix_model** model) {
  return guarded([&] {
    require(model, "model is null");
    *model = nullptr;
    require(spec, "spec is null");
    require(bits == 32 || bits == 64, "bits = " + text(bits) + ", expected 32 or 64");
    const nequix::Instructions& chosen = nequix::choose_instructions(instructions);
    auto created = std::make_shared<nequix_model>();
    if (bits == 32)
      created->impl = std::make_unique<nequix::ModelImpl<float>>(*spec, chosen);
    else
      created->impl = std::make_unique<nequix::ModelImpl<double>>(*spec, chosen);
    created->self = created;
    *model = created.get();
  });
}

const char* nequix_describe(const void* bytes, int64_t size, nequix_description* description) {
  return guarded([&] {
    require(description, "description is null");
    require(bytes, "bytes is null");
    *description = nequix::ModelFile(static_cast<const unsigned char*>(bytes), size).describe();
  });
}

const char* nequix_open(const void* bytes, int64_t size, int32_t bits, const char* instructions,
                        nequix_model** model) {
  return guarded([&] {
    require(model, "model is null");
    *model = nullptr;
    require(bytes, "bytes is null");
    const nequix::ModelFile file(static_cast<const unsigned char*>(bytes), size);
    const nequix::FileSpecification specification(file, bits);
    const char* message = nequix_create(&specification.spec(), bits, instructions, model);
    if (message) nequix::fail(message);
  });
}

void nequix_destroy(nequix_model* model) {
  if (!model) return;
  const std::shared_ptr<nequix_model> last = std::move(model->self);
}

const char* nequix_register(nequix_model* model, int64_t key) {
  return guarded([&] {
    require(model, "model is null");
    require(key, "key = 0, expected another number");
    nequix::register_model(model->self, key);
  });
}

const char* nequix_instructions(const nequix_model* model) {
  return model ? model->impl->instructions.name : nullptr;
}

int64_t nequix_calls(const nequix_model* model) { return model ? model->impl->calls.load() : 0; }

const char* nequix_evaluate(const nequix_model* model, int64_t n_nodes, int64_t n_edges,
                            const double* vectors, const int32_t* senders, const int32_t* receivers,
                            const int32_t* species, const double* seed, double* energies, double* gradient,
                            int32_t n_threads) {
  return guarded([&] {
    require(model, "model is null");
    model->impl->evaluate({model->impl.get()}, 0, {n_nodes, n_edges, vectors, senders, receivers, species},
                          {seed, energies, gradient, nullptr}, n_threads);
  });
}

const char* nequix_features(const nequix_model* model, int64_t n_nodes, int64_t n_edges,
                            const double* vectors, const int32_t* senders, const int32_t* receivers,
                            const int32_t* species, double* energies, double* features, int32_t n_threads) {
  return guarded([&] {
    require(model, "model is null");
    require(features || !n_nodes, "features is null");
    model->impl->evaluate({model->impl.get()}, 0, {n_nodes, n_edges, vectors, senders, receivers, species},
                          {nullptr, energies, nullptr, features}, n_threads);
  });
}

const char* nequix_evaluate_members(const nequix_model* const* models, int32_t n_models, int32_t n_shared,
                                    int64_t n_nodes, int64_t n_edges, const double* vectors,
                                    const int32_t* senders, const int32_t* receivers, const int32_t* species,
                                    double* energies, double* gradient, int32_t n_threads) {
  return guarded([&] {
    require(models, "models is null");
    require(n_models > 0, "n_models = " + text(n_models) + ", expected 1 or more");
    require(n_shared >= 0, "n_shared = " + text(n_shared) + ", expected 0 or more");
    std::vector<const nequix::ModelBase*> members;
    for (int m = 0; m < n_models; m++) {
      require(models[m], "models[" + text(m) + "] is null");
      members.push_back(models[m]->impl.get());
    }
    members[0]->evaluate(members, n_shared, {n_nodes, n_edges, vectors, senders, receivers, species},
                         {nullptr, energies, gradient, nullptr}, n_threads);
  });
}

const char* nequix_forces(int64_t n_nodes, int64_t n_edges, int64_t n_graphs, const double* vectors,
                          const int32_t* senders, const int32_t* receivers, const int32_t* node_graph,
                          const double* gradient, double* forces, double* virials) {
  return guarded([&] {
    nequix::sum_forces({n_nodes, n_edges, vectors, senders, receivers, nullptr}, n_graphs, node_graph,
                       gradient, forces, virials);
  });
}

}  // extern "C"
