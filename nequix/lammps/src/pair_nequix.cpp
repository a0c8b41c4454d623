// pair_style nequix: options, model file, checks and one step.
#include "pair_nequix.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#if defined(NEQUIX_LAMMPS_OLD)  // before 2022
#  include "neigh_request.h"
#endif

using namespace LAMMPS_NS;

static constexpr double FARTHEST = 1e100;  // A^2; atoms are never so far from a neighbour

PairNequix::PairNequix(LAMMPS* lmp) : Pair(lmp) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  no_virial_fdotr_compute = 1;  // summed from the edges, as per-atom virials are
  centroidstressflag = CENTROID_NOTAVAIL;
}

PairNequix::~PairNequix() {
  if (copymode) return;
  close_model();
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairNequix::close_model() {
  nequix_part_destroy(part_);
  nequix_destroy(model_);
  part_ = nullptr;
  model_ = nullptr;
}

void PairNequix::allocate() {
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  for (int i = 0; i < n; i++) std::fill_n(setflag[i], n, 0);
  map = new int[n];
  allocated = 1;
}

void PairNequix::check(const char* message) {
  if (message) error->one(FLERR, "pair_style nequix: " + std::string(message));
}

// pair_style nequix [precision single|double] [threads N]
void PairNequix::settings(int narg, char** arg) {
  int bits = 32;
  int threads = 0;
  for (int i = 0; i < narg; i += 2) {
    const std::string option = arg[i];
    if (option != "precision" && option != "threads")
      error->all(FLERR, "pair_style nequix: unknown option '" + option +
                            "'; it takes: precision single|double, threads N");
    if (i + 1 == narg) error->all(FLERR, "pair_style nequix: option '" + option + "' needs a value");
    const std::string value = arg[i + 1];
    if (option == "precision") {
      if (value != "single" && value != "double")
        error->all(FLERR, "pair_style nequix: precision '" + value + "', expected single or double");
      bits = value == "single" ? 32 : 64;
    } else {
      threads = utils::inumeric(FLERR, value, false, lmp);
      if (threads < 1 || threads > NEQUIX_MOST_THREADS)
        error->all(FLERR, "pair_style nequix: threads " + value + ", expected 1 to " +
                              std::to_string(+NEQUIX_MOST_THREADS));
    }
  }
  bits_ = bits;
  threads_ = threads;
  close_model();  // of an earlier command with other options: pair_coeff must come again
  if (!allocated) return;
  for (int i = 0; i <= atom->ntypes; i++) std::fill_n(setflag[i], atom->ntypes + 1, 0);
}

// pair_coeff * * FILE.lammps ELEMENT ...
void PairNequix::coeff(int narg, char** arg) {
  if (narg != 3 + atom->ntypes)
    error->all(FLERR, "pair_style nequix: pair_coeff names " + std::to_string(std::max(0, narg - 3)) +
                          " elements for " + std::to_string(atom->ntypes) +
                          " atom types; expected: pair_coeff * * FILE.lammps ELEMENT ..., one element or "
                          "NULL for each type");
  if (!allocated) allocate();
  map_element2type(narg - 3, arg + 3);
  open_model(arg[2]);
  map_species(arg[2]);
  report(arg[2]);
}

void PairNequix::init_style() {
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "pair_style nequix needs 'units metal', and this input has 'units " +
                          std::string(update->unit_style) + "': eV and A are the model's units");
  if (!force->newton_pair)
    error->all(FLERR,
               "pair_style nequix needs 'newton on' (LAMMPS's default): forces on ghost atoms are "
               "sent home; remove 'newton off' from the input");
  if (!part_) error->all(FLERR, "pair_style nequix: give pair_coeff again after pair_style");
  refuse_missing_neighbors();
#if defined(NEQUIX_LAMMPS_OLD)
  const int request = neighbor->request(this, instance_me);
  neighbor->requests[request]->half = 0;
  neighbor->requests[request]->full = 1;
#else
  neighbor->add_request(this, NeighConst::REQ_FULL);
#endif
  // A hybrid style asks its members when pair_style is read, before the model is known.
  if (force->pair != this) {
    force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
    force->pair->comm_reverse = std::max(force->pair->comm_reverse, comm_reverse);
  }
}

double PairNequix::init_one(int, int) { return cutoff_; }

// Stop where LAMMPS would leave neighbours out of the list: energies would be silently wrong.
void PairNequix::refuse_missing_neighbors() {
  if (atom->molecular)
    for (int i = 1; i < 4; i++)
      if (force->special_lj[i] == 0 && force->special_coul[i] == 0)
        error->all(FLERR,
                   "pair_style nequix: bonds take neighbors out of the neighbor list, by "
                   "'special_bonds'; add to the input: special_bonds lj/coul 1 1 1");
  if (neighbor->includegroup)
    error->all(FLERR,
               "pair_style nequix: 'neigh_modify include' takes atoms out of the neighbor list; "
               "remove it from the input, or add: neigh_modify include all");
}

// Not known before the neighbour list is built, and changed by fix gcmc between steps.
void PairNequix::refuse_exclusions() {
  if (neighbor->exclude)
    error->all(FLERR,
               "pair_style nequix: 'neigh_modify exclude' takes neighbors out of the neighbor list; "
               "remove it from the input, or add: neigh_modify exclude none");
}

void PairNequix::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  refuse_exclusions();
  if (!warned_) warn_once();
  try {
    find_edges();
    evaluate();
  } catch (const std::exception& problem) {
    error->one(FLERR, std::string("pair_style nequix: ") + problem.what());
  }
  add_results();
}

void PairNequix::find_edges() {
  const int nlocal = atom->nlocal;
  const int nall = nlocal + atom->nghost;
  double** const x = atom->x;
  const double cutsq_all = cutoff_ * cutoff_;
  species_.resize(nall);
  // An atom of type NULL is a node without edges, so that its species does not matter.
  for (int i = 0; i < nall; i++) species_[i] = std::max(0, species_of_type_[atom->type[i]]);
  listed_.assign(nlocal, 0);
  for (int n = 0; n < list->inum; n++)
    if (list->ilist[n] < nlocal) listed_[list->ilist[n]] = 1;  // in any order
  first_.assign(1, 0);
  vectors_.clear();
  senders_.clear();
  for (int i = 0; i < nlocal; i++) {
    const bool seen = listed_[i] && species_of_type_[atom->type[i]] >= 0;
    const int* const neighbors = seen ? list->firstneigh[i] : nullptr;
    const int n_neighbors = seen ? list->numneigh[i] : 0;
    for (int k = 0; k < n_neighbors; k++) {
      const int j = neighbors[k] & NEIGHMASK;
      const double r[3] = {x[j][0] - x[i][0], x[j][1] - x[i][1], x[j][2] - x[i][2]};
      const double square = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
      if (!(square < FARTHEST))
        error->one(FLERR, "pair_style nequix: the position of atom " + std::to_string(atom->tag[i]) +
                              " or of a neighbor is not finite: use a smaller timestep, or relax first");
      if (square >= cutsq_all || species_of_type_[atom->type[j]] < 0) continue;
      vectors_.insert(vectors_.end(), r, r + 3);
      senders_.push_back(j);
    }
    first_.push_back(static_cast<int64_t>(senders_.size()));
  }
  energies_.resize(nlocal);
  gradient_.resize(vectors_.size());
}

void PairNequix::evaluate() {
  check(nequix_part_begin(part_, atom->nlocal, static_cast<int64_t>(species_.size()), first_.data(),
                          vectors_.data(), senders_.data(), species_.data(), 1, energies_.data(),
                          gradient_.data()));
  const int n_layers = nequix_part_layers(part_);
  check(nequix_part_forward(part_, 0));
  for (layer_ = 1; layer_ < n_layers; layer_++) {
#if defined(NEQUIX_LAMMPS_OLD)
    comm->forward_comm_pair(this);
#else
    comm->forward_comm(this);
#endif
    check_exchange();
    check(nequix_part_forward(part_, layer_));
  }
  check(nequix_part_backward(part_, n_layers - 1));
  for (layer_ = n_layers - 1; layer_ > 0; layer_--) {
#if defined(NEQUIX_LAMMPS_OLD)
    comm->reverse_comm_pair(this);
#else
    comm->reverse_comm(this);
#endif
    check_exchange();
    check(nequix_part_backward(part_, layer_ - 1));
  }
}

// Add to what other styles of hybrid/overlay have computed.
void PairNequix::add_results() {
  double** const f = atom->f;
  for (int i = 0; i < atom->nlocal; i++) {
    if (species_of_type_[atom->type[i]] < 0) continue;
    if (eflag_global) eng_vdwl += energies_[i];
    if (eflag_atom) eatom[i] += energies_[i];
    for (int64_t e = first_[i]; e < first_[i + 1]; e++) {
      const double* const g = &gradient_[3 * e];
      const double* const r = &vectors_[3 * e];
      const int j = senders_[e];
      for (int c = 0; c < 3; c++) {
        f[i][c] += g[c];
        f[j][c] -= g[c];
      }
      if (!vflag_either) continue;
      // Symmetric, as the sum over all edges is.
      const double v[6] = {-r[0] * g[0],
                           -r[1] * g[1],
                           -r[2] * g[2],
                           -0.5 * (r[0] * g[1] + r[1] * g[0]),
                           -0.5 * (r[0] * g[2] + r[2] * g[0]),
                           -0.5 * (r[1] * g[2] + r[2] * g[1])};
      for (int c = 0; c < 6; c++) {
        if (vflag_global) virial[c] += v[c];
        if (!vflag_atom) continue;
        vatom[i][c] += 0.5 * v[c];
        vatom[j][c] += 0.5 * v[c];
      }
    }
  }
}

// Rows travel as bytes in LAMMPS's buffers of doubles. A failure is kept until all have communicated.
void PairNequix::keep_message(const char* message) {
  if (message && message_.empty()) message_ = message;
}

void PairNequix::check_exchange() {
  if (!message_.empty()) check(message_.c_str());
}

int PairNequix::exchanged() const {
  return static_cast<int>(nequix_part_width(part_, layer_) / static_cast<int64_t>(sizeof(double)));
}

int PairNequix::pack_forward_comm(int n, int* list, double* buffer, int, int*) {
  keep_message(nequix_part_read(part_, 0, layer_, n, list, 0, buffer));
  return n * exchanged();
}

void PairNequix::unpack_forward_comm(int n, int first, double* buffer) {
  keep_message(nequix_part_write(part_, 0, layer_, n, nullptr, first, buffer));
}

int PairNequix::pack_reverse_comm(int n, int first, double* buffer) {
  keep_message(nequix_part_read(part_, 1, layer_, n, nullptr, first, buffer));
  return n * exchanged();
}

void PairNequix::unpack_reverse_comm(int n, int* list, double* buffer) {
  keep_message(nequix_part_write(part_, 1, layer_, n, list, 0, buffer));
}

double PairNequix::memory_usage() {
  const auto bytes = [](const auto& array) {
    return static_cast<double>(array.capacity() * sizeof array[0]);
  };
  return Pair::memory_usage() + static_cast<double>(nequix_part_bytes(part_)) + bytes(first_) +
         bytes(listed_) + bytes(vectors_) + bytes(gradient_) + bytes(senders_) + bytes(species_) +
         bytes(energies_);
}
