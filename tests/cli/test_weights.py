import json
import signal
import subprocess
import sys

import pytest

import nequix
from nequix.io import catalogue
from nequix.io.files import TEMPORARY
from nequix.io.weights import read_weights
from tests.graphs.gallery import PARAMETERS, PROVENANCE, SPEC, good, published
from tests.io.origin import entry


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEQUIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NEQUIX_MIRROR", str(tmp_path))
    monkeypatch.setitem(catalogue.ENTRIES, "small", entry("https://example.invalid/small.nqx"))
    (tmp_path / "small.nqx").write_bytes(published())
    (tmp_path / "other.nqx").write_bytes(published(end=b"\n"))
    (tmp_path / "good.safetensors").write_bytes(good())


def test_version_is_printed(run):
    assert run("--version") == (0, f"nequix {nequix.__version__}\n", "")


def test_convert_takes_the_provenance_of_a_known_model(run, tmp_path):
    code, out, _ = run("convert", "small.nqx", "new.safetensors")
    weights = read_weights(tmp_path / "new.safetensors")
    assert (code, weights.provenance) == (0, catalogue.ENTRIES["small"].provenance)
    assert "new.safetensors: small" in out
    assert all(weights.parameters[name].tobytes() == values.tobytes() for name, values in PARAMETERS.items())


def test_convert_takes_the_provenance_of_an_unknown_model_from_options(run, tmp_path):
    assert (
        run("convert", "other.nqx", "new.safetensors", "--theory", "r2SCAN", "--training-data", "mine")[0]
        == 0
    )
    provenance = read_weights(tmp_path / "new.safetensors").provenance
    assert (provenance.name, provenance.theory, provenance.training_data) == ("other", "r2SCAN", "mine")
    assert provenance.licence == "unknown"
    assert provenance.source.startswith("other.nqx sha256:")


def test_convert_replaces_only_by_force(run, tmp_path):
    code, _, err = run("convert", "small.nqx", "good.safetensors")
    assert (code, "--force" in err) == (1, True)
    assert (tmp_path / "good.safetensors").read_bytes() == good()
    assert run("convert", "small.nqx", "good.safetensors", "--force")[0] == 0
    assert read_weights(tmp_path / "good.safetensors").provenance.name == "small"


KILLED = """
import os, signal
from nequix.cli import main

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

os.{call} = die
main()
"""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_killed_convert_leaves_nothing_that_stays(run, tmp_path, call):
    """Killed after the bytes are written, and after they are on the disk."""
    command = [sys.executable, "-c", KILLED.format(call=call), "convert", "other.nqx", "out/new.safetensors"]
    (tmp_path / "out").mkdir()
    done = subprocess.run(command, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "out").iterdir()  # to be removed, and not the target
    assert left.match(TEMPORARY)
    for name in ("other", "new"):  # the next one in the folder cleans up, whatever it writes
        assert run("convert", "other.nqx", f"out/{name}.safetensors")[0] == 0
        assert not list((tmp_path / "out").glob(TEMPORARY))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"new.safetensors", "other.safetensors"}
    assert read_weights(tmp_path / "out" / "new.safetensors").provenance.name == "other"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("convert", "absent.nqx", "new.safetensors"), "absent.nqx: no such file"),
        (("convert", "nequix-nano", "new.safetensors"), "nequix-nano: a name, not a .nqx file"),
        (("convert", "small.nqx", "new.pt"), "must end in .safetensors"),
        (("convert", "good.safetensors", "new.safetensors"), "does not start with the line of JSON"),
        (("info", "smal"), "did you mean 'small'?"),
        (("info", "."), "a folder"),
    ],
)
def test_an_error_is_one_line_without_a_traceback(run, arguments, says):
    code, out, err = run(*arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize("model", ["good.safetensors", "small.nqx", "small"])
def test_info_describes_a_model(run, model):
    code, out, _ = run("info", model)
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    assert code == 0
    assert facts["hidden irreps"].strip() == SPEC.hidden_irreps
    assert facts["elements"].strip() == "H O"
    assert facts["cutoff"].strip() == "6.0 A"


def test_info_prints_json(run):
    facts = json.loads(run("info", "good.safetensors", "--json")[1])
    assert facts["elements"] == ["H", "O"]
    assert facts["theory"] == PROVENANCE.theory
    assert facts["parameters"] == sum(v.size for k, v in PARAMETERS.items() if k != "atom_energies")
    assert facts["parent"] == "0" * 64


def test_models_shows_what_is_cached(run):
    lines = run("models")[1].splitlines()
    assert max(map(len, lines)) <= 80
    # Long cells continue on lines that begin with blanks.
    rows = {line.split("  ")[0]: line.split()[-1] for line in lines[1:] if not line.startswith(" ")}
    assert rows == {**dict.fromkeys(catalogue.BUNDLED, "bundled"), **dict.fromkeys(catalogue.ENTRIES, "no")}
    run("info", "small")
    rows = json.loads(run("models", "--json")[1])
    assert {row["name"] for row in rows if row["local"] == "cached"} == {"small"}
    assert all("arXiv:2508.16067" in row["citation"] for row in rows if row["name"] != "small")


def test_a_reader_that_leaves_is_not_our_error():
    command = [sys.executable, "-c", "import nequix.cli; nequix.cli.main()", "models"]
    root = nequix.__path__[0] + "/.."
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait(30) == 1


def test_the_command_line_starts_without_numpy_or_a_backend():
    code = "import sys, nequix.cli; print({'numpy', 'ase', 'jax', 'torch'} & set(sys.modules))"
    root = nequix.__path__[0] + "/.."
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "set()\n"


def test_info_prints_the_digests_of_reports_in_full(run):
    from nequix.io.catalogue import load_weights
    from nequix.io.provenance import describe_model

    facts = dict(line.split("  ", 1) for line in run("info", "nequix-nano")[1].splitlines())
    model = describe_model(load_weights("nequix-nano"))
    assert facts["file, SHA-256"].strip() == model["file_sha256"]
    assert facts["parameters, SHA-256"].strip() == model["checksum"]
    assert len(model["checksum"]) == 64
