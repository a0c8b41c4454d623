// pair_style nequix for LAMMPS: nequix models over any number of MPI ranks (docs/lammps.md).
//
// Ghost atoms reach one cutoff only. Features go to ghosts before every layer but the first, and derivatives
// come back from them, through the forward and reverse communication of LAMMPS.
#ifdef PAIR_CLASS
// clang-format off
PairStyle(nequix,PairNequix);
// clang-format on
#else

#  ifndef LMP_PAIR_NEQUIX_H
#    define LMP_PAIR_NEQUIX_H

#    include <cstdint>
#    include <string>
#    include <vector>

#    include "nequix.h"
#    include "pair.h"

namespace LAMMPS_NS {

class PairNequix : public Pair {
 public:
  explicit PairNequix(class LAMMPS*);
  ~PairNequix() override;
  PairNequix(const PairNequix&) = delete;
  PairNequix& operator=(const PairNequix&) = delete;

  void compute(int eflag, int vflag) override;
  void settings(int narg, char** arg) override;
  void coeff(int narg, char** arg) override;
  void init_style() override;
  double init_one(int i, int j) override;
  double memory_usage() override;

  int pack_forward_comm(int n, int* list, double* buffer, int pbc_flag, int* pbc) override;
  void unpack_forward_comm(int n, int first, double* buffer) override;
  int pack_reverse_comm(int n, int first, double* buffer) override;
  void unpack_reverse_comm(int n, int* list, double* buffer) override;

 private:
  void allocate();
  void close_model();
  void open_model(const std::string& name);
  std::string read_file(const std::string& name);
  void map_species(const std::string& name);
  void report(const std::string& name);
  void refuse_missing_neighbors();
  void refuse_exclusions();
  void warn_once();

  void find_edges();
  void evaluate();
  void add_results();
  int exchanged() const;  // doubles per atom in the current exchange
  void keep_message(const char* message);
  void check_exchange();
  void check(const char* message);

  double cutoff_ = 0;  // A
  int bits_ = 32;      // of the layers
  int threads_ = 0;    // 0: those of LAMMPS, by OMP_NUM_THREADS or the package command
  nequix_model* model_ = nullptr;
  nequix_part* part_ = nullptr;
  nequix_description description_ = {};
  std::vector<int> species_of_type_;  // -1: NULL, which the model does not see

  // One step: the edges of local atom i are first_[i] to first_[i + 1] - 1.
  std::vector<int64_t> first_;
  std::vector<char> listed_;  // whether a local atom has a row in the neighbour list
  std::vector<double> vectors_, energies_, gradient_;
  std::vector<int32_t> senders_, species_;

  int layer_ = 0;        // of the current exchange
  std::string message_;  // what went wrong in it
  bool warned_ = false;
};

}  // namespace LAMMPS_NS

#  endif
#endif
