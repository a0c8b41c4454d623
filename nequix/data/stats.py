"""Statistics: the constants of a model and the shapes of its batches, from the data it is trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from itertools import islice
from operator import iadd
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.errors import DataError
from nequix.data.atom_energies import CompositionEnergies
from nequix.data.label_table import ENERGIES, LABELS
from nequix.data.packing import Packing, Sizes, choose_budget
from nequix.data.sizes import CHUNK, size_of
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure, refuse_not_finite
from nequix.data.workers import ordered_map

if TYPE_CHECKING:
    from jaxtyping import Float

STRUCTURES = "structures"
"""Name of the number of structures beside those of labels."""

_Z = 119
_DIGESTED = ("numbers", "positions", "cell", "pbc", "energy", "forces", "stress", "weights", "energies")
_STRONGEST = 5  # structures that are kept by the size of their forces
_DOMINANT = 0.5  # part of the forces' squares from which few structures set the scale
_LARGER = 5.0  # times the force RMS of the others
_LEAST_FORCES = 10  # structures with forces from which outliers can be distinguished
_NEGLIGIBLE = 1e-6  # eV/atom; what rounding leaves of energies that are fitted exactly


@dataclass(frozen=True)
class Statistics:
    """What a model takes from its training data (docs/architecture.md, training).

    Labels of weight zero count as missing.

    Attributes:
        n_structures: Number of structures.
        n_energies: How many have an energy.
        n_forces: How many have forces.
        n_stresses: How many have a stress.
        cutoff: Radius of the neighbourhood, A.
        atomic_numbers: The elements that occur, ascending.
        atom_energies: Energy of each of them, eV, given or by least squares of the energies.
        shift: Mean over structures of ``(E - sum of atom energies) / N``, eV.
        scale: Root mean square of the components of forces, eV/A. Where there are none, or all are zero, that
            of ``(E - sum of atom energies) / N - shift``, eV; one if that is zero, too.
        avg_n_neighbors: Mean over structures of edges per atom.
        largest: Atoms, edges and tiles of the largest structures.
        mean: Atoms, edges and tiles of a structure on average.
        n_atom_energies: How many structures have energies of atoms.
        outliers: Force RMS, eV/A, of up to five structures, one in a hundred at most, that set the scale:
            together they make more than half of the sum of squares, with forces five times those of the
            others.
        digest: SHA-256 of the structures with their labels and weights, in order.
        parts: Of several joined sources, by path, how many ``structures`` and how many with each label.
    """

    n_structures: int
    n_energies: int
    n_forces: int
    n_stresses: int
    cutoff: float
    atomic_numbers: tuple[int, ...]
    atom_energies: dict[int, float]
    shift: float
    scale: float
    avg_n_neighbors: float
    largest: dict[str, int]
    mean: dict[str, float]
    n_atom_energies: int = 0
    digest: str = ""
    outliers: dict[str, float] = field(default_factory=dict)
    parts: dict[str, dict[str, int]] = field(default_factory=dict)

    def doubt(self) -> str | None:
        """Name the structures that determine the scale, if few do."""
        if not self.outliers:
            return None
        names = ", ".join(f"{name} ({size:.3g} eV/A)" for name, size in self.outliers.items())
        return (
            f"scale = {self.scale:.3g} eV/A is set by the forces of {len(self.outliers)} of {self.n_forces} "
            f"structures: {names}; check them with `nequix data check`, and leave them out if they are wrong"
        )

    @property
    def labels(self) -> dict[str, int]:
        """How many structures have which label."""
        return {"energy": self.n_energies, "forces": self.n_forces, "stress": self.n_stresses}

    def to_dict(self) -> dict[str, Any]:
        """List every field, as JSON can hold it."""
        return asdict(self)


@dataclass(eq=False)
class Sums:
    """Sums over structures from which the statistics follow; those of parts can be added.

    With ``c`` the counts of the elements and ``E`` the energy, the shift needs the sums of ``c / N`` and
    ``E / N``. Structures without forces other than zero are kept, by
    energy and composition, since the scale may follow from them. Each part has a digest of its structures.
    """

    rows: list[tuple[int, int, int]] = field(default_factory=list)
    energies: CompositionEnergies = field(default_factory=CompositionEnergies)
    fractions: Float[np.ndarray, " Z"] = field(default_factory=lambda: np.zeros(_Z))
    energy_per_atom: float = 0.0
    present: Float[np.ndarray, " Z"] = field(default_factory=lambda: np.zeros(_Z))
    counts: Float[np.ndarray, " 4"] = field(default_factory=lambda: np.zeros(4))
    squares: float = 0.0
    components: int = 0
    strongest: list[tuple[float, int, str]] = field(default_factory=list)
    forceless: list[tuple[float, dict[int, int]]] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    by_part: Counter[tuple[int, str]] = field(default_factory=Counter)

    def include(self, structure: Structure, cutoff: float, part: int = 0) -> None:
        """Add a structure.

        Args:
            structure: The structure.
            cutoff: Radius of the neighbourhood, A.
            part: Which of several joined sources it is from.
        """
        refuse_not_finite(structure)
        self.rows.append(size_of(structure, cutoff))
        counts = np.bincount(structure.numbers, minlength=_Z).astype(float)
        self.present += counts
        trusted = structure.trusted()
        energy, forces = trusted.energy, trusted.forces
        if energy is not None:
            self.energies.include(structure.numbers, energy)
            self.fractions += counts / counts.sum()
            self.energy_per_atom += energy / counts.sum()
            if forces is None or not forces.any():
                composition = {int(number): int(counts[number]) for number in np.flatnonzero(counts)}
                self.forceless.append((energy, composition))
        if forces is not None:
            self.squares += float((forces**2).sum())
            self.components += forces.size
            self.strongest.append((float((forces**2).sum()), forces.size, structure.name))
            self._trim()
        self.counts += [getattr(trusted, label) is not None for label in (*LABELS, ENERGIES)]
        present = [label for label in LABELS if getattr(trusted, label) is not None]
        self.by_part.update((part, name) for name in (STRUCTURES, *present))

    def add(self, other: Sums) -> None:
        """Add the sums of other structures.

        Args:
            other: Their sums.
        """
        for item in fields(self):
            setattr(self, item.name, iadd(getattr(self, item.name), getattr(other, item.name)))
        self._trim()

    def _trim(self) -> None:
        """Keep the structures with the largest sums of squares."""
        self.strongest = sorted(self.strongest, key=lambda row: (-row[0], row[2]))[:_STRONGEST]


def compute(
    source: Source,
    cutoff: float,
    *,
    atom_energies: Mapping[int, float] | None = None,
    n_workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[Statistics, Sizes]:
    """Compute the statistics of a source, in one pass; a stream will do.

    Args:
        source: The source.
        cutoff: Radius of the neighbourhood, A.
        atom_energies: Energy of each atomic number, eV; by least squares if they are not given.
        n_workers: Worker processes; a stream is read by this one.
        progress: Called with the number of structures that are done since.

    Returns:
        The statistics, and the sizes of all graphs.

    Raises:
        DataError: If there is no structure, a label is not finite, or an atom energy is missing.
        GraphError: For a structure that has no graph, naming it.
    """
    sums = Sums()
    for part in _parts(source, cutoff, n_workers):
        sums.add(part)
        if progress is not None:
            progress(len(part.rows))
    if not sums.rows:
        raise DataError(f"{source.path}: contains no structure; is it complete?")
    sizes = Sizes.of(np.array(sums.rows), cutoff)
    return replace(_conclude(sums, sizes, atom_energies), parts=_count_parts(source, sums)), sizes


def _count_parts(source: Source, sums: Sums) -> dict[str, dict[str, int]]:
    """Count structures and labels of every joined source; nothing for one source, or a stream."""
    paths = source.parts()
    if len(paths) < 2 or not any(part for part, _ in sums.by_part):
        return {}
    counted: dict[str, dict[str, int]] = {}
    for part, path in enumerate(paths):
        found = counted.setdefault(path, dict.fromkeys((STRUCTURES, *LABELS), 0))
        for name in found:
            found[name] += sums.by_part[part, name]
    return counted


def _parts(source: Source, cutoff: float, n_workers: int) -> Iterator[Sums]:
    """Sum the same structures at a time however many workers there are: no bit may depend on that."""
    try:
        n = len(source)
    except StreamError:
        n = None
    if n is not None and n_workers:
        yield from ordered_map(partial(_sum_chunk, source, n, cutoff), 0, -(-n // CHUNK), n_workers)
        return
    structures = iter(source)
    start = 0
    while (part := _sum(islice(structures, CHUNK), cutoff, source if n else None, start)).rows:
        yield part
        start += len(part.rows)


def _sum_chunk(source: Source, n: int, cutoff: float, chunk: int) -> Sums:
    indices = range(chunk * CHUNK, min((chunk + 1) * CHUNK, n))
    return _sum((source[index] for index in indices), cutoff, source, chunk * CHUNK)


def _sum(structures: Iterable[Structure], cutoff: float, source: Source | None, start: int) -> Sums:
    """Sum structures, the first of which has the index ``start`` in a source that is not a stream."""
    sums, digest = Sums(), hashlib.sha256()
    for index, structure in enumerate(structures, start):
        sums.include(structure, cutoff, 0 if source is None else source.part_of(index))
        product = structure.hessian
        labels = () if product is None else (product.direction, product.product)
        for values in (*(getattr(structure, name) for name in _DIGESTED), *labels):
            digest.update(b"none" if values is None else np.asarray(values, float).tobytes())
    sums.digests.append(digest.digest())
    return sums


def _conclude(sums: Sums, sizes: Sizes, given: Mapping[int, float] | None) -> Statistics:
    elements = np.flatnonzero(sums.present).tolist()
    if given is None:
        given = sums.energies.fit(elements)
    missing = [number for number in elements if number not in given]
    if missing:
        raise DataError(f"no atom energy is given for the atomic numbers {missing}; give all, or none")
    energies = {number: float(given[number]) for number in elements}
    baseline = sum(sums.fractions[number] * energy for number, energy in energies.items())
    shift = float((sums.energy_per_atom - baseline) / max(sums.counts[0], 1))
    columns = {"nodes": sizes.n_nodes, "edges": sizes.n_edges, "tiles": sizes.n_tiles}
    return Statistics(
        n_structures=len(sizes),
        n_energies=int(sums.counts[0]),
        n_forces=int(sums.counts[1]),
        n_stresses=int(sums.counts[2]),
        n_atom_energies=int(sums.counts[3]),
        cutoff=sizes.cutoff,
        atomic_numbers=tuple(elements),
        atom_energies=energies,
        shift=shift,
        scale=_scale(sums, energies, shift),
        avg_n_neighbors=float((sizes.n_edges / sizes.n_nodes).mean()),
        largest={name: int(values.max()) for name, values in columns.items()},
        mean={name: float(values.mean()) for name, values in columns.items()},
        digest=hashlib.sha256(b"".join(sums.digests)).hexdigest(),
        outliers=_outliers(sums),
    )


def _outliers(sums: Sums) -> dict[str, float]:
    """Name the few structures that set the scale; see :class:`Statistics`."""
    n = int(sums.counts[1])
    chosen = sums.strongest[: max(1, n // 100)]
    squares, size = sum(row[0] for row in chosen), sum(row[1] for row in chosen)
    if n < _LEAST_FORCES or squares <= _DOMINANT * sums.squares:
        return {}
    rest = (sums.squares - squares) / max(sums.components - size, 1)
    if squares / size < _LARGER**2 * rest:
        return {}
    return {name: float(np.sqrt(squares / size)) for squares, size, name in chosen}


def _scale(sums: Sums, atom_energies: Mapping[int, float], shift: float) -> float:
    """Return the scale of the readout; never zero, since the model would then be a constant."""
    if sums.squares > 0:
        return float(np.sqrt(sums.squares / sums.components))
    residuals = [
        (energy - sum(n * atom_energies[number] for number, n in composition.items()))
        / sum(composition.values())
        - shift
        for energy, composition in sums.forceless
    ]
    found = float(np.sqrt(np.mean(np.square(residuals)))) if residuals else 0.0
    return found if found > _NEGLIGIBLE else 1.0


def describe_packing(sizes: Sizes, batch_size: int) -> dict[str, Any]:
    """Choose the budget for a batch size and tell how full the batches are.

    Args:
        sizes: Those of the source.
        batch_size: Structures of a batch on average.

    Returns:
        ``batch_size``, ``budget``, ``batches_per_epoch`` and ``fill``, as JSON can hold them.
    """
    budget = choose_budget(sizes, batch_size)
    packing = Packing(sizes, budget, seed=0)
    return {
        "batch_size": batch_size,
        "budget": asdict(budget),
        "batches_per_epoch": packing.n_batches,
        "fill": packing.fill(),
    }
