"""Time the neighbour list beside the libraries it could be built on.

    python -m benchmarks.neighbors [--pbc TTT] [--cutoff 6] [--max-atoms 100000] [--repeats 5]

The structure is rattled diamond, a cube of it. Each library searches in turn, round after round in
another order, so that a slow moment of the machine meets all of them; the fastest round of each counts.
All but the bare vesin return edges sorted by receiver.
"""

import argparse
import importlib
import importlib.metadata
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from ase.build import bulk
from rich.console import Console
from rich.table import Table

from nequix.graphs.neighbors import neighbor_list

ASE_LIMIT = 2000  # atoms; it takes a second for a thousand


def with_vesin(ordered: bool) -> Callable:
    import vesin

    def search(positions, cell, pbc, cutoff):
        searcher = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=ordered)
        return searcher.compute(positions, cell, pbc, "ijS")

    return search


def with_matscipy() -> Callable:
    from matscipy.neighbours import neighbour_list

    return lambda positions, cell, pbc, cutoff: neighbour_list(
        "ijS", positions=positions, cell=cell, pbc=pbc, cutoff=cutoff
    )


def with_ase() -> Callable:
    from ase.neighborlist import primitive_neighbor_list

    return lambda positions, cell, pbc, cutoff: primitive_neighbor_list("ijS", pbc, cell, positions, cutoff)


def installed() -> dict[str, Callable]:
    searches: dict[str, Callable] = {"nequix": neighbor_list}
    makers = {
        "vesin": ("vesin", lambda: with_vesin(ordered=False)),
        "vesin, sorted": ("vesin", lambda: with_vesin(ordered=True)),
        "matscipy": ("matscipy", with_matscipy),
        "ase": ("ase", with_ase),
    }
    for label, (package, make) in makers.items():
        try:
            searches[f"{label} {importlib.metadata.version(package)}"] = make()
        except ImportError:
            Console().print(f"{package} is not installed: left out")
    return searches


def rattled_diamond(repeats: int):
    atoms = bulk("C", "diamond", a=3.567, cubic=True) * (repeats, repeats, repeats)
    atoms.rattle(0.05, seed=repeats)
    return atoms.positions, np.array(atoms.cell[:])


def measure(searches: dict[str, Callable], arguments: tuple, repeats: int) -> tuple[int, dict[str, float]]:
    fastest = dict.fromkeys(searches, float("inf"))
    counts = {}
    turns = deque(searches.items())
    for _ in range(repeats):
        turns.rotate()
        for label, search in turns:
            start = time.perf_counter()
            edges = search(*arguments)
            fastest[label] = min(fastest[label], time.perf_counter() - start)
            counts[label] = len(edges[0])
            del edges
    if len(set(counts.values())) > 1:
        Console().print(f"[red]the lists differ in length: {counts}")
    return counts["nequix"], fastest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pbc", default="TTT", help="periodic directions, such as TTF for a slab")
    parser.add_argument("--cutoff", type=float, default=6.0, help="A")
    parser.add_argument("--max-atoms", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    pbc = np.array([letter == "T" for letter in options.pbc.upper()])
    searches = installed()
    table = Table(title=f"Neighbour lists of diamond, {options.cutoff} A, pbc {options.pbc}: milliseconds")
    for column in ("atoms", "edges", *searches):
        table.add_column(column, justify="right")
    for repeats in (1, 2, 3, 5, 8, 12, 18, 23):
        if 8 * repeats**3 > options.max_atoms:
            break
        positions, cell = rattled_diamond(repeats)
        small = len(positions) <= ASE_LIMIT
        chosen = {label: search for label, search in searches.items() if small or not label.startswith("ase")}
        arguments = (positions, cell, pbc, options.cutoff)
        n_edges, seconds = measure(chosen, arguments, options.repeats if small else min(options.repeats, 3))
        cells = [f"{1e3 * seconds[label]:.2f}" if label in seconds else "" for label in searches]
        table.add_row(f"{len(positions):,}", f"{n_edges:,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
