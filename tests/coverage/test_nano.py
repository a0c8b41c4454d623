"""The reference that comes with nequix-nano."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from nequix.backends import load_model
from nequix.coverage.assess_coverage import assess_coverage
from nequix.coverage.sidecar import find_reference, place_beside
from nequix.io.catalogue import REFERENCES, load_weights
from tests.coverage.sets import structures
from tests.io.test_bundled import HELD_OUT


@pytest.fixture(scope="module")
def found():
    weights = load_weights("nequix-nano")
    return find_reference("nequix-nano", weights), load_model(weights, "torch")


def rattled(*arguments, scale=1.0, **options):
    atoms = bulk(*arguments, cubic=True, **options) * (2, 2, 2)
    atoms.set_cell(scale * atoms.cell, scale_atoms=True)
    atoms.rattle(0.05, seed=0)
    return atoms


def test_it_is_small_and_of_these_weights(found):
    assert place_beside("nequix-nano").stat().st_size < 1_500_000
    reference, _ = found
    assert reference.features is not None
    assert set(reference.elements) == set(load_weights("nequix-nano").spec.atomic_numbers)
    assert reference.calibration.verdicts["outside"] < 0.02


@pytest.mark.parametrize("features", [True, False])
def test_ordinary_crystals_are_inside(found, features):
    reference, potential = found
    frames = [
        rattled("Cu", "fcc", a=3.62),
        rattled("Li", "bcc", a=3.44),
        rattled("MgO", "rocksalt", a=4.21),
        rattled("Si", "diamond", a=5.43),
    ]
    judged = assess_coverage(structures(frames), reference, potential if features else None)
    assert judged.verdicts == ("inside",) * 4, judged.reasons


@pytest.mark.parametrize("features", [True, False])
def test_planted_cases_are_caught_and_named(found, features):
    reference, potential = found
    contact = rattled("Li", "bcc", a=3.44)
    contact.positions[1] = contact.positions[0] + [1.4, 0.0, 0.0]
    cases = {
        "Li-Li": contact,
        "Cu to Cu": rattled("Cu", "fcc", a=3.62, scale=0.8),
        "B-Fe": bulk("FeB", "cesiumchloride", a=2.5) * (2, 2, 2),  # no boride of iron was trained on
    }
    for name, atoms in cases.items():
        judged = assess_coverage(structures([atoms]), reference, potential if features else None)
        assert judged.verdict != "inside", name
        assert any(gap.name == name for gap in judged.gaps), name
    first = assess_coverage(structures([contact]), reference, potential if features else None)
    assert first.verdict == "outside"
    assert {0, 1} <= {atom for gap in first.gaps if gap.name == "Li-Li" for _, atom in gap.atoms}


def test_documented_commands_name_a_model_with_a_reference():
    root = Path(__file__).parents[2]
    for page in (root / "README.md", *(root / "docs").glob("*.md")):
        for line in page.read_text().splitlines():
            command, _, _ = line.partition("#")
            if command.startswith("    nequix coverage ") and "coverage build" not in command:
                model = re.search(r"--model (\S+)", command)
                assert (model[1] if model else "nequix-mp-1") in REFERENCES, f"{page.name}: {command}"


def test_held_out_structures_are_mostly_inside(found):
    reference, potential = found
    frames = ase.io.read(HELD_OUT, ":")[::4]
    judged = assess_coverage(structures(frames), reference, potential)
    assert judged.verdicts.count("inside") > 0.85 * len(frames)
    assert judged.verdicts.count("outside") < 0.03 * len(frames)
    assert np.isfinite(judged.score).all()
