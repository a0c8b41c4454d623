"""Time phono3py's phonon-phonon interactions as it sums them and by matrix products, in turn.

    python benchmarks/phonon_interaction.py [--points 4] [--rounds 3]

Rocksalt and wurtzite with the supercells and meshes of phononDB-PBE, forces from nequix-nano. One process
computes all strengths of a q-point in phono3py's way, by matrix products, and again; what counts is the
ratio of each pair. One thread; beside it the largest difference, as a share of the largest strength.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"))

import numpy as np
from ase.build import bulk
from rich.console import Console
from rich.table import Table

from nequix.calculator import NequixCalculator
from nequix.evaluation.forces import supercell_forces
from nequix.evaluation.kappa.conductivity import prepare, solve_harmonic
from nequix.evaluation.kappa.interaction import use_matrix_products

CRYSTALS = {
    "rocksalt MgO": (bulk("MgO", "rocksalt", a=4.25, cubic=True), (4, 4, 4), (2, 2, 2), (19, 19, 19)),
    "wurtzite SiC": (bulk("SiC", "wurtzite", a=3.09, c=5.06), (5, 5, 3), (3, 3, 2), (19, 19, 15)),
}
"""Crystal, supercells for second- and third-order force constants, mesh."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=4, help="q-points, spread over the irreducible ones")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of each q-point")
    options = parser.parse_args()
    table = Table("crystal", "triplets", "phono3py (s)", "products (s)", "ratio", "range", "difference")
    for name, (atoms, fc2, fc3, mesh) in CRYSTALS.items():
        phonons = prepare(atoms, np.diag(fc2), np.diag(fc3), mesh)
        potential = NequixCalculator("nequix-nano").potential
        solve_harmonic(phonons, potential)
        phonons.forces = supercell_forces(potential, phonons.supercells_with_displacements)
        phonons.produce_fc3()
        table.add_row(name, *measure(phonons, options.points, options.rounds))
    Console().print(table)


def measure(phonons, n_points: int, n_rounds: int) -> list[str]:
    """Return a row of the table."""
    ours, theirs = made(phonons, products=True), made(phonons, products=False)
    irreducible = np.unique(phonons.grid.grg2bzg)
    points = irreducible[np.linspace(0, len(irreducible) - 1, n_points + 2).astype(int)[1:-1]]
    times, counts, differences = [], [], []
    for point in np.repeat(points, n_rounds):
        (before, expected), (after, got) = timed(theirs, point), timed(ours, point)
        times.append((before, after))
        counts.append(len(got))
        differences.append(np.abs(got - expected).max() / expected.max())
    ratios = [before / after for before, after in times]
    medians = [f"{statistics.median(column):.2f}" for column in zip(*times, strict=True)]
    span = f"{min(ratios):.1f} to {max(ratios):.1f}"
    triplets = f"{min(counts)} to {max(counts)}"
    return [triplets, *medians, f"{statistics.median(ratios):.1f}", span, f"{max(differences):.1e}"]


def made(phonons, products: bool):
    """Set up an interaction of phono3py's, or ours."""
    phonons.init_phph_interaction(symmetrize_fc3q=False)
    if products:
        use_matrix_products(phonons)
    phonons.run_phonon_solver()
    return phonons.phph_interaction


def timed(interaction, point: int) -> tuple[float, np.ndarray]:
    """Return the seconds and strengths of a q-point."""
    interaction.set_grid_point(point)
    start = time.perf_counter()
    interaction.run()
    return time.perf_counter() - start, interaction.interaction_strength


if __name__ == "__main__":
    main()
