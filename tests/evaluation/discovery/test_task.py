import csv
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from nequix.core.errors import DataError
from nequix.evaluation.discovery import reference, shards, task
from nequix.evaluation.discovery.matching import displacements
from nequix.evaluation.discovery.report import References, write_report
from nequix.evaluation.discovery.results import Relaxed, prediction_column
from nequix.evaluation.discovery.structures import Structures, to_pymatgen
from nequix.evaluation.discovery.task import Discovery
from nequix.evaluation.item import run_item
from nequix.evaluation.run import run_items
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine
from nequix.execution import Execution
from tests.calculator.small import write_small
from tests.evaluation.commands import evaluate, results
from tests.evaluation.pairs import PairCalculator

ROOT = Path(__file__).parents[3]


def crystals(n=5):
    frames = []
    for number in range(n):
        atoms = bulk(("Cu", "Al")[number % 2], a=3.6 + 0.05 * number, cubic=True)
        atoms.info["material_id"] = f"wbm-1-{number + 1}"
        frames.append(atoms)
    return frames


def archived(path, frames):
    """Write structures as the benchmark's zip: a file for each."""
    with zipfile.ZipFile(path, "w") as archive:
        for atoms in frames:
            file = path.with_suffix(".extxyz")
            write(file, atoms)
            archive.write(file, f"{atoms.info['material_id']}.extxyz")
    return path


def summary(path, rows):
    """Write the columns of the benchmark's summary that are read."""
    names = ("material_id", reference.FORMATION, reference.HULL, reference.ENERGY)
    names += (reference.SITES, reference.CORRECTION, reference.UNIQUE)
    with gzip.open(path, "wt") as handle:
        csv.writer(handle).writerows([names, *rows])
    return path


def relaxed_energies(frames):
    held = []
    for atoms in frames:
        copy = atoms.copy()
        held.append(task.relax(copy, PairCalculator(), task.FMAX, task.STEPS)["energy"])
    return held


def test_each_shape_of_file_holds_the_same_structures(tmp_path):
    frames = crystals(3)
    write(tmp_path / "all.extxyz.gz", frames)
    archived(tmp_path / "all.zip", frames)
    held = [to_pymatgen(a.numbers.tolist(), a.positions, a.cell.array) for a in frames]
    names = [a.info["material_id"] for a in frames]
    rows = [{"material_id": n, "initial_structure": s} for n, s in zip(names, held, strict=True)]
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    (tmp_path / "list.json").write_text(json.dumps(rows))
    columns = {name: {str(i): row[name] for i, row in enumerate(rows)} for name in rows[0]}
    (tmp_path / "columns.json").write_text(json.dumps(columns))
    for name in ("all.extxyz.gz", "all.zip", "rows.jsonl.gz", "list.json", "columns.json"):
        read = list(Structures(tmp_path / name).by_name())
        assert [identifier for identifier, _ in read] == names
        for (_, atoms), frame in zip(read, frames, strict=True):
            assert (atoms.numbers == frame.numbers).all()
            np.testing.assert_allclose(atoms.positions, frame.positions, atol=1e-7)
            np.testing.assert_allclose(atoms.cell.array, frame.cell.array, atol=1e-7)


def test_a_file_of_something_else_is_reported(tmp_path):
    (tmp_path / "a.json").write_text('{"x": 1}')
    with pytest.raises(DataError, match="material_id"):
        Structures(tmp_path / "a.json")
    (tmp_path / "b.jsonl").write_text('{"material_id": "x"')
    with pytest.raises(DataError, match="cannot be read as JSON"):
        Structures(tmp_path / "b.jsonl")
    (tmp_path / "half.jsonl").write_text('{"material_id": "x"}\n{"material_id": ')
    with pytest.raises(DataError, match=r"half.jsonl, line 2: cannot be read as JSON"):
        Structures(tmp_path / "half.jsonl")[1]
    with pytest.raises(DataError, match="one structure"):
        Structures(tmp_path / "half.jsonl")[0]
    (tmp_path / "c.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be read"):
        Structures(tmp_path / "c.zip")
    write(tmp_path / "d.extxyz", bulk("Cu"))
    with pytest.raises(DataError, match="has no material_id"):
        Structures(tmp_path / "d.extxyz")[0]


def test_formation_energies_are_counted_from_the_elements(tmp_path):
    entry = {"energy": -8.0, "composition": {"Cu": 2.0}, "energy_adjustments": [], "correction": 0.0}
    adjusted = {"energy": -9.0, "composition": {"O": 2.0}, "energy_adjustments": [{"value": -1.0}]}
    path = tmp_path / "elements.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"Cu": entry, "O": adjusted, "H": -3.00004}).encode()))
    elements = reference.read_elements(path)
    assert elements == {"Cu": -4.0, "O": -5.0, "H": -3.0}
    energy = reference.formation_energy(-11.0, [29, 8], elements, correction=-0.3)
    assert energy == pytest.approx((-11.0 + 9.0) / 2 - 0.3)
    with pytest.raises(DataError, match="no reference energy of Al"):
        reference.formation_energy(-1.0, [13], elements)


def test_a_run_has_the_metrics_of_its_energies_both_ways(tmp_path, monkeypatch):
    monkeypatch.setattr(task, "BLOCK", 2)
    frames = crystals()
    energies = relaxed_energies(frames)
    shifts = [0.0, 0.2, -0.1, 0.05, 0.0]  # of the predictions against the reference, eV/atom
    elements, correction = {"Cu": -0.5, "Al": -0.7}, -0.1
    rows, hull = [], [-0.05, -0.1, 0.05, -0.02, 0.3]
    for atoms, energy, shift, above in zip(frames, energies, shifts, hull, strict=True):
        raw = energy / 4 - shift
        formation = raw - elements[atoms.get_chemical_symbols()[0]] + correction
        rows.append((atoms.info["material_id"], formation, above, 4 * raw, 4, correction, above < 0.2))
    table = summary(tmp_path / "wbm-summary.csv.gz", rows)
    (tmp_path / "elements.json").write_text(json.dumps(elements))
    write(tmp_path / "relaxed.extxyz", frames)
    work = Discovery(archived(tmp_path / "initial.zip", frames))
    assert work.items() == ["structures-00000000", "structures-00000002", "structures-00000004"]
    engine = Engine(str(write_small(tmp_path)), Execution("torch"))
    described = engine.describe()
    identity = {"task": work.name, "settings": work.settings(), "engine": described}
    store = RunDirectory(tmp_path / "run")
    with store.begin(identity):
        for item in work.items():
            run_item(work, PairCalculator(), store, item)
    given = References(table, tmp_path / "elements.json", tmp_path / "relaxed.extxyz", 0.5)
    found = [
        write_report([store], work.items(), identity, References(table)),
        write_report([store], work.items(), identity, given),
    ]
    for held in found:
        assert (held["n"], held["n_failed"]) == (5, 0)
        assert held["formation_energy"]["MAE"] == pytest.approx(0.35 / 5, abs=1e-4)
        # above the hull: -0.05 TP, 0.1 FN, -0.05 FP, 0.03 FN, 0.3 TN
        counts = [held["discovery"]["full_test_set"][name] for name in ("TP", "FN", "FP", "TN")]
        assert counts == [1, 2, 1, 1]
        assert held["discovery"]["unique_prototypes"]["n"] == 4
    f1 = found[1]["discovery"]["unique_prototypes"]["F1"]
    assert f1 == pytest.approx(2 / 5)
    assert 0 <= found[1]["rmsd"] < 1e-6  # atoms on sites of a cubic cell, which only its volume leaves
    assert found[1]["cps_1"] == pytest.approx(0.5 * f1 + 0.1 + 0.4 * 0.75, abs=1e-5)
    column = prediction_column(described["model"]["name"])
    with gzip.open(tmp_path / "run" / f"{column}.csv.gz", "rt") as handle:
        written = list(csv.DictReader(handle))
    assert [row["material_id"] for row in written] == [row[0] for row in rows]
    for row, wanted, shift in zip(written, rows, shifts, strict=True):
        assert float(row[column]) == pytest.approx(wanted[1] + shift, abs=1e-4)
    relaxed = Structures(tmp_path / "run" / "relaxed-structures.jsonl.gz")
    assert [name for name, _ in relaxed.by_name()] == [row[0] for row in rows]
    assert relaxed[0][1].cell.array[0, 0] != pytest.approx(3.6, abs=0.01)


def test_a_structure_that_fails_is_named_and_the_others_continue(tmp_path):
    frames = crystals(2)
    frames.insert(1, bulk("U", "bcc", a=3.5))
    frames[1].info["material_id"] = "wbm-9-9"
    work = Discovery(archived(tmp_path / "initial.zip", frames))
    rows = work.evaluate(work.items()[0], PairCalculator()).values["structures"]
    assert [row["name"] for row in rows] == ["wbm-1-1", "wbm-9-9", "wbm-1-2"]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert "U (Z = 92)" in rows[1]["error"]


def test_structures_of_which_none_can_be_relaxed_are_an_error(tmp_path, capsys):
    write(tmp_path / "d.extxyz", bulk("Cu"))
    arguments = ("discovery", tmp_path / "d.extxyz", "-o", tmp_path / "run", "--model", write_small(tmp_path))
    assert evaluate(*arguments, "--backend", "torch") == 1
    assert "no structure could be relaxed" in capsys.readouterr().err
    assert "has no material_id" in (tmp_path / "run" / "report.md").read_text()


def test_displacements_are_over_the_volume_of_an_atom():
    corners = [(0, 0, 0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    atoms = Atoms("NaClCuO", scaled_positions=corners, cell=[5.0, 5.2, 5.4], pbc=True)
    moved = atoms.copy()
    moved.positions[0, 0] += 0.4
    one = Relaxed("x", moved.numbers, moved.positions, moved.cell.array, 0.0, True, 1)
    held = displacements([one], {"x": atoms})["x"]
    spread = np.zeros(4)
    spread[0] = 0.4
    expected = np.sqrt(((spread - spread.mean()) ** 2).mean()) / (atoms.get_volume() / 4) ** (1 / 3)
    assert held == pytest.approx(expected, rel=1e-6)
    other = bulk("Cu", cubic=True)
    assert displacements([one], {"x": other}) == {"x": 1.0}
    assert displacements([one], {}) == {}


def test_shards_leave_nothing_out():
    items = [f"item-{number}" for number in range(7)]
    parts = [shards.take_shard(items, f"{index}/3") for index in (1, 2, 3)]
    assert sorted(item for part in parts for item in part) == items
    assert shards.take_shard(items, None) == items
    for wrong in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(DataError, match="--shard"):
            shards.take_shard(items, wrong)


def test_shards_that_are_joined_have_the_numbers_of_one_run(tmp_path):
    archived(tmp_path / "initial.zip", crystals(40))
    common = ("discovery", tmp_path / "initial.zip", "--model", write_small(tmp_path), "--backend", "torch")
    assert evaluate(*common, "-o", tmp_path / "straight") == 0
    for index in (1, 2):
        assert evaluate(*common, "-o", tmp_path / f"part-{index}", "--shard", f"{index}/2") == 0
    joined = ("--report-only", "--join", tmp_path / "part-2")
    assert evaluate(*common, "-o", tmp_path / "part-1", *joined) == 0
    assert results(tmp_path / "straight")["summary"]["n"] == 40
    assert results(tmp_path / "part-1") == results(tmp_path / "straight")
    files = [path.name for path in (tmp_path / "straight").glob("*.gz")]
    assert len(files) == 2
    for name in files:
        assert (tmp_path / "part-1" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_workers_do_the_same(tmp_path, monkeypatch):
    path = archived(tmp_path / "initial.zip", crystals(20))
    work, engine = Discovery(path), Engine(str(write_small(tmp_path)), Execution("torch", dtype="float64"))
    stores = [RunDirectory(tmp_path / name) for name in ("none", "two")]
    for store, workers in zip(stores, (0, 2), strict=True):
        with store.begin({}):
            run_items(work, engine, store, work.items(), workers)
    for item in work.items():
        held = [store.read(item) for store in stores]
        assert held[0].values == held[1].values
        np.testing.assert_array_equal(held[0].arrays["positions"], held[1].arrays["positions"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--elements", "e.json"), "give --reference, too"),
        (("--kappa-srme", "0.4"), "give --reference and --relaxed, too"),
        (("--kappa-srme", "0.4", "--reference", "r.csv"), "give --reference and --relaxed, too"),
        (("--reference", "r.csv", "--shard", "1/2"), "nothing is compared with --shard"),
        (("--relaxed", "r.zip", "--shard", "1/2"), "nothing is compared with --shard"),
    ],
)
def test_options_that_would_be_ignored_are_refused(tmp_path, capsys, options, says):
    for name in ("s.xyz", "e.json", "r.csv", "r.zip"):
        (tmp_path / name).touch()
    options = [
        tmp_path / option if "." in option and not option[0].isdigit() else option for option in options
    ]
    assert evaluate("discovery", tmp_path / "s.xyz", "-o", tmp_path / "run", *options) == 1
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("read", "name"), [(reference.read_elements, "e.json"), (reference.read_reference, "r.csv")]
)
def test_a_missing_reference_is_called_missing(tmp_path, read, name):
    with pytest.raises(DataError, match=rf"{name}: no such file; check the path$"):
        read(tmp_path / name)
