import json
import sys

import numpy as np
import pytest

from nequix import cli
from nequix.core.errors import BackendUnavailable, DataError
from nequix.evaluation.speed import clock
from nequix.evaluation.speed.contenders import Contender, parse_calculator, parse_engine
from nequix.evaluation.speed.report import rows_of
from nequix.evaluation.speed.task import Speed
from nequix.evaluation.task import Engine
from nequix.execution import Execution
from tests.calculator.small import write_small
from tests.evaluation.commands import evaluate, results

SLOW = "tests.evaluation.speed.slow:Slow"


@pytest.mark.parametrize(
    ("asked", "found"), [(1, 8), (8, 8), (64, 64), (70, 72), (216, 216), (1000, 1000), (96, 96)]
)
def test_diamond_has_about_the_atoms_asked_for(asked, found):
    atoms = clock.diamond(asked)
    assert len(atoms) == found
    assert atoms.get_volume() / len(atoms) == pytest.approx(clock.LATTICE**3 / 8)
    first = atoms.get_distances(0, range(1, len(atoms)), mic=True)
    assert np.sum(first < 1.8) == 4
    assert max(atoms.cell.lengths()) <= 3 * min(atoms.cell.lengths())


def test_steps_a_day_and_ratios_of_known_times():
    assert clock.steps_per_day([0.5, 1.0, 2.0]) == (86400.0, 43200.0, 172800.0)
    assert clock.paired_ratio([2.0, 6.0, 3.0], [1.0, 2.0, 3.0]) == (2.0, 1.0, 3.0)


def test_a_step_takes_the_time_of_its_calculator():
    held = clock.race([(name, parse_calculator(f'{SLOW}={{"seconds": {s}}}').calculator()) for name, s in
                       (("quick", 0.02), ("slow", 0.06))], 8, 3)  # fmt: skip
    assert len(held["quick"]["seconds"]) == 3
    assert min(held["quick"]["seconds"]) >= 0.02
    assert min(held["slow"]["seconds"]) >= 0.06
    assert clock.paired_ratio(held["slow"]["seconds"], held["quick"]["seconds"])[0] > 1.0


def test_contenders_take_turns(monkeypatch):
    seen = []
    monkeypatch.setattr(clock.Runner, "_time", lambda self, n: seen.append(self.atoms.calc.seconds) or 1.0)
    ready = [(str(s), parse_calculator(f'{SLOW}={{"seconds": {s}}}').calculator()) for s in (1.0, 2.0)]
    clock.race(ready, 8, 3)
    assert seen[-6:] == [1.0, 2.0] * 3


def test_one_that_breaks_does_not_stop_the_others():
    ready = [(str(n), parse_calculator(f'{SLOW}={{"n_max": {n}}}').calculator()) for n in (4, 100)]
    held = clock.race(ready, 8, 2)
    assert held["4"] == {"error": "MemoryError: too many atoms"}
    assert len(held["100"]["seconds"]) == 2


def test_one_that_breaks_in_its_turns_does_not_stop_the_others():
    # Before the turns there are the start and three steps; of 0.1 s each, a turn is one.
    options = ({"seconds": 0.1, "steps": 5}, {"seconds": 0.01})
    ready = [(str(o), parse_calculator(f"{SLOW}={json.dumps(o)}").calculator()) for o in options]
    short, whole = clock.race(ready, 8, 3).values()
    assert short == {"error": "RuntimeError: no more steps"}
    assert len(whole["seconds"]) == 3
    (row, other) = rows_of({"n_atoms": 8, "contenders": {"short": short, "whole": whole}}, "short")
    assert (row["error"], row["steps_per_day"]) == ("RuntimeError: no more steps", None)
    assert (other["error"], other["ratio"]) == (None, None)


def test_sizes_that_failed_are_printed(tmp_path, monkeypatch, capsys):
    def race(contenders, n_atoms, rounds, race=clock.race):
        if n_atoms == 16:
            raise RuntimeError("on purpose")
        return race(contenders, n_atoms, rounds)

    monkeypatch.setattr(clock, "race", race)
    arguments = ("speed", "-o", tmp_path / "run", "--model", write_small(tmp_path), "--backend", "torch")
    assert evaluate(*arguments, "--sizes", "8,16", "--rounds", "1", "--no-memory") == 0
    printed = capsys.readouterr().out
    assert "atoms-0000016: RuntimeError: on purpose" in printed
    assert "steps per day" in printed


def test_memory_is_that_of_a_process_of_its_own():
    small, large = (clock.memory(parse_calculator(f'{SLOW}={{"megabytes": {n}}}'), 8) for n in (1, 400))
    assert large["peak"] - large["loaded"] > 300 * 2**20
    assert large["peak"] - small["peak"] > 300 * 2**20
    assert clock.memory(parse_calculator(f'{SLOW}={{"n_max": 1}}'), 8) == {}


def test_engines_and_calculators_are_read():
    engine = Engine("nequix-nano")
    contender = parse_engine("torch:plain:float64", engine)
    assert contender.label == "nequix torch plain float64"
    assert parse_engine("jax", engine).label == "nequix jax auto float32"
    on_cpu = parse_engine("jax:native", Engine("nequix-nano", Execution(device="cpu"))).engine
    assert on_cpu.execution == Execution("jax", "native", device="cpu")
    contender = parse_engine("jax:native", Engine("nequix-nano", Execution(threads=2)))
    assert contender.engine.execution.threads == 2
    assert contender.label == "nequix jax native float32 threads=2"
    other = parse_calculator('a.b:C={"rc": 6}')
    assert (other.path, json.loads(other.options)) == ("a.b:C", {"rc": 6})


@pytest.mark.parametrize(
    "text",
    ["a.b.C", ":C", "a:", "a:B=[1]", "a:B={", "a:B=" + "[" * 100_000, 'a:B={"c": NaN}'],
)
def test_a_malformed_calculator_is_refused(text):
    with pytest.raises(DataError, match="expected MODULE:NAME") as raised:
        parse_calculator(text)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("text", ["", "a:b:c:d", "torch::float32"])
def test_a_malformed_engine_is_refused(text):
    with pytest.raises(DataError, match="expected BACKEND"):
        parse_engine(text, Engine("nequix-nano"))


def test_calculators_that_are_not_there_are_reported():
    with pytest.raises(BackendUnavailable, match="no_such_module"):
        parse_calculator("no_such_module:X").calculator()
    with pytest.raises(DataError, match="no 'Nothing'"):
        parse_calculator("tests.evaluation.speed.slow:Nothing").calculator()
    with pytest.raises(DataError, match="arguments"):
        parse_calculator(f'{SLOW}={{"wrong": 1}}').calculator()


def test_rows_compare_with_the_first_contender():
    held = {"b": {"seconds": [4.0, 4.0]}, "a": {"seconds": [1.0, 2.0], "peak": 5}, "c": {"error": "x"}}
    rows = {row["contender"]: row for row in rows_of({"n_atoms": 8, "contenders": held}, "a")}
    assert rows["b"]["ratio"] == (3.0, 2.0, 4.0)
    assert rows["a"]["ratio"] == (1.0, 1.0, 1.0)
    assert rows["c"]["ratio"] is rows["c"]["steps_per_day"] is None
    assert rows["a"]["peak"] == 5


def test_a_contender_is_named_once():
    with pytest.raises(DataError, match="twice"):
        Speed((Contender("a"), Contender("a")))


def test_threads_are_those_of_all_engines_and_make_another_run(tmp_path, capsys):
    arguments = ("speed", "-o", tmp_path / "run", "--model", write_small(tmp_path), "--backend", "torch")
    arguments += ("--sizes", "8", "--rounds", "1", "--no-memory", "--kernel", "native")
    arguments += ("--beside", "torch:native:float64", "--beside", "torch:plain", "--threads")
    assert evaluate(*arguments, 1) == 0
    held = results(tmp_path / "run")
    errors = {row["contender"]: row["error"] for row in held["rows"]}
    assert "OMP_NUM_THREADS" in errors.pop("nequix torch plain float32 threads=1")
    assert errors == dict.fromkeys(f"nequix torch native {d} threads=1" for d in ("float32", "float64"))
    capsys.readouterr()
    assert evaluate(*arguments, 2) == 1
    assert "threads=1" in capsys.readouterr().err


def test_the_command_times_and_reports(tmp_path, monkeypatch, capsys):
    arguments = ["evaluate", "speed", "-o", str(tmp_path / "run"), "--model", str(write_small(tmp_path))]
    arguments += ["--backend", "torch", "--sizes", "8,16", "--rounds", "2", "--no-memory"]
    arguments += ["--beside", "torch:plain:float64", "--calculator", f'{SLOW}={{"n_max": 8}}']
    monkeypatch.setattr(sys, "argv", ["nequix", *arguments, "--calculator", "no_such_module:X"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert "steps per day" in capsys.readouterr().out
    rows = json.loads((tmp_path / "run" / "results.json").read_bytes())["results"]["rows"]
    assert len(rows) == 8
    assert sum(row["error"] is None for row in rows) == 5
    assert (tmp_path / "run" / "speed.png").exists()
    report = (tmp_path / "run" / "report.md").read_text()
    assert "too many atoms" in report
    assert "no_such_module" in report
