"""The constants of a model are what section "training" of docs/architecture.md says."""

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.data.opening import open_source
from nequix.data.stats import compute, describe_packing
from nequix.io.catalogue import load_weights
from tests.data.sets import real, relabelled, saved, strained_copper


def test_statistics_are_as_defined(tmp_path):
    frames = strained_copper(9)
    for atoms in frames[:5]:
        atoms.numbers[0] = 13
    frames[3] = relabelled(frames[3], forces=None)
    frames[4] = relabelled(frames[4], energy=None)
    source = open_source(saved(tmp_path / "set.extxyz", frames))
    found, sizes = compute(source, 4.0)
    structures = list(source)
    with_energy = [s for s in structures if s.energy is not None]
    counts = np.array([[np.sum(s.numbers == z) for z in (13, 29)] for s in with_energy], float)
    energies = np.array([s.energy for s in with_energy])
    fit = np.linalg.lstsq(counts, energies, rcond=None)[0]
    assert found.atomic_numbers == (13, 29)
    np.testing.assert_allclose(list(found.atom_energies.values()), fit, rtol=1e-9)
    assert found.shift == pytest.approx(np.mean((energies - counts @ fit) / counts.sum(1)), rel=1e-9)
    forces = np.concatenate([s.forces for s in structures if s.forces is not None])
    assert found.scale == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-12)
    assert found.avg_n_neighbors == pytest.approx(np.mean(sizes.n_edges / sizes.n_nodes))
    assert (found.n_structures, found.n_energies, found.n_forces, found.n_stresses) == (9, 8, 8, 9)


def test_labels_of_weight_zero_count_as_missing(tmp_path):
    good, bad = strained_copper(5), strained_copper(9)[5:]
    for index, atoms in enumerate(bad):
        bad[index] = relabelled(atoms, energy=-1e4, forces=atoms.positions)
        bad[index].info.update(energy_weight=0.0, forces_weight=0.0)
    expected, _ = compute(open_source(saved(tmp_path / "good.extxyz", good)), 4.0)
    found, _ = compute(open_source(saved(tmp_path / "all.extxyz", [*good, *bad])), 4.0)
    for name in ("atom_energies", "shift", "scale"):
        assert getattr(found, name) == getattr(expected, name)
    assert (found.n_structures, found.n_energies, found.n_forces) == (9, 5, 5)
    nothing, _ = compute(open_source(saved(tmp_path / "bad.extxyz", bad)), 4.0)
    assert (nothing.atom_energies, nothing.shift, nothing.scale) == ({29: 0.0}, 0.0, 1.0)


@pytest.mark.parametrize("forces", [None, 0.0])
@pytest.mark.parametrize("offset", [0.0, -3e5])
def test_without_forces_the_scale_is_that_of_energies(tmp_path, forces, offset):
    frames = []
    for atoms in strained_copper(9):
        energy = atoms.calc.results["energy"] + offset * len(atoms)
        zeros = None if forces is None else np.full(atoms.positions.shape, forces)
        frames.append(relabelled(atoms, energy=energy, forces=zeros))
    source = open_source(saved(tmp_path / "set.extxyz", frames))
    found, _ = compute(source, 4.0)
    per_atom = np.array([s.energy / len(s.numbers) for s in source])
    residuals = per_atom - found.atom_energies[29] - found.shift
    assert np.std(residuals) > 1e-3
    assert found.scale == pytest.approx(np.sqrt(np.mean(residuals**2)), rel=1e-9)
    shared, _ = compute(source, 4.0, n_workers=2)
    assert shared.scale == found.scale


@pytest.mark.parametrize("energy", [None, -1e5])
def test_a_scale_is_never_zero(tmp_path, energy):
    frames = [relabelled(strained_copper(1)[0], energy=energy, forces=None)]
    found, _ = compute(open_source(saved(tmp_path / "set.extxyz", frames)), 4.0)
    assert found.scale == 1.0


def test_workers_and_streams_count_alike(tmp_path):
    source = open_source(saved(tmp_path / "set.extxyz", strained_copper(150)))
    alone, _ = compute(source, 4.0)
    shared, sizes = compute(source, 4.0, n_workers=2)
    assert shared == alone  # to the last bit
    assert len(sizes) == 150


def test_given_atom_energies_are_kept_and_must_be_complete(tmp_path):
    source = open_source(saved(tmp_path / "set.extxyz", strained_copper(3)))
    found, _ = compute(source, 4.0, atom_energies={29: -1.0, 1: 5.0})
    assert found.atom_energies == {29: -1.0}
    with pytest.raises(DataError, match=r"\[29\]"):
        compute(source, 4.0, atom_energies={1: 5.0})


def test_atom_energies_that_are_undetermined_are_small(tmp_path):
    frames = strained_copper(4)
    for atoms in frames:
        atoms.numbers[: len(atoms) // 2] = 13  # always one to one
    found, _ = compute(open_source(saved(tmp_path / "set.extxyz", frames)), 4.0)
    assert found.atom_energies[13] == pytest.approx(found.atom_energies[29])


def test_real_mptrj_sample_agrees_with_the_published_model(published_folder):
    source = open_source(real("mattersim_benchmarks/mptrj-random-1k.extxyz.gz"))
    weights = load_weights(published_folder / "nequix-mp-1.nqx")
    spec = weights.spec
    energies = dict(zip(spec.atomic_numbers, weights.parameters["atom_energies"].tolist(), strict=True))
    found, sizes = compute(source, spec.cutoff, atom_energies=energies)
    # A thousand of 1.6 million structures: the standard error of the mean is 0.7 neighbours and 0.03 eV.
    assert found.avg_n_neighbors == pytest.approx(spec.avg_n_neighbors, abs=2.0)
    assert found.shift == pytest.approx(spec.shift, abs=0.1)
    # Two structures, with forces up to 70 eV/A, make half of this sum of squares.
    assert 0.5 * spec.scale < found.scale < 2 * spec.scale
    for batch_size in (16, 64, 256):
        fill = describe_packing(sizes, batch_size)["fill"]
        assert min(fill["nodes"], fill["tiles"]) > 0.9
