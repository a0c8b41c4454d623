"""Published weights against reference numbers that two other programs agreed upon.

JAX gets all structures as one batch, for it compiles once for every size; PyTorch gets them one by one.
"""

import json
import os
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

import nequix.jax
import nequix.torch
from nequix.graphs.graph import batch, build_graph
from nequix.graphs.results import Results
from nequix.io.catalogue import ENTRIES, load_published
from tests.tolerances import REFERENCE_FLOAT32, REFERENCE_FLOAT32_FORCES_RELATIVE, REFERENCE_FLOAT64

ENGINES = {"jax": nequix.jax, "torch": nequix.torch}
JUDGED = ("nequix-mp-1", "nequix-oam-1-pft")


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """The folder of the reference numbers, which NEQUIX_REFERENCE names; where CI runs it must be there."""
    folder = os.environ.get("NEQUIX_REFERENCE", "")
    if not folder or not (Path(folder) / "reference_values.json").is_file():
        reason = f"NEQUIX_REFERENCE = {folder!r} is not a folder with reference_values.json"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return Path(folder)


@cache
def read(path):
    return json.loads(path.read_text())


@cache
def published(folder, name):
    return load_published(folder / ENTRIES[name].file)


@cache
def potential(engine, folder, name, dtype):
    return ENGINES[engine].Potential(published(folder, name), dtype=dtype)


def graphs(reference_folder, spec):
    structures = read(reference_folder / "reference_values.json")["structures"]
    return {
        name: build_graph(s["numbers"], s["positions"], s["cell"], s["pbc"], spec)
        for name, s in structures.items()
    }


def evaluate_all(engine, potential, graphs):
    """Evaluate structures one by one, or at once where that spares compilations."""
    if engine == "torch":
        return {name: potential.evaluate(graph) for name, graph in graphs.items()}
    results = potential.evaluate(batch(list(graphs.values())))
    ends = np.cumsum([graph.n_nodes for graph in graphs.values()])
    atoms = [slice(end - graph.n_nodes, end) for graph, end in zip(graphs.values(), ends, strict=True)]
    return {
        name: Results(
            results.energy[i : i + 1], results.energies[own], results.forces[own], results.stress[i : i + 1]
        )
        for i, (name, own) in enumerate(zip(graphs, atoms, strict=True))
    }


def find_errors(results, expected, dtype):
    """List what of a structure is outside the tolerances."""
    tolerances = {"float64": REFERENCE_FLOAT64, "float32": REFERENCE_FLOAT32}[dtype]
    forces = np.array(expected["forces"])
    allowed = np.full(forces.shape, tolerances["forces"])
    if dtype == "float32":
        allowed = np.maximum(allowed, REFERENCE_FLOAT32_FORCES_RELATIVE * np.abs(forces))
    stress = np.full((3, 3), np.nan) if expected["stress"] is None else np.array(expected["stress"])
    n_atoms = len(forces)
    pairs = {
        "energy": (results.energy[0], expected["energy"], tolerances["energy"] * n_atoms),
        "energies": (results.energies, expected["node_energies"], tolerances["energy"]),
        "forces": (results.forces, forces, allowed),
        "stress": (results.stress[0], stress, tolerances["stress"]),
    }
    return [
        f"{name} off by {np.max(np.abs(found - np.asarray(value))):.1e}"
        for name, (found, value, allowed) in pairs.items()
        if not np.all((np.abs(found - np.asarray(value)) <= allowed) | (np.isnan(found) & np.isnan(value)))
    ]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", JUDGED)
@pytest.mark.parametrize("engine", ENGINES)
def test_energies_forces_stress_are_the_reference(engine, name, dtype, reference_folder, published_folder):
    evaluated = potential(engine, published_folder, name, dtype)
    found = evaluate_all(engine, evaluated, graphs(reference_folder, evaluated.spec))
    expected = read(reference_folder / "reference_values.json")["models"][name]
    assert len(found) == len(expected) == 21
    errors = {structure: find_errors(found[structure], expected[structure], dtype) for structure in expected}
    assert not any(errors.values()), {structure: wrong for structure, wrong in errors.items() if wrong}


def test_find_errors_finds_each_quantity(reference_folder):
    expected = read(reference_folder / "reference_values.json")["models"]["nequix-mp-1"]
    expected = expected["quartz_sio2_rattled"]
    fields = {name: np.array([expected[name]]) for name in ("energy", "stress")}
    fields |= {"energies": np.array(expected["node_energies"]), "forces": np.array(expected["forces"])}
    assert not find_errors(Results(**fields), expected, "float64")
    for name, values in fields.items():
        wrong = Results(**{**fields, name: values + 1e-4})
        assert [error.split()[0] for error in find_errors(wrong, expected, "float32")] == [name]
        nothing = Results(**{**fields, name: values * np.nan})
        assert len(find_errors(nothing, expected, "float32")) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_hessians_are_the_reference(engine, reference_folder, published_folder):
    expected = read(reference_folder / "reference_hessians.json")["hessians"]
    evaluated = potential(engine, published_folder, "nequix-mp-1", "float64")
    every = graphs(reference_folder, evaluated.spec)
    assert len(expected) == 4
    if engine == "torch":
        found = {name: evaluated.hessian(every[name]) for name in expected}
    else:
        whole = evaluated.hessian(batch([every[name] for name in expected]))
        ends = np.cumsum([every[name].n_nodes for name in expected])
        own = {name: slice(end - every[name].n_nodes, end) for name, end in zip(expected, ends, strict=True)}
        found = {name: whole[atoms, :, atoms] for name, atoms in own.items()}
        rest = np.abs(whole).sum() - sum(np.abs(block).sum() for block in found.values())
        assert rest == pytest.approx(0, abs=REFERENCE_FLOAT64["hessian"])  # structures are apart
    for name, hessian in expected.items():
        np.testing.assert_allclose(
            found[name], hessian, rtol=0, atol=REFERENCE_FLOAT64["hessian"], err_msg=name
        )


def features(engine, evaluated, graph):
    """Evaluate the features after each layer, (atoms, channels, components)."""
    layout = evaluated._arrange(graph)
    if engine == "torch":
        layers = evaluated.model.features(evaluated._arrays(layout), evaluated.kernel)
    else:
        with evaluated._precision():
            arrays = evaluated._arrays(layout)
            layers = jax.jit(lambda model: model.features(arrays, evaluated.kernel))(evaluated.model)
    return [
        {l: np.asarray(block)[: graph.n_nodes].transpose(0, 2, 1) for l, block in blocks.items()}
        for blocks in layers
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_features_of_every_layer_are_the_reference(engine, reference_folder, published_folder):
    evaluated = potential(engine, published_folder, "nequix-mp-1", "float64")
    graph = graphs(reference_folder, evaluated.spec)["nacl_rocksalt_2x1x1_rattled"]
    with np.load(reference_folder / "reference_features_nacl.npz") as file:
        expected = dict(file)
    layers = features(engine, evaluated, graph)
    assert {f"layer{t}.l{l}" for t, blocks in enumerate(layers) for l in blocks} == set(expected)
    for name, block in expected.items():
        t, l = (int(part.strip("layer")) for part in name.split("."))
        np.testing.assert_allclose(
            layers[t][l], block, rtol=0, atol=REFERENCE_FLOAT64["features"], err_msg=f"layer {t}, l = {l}"
        )


@pytest.mark.parametrize("name", ENTRIES)
def test_published_file_gives_the_same_in_both_engines(name, reference_folder, published_folder):
    in_jax, in_torch = (potential(engine, published_folder, name, "float64") for engine in ENGINES)
    graph = graphs(reference_folder, in_jax.spec)["srtio3_perovskite_rattled_strained"]
    layers = [features(engine, p, graph) for engine, p in (("jax", in_jax), ("torch", in_torch))]
    for a, b in zip(*layers, strict=True):
        for l in a:
            np.testing.assert_allclose(a[l], b[l], rtol=0, atol=REFERENCE_FLOAT64["features"])
    assert np.abs(layers[0][-1][0]).max() > 0.1  # the tolerance is absolute
