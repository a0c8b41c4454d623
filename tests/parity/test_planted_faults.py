"""The judges themselves: each fault below is found, and placed in the right layer."""

import dataclasses

import numpy as np
import pytest
import torch

import nequix.torch
import nequix.torch.convolution
import nequix.torch.layers
import nequix.torch.potential
from nequix.core.coupling import coupling
from nequix.core.spec import ModelSpec
from nequix.graphs.graph import batch
from nequix.graphs.tiling import tiles_needed
from tests.parity.check import random_probe
from tests.parity.compare import assert_agree, first_difference
from tests.parity.outcomes import reference_outcome, torch_outcome
from tests.systems import random_weights, structure
from tests.tolerances import PARITY_FLOAT64

SPEC = ModelSpec(
    hidden_irreps="3x0e + 2x1o + 2x2e",
    lmax=2,
    n_layers=3,
    cutoff=3.0,
    radial_basis_size=3,
    radial_mlp_size=5,
    atomic_numbers=(1, 8, 30),
    avg_n_neighbors=9.0,
    scale=-1.3,
    shift=0.7,
)
WEIGHTS = random_weights(SPEC, 1)
GRAPH = batch([structure(SPEC, 1, 3), structure(SPEC, 2, 4, cell="skewed")])
PROBE = random_probe(WEIGHTS, GRAPH, 1)
AFTER = "what follows the last layer"
engine = nequix.torch


@pytest.fixture(scope="module")
def reference():
    return reference_outcome(WEIGHTS, GRAPH, PROBE)


def judge(reference, graph=GRAPH, weights=WEIGHTS):
    sizes = (graph.n_nodes + 1, tiles_needed(graph) + 1, graph.n_graphs + 1)
    potential = engine.Potential(weights, dtype="float64", kernel="plain", device="cpu")
    outcome = torch_outcome(potential, graph, sizes, PROBE).along(PROBE)
    assert_agree(outcome, reference, SPEC, "float64", "PyTorch and the reference")


def changed(original, change):
    """Wrap a function so that its result is changed."""
    return lambda *args, **kwargs: change(original(*args, **kwargs))


def textbook_norm(gains, features):
    """Mean over components and channels, and no further factor: the norm that this model does not have."""
    square = sum((z * z).mean((1, 2)) for z in features.values()) / len(features)
    scale = (1 / torch.sqrt(square + 1e-12))[:, None, None]
    return {l: z * gains[f"{l}{'eo'[l % 2]}"] * scale for l, z in features.items()}


def swapped_gates(features, n_gates):
    """Gate by the scalars in reverse order of degree."""
    scalars = nequix.torch.layers.silu(features[0]) / 0.5964586854233045
    start = scalars.shape[-1] - n_gates
    gated = {0: scalars[:, :, :start]}
    for l in sorted(set(features) - {0}, reverse=True):
        gated[l] = features[l] * scalars[:, :, start : start + features[l].shape[-1]]
        start += features[l].shape[-1]
    return dict(sorted(gated.items()))


def flipped_path(l1, l2, l3):
    return coupling(l1, l2, l3) * (-1 if (l1, l2, l3) == (1, 1, 2) else 1)


FAULTS = {
    "sign of one path": (engine.convolution, "coupling", flipped_path, "layer 1"),
    "textbook norm": (engine.layers, "rms_norm", textbook_norm, "layer 0"),
    "gates of another degree": (engine.layers, "gate", swapped_gates, "layer 0"),
    "normalisation of the gate": (engine.layers, "GATE_NORMALISATION", 0.5964586, "layer 0"),
    "sign of harmonics": (
        engine.layers,
        "spherical_harmonics",
        changed(engine.layers.spherical_harmonics, lambda Y: torch.cat([Y[:, :1], -Y[:, 1:]], -1)),
        "edges",
    ),
    "axes of the stress": (
        engine.potential,
        "virial_from_gradient",
        changed(engine.potential.virial_from_gradient, lambda virial: virial.flip(1, 2)),
        AFTER,
    ),
    "sign of the forces": (
        engine.potential,
        "forces_from_gradient",
        changed(engine.potential.forces_from_gradient, torch.neg),
        AFTER,
    ),
    "forces without a derivative": (
        engine.potential,
        "forces_from_gradient",
        changed(engine.potential.forces_from_gradient, torch.detach),
        AFTER,
    ),
    "Hessian off by a millionth": (
        engine.potential,
        "hessian_product",
        changed(engine.potential.hessian_product, lambda product: product * (1 + 1e-6)),
        AFTER,
    ),
}


def test_judge_passes_the_engine(reference):
    judge(reference)


@pytest.mark.parametrize("fault", FAULTS)
def test_judge_finds_a_planted_fault(fault, reference, monkeypatch):
    module, name, wrong, stage = FAULTS[fault]
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError, match=f"the first to differ: {stage}"):
        judge(reference)


def test_judge_finds_dropped_shifts(reference):
    with pytest.raises(AssertionError, match="the first to differ: edges"):
        judge(reference, dataclasses.replace(GRAPH, shifts=np.zeros_like(GRAPH.shifts)))


def test_judge_finds_exchanged_senders(reference):
    exchanged = dataclasses.replace(GRAPH, senders=GRAPH.senders[::-1].copy())
    with pytest.raises(AssertionError, match="the first to differ: edges"):
        judge(reference, exchanged)


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("layers.0.radial.1", "layer 0"),
        ("layers.1.skip.2e", "layer 1"),
        ("layers.2.norm.0e", "layer 2"),
        ("readout.0e", AFTER),
        ("atom_energies", AFTER),
    ],
)
def test_judge_finds_a_changed_parameter_where_it_stands(reference, name, stage):
    parameters = {**WEIGHTS.parameters, name: WEIGHTS.parameters[name] * (1 + 1e-8)}
    with pytest.raises(AssertionError, match=f"the first to differ: {stage}"):
        judge(reference, weights=dataclasses.replace(WEIGHTS, parameters=parameters))


def test_first_difference_names_the_degree(reference):
    stages = [(name, dict(parts)) for name, parts in reference.stages]
    stages[2][1]["l = 2"] = stages[2][1]["l = 2"] + 1e-3
    text = first_difference(dataclasses.replace(reference, stages=stages), reference, PARITY_FLOAT64)
    assert text.startswith("layer 1 (l = 2: ")
    assert first_difference(reference, reference, PARITY_FLOAT64) is None


def test_judge_finds_a_missing_stress(reference):
    stress = np.where([[[True]], [[False]]], reference.stress, np.nan)
    with pytest.raises(AssertionError, match="stress inf"):
        assert_agree(dataclasses.replace(reference, stress=stress), reference, SPEC, "float64", "Both")
