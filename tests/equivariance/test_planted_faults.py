"""The tests of symmetries themselves: each fault below breaks the symmetry that it should."""

import pytest
import torch

import nequix.torch.convolution
import nequix.torch.layers
import nequix.torch.potential
from nequix.core.coupling import coupling
from nequix.graphs.graph import Graph
from tests.equivariance import test_symmetries as symmetries

MODEL = "l = 3, norm"
VECTORS = Graph.vectors.fget
VIRIAL = nequix.torch.potential.virial_from_gradient


def bent_coupling(l1, l2, l3):
    tensor = coupling(l1, l2, l3).copy()
    if (l1, l2, l3) == (3, 2, 1):
        tensor[0, 1, 2] += 1e-6
    return tensor


def shared_norm(gains, features):
    """Normalise by the mean over all atoms, which lets structures see each other."""
    square = sum((z * z).mean() for z in features.values())
    return {l: z * gains[f"{l}{'eo'[l % 2]}"] / torch.sqrt(square) for l, z in features.items()}


def without_shifts(graph):
    return graph.positions[graph.senders] - graph.positions[graph.receivers]


def from_the_origin(graph):
    return VECTORS(graph) + 1e-6 * graph.positions[graph.senders]


def by_index(graph):
    return VECTORS(graph) * (1 + 1e-6 * graph.senders[:, None])


def rotations(kind):
    symmetries.test_rotation_turns_forces_and_stress("torch", MODEL, kind, 1)


FAULTS = {
    "bent coupling": (
        (nequix.torch.convolution, "coupling", bent_coupling),
        lambda: rotations("molecule"),
    ),
    "axes of the stress": (
        (nequix.torch.potential, "virial_from_gradient", lambda *given: VIRIAL(*given).flip(1, 2)),
        lambda: rotations("crystal"),
    ),
    "dropped shifts": (
        (Graph, "vectors", property(without_shifts)),
        lambda: symmetries.test_wrapping_changes_nothing("torch", MODEL),
    ),
    "absolute positions": (
        (Graph, "vectors", property(from_the_origin)),
        lambda: symmetries.test_translation_changes_nothing("torch", MODEL, "molecule"),
    ),
    "atoms distinguished": (
        (Graph, "vectors", property(by_index)),
        lambda: symmetries.test_permutation_permutes_atoms("torch", MODEL, "molecule"),
    ),
    "norm across structures": (
        (nequix.torch.layers, "rms_norm", shared_norm),
        lambda: symmetries.test_batch_changes_nothing("torch", MODEL),
    ),
    "norm across fragments": (
        (nequix.torch.layers, "rms_norm", shared_norm),
        lambda: symmetries.test_far_fragments_add_up("torch", MODEL),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_symmetry_test_finds_a_planted_fault(fault, monkeypatch):
    where, check = FAULTS[fault]
    check()
    monkeypatch.setattr(*where)
    with pytest.raises(AssertionError, match=r"Not equal|comparison failed"):
        check()
