"""Phonon fine-tuning: force constants as labels, the gradients of their loss, and runs."""

import dataclasses
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import phonopy
import pytest
import torch
from ase.build import bulk
from phonopy.structure.atoms import PhonopyAtoms

import nequix.torch.model
import nequix.torch.potential
from nequix.core.errors import DataError
from nequix.core.parameters import initialise, manifest
from nequix.core.spec import ModelSpec
from nequix.data.batch import graph_of
from nequix.data.loader import Loader
from nequix.data.sources import Source
from nequix.data.structure import HessianProduct
from nequix.evaluation.phonons.harmonic import by_hessian
from nequix.finetune.config import PhononsConfig, configure
from nequix.finetune.opening import open_fine_tuning
from nequix.finetune.phonons import PhononSource
from nequix.io.weights import Provenance, Weights
from nequix.jax.kernels import select_kernel
from nequix.jax.potential import Potential
from nequix.torch.kernels import select_kernel as select_torch_kernel
from nequix.train.history import History
from nequix.train.loop import MODEL
from nequix.train.loss import LossConfig, counts, error_sums, loss_and_gradient, predict, weighted_loss
from nequix.train.step import make_mesh, spread
from tests.tolerances import PARITY_FLOAT64
from tests.train.emt import write_data

SPEC = ModelSpec(
    atomic_numbers=(29, 47, 79),
    avg_n_neighbors=12.0,
    scale=0.5,
    shift=0.1,
    cutoff=3.5,
    hidden_irreps="6x0e + 4x1o + 2x2e",
    lmax=2,
    n_layers=2,
    radial_basis_size=4,
    radial_mlp_size=8,
    radial_mlp_layers=1,
)

FINITE_DIFFERENCE = 1e-6
"""Relative to the terms that are summed; differences of five points, 1e-4 apart, err in fourth order."""

SAVED = 1e-8
"""eV/A^2; phonopy writes force constants with 15 digits behind the point, and symmetrises them: the crystal's
Hessian has the symmetries but for rounding."""

SMALL = dataclasses.replace(SPEC, hidden_irreps="4x0e + 4x1o", lmax=1, n_layers=1)

WEIGHTS = Weights(SPEC, initialise(SPEC, 3), Provenance(name="little", training_data="none"))
LOSS = LossConfig(energy=20, forces=20, stress=5, hessian=20)


def write_phonons(path, atoms, weights, centring="P", compact=True):
    """Write the phonons of a model as a reference."""
    cell = PhonopyAtoms(atoms.get_chemical_symbols(), cell=atoms.cell.array, positions=atoms.positions)
    phonons = phonopy.Phonopy(cell, [2, 2, 2], primitive_matrix=centring)
    by_hessian(phonons, Potential(weights, kernel="plain", dtype="float64"))
    if not compact:
        constants = phonopy.harmonic.force_constants.compact_fc_to_full_fc(
            phonons.primitive, phonons.force_constants
        )
        phonons.force_constants = constants
    phonons.save(path, settings={"force_sets": False, "force_constants": True})


def copper_gold():
    return bulk("CuAu", "cesiumchloride", a=3.0)


class Rattled(Source):
    """Structures with nothing symmetric about them, their labels and their directions."""

    path = "rattled"

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        structure = self.source[index]
        shape = structure.positions.shape
        return dataclasses.replace(
            structure,
            positions=structure.positions + rng.normal(0, 0.1, shape),
            energy=-3.0 * len(structure.positions) if index else None,
            forces=rng.normal(0, 1, shape) if index else None,
            hessian=HessianProduct(*rng.normal(0, 1, (2, *shape))) if index < 2 else None,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phonons")
    other = dataclasses.replace(WEIGHTS, parameters=initialise(SPEC, 4))
    write_phonons(folder / "CuAu.yaml", copper_gold(), WEIGHTS)
    write_phonons(folder / "Ag.yaml", bulk("Ag", cubic=True), other, "F", compact=False)
    return folder


def evaluated(source, weights=WEIGHTS, dtype="float64"):
    """Return the loss of one batch and its gradient as training takes it, as functions, and the batch."""
    (batch,) = next(Loader(source, SPEC, batch_size=len(source), epochs=1, shuffle=False))
    energies = weights.parameters["atom_energies"]
    placed = spread(make_mesh(), [batch], dtype, energies, hessian=True)
    arrays, labels = jax.tree.map(lambda x: x[0], placed)
    kernel = select_kernel("plain", "cpu")

    def loss(values):
        told = predict(SPEC, kernel, values, arrays, labels)
        sums = error_sums(told, labels)
        return weighted_loss(LOSS, sums, counts(labels)), (sums, told)

    def step(values):
        return loss_and_gradient(LOSS, SPEC, kernel, values, {}, (arrays, labels), counts(labels))

    return loss, jax.jit(step), batch


def placed(weights):
    return {name: jnp.asarray(x, "float64") for name, x in weights.parameters.items()}


@pytest.mark.parametrize("name", ["CuAu", "Ag"])
def test_columns_are_those_of_the_hessian(folder, name):
    source = PhononSource([folder / f"{name}.yaml"])
    weights = WEIGHTS if name == "CuAu" else dataclasses.replace(WEIGHTS, parameters=initialise(SPEC, 4))
    potential = Potential(weights, kernel="plain", dtype="float64")
    for structure in source.each():
        graph, label = graph_of(structure, SPEC), structure.hessian
        product = potential.hessian_vector_product(graph, label.direction)
        assert np.abs(product).max() > 0.01
        np.testing.assert_allclose(label.product, product, rtol=0, atol=SAVED)


def test_materials_count_alike_and_are_held_out_whole(folder):
    source = PhononSource([folder])
    assert sorted(source.names) == ["Ag", "CuAu"]
    assert len(source) == 2 * 6  # silver's three columns come around twice
    assert len({structure.name for structure in source}) == 3 + 6
    train, valid = source.split(0.1, 0)
    names = [{structure.name.split(",")[0] for structure in part} for part in (train, valid)]
    assert names[0] | names[1] == {"Ag", "CuAu"}
    assert not names[0] & names[1]
    alone, again = PhononSource([folder / "Ag.yaml"]).split(0.1, 0)
    assert {structure.name for structure in alone} == {structure.name for structure in again}


def test_phonons_without_force_constants_are_refused(tmp_path):
    cell = PhonopyAtoms(["Cu"], cell=bulk("Cu").cell.array, positions=[[0, 0, 0]])
    phonopy.Phonopy(cell, [2, 2, 2]).save(tmp_path / "bare.yaml")
    with pytest.raises(DataError, match=r"no force constants, and no forces|cannot be read as phonons"):
        PhononSource([tmp_path / "bare.yaml"])
    with pytest.raises(DataError, match="no folder with FORCE_SETS"):
        PhononSource([tmp_path / "nothing"])
    (tmp_path / "bare.yml").touch()
    with pytest.raises(
        DataError, match=r"bare\.yml: neither a phonopy YAML file \(\.yaml, .* nor a folder with"
    ):
        PhononSource([tmp_path / "bare.yml"])


def test_gradients_of_the_loss_are_its_differences(folder):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        loss, step, _ = evaluated(Rattled(PhononSource([folder])))
        values = placed(WEIGHTS)
        (value, sums), gradients = step(values)
        assert float(value) == pytest.approx(float(loss(values)[0]), rel=1e-12)
        assert float(sums["hessian"]) > 1
        rng = np.random.default_rng(0)
        for parameter in (p for p in manifest(SPEC) if p.learned):
            name, h = parameter.name, 1e-4
            direction = rng.normal(0, 1, values[name].shape)
            two, one, minus_one, minus_two = (
                float(step({**values, name: values[name] + s * h * direction})[0][0]) for s in (2, 1, -1, -2)
            )
            slope = (8 * (one - minus_one) - (two - minus_two)) / (12 * h)
            terms = np.asarray(gradients[name] * direction)
            allowed = FINITE_DIFFERENCE * np.abs(terms).sum()
            assert slope == pytest.approx(terms.sum(), rel=0, abs=allowed), name


def test_both_engines_have_the_same_products_and_gradients(folder):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        loss, _, batch = evaluated(Rattled(PhononSource([folder])))

        def only(values):
            _, (sums, told) = loss(values)
            return sums["hessian"], told.hessian

        (value, products), gradients = jax.jit(jax.value_and_grad(only, has_aux=True))(placed(WEIGHTS))
        gradients = {name: np.asarray(x) for name, x in gradients.items()}
    model = nequix.torch.model.Model(SPEC, {n: torch.tensor(x) for n, x in WEIGHTS.parameters.items()})
    model.requires_grad_(True)
    potential = nequix.torch.potential
    arrays = potential.Arrays(**{name: torch.tensor(x) for name, x in batch.layout.arrays().items()})
    kernel = select_torch_kernel("plain", "cpu")
    slope = potential.gradient_slope(model, kernel, arrays, torch.tensor(batch.direction))[2]
    others = -potential.forces_from_gradient(slope, arrays)
    product = batch.labels["hessian"]
    difference = (others - torch.tensor(product.values))[torch.tensor(product.mask)]
    total = difference.norm(dim=1).sum()
    total.backward()
    assert total.item() == pytest.approx(float(value), rel=PARITY_FLOAT64)
    size = np.abs(products).max()
    np.testing.assert_allclose(others.detach(), products, rtol=0, atol=PARITY_FLOAT64 * size)
    for name, parameter in model.named_parameters():
        if name == "readout.0e" or name.startswith("layers"):
            size = np.abs(gradients[name]).max()
            assert size > 1e-6, name
            np.testing.assert_allclose(
                parameter.grad.numpy(), gradients[name], rtol=0, atol=PARITY_FLOAT64 * size
            )


CONFIG = """
data: {batch_size: 8, valid_fraction: 0.2}
loss: {energy: 1, forces: 1, stress: 0, hessian: 1000}
optimizer: {learning_rate: 0.03}
run: {epochs: 4, ema_decay: 0.5, checkpoint_every: 3, dtype: float64}
log: {figures: false}
phonons: {batch_size: 3}
"""


def tuning(path, folder):
    (path / "config.yml").write_text(CONFIG)
    if not (path / "data.extxyz").exists():
        write_data(path / "data.extxyz", 24)
    parent = Weights(SMALL, initialise(SMALL, 5), WEIGHTS.provenance)
    config = configure(
        parent,
        "parent",
        "full",
        [path / "data.extxyz"],
        path=path / "config.yml",
        phonons=PhononsConfig([str(folder / "CuAu.yaml")]),
    )
    return partial(open_fine_tuning, config, parent)


def test_a_run_lowers_the_error_of_force_constants_and_resumes_bit_for_bit(tmp_path, folder):
    make = tuning(tmp_path, folder)
    whole = make(tmp_path / "whole")
    assert whole.train()
    assert "3 of 6 columns of Hessians" in whole.describe()
    rows = [row for row in History(tmp_path / "whole/history.csv").rows() if row["valid_hessian"]]
    assert float(rows[-1]["valid_hessian"]) < 0.9 * float(rows[0]["valid_hessian"])

    interrupted = make(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        interrupted.train(partial(stop_at, 5))
    assert make(tmp_path / "parts").train()
    parts = [(tmp_path / name / MODEL).read_bytes() for name in ("whole", "parts")]
    assert parts[0] == parts[1]


def test_force_constants_that_changed_are_noticed_once_steps_were_taken(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "phonons")
    make = tuning(tmp_path, tmp_path / "phonons")
    make(tmp_path / "run").checkpoint()
    make(tmp_path / "run")
    other = dataclasses.replace(WEIGHTS, parameters=initialise(SPEC, 5))
    write_phonons(tmp_path / "phonons/CuAu.yaml", copper_gold(), other)
    with pytest.raises(DataError, match=r"phonons.*: changed since the run in .* began"):
        make(tmp_path / "run")


def stop_at(last: int, step: int, *_: object) -> None:
    if step == last:
        raise KeyboardInterrupt


def test_a_weight_without_phonons_is_refused(tmp_path):
    Path(tmp_path / "config.yml").write_text("loss: {hessian: 10}")
    with pytest.raises(DataError, match=r"loss\.hessian needs phonons"):
        configure(WEIGHTS, "parent", "full", ["data.extxyz"], path=tmp_path / "config.yml")
