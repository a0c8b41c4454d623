"""Phonons by a teacher: of crystals that were not left out, and read again as they were written."""

import numpy as np
import pytest

pytest.importorskip("phonopy")

from nequix.backends import load_model
from nequix.evaluation.phonons.harmonic import by_displacements
from nequix.finetune.phonons import PhononSource
from weights.nano import phonons
from weights.nano.prototypes import UNARY
from weights.nano.teacher import teach_with


def first(teach, **options):
    return next(phonons.crystals(teach, 0, **options))


@pytest.fixture(scope="module")
def teacher():
    return load_model("nequix-nano", "torch", dtype="float64")


def test_supercells_are_wide_and_not_too_large():
    copper = UNARY[0].build(("Cu",))
    cell = np.diag(phonons.multiples(copper)) @ copper.cell.array
    widths = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    assert (widths >= phonons.WIDTH).all()
    assert phonons.multiples(copper.repeat(4)) is None


def test_compounds_are_left_out(teacher):
    teach = teach_with(teacher)
    name, crystal = first(teach, without=set())
    family = "-".join(sorted(set(crystal.get_chemical_symbols())))
    assert first(teach, without={family})[0] != name
    assert first(teach, without=set())[0] == name


def test_what_is_written_is_read_as_columns(teacher, tmp_path):
    name, crystal = first(teach_with(teacher), without=set())
    found = phonons.supercell_of(crystal)
    by_displacements(found, teacher)
    phonons.write(found, tmp_path / f"{name}.yaml.gz")
    source = PhononSource([tmp_path])
    assert source.names == (name,)
    assert len(source) == 3 * len(crystal)
    column = source[0]
    atom = int(np.flatnonzero(np.abs(column.hessian.direction).any(1))[0])
    axis = int(np.flatnonzero(column.hessian.direction[atom])[0])
    expected = found.force_constants[atom][:, axis]
    np.testing.assert_allclose(column.hessian.product, expected, atol=1e-6 * np.abs(expected).max())
