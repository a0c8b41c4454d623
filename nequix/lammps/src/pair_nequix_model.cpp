// pair_style nequix: the model file, its elements, and what the log says.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "atom.h"
#include "citeme.h"
#include "comm.h"
#include "error.h"
#include "pair_nequix.h"
#include "utils.h"

#if defined(__linux__)
#  include <sched.h>
#endif

using namespace LAMMPS_NS;

namespace {

constexpr int MOST_GHOSTS = 4;  // per local atom, before a warning

const char* const SYMBOLS[] = {
    "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",  "Cl",
    "Ar", "K",  "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As", "Se",
    "Br", "Kr", "Rb", "Sr", "Y",  "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn", "Sb",
    "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er",
    "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At",
    "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No",
    "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};
constexpr int MOST_NUMBER = sizeof SYMBOLS / sizeof *SYMBOLS;

std::string symbol(int number) {
  return number >= 1 && number <= MOST_NUMBER ? SYMBOLS[number - 1] : std::to_string(number);
}

// Read a whole file; return what went wrong, or nothing.
std::string slurp(const std::string& path, std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (!file) return std::strerror(errno);
  char buffer[1 << 16];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, file)) > 0;) bytes.append(buffer, n);
  const bool failed = std::ferror(file) != 0;
  const int reason = errno;
  std::fclose(file);
  if (failed) return std::strerror(reason);
  if (bytes.size() > INT32_MAX) return "it has more than 2 GiB";
  return "";
}

// The processors that this process may use; 0 where that is unknown.
int available_processors() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return 0;
}

std::string kilobytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f kB", bytes / 1000);
  return text;
}

}  // namespace

// The first rank reads and gives the bytes to the others.
std::string PairNequix::read_file(const std::string& name) {
  std::string bytes;
  std::string problem;
  if (comm->me == 0) {
    const std::string path = utils::get_potential_file_path(name);
    problem = path.empty() ? "no such file, here or in LAMMPS_POTENTIALS" : slurp(path, bytes);
  }
  int sizes[2] = {static_cast<int>(bytes.size()), static_cast<int>(problem.size())};
  MPI_Bcast(sizes, 2, MPI_INT, 0, world);
  bytes.resize(sizes[0]);
  problem.resize(sizes[1]);
  MPI_Bcast(&problem[0], sizes[1], MPI_CHAR, 0, world);
  if (!problem.empty())
    error->all(FLERR, "pair_style nequix: cannot read '" + name + "' (" + problem +
                          "); `nequix lammps export MODEL FILE.lammps` writes model files");
  MPI_Bcast(&bytes[0], sizes[0], MPI_BYTE, 0, world);
  return bytes;
}

void PairNequix::open_model(const std::string& name) {
  close_model();
  const std::string bytes = read_file(name);
  const auto size = static_cast<int64_t>(bytes.size());
  const auto check_all = [&](const char* message) {
    if (message) error->all(FLERR, "pair_style nequix: cannot use '" + name + "': " + message);
  };
  check_all(nequix_describe(bytes.data(), size, &description_));
  check_all(nequix_open(bytes.data(), size, bits_, nullptr, &model_));
  const int threads = threads_ ? threads_ : std::max(1, std::min<int>(comm->nthreads, NEQUIX_MOST_THREADS));
  check_all(nequix_part_create(model_, threads, &part_));
  cutoff_ = description_.cutoff;
  int64_t widest = 0;
  for (int t = 1; t < nequix_part_layers(part_); t++) widest = std::max(widest, nequix_part_width(part_, t));
  comm_forward = comm_reverse = static_cast<int>(widest / static_cast<int64_t>(sizeof(double)));
}

// Find the species of each atom type by the symbols of pair_coeff.
void PairNequix::map_species(const std::string& name) {
  species_of_type_.assign(atom->ntypes + 1, -1);
  const int32_t* const numbers = description_.atomic_numbers;
  for (int type = 1; type <= atom->ntypes; type++) {
    if (map[type] < 0) continue;
    const std::string wanted = elements[map[type]];
    std::string known;
    for (int s = 0; s < description_.n_species; s++) {
      if (wanted == symbol(numbers[s])) species_of_type_[type] = s;
      known += " " + symbol(numbers[s]);
    }
    if (species_of_type_[type] < 0)
      error->all(FLERR, "pair_style nequix: '" + wanted + "' of atom type " + std::to_string(type) +
                            " is not an element of '" + name + "', which has:" + known);
  }
}

void PairNequix::report(const std::string& name) {
  if (comm->me != 0) return;
  const nequix_description& d = description_;
  double bytes = 0;
  for (int t = 1; t < d.n_layers; t++) bytes += 2.0 * static_cast<double>(nequix_part_width(part_, t));
  const int threads = threads_ ? threads_ : comm->nthreads;
  std::string types;
  for (int type = 1; type <= atom->ntypes; type++)
    types += " " + std::to_string(type) + "=" +
             (species_of_type_[type] < 0 ? "NULL" : symbol(d.atomic_numbers[species_of_type_[type]]));
  const std::string text =
      "nequix model " + std::string(d.name) + " from " + name + "\n" + "  training data: " + d.training_data +
      "\n  theory: " + d.theory + "\n  licence: " + d.licence + "\n" +
      "  weights SHA-256: " + (d.digest[0] ? d.digest : "unknown") + "\n" +
      "  model file SHA-256: " + d.checksum + "\n" + "  atom types:" + types + "\n" + "  " +
      std::to_string(d.n_layers) + " layers, cutoff " + std::to_string(d.cutoff) + " A, precision " +
      (bits_ == 32 ? "single" : "double") + ", instructions " + nequix_instructions(model_) + "\n" + "  " +
      std::to_string(comm->nprocs) + " MPI ranks with " + std::to_string(threads) + " threads each; " +
      kilobytes(bytes) + " exchanged per ghost atom and step\n";
  utils::logmesg(lmp, text);
  if (lmp->citeme) lmp->citeme->add("nequix model " + std::string(d.name) + ": " + d.citation + "\n\n");
}

// What makes a run slow without being wrong.
void PairNequix::warn_once() {
  warned_ = true;
  const double here[2] = {static_cast<double>(atom->nlocal), static_cast<double>(atom->nghost)};
  double sums[2];
  MPI_Allreduce(here, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  if (comm->me == 0 && comm->nprocs > 1 && sums[1] > MOST_GHOSTS * sums[0])
    error->warning(FLERR, "pair_style nequix: " + std::to_string(static_cast<int64_t>(sums[1])) +
                              " ghost atoms for " + std::to_string(static_cast<int64_t>(sums[0])) +
                              " atoms: use fewer MPI ranks with more threads each (OMP_NUM_THREADS), or a "
                              "smaller skin (neighbor 1.0 bin)");
  const int threads = threads_ ? threads_ : comm->nthreads;
  const int processors = available_processors();
  if (comm->me == 0 && processors && threads > processors)
    error->warning(FLERR, "pair_style nequix: " + std::to_string(threads) + " threads of rank 0 share " +
                              std::to_string(processors) +
                              " processors: use fewer threads, or let MPI give each rank more (Open MPI: "
                              "mpirun --bind-to none, or --map-by slot:PE=N)");
}
