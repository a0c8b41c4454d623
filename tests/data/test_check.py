"""Every planted fault is found under its own rule, and clean data, real ones too, pass."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from nequix.backends import load_model
from nequix.data.check import check_source
from nequix.data.label_keys import LabelKeys
from nequix.data.opening import open_source
from nequix.data.structure import to_atoms
from nequix.graphs.results import Results
from tests.data.sets import SPEC, labelled, real, relabelled, saved, strained_copper
from tests.data.test_sources import mptrj_frame

KBAR = 0.1 * units.GPa


class Reference:
    """A potential that predicts the labels of :func:`strained_copper`, to five per cent."""

    spec = SPEC

    def evaluate(self, graph):
        atoms = Atoms(
            np.array(SPEC.atomic_numbers)[graph.species], graph.positions, cell=graph.cell[0], pbc=True
        )
        atoms.calc = LennardJones(sigma=2.3, epsilon=0.42, rc=6.0, smooth=True)
        stress = atoms.get_stress(voigt=False)[None]
        return Results(
            np.array([atoms.get_potential_energy()]), np.zeros(len(atoms)), atoms.get_forces(), stress
        )


@pytest.fixture
def frames():
    return strained_copper(40)


@pytest.fixture
def rules(tmp_path):
    def rules(frames, reference=None, keys=None):
        report = check_source(open_source(saved(tmp_path / "set.extxyz", frames), keys), reference)
        assert report.n_structures == len(frames)
        return {found.rule: found for found in report.findings}

    return rules


def every(frames, **changes):
    """Change labels of all structures by functions of the old ones."""
    return [
        relabelled(a, **{key: change(a.calc.results[key]) for key, change in changes.items()}) for a in frames
    ]


def test_clean_data_pass(rules, frames):
    assert rules(frames) == {}
    assert rules(frames, Reference()) == {}


# Stress.


@pytest.mark.parametrize(
    ("factor", "words"),
    [(-1, "multiply by -1"), (1 / units.GPa, "in GPa"), (1 / KBAR, "in kB"), (-1 / KBAR, "with VASP's sign")],
)
@pytest.mark.parametrize("reference", [None, Reference()])
def test_stress_of_another_sign_or_unit_is_found(rules, frames, factor, words, reference):
    found = rules(every(frames, stress=lambda stress: factor * stress), reference)
    assert words in found["stress-work"].message
    assert found["stress-work"].severity == "error"
    assert found["stress-work"].count == len(frames)
    assert reference is None or words in found["stress-reference"].message


def test_a_single_flipped_stress_is_found_by_the_reference(rules, frames):
    index = int(np.argmax([np.abs(a.calc.results["stress"][:3].sum()) for a in frames]))
    frames[index] = relabelled(frames[index], stress=-frames[index].calc.results["stress"])
    assert rules(frames, Reference())["stress-sign"].names == (f"set.extxyz:{index}",)


def test_stresses_of_which_half_are_flipped_are_found_by_the_reference(rules, frames):
    flipped = [
        relabelled(atoms, stress=-atoms.calc.results["stress"]) if index % 2 else atoms
        for index, atoms in enumerate(frames)
    ]
    names = rules(flipped, Reference())["stress-sign"].names
    assert names
    assert all(int(name.split(":")[1]) % 2 for name in names)


def test_a_single_stress_in_kbar_is_found(rules, frames):
    frames[7] = relabelled(frames[7], stress=frames[7].calc.results["stress"] / KBAR)
    found = rules(frames, Reference())
    assert found["stress-unit"].names == ("set.extxyz:7",)
    assert found["stress-magnitude"].severity == "warning"


def test_molecules_with_a_stress_are_not_pairs(rules):
    rng, frames = np.random.default_rng(0), []
    for _ in range(8):
        molecule = Atoms("OH2", [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
        molecule.positions += rng.normal(0, 0.02, (3, 3))
        frames.append(labelled(molecule, -14.0, np.zeros((3, 3)), np.zeros(6)))
    assert rules(frames) == {}


# Forces.


def test_forces_zeroed_by_constraints_are_found(rules, frames):
    for index in (3, 8):
        frames[index].set_constraint(FixAtoms([0, 1]))
        frames[index] = relabelled(frames[index], forces=frames[index].get_forces())  # filtered
    found = rules(frames)["forces-zeroed"]
    assert (found.severity, found.names) == ("error", ("set.extxyz:3", "set.extxyz:8"))


def test_half_of_the_forces_zeroed_in_a_large_cell_are_found(rules):
    rng, found = np.random.default_rng(0), 0
    for _ in range(20):
        atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 2, 3)  # 96 atoms
        atoms.rattle(0.05, rng=rng)
        forces = rng.normal(0, 1, (96, 3))
        forces -= forces.mean(0)
        forces[::2] = 0
        found += "forces-zeroed" in rules([labelled(atoms, -300.0, forces)])
    assert found == 20


def test_forces_zeroed_in_pairs_are_found_by_the_reference(rules, frames):
    atoms = frames[1]
    forces = atoms.calc.results["forces"]
    forces[0] -= forces[2:].sum(axis=0) + forces[1]  # the rest adds up to zero
    forces[:2] = 0
    forces[2] -= forces[2:].sum(axis=0)
    atoms.positions[0] += 0.25  # where the reference sees a force
    found = rules(frames, Reference())
    assert "forces-zeroed" not in found
    assert found["forces-zeroed-reference"].names == ("set.extxyz:1",)


def test_forces_that_do_not_add_up_are_found(rules, frames):
    frames[2] = relabelled(frames[2], forces=frames[2].calc.results["forces"] + 1.0)
    assert rules(frames)["net-force"].names == ("set.extxyz:2",)


@pytest.mark.parametrize("factor", [-1.0, 1 / 51.42])
def test_forces_of_another_sign_or_unit_are_found_by_the_reference(rules, frames, factor):
    assert "forces-reference" in rules(every(frames, forces=lambda forces: factor * forces), Reference())


# Energies.


@pytest.mark.parametrize("reference", [None, Reference()])
def test_shifted_energies_are_found(rules, frames, reference):
    shifted = relabelled(frames[11], energy=frames[11].calc.results["energy"] + 2.0 * len(frames[11]))
    frames[11] = shifted
    rule = "energy-baseline" if reference is None else "energy-reference"
    assert [name.split()[0] for name in rules(frames, reference)[rule].names] == ["set.extxyz:11"]


def test_smaller_shifts_are_found_by_the_reference(rules, frames):
    frames[11] = relabelled(frames[11], energy=frames[11].calc.results["energy"] + 0.6 * len(frames[11]))
    assert "energy-baseline" not in rules(frames)
    assert "energy-reference" in rules(frames, Reference())


def test_another_reference_of_energies_is_not_a_fault(rules, frames):
    for index, atoms in enumerate(frames):
        frames[index] = relabelled(atoms, energy=atoms.calc.results["energy"] - 1000.0 * len(atoms))
    assert rules(frames, Reference()) == {}


def test_energies_per_atom_are_found(rules, frames):
    found = rules([relabelled(a, energy=a.calc.results["energy"] / len(a)) for a in frames])
    assert found["energy-per-atom"].count == len(frames)


# Structures.


def test_duplicates_are_found(rules, frames):
    found = rules([*frames, frames[4].copy()])  # without labels
    assert found["duplicate"].names == ("set.extxyz:40 (as set.extxyz:4)",)
    assert "contradiction" not in found
    assert found["missing-energy"].names == ("set.extxyz:40",)


def test_duplicates_without_energies_are_found(rules, frames):
    bare = [relabelled(frames[4], energy=None) for _ in range(2)]
    found = rules([*frames[:4], *bare])
    assert found["duplicate"].names == ("set.extxyz:5 (as set.extxyz:4)",)
    assert "contradiction" not in found


def test_duplicates_that_contradict_each_other_are_found(rules, frames):
    frames.append(relabelled(frames[4], energy=frames[4].calc.results["energy"] + 0.1))
    assert rules(frames)["contradiction"].names == ("set.extxyz:4",)


def test_absurd_distances_are_found(rules, frames):
    hydrogen = Atoms("H2", [[0, 0, 0], [0.2, 0, 0]], cell=[9, 9, 9], pbc=True)
    found = rules([*frames, labelled(hydrogen, -5.0, np.zeros((2, 3)), np.zeros(6))])
    assert found["too-close"].names == ("set.extxyz:40 (H-H 0.20 A)",)


def test_atoms_in_one_place_and_lonely_ones_are_found(rules, frames):
    frames[0].positions[1] = frames[0].positions[0]
    frames[1].set_cell([30, 30, 30])
    frames[1].positions[0] = 15
    found = rules(frames)
    assert found["no-graph"].count == 1
    assert found["isolated"].names == ("set.extxyz:1 (1 atoms)",)


def test_periodic_structures_without_a_lattice_are_found(rules, frames):
    frames[3].set_cell(np.zeros((3, 3)))
    assert "pbc is true along direction 0" in rules(frames)["no-graph"].names[0]


def test_lengths_in_bohr_are_found(rules, frames):
    for atoms in frames:
        atoms.set_cell(atoms.cell.array / units.Bohr, scale_atoms=True)
    assert "Bohr" in rules(frames)["length-unit"].message


def test_elements_unknown_to_the_model_are_found(rules, frames):
    frames[9].numbers[0] = 92
    found = rules(frames, Reference())["unknown-element"]
    assert (found.names, found.message.split(";")[0]) == (
        ("set.extxyz:9",),
        "elements unknown to the model: U",
    )


# Labels that are absent or no numbers.


def test_missing_labels_are_found(rules, frames):
    found = rules([relabelled(a, energy=None, stress=None) if i % 2 else a for i, a in enumerate(frames)])
    assert (found["missing-energy"].severity, found["missing-energy"].count) == ("error", 20)
    assert found["missing-stress"].severity == "warning"
    assert "anywhere" in rules(frames, keys=LabelKeys.of(forces="none"))["missing-forces"].message


def test_labels_that_are_not_finite_are_found(rules, frames):
    frames[6].calc.results["forces"][0, 0] = np.nan
    assert rules(frames)["not-finite"].names == ("set.extxyz:6",)


def test_unreadable_structures_are_found(rules, frames):
    for index in (2, 3):
        frames[index].info["REF_energy"] = 1.0
    found = rules(frames)["unreadable"]
    assert found.names == ("set.extxyz:2", "set.extxyz:3") or found.count == 2
    assert "energy and REF_energy differ" in found.message


def test_streams_are_checked(tmp_path, frames):
    content = {"mp-1": {f"mp-1-0-{i}": mptrj_frame(atoms) for i, atoms in enumerate([*frames, frames[0]])}}
    path = tmp_path / "mptrj.json"
    path.write_text(json.dumps(content))
    report = check_source(open_source(path))
    assert [found.rule for found in report.findings] == ["duplicate"]


@pytest.mark.parametrize("content", ["", "\n"])
def test_nothing_is_an_error(tmp_path, content):
    path = tmp_path / "set.extxyz"
    path.write_text(content)
    report = check_source(open_source(path), Reference())
    assert [found.rule for found in report.errors] == ["empty"]
    assert report.errors[0].names == (str(path),)


def test_json_without_a_frame_names_the_layouts_that_are_read(tmp_path):
    path = tmp_path / "set.json"
    path.write_text("{}")
    (error,) = check_source(open_source(path), Reference()).errors
    assert error.rule == "unreadable"
    assert f"{path}: contains no frame; JSON is read in two layouts" in error.message


# Real data.


def real_frames(name, which):
    frames = [to_atoms(structure) for structure in open_source(real(name))][which]
    for atoms in frames:
        del atoms.info["name"]
    return frames


CLEAN = [
    *(f"mlearn/{element}_{part}" for element in ("Cu", "Li", "Mo", "Si") for part in ("train", "test")),
    "mattersim_benchmarks/mptrj-random-1k",
    "mattersim_benchmarks/alexandria-random-1k",
]


@pytest.mark.parametrize("name", CLEAN)
def test_real_data_pass(name):
    report = check_source(open_source(real(f"{name}.extxyz.gz")))
    faults = [(finding.rule, finding.count) for finding in report.errors]
    # One surface with inversion symmetry has forces that break it by 0.17 eV/A (docs/data.md).
    assert faults == ([("forces-symmetry", 1)] if name == "mlearn/Cu_train" else [])


@pytest.mark.parametrize(
    ("name", "factor", "rule"),
    [
        ("mlearn/Si_train", -1.0, "stress-work"),
        ("mlearn/Mo_train", -1 / KBAR, "stress-work"),
        ("mattersim_benchmarks/mptrj-random-1k", -1 / KBAR, "stress-magnitude"),
        ("mattersim_benchmarks/mptrj-random-1k", 1 / units.GPa, "stress-magnitude"),
    ],
)
def test_faults_in_real_stresses_are_found(rules, name, factor, rule):
    frames = real_frames(f"{name}.extxyz.gz", slice(200))
    frames = every(frames, stress=lambda stress: factor * stress)
    assert rules(frames)[rule].severity == "error"


def test_real_data_and_faults_in_them_against_the_published_model(rules, published_folder):
    potential = load_model(published_folder / "nequix-mp-1.nqx", "torch")
    frames = real_frames("mlearn/Si_test.extxyz.gz", slice(None, None, 3))
    assert [found for found in rules(frames, potential).values() if found.severity == "error"] == []
    largest = int(np.argmax([np.abs(a.calc.results["stress"]).max() for a in frames]))
    frames[largest] = relabelled(frames[largest], stress=-frames[largest].calc.results["stress"])
    shifted = (largest + 1) % len(frames)
    frames[shifted] = relabelled(
        frames[shifted], energy=frames[shifted].calc.results["energy"] + len(frames[shifted])
    )
    found = rules(frames, potential)
    assert found["stress-sign"].names == (f"set.extxyz:{largest}",)
    assert [name.split()[0] for name in found["energy-reference"].names] == [f"set.extxyz:{shifted}"]


def test_a_coarse_reference_finds_no_fault_in_good_stresses(rules):
    frames = real_frames("mlearn/Si_train.extxyz.gz", slice(None, None, 3))
    assert rules(frames, load_model("nequix-nano", "torch")) == {}
