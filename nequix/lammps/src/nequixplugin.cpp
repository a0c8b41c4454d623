// Lets LAMMPS load pair_style nequix by its command `plugin load`.
//
// The structure is that of LAMMPS's plugin interface, which its packages do not contain.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <string>

#include "lammps.h"
#include "lmptype.h"
#include "nequix.h"
#include "pair_nequix.h"

#ifndef NEQUIX_LAMMPS_VERSION
#  error "define NEQUIX_LAMMPS_VERSION as the number of the LAMMPS version, such as 20250722"
#endif

namespace {

struct Plugin {
  const char *version, *style, *name, *info, *author;
  union {
    void* (*without_arguments)(void*);
    void* (*with_arguments)(void*, int, char**);
  } creator;
  void* handle;
};

void* create_pair(void* lammps) { return new LAMMPS_NS::PairNequix(static_cast<LAMMPS_NS::LAMMPS*>(lammps)); }

// Why this plugin must not run in the LAMMPS that loads it; empty if it may. Only C functions are asked:
// classes of another version differ in their layout.
std::string mismatch(void* lammps) {
  using Version = int (*)(void*);
  using Setting = int (*)(void*, const char*);
  const auto version = reinterpret_cast<Version>(dlsym(RTLD_DEFAULT, "lammps_version"));
  const auto setting = reinterpret_cast<Setting>(dlsym(RTLD_DEFAULT, "lammps_extract_setting"));
  if (!version || !setting) return "this program has no C library interface of LAMMPS";
  const int running = version(lammps);
  if (running != NEQUIX_LAMMPS_VERSION)
    return "it was built for LAMMPS version " + std::to_string(NEQUIX_LAMMPS_VERSION) + ", and this is " +
           std::to_string(running);
  if (setting(lammps, "tagint") != sizeof(LAMMPS_NS::tagint) ||
      setting(lammps, "bigint") != sizeof(LAMMPS_NS::bigint) ||
      setting(lammps, "imageint") != sizeof(LAMMPS_NS::imageint))
    return "it was built for LAMMPS with integers of other sizes";
  if (nequix_version() != NEQUIX_VERSION) return "the nequix library beside it is of another version";
  return "";
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void* lammps, void* handle,
                                                                         void* register_plugin) {
  const std::string problem = mismatch(lammps);
  if (!problem.empty()) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank) return;
    std::fprintf(stderr, "The nequix plugin was not loaded: %s; run `nequix lammps build` again\n",
                 problem.c_str());
    return;
  }
  Plugin plugin = {};
  plugin.version = static_cast<LAMMPS_NS::LAMMPS*>(lammps)->version;
  plugin.style = "pair";
  plugin.name = "nequix";
  plugin.info = "nequix models, native kernels";
  plugin.author = "The nequix developers";
  plugin.creator.without_arguments = create_pair;
  plugin.handle = handle;
  reinterpret_cast<void (*)(Plugin*, void*)>(register_plugin)(&plugin, lammps);
}
