"""A bad frame, and how the commands are asked about small structures."""

from ase import Atoms

from tests.calculator import small

COMMON = ("--model", "model.safetensors", "--backend", "torch", "--dtype", "float64")

WRITTEN = 1e-7
"""Extended XYZ holds eight decimals, of positions and of forces."""


def bad_frame() -> Atoms:
    """Make a structure with an element that the model does not know."""
    bad = small.salt()
    bad.numbers[5] = 92
    return bad
