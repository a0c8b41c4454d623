"""A folder like that of phononDB-PBE: two crystals, and the conductivities of a pair potential for DFT's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

from nequix.evaluation.kappa import conductivity
from tests.evaluation.pairs import PairPotential

MESH = [5, 5, 5]
STRENGTH = 0.3


def crystals():
    frames = []
    for name, atoms in {"fcc": bulk("Al", a=3.7, cubic=True), "fcc-2": bulk("Cu", a=3.6, cubic=True)}.items():
        supercells = {"fc2_supercell": 2 * np.eye(3, dtype=int), "fc3_supercell": 2 * np.eye(3, dtype=int)}
        atoms.info.update(supercells, mp_id=name, q_mesh=np.array(MESH), name=name)
        frames.append(atoms)
    return frames


def write_crystals(folder: Path, potential: PairPotential) -> None:
    """Write structures and reference; the reference is of unrelaxed structures."""
    columns: dict[str, dict[str, object]] = {
        name: {}
        for name in ("mp_id", "kappa_TOT_ave", "mode_kappa_TOT_ave", "qpoints", "weights", "frequencies")
    }
    frames = crystals()
    for row, atoms in enumerate(frames):
        info = atoms.info
        phonons = conductivity.prepare(atoms, info["fc2_supercell"], info["fc3_supercell"], info["q_mesh"])
        conductivity.solve_harmonic(phonons, potential)
        solved = conductivity.solve_conductivity(phonons, potential)
        values = (info["mp_id"], [solved.average], [solved.modes.tolist()], solved.q_points.tolist())
        values += (solved.weights.tolist(), solved.frequencies.tolist())
        for name, value in zip(columns, values, strict=True):
            columns[name][str(row)] = value
    write(folder / "phononDB-PBE-structures.extxyz", frames)
    path = folder / "kappas_phononDB_PBE_noNAC.json.gz"
    path.write_bytes(gzip.compress(json.dumps(columns).encode()))
