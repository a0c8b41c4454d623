"""Structures with the results of a calculator."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from nequix.ensemble import SPREADS


def with_results(atoms: Atoms, calculator: Any = None) -> Atoms:
    """Copy a structure with its calculator's results, which replace any older ones.

    Forces are not changed by constraints. An ensemble's ``energy_spread`` goes into ``info``, and its
    ``forces_spread`` into ``arrays``.

    Args:
        atoms: The structure.
        calculator: A calculator that has just evaluated it; by default its own.

    Returns:
        A copy with a ``SinglePointCalculator``.
    """
    copied = atoms.copy()
    calculator = atoms.calc if calculator is None else calculator
    results = dict(calculator.results)
    for name in (*results, "stress", "virial", *SPREADS):
        copied.info.pop(name, None)
        copied.arrays.pop(name, None)
    spreads = getattr(calculator, "spreads", {})
    if spreads:
        copied.info["energy_spread"] = spreads["energy_spread"]
        copied.set_array("forces_spread", spreads["forces_spread"])
    copied.calc = SinglePointCalculator(copied, **results)
    return copied
