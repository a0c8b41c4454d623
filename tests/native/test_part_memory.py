"""The memory of a part: bounded by its atoms, and the same after many steps."""

from pathlib import Path

import numpy as np
import pytest

from nequix.core.parameters import initialise
from nequix.core.spec import ModelSpec
from nequix.io.weights import Provenance, Weights
from nequix.native.model import NativeModel
from nequix.native.parts import Part

PER_RECEIVER, PER_GHOST = 8256, 2816
"""Numbers that the layers of the published shape hold per node (docs/native.md)."""

SLACK = 1.15
"""An eighth of room for later steps, and the edges."""

STATM = Path("/proc/self/statm")


@pytest.fixture(scope="module")
def model():
    spec = ModelSpec(atomic_numbers=(6, 8), avg_n_neighbors=57.4, scale=1.0, shift=0.0)
    return NativeModel(Weights(spec, initialise(spec, 0), Provenance()), "float32")


def begin(part, n_receivers, n_ghosts, edges_per_atom, rng):
    """Begin a step with random edges, and run the first layer of a few receivers."""
    n_nodes, n_edges = n_receivers + n_ghosts, n_receivers * edges_per_atom
    first = np.arange(0, n_edges + 1, edges_per_atom)
    vectors = rng.uniform(4, 8, (n_edges, 3))  # beyond the cutoff, most of them
    part.begin(first, vectors, rng.integers(n_nodes, size=n_edges), rng.integers(2, size=n_nodes))


def test_width_is_that_of_the_published_shape(model):
    part = Part(model)
    assert part.n_layers == 4
    assert [part.width(t) for t in (1, 2, 3)] == [704, 704, 704]
    assert part.n_bytes == 0


def test_memory_is_bounded_and_does_not_grow(model):
    part, rng = Part(model), np.random.default_rng(0)
    pages, sizes, most_receivers, most_ghosts = [], [], 0, 0
    for _ in range(100):
        n_receivers, n_ghosts = rng.integers(360, 441), rng.integers(720, 881)
        begin(part, n_receivers, n_ghosts, 158, rng)
        part.forward(0)
        most_receivers, most_ghosts = max(most_receivers, n_receivers), max(most_ghosts, n_ghosts)
        expected = 4 * (PER_RECEIVER * most_receivers + PER_GHOST * most_ghosts)
        assert expected <= part.n_bytes <= SLACK * expected
        sizes.append(part.n_bytes)
        pages.append(int(STATM.read_text().split()[1]) if STATM.exists() else 0)
    assert len(set(sizes[20:])) == 1
    assert (pages[-1] - pages[20]) * 4096 < 10e6  # the edges of a step are 3 MB


def test_energies_need_less_memory(model):
    sizes = {}
    for gradient in (True, False):
        part = Part(model)
        part.begin(np.zeros(401), np.zeros((0, 3)), np.zeros(0), np.zeros(400, int), gradient=gradient)
        sizes[gradient] = part.n_bytes
    assert sizes[False] < 0.7 * sizes[True]
