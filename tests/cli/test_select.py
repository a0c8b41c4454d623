import numpy as np
import pytest
from ase.io import read, write

from nequix import NequixEnsembleCalculator
from tests.calculator import ensembles, small
from tests.coverage import sets

COMMON = ("--model", "model.safetensors", "--backend", "torch", "--dtype", "float64")


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small.write_small(tmp_path)
    frames = [sets.crystal("Cu", seed) for seed in range(6)] + [sets.compressed()]
    for index, atoms in enumerate(frames):
        atoms.arrays["force_spread"] = np.full(len(atoms), 0.1 * (index % 4))
        atoms.info["kept"] = index
    write("md.extxyz", frames)


def test_select_writes_the_chosen_with_reasons(run):
    code, out, _ = run(
        "select", "md.extxyz", "-n", "3", "-o", "chosen.extxyz", "--strategy", "farthest", *COMMON
    )
    assert code == 0
    assert out.splitlines()[-1] == "chosen.extxyz: 3 of 7 structures, farthest"
    frames = read("chosen.extxyz", ":")
    assert [atoms.info["select_rank"] for atoms in frames] == [1, 2, 3]
    assert frames[1].info["kept"] == 6
    assert frames[1].info["select_from"] == "md.extxyz 6"
    assert "from what is known" in frames[1].info["select_reason"]
    again = run(
        "select",
        "md.extxyz",
        "-n",
        "1",
        "-o",
        "next.extxyz",
        "--known",
        "chosen.extxyz",
        "--strategy",
        "farthest",
        *COMMON,
    )
    assert again[0] == 0
    assert read("next.extxyz").info["kept"] not in [atoms.info["kept"] for atoms in frames]


def test_select_takes_typical_ones_by_default(run):
    code, out, _ = run("select", "md.extxyz", "-n", "2", "-o", "chosen.extxyz", *COMMON)
    assert (code, out.splitlines()[-1]) == (0, "chosen.extxyz: 2 of 7 structures, clusters")
    frames = read("chosen.extxyz", ":")
    assert frames[0].info["select_reason"].startswith("most typical of ")
    assert frames[0].info["kept"] != frames[1].info["kept"]
    code, _, err = run(
        "select", "md.extxyz", "-n", "2", "-o", "next.extxyz", "--known", "chosen.extxyz", *COMMON
    )
    assert code == 0, err
    assert not {a.info["kept"] for a in read("next.extxyz", ":")} & {a.info["kept"] for a in frames}
    code, _, err = run(
        "select", "chosen.extxyz", "-n", "2", "-o", "none.extxyz", "--known", "chosen.extxyz", *COMMON
    )
    assert (code, "all candidates are already labelled" in err) == (1, True)


def test_select_by_the_spread_of_an_ensemble_and_at_random(run):
    arguments = ("select", "md.extxyz", "-n", "1", "-o", "chosen.extxyz", "--force")
    assert run(*arguments, "--strategy", "ensemble", "--spread", "force_spread")[0] == 0
    assert read("chosen.extxyz").info["kept"] == 3
    assert run(*arguments, "--strategy", "random", "--seed", "1")[0] == 0
    code, _, err = run(*arguments, "--strategy", "ensemble", "--spread", "none")
    assert (code, "'none'" in err) == (1, True)


@pytest.mark.parametrize("spread", ["bulk", True, float("nan"), -0.1])
@pytest.mark.parametrize("command", [("select", "-n", "1", "-o", "chosen.extxyz"), ("assess", "-o", "page")])
def test_what_is_not_a_spread_is_refused(run, command, spread):
    frames = read("md.extxyz", ":")
    for index, atoms in enumerate(frames):
        atoms.info["predicted"] = spread if index == 2 else 0.1
    write("md.extxyz", frames)
    options = ("--strategy", "ensemble") if command[0] == "select" else COMMON
    code, _, err = run(*command, "md.extxyz", "--spread", "predicted", *options)
    assert (code, "'predicted' is [" in err) == (1, True)


@pytest.mark.parametrize("ending", ["extxyz", "extxyz.gz"])
@pytest.mark.parametrize("key", ["forces_spread", "energy_spread"])
def test_predict_writes_the_spreads_that_select_reads(run, tmp_path, ending, key):
    for atoms in (frames := read("md.extxyz", ":")):
        atoms.set_array("forces_spread", np.full(len(atoms), 99.0))  # older ones, which are replaced
    write("md.extxyz", frames)
    folder = ensembles.write_two(tmp_path / "ensemble", ensembles.calibration())
    options = ("--backend", "torch", "--dtype", "float64")
    code, _, err = run("predict", "md.extxyz", "-o", f"predicted.{ending}", "--model", str(folder), *options)
    assert code == 0, err
    assert "not calibrated" not in err
    calculator = NequixEnsembleCalculator(folder, "torch", dtype="float64")
    spreads = []
    for atoms, written in zip(frames, read(f"predicted.{ending}", ":"), strict=True):
        calculator.calculate(atoms)
        expected = {**calculator.results, **calculator.spreads}
        np.testing.assert_allclose(written.arrays["forces_spread"], expected["forces_spread"], atol=1e-7)
        assert written.info["energy_spread"] == pytest.approx(expected["energy_spread"], abs=1e-7)
        np.testing.assert_allclose(written.get_forces(), expected["forces"], atol=1e-7)
        spreads.append(np.mean(expected[key]))
    assert np.ptp(spreads) > 1e-4
    arguments = ("-n", "1", "-o", "chosen.extxyz", "--strategy", "ensemble", "--spread", key)
    assert run("select", f"predicted.{ending}", *arguments)[0] == 0
    assert read("chosen.extxyz").info["kept"] == np.argmax(spreads)


def test_relax_by_an_ensemble_tells_the_spreads_of_what_it_reached(run, tmp_path):
    folder = ensembles.write_two(tmp_path / "ensemble", ensembles.calibration())
    options = ("--model", str(folder), "--backend", "torch", "--dtype", "float64")
    code, out, err = run("relax", "md.extxyz", "--fmax", "0.1", "-o", "reached.extxyz", *options)
    assert code == 0, err
    reached, start = read("reached.extxyz"), read("md.extxyz", -1)
    assert abs(reached.positions - start.positions).max() > 1e-3
    calculator = NequixEnsembleCalculator(folder, "torch", dtype="float64")
    calculator.calculate(reached)
    assert np.linalg.norm(reached.get_forces(), axis=1).max() < 0.1
    expected = calculator.spreads["forces_spread"]
    np.testing.assert_allclose(reached.arrays["forces_spread"], expected, atol=1e-6)
    predicted = f"eV, forces up to {reached.arrays['forces_spread'].max():.6f} eV/A"
    assert out.splitlines()[-1] == f"spread: energy {reached.info['energy_spread']:.6f} {predicted}"
    code, _, err = run("relax", "md.extxyz", "--fmax", "0.1", "-o", "reached.cif", *options)
    assert (code, read("reached.cif").get_chemical_formula()) == (0, reached.get_chemical_formula()), err


def test_spreads_are_written_where_they_can_be(run, tmp_path):
    folder = ensembles.write_two(tmp_path / "ensemble", None)
    arguments = ("--model", str(folder / "ensemble.json"), "--backend", "torch")
    for name in ("predicted.json", "predicted.traj"):
        code, _, err = run("predict", "md.extxyz", "-o", name, *arguments)
        assert (code, "cannot store energies, forces and spreads" in err) == (1, True)
    code, _, err = run("predict", "md.extxyz", "-o", "predicted.extxyz", *arguments)
    assert (code, "not calibrated" in err) == (0, True)
    # Those of another model are no longer there.
    assert run("predict", "predicted.extxyz", "-o", "single.extxyz", *COMMON)[0] == 0
    again = read("single.extxyz")
    assert not {"forces_spread", "energy_spread"} & {*again.arrays, *again.info}
    code, _, err = run(
        "select",
        "single.extxyz",
        "-n",
        "1",
        "-o",
        "chosen.extxyz",
        "--strategy",
        "ensemble",
        "--spread",
        "forces_spread",
    )
    assert (code, "`nequix predict --model ENSEMBLE`" in err) == (1, True)


def test_select_needs_a_reference_for_gaps_and_enough_candidates(run):
    code, _, err = run("select", "md.extxyz", "-n", "2", "-o", "c.extxyz", "--strategy", "gaps", *COMMON)
    assert (code, "nequix coverage build" in err) == (1, True)
    code, _, err = run("select", "md.extxyz", "-n", "9", "-o", "c.extxyz", *COMMON)
    assert (code, "expected 1 to 7" in err) == (1, True)


def test_a_seed_below_zero_is_refused(run):
    arguments = ("select", "md.extxyz", "-n", "2", "-o", "chosen.extxyz", "--strategy", "random")
    code, _, err = run(*arguments, "--seed", "-1")
    assert (code, "--seed" in err) == (2, True)
