"""Random packings: what they are made of, that few overlap, that they relax."""

from dataclasses import dataclass

import numpy as np
import pytest

from weights.nano import packings, perturb
from weights.nano.chemistry import ELEMENTS
from weights.nano.teacher import Label


def drawn(number, seed=0):
    rngs = [np.random.default_rng([seed, index]) for index in range(number)]
    return [(packings.draw(rng), rng) for rng in rngs]


def test_charges_mostly_balance_and_all_elements_are_known():
    cells = [parts for parts, _ in drawn(200)]
    neutral = [sum(part.charge for part in parts) == 0 for parts in cells]
    assert 0.85 < np.mean(neutral) < 1
    sizes = [sum(len(part.symbols) for part in parts) for parts in cells]
    assert max(sizes) <= packings.LARGEST
    assert {s for parts in cells for part in parts for s in part.symbols} == set(ELEMENTS)


@pytest.mark.parametrize("index", range(12))
def test_parts_keep_their_shape(index):
    ((parts, rng),) = drawn(index + 1)[index:]
    atoms = packings.pack(parts, rng)
    assert atoms.pbc.all()
    assert sorted(atoms.get_chemical_symbols()) == sorted(s for part in parts for s in part.symbols)
    start = 0
    for part in sorted(parts, key=lambda part: -len(part.symbols)):
        body = np.array(part.positions)
        placed = atoms.positions[start : start + len(body)]
        body, placed = body - body[0], placed - placed[0]
        np.testing.assert_allclose(placed @ placed.T, body @ body.T, atol=1e-9)
        start += len(body)


def test_most_packings_are_sound():
    sound = [perturb.is_sound(packings.pack(parts, rng)) for parts, rng in drawn(60)]
    assert np.mean(sound) > 0.8


@dataclass
class Springs:
    """A teacher that pulls every atom to the origin: its steps and energies are known."""

    stiffness: float

    def __call__(self, structures):
        return [
            Label(
                0.5 * self.stiffness * (atoms.positions**2).sum(axis=1),
                -self.stiffness * atoms.positions,
                None,
            )
            for atoms in structures
        ]


@pytest.mark.parametrize("stiffness", [1.0, 200.0])
def test_steps_lower_the_energy_of_soft_and_stiff_bonds(stiffness, monkeypatch):
    monkeypatch.setattr(packings.perturb, "is_sound", lambda _: True)
    monkeypatch.setattr(packings, "KEPT", (1, 10, 60))
    parts, rng = drawn(1)[0]
    found = packings.relaxed([parts], [rng], Springs(stiffness))
    first, middle, last = [label.energy for _, label in found if label is not None]
    assert first > middle > last
    assert [label is None for _, label in found] == [False] * 3 + [True] * 2
    assert {atoms.info["name"].split(":")[0] for atoms, _ in found} == {"packed packed"}
