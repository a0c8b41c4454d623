import hashlib
import json
from pathlib import Path

import pytest

from nequix.core.errors import DataError
from nequix.evaluation.item import run_item
from nequix.evaluation.kappa import conductivity, data
from nequix.evaluation.kappa.report import write_report
from nequix.evaluation.kappa.task import Kappa
from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Engine, ItemResult
from nequix.execution import Execution
from nequix.io.fetch import fetch
from tests.calculator.small import write_small
from tests.data.sets import real
from tests.evaluation.crystals import crystals, write_crystals
from tests.evaluation.pairs import PairCalculator, PairPotential

ROOT = Path(__file__).parents[2]

WRITTEN = 1e-4
"""Extended XYZ holds eight decimals of a position; a mode's lifetime changes by a few parts in 1e6."""

ROUNDED = 1e-4
"""Published numbers have four decimals."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crystals")
    write_crystals(folder, PairPotential())
    return folder


def test_the_reference_model_has_no_error_on_its_own_structures(folder):
    task = Kappa(folder, fmax=1e3)  # nothing is to be relaxed
    values = task.evaluate("fcc", PairCalculator()).values
    assert values["relaxation_steps"] == 0
    assert values["kappa"] == pytest.approx(values["kappa_dft"], rel=WRITTEN)
    assert values["srme"] < WRITTEN
    assert values["kappa"] > 0.1


def test_files_are_found_beside_the_locks_of_their_fetching(folder, tmp_path):
    for path in data.find_files(folder):
        fetch(str(path), tmp_path / path.name, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    assert {path.suffix for path in tmp_path.glob(".*")} == {".lock"}
    assert [path.name for path in data.find_files(tmp_path)] == [p.name for p in data.find_files(folder)]


def test_another_model_has_the_error_of_its_conductivity(folder):
    outcome = Kappa(folder, fmax=1e-4).evaluate("fcc", PairCalculator(strength=0.4))
    values = outcome.values
    assert values["relaxation_converged"]
    sre = 2 * abs(values["kappa"] - values["kappa_dft"]) / (values["kappa"] + values["kappa_dft"])
    assert values["sre"] == pytest.approx(sre)
    assert 0.01 < values["sre"] <= values["srme"] < 2
    total = outcome.arrays["modes"].sum() / outcome.arrays["weights"].sum()
    assert total == pytest.approx(outcome.arrays["tensor"][:3].mean(), rel=1e-6)


def test_an_unstable_crystal_counts_two(folder):
    values = Kappa(folder, fmax=1e3).evaluate("fcc", PairCalculator(strength=-0.3)).values
    assert values["imaginary_modes"]
    assert (values["kappa"], values["sre"], values["srme"]) == (None, 2.0, 2.0)


def test_the_conductivity_scales_as_that_of_a_classical_crystal():
    """Far above every mode, C is constant, v^2 goes with the strength D, and a linewidth with 1 / sqrt(D)."""
    averages = []
    for potential in (PairPotential(3e-4), PairPotential(6e-4)):
        atoms = crystals()[0]  # aluminium: one isotope
        info = atoms.info
        phonons = conductivity.prepare(atoms, info["fc2_supercell"], info["fc3_supercell"], info["q_mesh"])
        conductivity.solve_harmonic(phonons, potential)
        averages.append(conductivity.solve_conductivity(phonons, potential).average)
    assert averages[1] / averages[0] == pytest.approx(2**1.5, rel=1e-3)


def test_the_report_counts_failures_and_compares_with_what_is_published(folder, tmp_path):
    task, store = Kappa(folder, fmax=1e3), RunDirectory(tmp_path / "run")
    engine = Engine(str(write_small(tmp_path)), Execution("torch"))
    identity = {
        "task": task.name,
        "settings": task.settings(),
        "engine": engine.describe(),
    }
    columns = {"kappa_ml": [4.0, None], "srme": [0.25, 2.0]}
    published = {"material_ids": ["fcc", "fcc-2"], "models": {"small": columns}}
    (tmp_path / "kappa103_matbench_discovery.json").write_text(json.dumps(published))
    with store.begin(identity):
        run_item(task, PairCalculator(strength=0.4), store, "fcc")
        store.write("fcc-2", ItemResult(error="RuntimeError: lost"), 0.0)
    summary = write_report(store, task.items(), identity, tmp_path)
    srme = store.read("fcc").values["srme"]
    assert summary["kappa_srme"] == pytest.approx((srme + 2.0) / 2)
    assert (summary["n"], summary["n_failed"], summary["n_materials"]) == (2, 1, 2)
    held = json.loads((tmp_path / "run" / "results.json").read_bytes())["results"]
    assert held["published"]["srme_published"] == pytest.approx(1.125)
    assert held["published"]["srme_mean_absolute_difference"] == pytest.approx(abs(srme - 0.25) / 2)
    assert held["materials"]["fcc"]["kappa"] == store.read("fcc").values["kappa"]
    text = (tmp_path / "run" / "report.md").read_text()
    assert "RuntimeError: lost" in text
    assert (tmp_path / "run" / "kappa.png").stat().st_size > 1000


def test_a_folder_without_the_data_is_reported(tmp_path):
    with pytest.raises(DataError, match="no file"):
        Kappa(tmp_path).items()


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08 cut short"])
def test_structures_that_cannot_be_read_are_reported(tmp_path, content):
    write_crystals(tmp_path, PairPotential())
    path, _ = data.find_files(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|begins with|ends within|contains no structure"):
        Kappa(tmp_path).items()


def test_the_real_reference_is_consistent_with_what_is_published():
    path = real("kappa103/kappas_phononDB_PBE_noNAC.json.gz")
    reference = data.read_reference(path.parent)
    published = json.loads(real("kappa103/kappa103_matbench_discovery.json").read_bytes())
    assert len(reference) == len(published["material_ids"]) == 103
    for name, kappa in zip(published["material_ids"], published["kappa_dft"], strict=True):
        held = reference[name]
        assert held.kappa == pytest.approx(kappa, abs=ROUNDED)
        assert held.modes.sum() / held.weights.sum() == pytest.approx(held.kappa, rel=1e-6)
        assert not conductivity.is_unstable(held.frequencies)


def test_the_real_structures_are_the_103():
    path = real("kappa103/phononDB-PBE-structures.extxyz.gz")
    items = Kappa(path.parent).items()
    groups = [data.read_structures(path.parent)[item].info["symm.no"] for item in items]
    assert {group: groups.count(group) for group in set(groups)} == {186: 33, 216: 33, 225: 37}
    assert set(groups[-33:]) == {186}  # the expensive ones come last
