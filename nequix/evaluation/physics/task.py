"""The task ``physics``: one item for each check, element, crystal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from nequix.calculator import NequixCalculator
from nequix.core.errors import DataError
from nequix.core.suggest import did_you_mean
from nequix.evaluation.digests import describe_paths
from nequix.evaluation.physics import cutoff, dimers, dynamics, elastic, eos, laws, references
from nequix.evaluation.task import ItemResult

CHECKS = (*laws.CHECKS, "cutoff", "nve", "dimers", "eos", "elastic")
"""Every check, in the report's order."""

PREFIXES = {"nve": "nve-", "dimers": "dimer-", "eos": "eos-", "elastic": "elastic-"}
"""Of the items' names of checks that have several."""

ELASTIC_ATOMS = 8
"""Atoms of a crystal whose elastic constants are computed, at most."""


@dataclass(frozen=True)
class Physics:
    """The battery.

    Attributes:
        checks: Which, of :data:`CHECKS`.
        elements: Symbols of the elements whose dimers and crystals are checked: those of the model.
        data: The folder of the DFT references; without it dimers have none, and ``eos`` and ``elastic`` are
            left out.
        n_elastic: Crystals whose elastic constants are computed.
        picoseconds: Length of the dynamics.

    Example:
        >>> from nequix import Physics
        >>> Physics(("cutoff",), ("Si", "O")).items()
        ['cutoff']
    """

    checks: tuple[str, ...]
    elements: tuple[str, ...]
    data: Path | None = None
    n_elastic: int = 20
    picoseconds: float = dynamics.PICOSECONDS
    name: str = "physics"

    def __post_init__(self) -> None:
        unknown = [check for check in self.checks if check not in CHECKS]
        if unknown:
            hint = did_you_mean(unknown[0], CHECKS)
            raise DataError(f"check {unknown[0]!r}, but the checks are {', '.join(CHECKS)}{hint}")

    def settings(self) -> dict[str, Any]:
        """List what the numbers depend on besides the model."""
        files = [path for kind in references.PATTERNS if (path := self.reference(kind)) is not None]
        return {
            "checks": self.checks,
            "references": describe_paths(files),
            "n_elastic": self.n_elastic,
            "picoseconds": self.picoseconds,
        }

    def reference(self, kind: str) -> Path | None:
        """Return the file of a reference, if its check is asked for and the file is there.

        Args:
            kind: ``dimers``, ``eos`` or ``elastic``.
        """
        return references.find(self.data, kind) if self.data is not None and kind in self.checks else None

    def items(self) -> list[str]:
        """Name the items; the slow ones, dynamics and elastic constants, are last.

        Raises:
            DataError: If a reference cannot be read.
        """
        names = [check for check in (*laws.CHECKS, "cutoff") if check in self.checks]
        if "dimers" in self.checks:
            if (path := self.reference("dimers")) is not None:
                references.read_dimers(path)  # a damaged one is refused before curves are calculated
            names += [f"dimer-{symbol}" for symbol in self.elements]
        if (path := self.reference("eos")) is not None:
            known = set(self.elements)
            crystals = (name for name in references.read_eos(path) if name.split("-")[0] in known)
            names += [f"eos-{name.replace('/', '-')}" for name in sorted(crystals)]
        if "nve" in self.checks:
            names += [f"nve-{system}" for system in dynamics.SYSTEMS]
        if (path := self.reference("elastic")) is not None:
            numbers = {atomic_numbers[symbol] for symbol in self.elements}
            chosen = references.sample_elastic(
                references.read_elastic(path), numbers, self.n_elastic, ELASTIC_ATOMS
            )
            names += [f"elastic-{name}" for name in chosen]
        return names

    def refuse_unmade(self) -> None:
        """Reject checks that come to nothing, for those who asked for them by name.

        Raises:
            DataError: If ``eos`` or ``elastic`` is among the checks, but no item of it.
        """
        items = self.items()
        for check in ("eos", "elastic"):
            if check not in self.checks or any(item.startswith(PREFIXES[check]) for item in items):
                continue
            if self.data is None:
                raise DataError(
                    f"check {check!r} compares with DFT; give the folder of the references (--data)"
                )
            if self.reference(check) is None:
                raise DataError(f"{self.data}: has no reference of check {check!r}; see docs/evaluate.md")
            raise DataError(f"check {check!r}: no crystal is left to check; choose other data or --n-elastic")

    def evaluate(self, item: str, calculator: NequixCalculator) -> ItemResult:
        """Make one check.

        Args:
            item: Its name.
            calculator: The model.
        """
        if item in laws.CHECKS:
            return ItemResult(laws.CHECKS[item](calculator.potential))
        if item == "cutoff":
            return ItemResult(*cutoff.scan(calculator.potential))
        kinds: dict[str, Callable[[str, NequixCalculator], ItemResult]] = {
            "nve-": self._nve,
            "dimer-": self._dimer,
            "eos-": self._eos,
            "elastic-": self._elastic,
        }
        prefix = next(prefix for prefix in kinds if item.startswith(prefix))
        return kinds[prefix](item.removeprefix(prefix), calculator)

    def _nve(self, system: str, calculator: NequixCalculator) -> ItemResult:
        values, curves = dynamics.conserve(system, calculator, calculator.spec, self.picoseconds)
        atoms, temperature, step = dynamics.system(system, calculator.spec)
        settings = {"formula": atoms.get_chemical_formula(), "temperature_K": temperature, "step_fs": step}
        return ItemResult({**values, **settings}, curves)

    def _dimer(self, symbol: str, calculator: NequixCalculator) -> ItemResult:
        curve = dimers.compute(calculator.potential, atomic_numbers[symbol])
        values: dict[str, Any] = dimers.describe(curve)
        arrays = {"distance": curve.distance, "energy": curve.energy}
        path = self.reference("dimers")
        reference = None if path is None else references.read_dimers(path).get(symbol)
        if reference is not None:
            values["reference"] = dimers.describe(reference)
            values["comparison"] = dimers.compare(curve, reference)
            arrays |= {"reference_distance": reference.distance, "reference_energy": reference.energy}
        return ItemResult(values, arrays)

    def _eos(self, name: str, calculator: NequixCalculator) -> ItemResult:
        path = self.reference("eos")
        if path is None:
            raise DataError("the reference of the equations of state is gone")
        system = name.replace("-X-", "-X/")
        held = references.read_eos(path)[system]
        values = eos.measure(calculator.potential, system, held.n_atoms, held.eos)
        if held.other is not None:
            values["vasp_delta"] = 1e3 * eos.delta(held.other, held.eos) / held.n_atoms
        return ItemResult(values)

    def _elastic(self, name: str, calculator: NequixCalculator) -> ItemResult:
        path = self.reference("elastic")
        if path is None:
            raise DataError("the reference of the elastic constants is gone")
        atoms = references.read_elastic(path)[name]
        found = elastic.elasticity(atoms, calculator)
        bulk, shear = found.moduli()
        reference = {kind: float(atoms.info[f"{kind}_modulus_vrh"]) for kind in ("bulk", "shear")}
        values = {
            "formula": atoms.get_chemical_formula(),
            "bulk": bulk,
            "shear": shear,
            "stable": found.stable,
            "converged": found.converged,
            "reference": reference,
        }
        return ItemResult(values, {"constants": np.asarray(found.constants)})


def elements_of(numbers: tuple[int, ...]) -> tuple[str, ...]:
    """Return the symbols of atomic numbers.

    Args:
        numbers: The numbers.
    """
    return tuple(chemical_symbols[number] for number in numbers)
