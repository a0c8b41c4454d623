"""Running LAMMPS in tests: data files, inputs, launches, and ASE's numbers to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols
from ase.units import GPa

BAR = 1e-4 * GPa
"""eV/A^3 in a bar, by ASE's constants."""

THERMO = ("pe", "pxx", "pyy", "pzz", "pxy", "pxz", "pyz")


@dataclass(frozen=True)
class Results:
    """What a run printed of one structure.

    Attributes:
        energy: eV.
        pressure: xx, yy, zz, xy, xz, yz, bar.
        forces: eV/A, by ascending id.
        energies: Per-atom energies, eV.
        stresses: Per-atom stress times volume, bar A^3, xx, yy, zz, xy, xz, yz.
    """

    energy: float
    pressure: np.ndarray
    forces: np.ndarray
    energies: np.ndarray
    stresses: np.ndarray


def standard(atoms: Atoms) -> Atoms:
    """Turn a structure so that its cell is lower triangular, as LAMMPS wants it."""
    atoms = atoms.copy()
    if atoms.cell.rank == 3:
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    if atoms.pbc.all():
        atoms.wrap()
    return atoms


def write_data(path: Path, atoms: Atoms, types: list[int], elements: list[str], gap: int = 1) -> None:
    """Write a data file.

    Args:
        path: The file.
        atoms: A structure in standard form.
        types: Type of each atom, from 1.
        elements: Element of each type.
        gap: Difference of successive ids.
    """
    cell = atoms.cell
    lines = ["test", "", f"{len(atoms)} atoms", f"{len(elements)} atom types", ""]
    lines += [f"0 {cell[i, i]:.17g} {x}lo {x}hi" for i, x in enumerate("xyz")]
    if not atoms.cell.orthorhombic:
        lines.append(f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz")
    lines += ["", "Masses", ""]
    masses = [atomic_masses[chemical_symbols.index(element)] for element in elements]
    lines += [f"{i + 1} {mass}" for i, mass in enumerate(masses)]
    lines += ["", "Atoms # atomic", ""]
    for i, (kind, (x, y, z)) in enumerate(zip(types, atoms.positions, strict=True)):
        lines.append(f"{1 + gap * i} {kind} {x:.17g} {y:.17g} {z:.17g}")
    path.write_text("\n".join([*lines, ""]))


@dataclass(frozen=True)
class Installation:
    """LAMMPS, the plugin and an exported model.

    Attributes:
        program: The program ``lmp``.
        mpirun: The launcher.
        plugin: The plugin's file.
        model: The exported nequix-nano.
    """

    program: Path
    mpirun: Path
    plugin: Path
    model: Path

    def launch(
        self, folder: Path, text: str, ranks: int = 1, threads: int = 1, options: tuple[str, ...] = (), **env
    ) -> subprocess.CompletedProcess[str]:
        """Run an input in a folder; the outcome is not checked."""
        (folder / "in.test").write_text(text)
        libraries = str(Path(sys.prefix) / "lib")
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": libraries,
            "OMP_NUM_THREADS": str(threads),
            # Ranks outnumber processors: one that waits must sleep, not spin.
            "MPIR_CVAR_CH4_PROGRESS_THROTTLE": "1",
            "MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT": "32",
            **env,
        }
        return subprocess.run(
            [self.mpirun, "-n", str(ranks), self.program, "-in", "in.test", "-log", "log.test", *options],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=300,
        )

    def run(self, folder: Path, text: str, ranks: int = 1, threads: int = 1, **options) -> str:
        """Run an input that must succeed; return what it printed."""
        ran = self.launch(folder, text, ranks, threads, **options)
        assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
        return ran.stdout

    def setup(self, elements: list[str], data: str, **settings: str) -> str:
        """Return the commands that make a system.

        Args:
            elements: Element of each type, or NULL.
            data: Name of the data file, or the commands that create atoms.
            settings: ``precision``, ``boundary``, ``grid``, ``before`` (commands before the data), ``after``,
                ``style`` and ``coeff`` (in place of nequix's).
        """
        read = f"read_data {data}" if data.endswith(".data") else data
        style = settings.get("style", f"pair_style nequix precision {settings.get('precision', 'double')}")
        names = " ".join(elements)
        return f"""
plugin load {self.plugin}
units metal
boundary {settings.get("boundary", "p p p")}
processors {settings.get("grid", "* * *")}
{settings.get("before", "")}
{read}
neighbor 1.0 bin
{settings.get("after", "")}
{style}
{settings.get("coeff", f"pair_coeff * * {self.model} {names}")}
"""

    def evaluation(self, name: str) -> str:
        """Return the commands that evaluate the system once and write ``NAME.dump`` and ``NAME.txt``."""
        stress = " ".join(f"c_sa[{i}]" for i in range(1, 7))
        values = " ".join(f"$({key}:%.15g)" for key in THERMO)
        return f"""
compute pea all pe/atom pair
compute sa all stress/atom NULL virial
compute sums all reduce sum c_pea {stress}
thermo_style custom step {" ".join(THERMO)} c_sums[*]
thermo_modify norm no lost error
run 0
print "{values}" file {name}.txt
write_dump all custom {name}.dump id fx fy fz c_pea {stress} modify sort id format float %.17g
"""


def read_results(folder: Path, name: str) -> Results:
    """Read what :meth:`Installation.evaluation` wrote."""
    values = np.array((folder / f"{name}.txt").read_text().split(), float)
    rows = np.loadtxt(folder / f"{name}.dump", skiprows=9, ndmin=2)
    return Results(values[0], values[1:], rows[:, 1:4], rows[:, 4], rows[:, 5:])


def pressure_of(atoms: Atoms) -> np.ndarray:
    """Return ASE's pressure in LAMMPS's order and unit."""
    return -atoms.get_stress()[[0, 1, 2, 5, 4, 3]] / BAR
