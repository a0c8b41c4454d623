// LAMMPS with pair_style nequix, as a program of its own: for a shared library of LAMMPS that cannot load
// plugins (docs/lammps.md). The command `clear` in an input forgets the style.
#include <mpi.h>

#include <exception>

#include "force.h"
#include "input.h"
#include "lammps.h"
#include "pair_nequix.h"

static LAMMPS_NS::Pair* create(LAMMPS_NS::LAMMPS* lammps) { return new LAMMPS_NS::PairNequix(lammps); }

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  try {
    LAMMPS_NS::LAMMPS lammps(argc, argv, MPI_COMM_WORLD);
    (*lammps.force->pair_map)["nequix"] = create;
    lammps.input->file();
  } catch (const std::exception&) {  // LAMMPS has printed the message
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return 0;
}
