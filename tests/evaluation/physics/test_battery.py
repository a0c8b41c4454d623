import json
import sys

import pytest

from nequix import cli
from nequix.core.errors import DataError
from nequix.evaluation.physics import eos, references
from nequix.evaluation.physics.task import Physics
from tests.calculator.small import write_small
from tests.evaluation.physics.references import write_references


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["nequix", "evaluate", "physics", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_the_battery_judges_reports_and_resumes(tmp_path, monkeypatch, capsys):
    common = ("--model", str(write_small(tmp_path)), "--backend", "torch", "--dtype", "float64")
    arguments = (
        *common,
        "--data",
        str(write_references(tmp_path / "data")),
        "-o",
        str(tmp_path / "run"),
        "--picoseconds",
        "0.05",
    )
    arguments += ("--n-elastic", "1", "--checks", "molecule,one-atom-cell,nve,dimers,eos,elastic")
    code = run(monkeypatch, *arguments)
    out = capsys.readouterr().out
    assert "pass     molecule" in out
    held = json.loads((tmp_path / "run" / "results.json").read_bytes())
    results = held["results"]
    assert code == (3 if "fail" in results["verdicts"].values() else 0)
    assert set(results["verdicts"]) == {"molecule", "one-atom-cell", "nve", "dimers", "eos", "elastic"}
    assert results["verdicts"]["molecule"] == "pass"
    assert {"reference", "comparison"} <= set(results["items"]["dimer-Cu"])
    assert "reference" not in results["items"]["dimer-O"]
    assert results["items"]["eos-Cu-X-FCC"]["reference"]["V0"] == 12.0
    assert "eos-U-X-FCC" not in results["items"]
    assert results["items"]["elastic-mp-1"]["reference"] == {"bulk": 25.0, "shear": 15.0}
    assert set(held["settings"]["references"]) == {
        "diatomics-dft.json", "acwf-unaries.json", "binary_elasticity.extxyz"
    }  # fmt: skip
    files = {path.name for path in (tmp_path / "run").glob("*.png")}
    assert files == {"nve.png", "dimers.png", "eos.png", "elastic.png"}
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Without a reference, or not asked for: equivariance" in report
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "items").iterdir()}
    assert run(monkeypatch, *arguments) == code
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads((tmp_path / "run" / "results.json").read_bytes())["results"] == results


def test_a_check_that_cannot_be_made_is_a_state_of_its_own(tmp_path, monkeypatch, capsys):
    arguments = ("--model", str(write_small(tmp_path)), "--backend", "torch", "--dtype", "float64")

    def broken(*_):
        raise ValueError("on purpose")

    monkeypatch.setattr(eos, "measure", broken)
    from nequix.evaluation.physics import laws

    monkeypatch.setitem(laws.CHECKS, "slab", broken)
    assert run(monkeypatch, *arguments, "-o", str(tmp_path / "run"), "--checks", "slab,molecule") == 1
    out, err = capsys.readouterr()
    assert "not made slab" in out
    assert "pass     molecule" in out
    assert "slab: could not be run" in err
    assert "on purpose" in (tmp_path / "run" / "report.md").read_text()


def test_an_unknown_check_is_refused():
    with pytest.raises(DataError, match="the checks are equivariance"):
        Physics(("equivarience",), ("Cu",))


def test_without_references_their_checks_are_left_out(tmp_path):
    task = Physics(("dimers", "eos", "elastic"), ("Cu", "O"))
    assert task.items() == ["dimer-Cu", "dimer-O"]
    assert task.settings()["references"] == {}


def test_locks_beside_the_references_are_none(tmp_path):
    write_references(tmp_path)
    paths = {kind: references.find(tmp_path, kind) for kind in references.PATTERNS}
    for path in paths.values():
        path.with_name(f".{path.name}.lock").touch()
    assert {kind: references.find(tmp_path, kind) for kind in references.PATTERNS} == paths


@pytest.mark.parametrize("check", ["eos", "elastic"])
def test_a_check_asked_for_by_name_that_cannot_be_made_is_an_error(tmp_path, monkeypatch, capsys, check):
    common = ("--model", str(write_small(tmp_path)), "--backend", "torch", "-o", str(tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    for data, says in (((), "--data"), (("--data", str(tmp_path / "empty")), "has no reference of check")):
        assert run(monkeypatch, *common, "--checks", check, *data) == 1
        assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
