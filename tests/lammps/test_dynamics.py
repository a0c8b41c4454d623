"""Dynamics and relaxation: equal for any number of ranks, conservative, restarted on another number."""

import numpy as np
import pytest
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from nequix.calculator import NequixCalculator
from tests.lammps.running import write_data
from tests.lammps.structures import Case, rattled

DUMP = "write_dump all custom {}.dump id xu yu zu fx fy fz modify sort id format float %.17g\n"


def crystal(folder, size=2):
    atoms = rattled(bulk("MgO", "rocksalt", 4.2, cubic=True) * (size, size, size), 0.05)
    case = Case("crystal", atoms)
    write_data(folder / "crystal.data", case.atoms, case.types, case.elements)
    return case


def read_dump(path):
    return np.loadtxt(path, skiprows=9)


def thermo_of(log):
    """Return the rows of the last run: step, energy, pressures."""
    table = log.rsplit("TotEng", 1)[1].split("Loop time")[0].splitlines()[1:]
    return np.array([line.split() for line in table if line.strip()], float)


def test_hot_trajectory_is_that_of_one_rank(lammps, tmp_path):
    case = crystal(tmp_path)
    text = lammps.setup(case.elements, "crystal.data", after="neighbor 0.3 bin\nneigh_modify delay 0 every 1")
    text += "velocity all create 8000 4\nvelocity all set 20 0 0 sum yes\n"
    text += "fix 1 all nve\ntimestep 0.001\nthermo 120\nrun 120\n"
    dumps = {}
    for ranks in (1, 4):
        printed = lammps.run(tmp_path, text + DUMP.format(ranks), ranks)
        assert int(printed.rsplit("Neighbor list builds = ", 1)[1].split()[0]) >= 5
        assert "Dangerous builds = 0" in printed
        dumps[ranks] = read_dump(tmp_path / f"{ranks}.dump")
    moved = np.abs(dumps[1][:, 1:4] - case.atoms.positions).max()
    assert moved > 2  # A: atoms change ranks
    np.testing.assert_allclose(dumps[4][:, 1:4], dumps[1][:, 1:4], rtol=0, atol=1e-8)
    np.testing.assert_allclose(dumps[4][:, 4:], dumps[1][:, 4:], rtol=0, atol=1e-6)


def test_energy_is_conserved_in_single_precision(lammps, tmp_path):
    case = crystal(tmp_path)
    text = lammps.setup(case.elements, "crystal.data", precision="single")
    text += "velocity all create 300 4\nfix 1 all nve\ntimestep 0.001\nthermo 10\n"
    text += "thermo_style custom step etotal\nthermo_modify format float %.12g\nrun 500\n"
    lammps.run(tmp_path, text, ranks=2)
    step, energy = thermo_of((tmp_path / "log.test").read_text()).T
    late = step > 50
    drift = np.polyfit(step[late] / 1000, energy[late] / len(case.atoms), 1)[0]
    assert abs(drift) < 1e-4  # eV/atom/ps; 0.5 ps show no less
    assert np.ptp(energy[late]) / len(case.atoms) < 1e-4
    assert np.ptp(energy[late]) > 0


def test_restart_on_another_number_of_ranks(lammps, tmp_path):
    case = crystal(tmp_path)
    common = "fix 1 all nve\nthermo 5\nthermo_style custom step etotal pxx pyz\n"
    common += "thermo_modify format float %.15g\n"
    style = f"pair_style nequix precision double\npair_coeff * * {lammps.model} Mg O\n"
    first = lammps.setup(case.elements, "crystal.data") + "velocity all create 1000 4\n" + common
    first += "run 10\nwrite_restart half.restart\nwrite_data half.data\nrun 10\n"
    lammps.run(tmp_path, first, ranks=2)
    expected = thermo_of((tmp_path / "log.test").read_text())
    read = f"plugin load {lammps.plugin}\n"
    for start in ("read_restart half.restart\n", "units metal\nread_data half.data\nreset_timestep 10\n"):
        lammps.run(tmp_path, read + start + style + "neighbor 1.0 bin\n" + common + "run 10\n", ranks=3)
        found = thermo_of((tmp_path / "log.test").read_text())
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-3)


@pytest.mark.parametrize("ranks", [2])
def test_relaxed_cell_is_that_of_ase(ranks, lammps, tmp_path):
    atoms = rattled(bulk("MgO", "rocksalt", 4.3, cubic=True), 0.03)
    atoms.set_cell(atoms.cell.array * [1.01, 0.99, 1.0], scale_atoms=True)
    case = Case("crystal", atoms)
    write_data(tmp_path / "crystal.data", case.atoms, case.types, case.elements)
    relax = "fix 1 all box/relax tri 0.0 vmax 0.002\nminimize 0 1e-5 300 3000\nunfix 1\n"
    text = lammps.setup(case.elements, "crystal.data", after="change_box all triclinic")
    text += "min_style cg\n" + 3 * relax
    text += 'print "$(lx:%.10f) $(ly:%.10f) $(lz:%.10f) $(xy) $(xz) $(yz) $(pe:%.10f)" file cell.txt\n'
    text += "velocity all create 300 4\nfix 2 all npt temp 300 300 0.1 tri 0 0 1\nrun 5\n"
    lammps.run(tmp_path, text, ranks)
    found = np.array((tmp_path / "cell.txt").read_text().split(), float)
    case.atoms.calc = NequixCalculator("nequix-nano", backend="native", dtype="float64", threads=1)
    BFGS(FrechetCellFilter(case.atoms), logfile=None).run(fmax=1e-4, steps=300)
    np.testing.assert_allclose(found[:3], case.atoms.cell.lengths(), atol=1e-3)
    np.testing.assert_allclose(found[6], case.atoms.get_potential_energy(), atol=1e-5)
