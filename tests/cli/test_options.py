"""Options that several commands share: the engine, its threads, the guard of distances."""

import pytest
from ase.build import bulk
from ase.io import write

from nequix.cli.run import NOT_CONVERGED

pytestmark = pytest.mark.usefixtures("small_files")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--backend", "tensorflow"), "tensorflow"),
        (("--dtype", "float16"), "float16"),
        (("--backend", "torch", "--kernel", "none"), "none"),
        (("--backend", "torch", "--threads", "0"), "threads = 0"),
        (("--backend", "torch", "--kernel", "plain", "--threads", "2"), "OMP_NUM_THREADS"),
    ],
)
def test_a_wrong_option_is_named(run, options, says):
    code, _, err = run("predict", "salt.extxyz", "-o", "out.extxyz", "--model", "model.safetensors", *options)
    assert code != 0
    assert says in err
    assert "Traceback" not in err


def test_auto_takes_what_is_installed_and_says_so(run, monkeypatch, tmp_path):
    monkeypatch.setattr("nequix.native.library.path", lambda: tmp_path / "not built")
    monkeypatch.setattr("nequix.engines.installed_engines", lambda: ["torch"])
    arguments = ("predict", "oxide.cif", "-o", "out.extxyz", "--model", "model.safetensors", "--force")
    code, _, err = run(*arguments)
    assert code == 0
    assert "model.safetensors: backend torch" in err
    monkeypatch.setattr("nequix.engines.installed_engines", list)
    code, _, err = run(*arguments)
    assert code == 1
    assert "pip install" in err
    assert "[jax]" in err


def test_atoms_closer_than_in_the_training_data_are_said_or_refused(run):
    crystals = [bulk("Si", a=5.43), bulk("Si", a=2.6), bulk("Si", a=2.7)]
    write("crystals.extxyz", crystals)
    nano = ("--model", "nequix-nano", "--backend", "native")
    code, out, err = run("predict", "crystals.extxyz", "-o", "warned.extxyz", *nano)
    assert (code, out) == (0, "warned.extxyz: 3 frames\n")
    warned = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.split(": atoms 0 and 1 (Si-Si)")[0] for line in warned] == [
        f"warning: crystals.extxyz: frame {frame}" for frame in (1, 2)
    ]
    code, _, err = run("predict", "crystals.extxyz", "-o", "none.extxyz", *nano, "--guard", "none")
    assert code == 0
    assert "warning" not in err
    code, _, err = run("predict", "crystals.extxyz", "-o", "refused.extxyz", *nano, "--guard", "error")
    assert code == 1
    assert "error: crystals.extxyz: frame 1: atoms 0 and 1 (Si-Si) are 1.13 A apart" in err
    relax = ("relax", "crystals.extxyz", "--frame", "2", "-o", "relaxed.extxyz", "--steps", "2", *nano)
    code, _, err = run(*relax)
    assert code in (0, NOT_CONVERGED)
    assert err.count("warning: crystals.extxyz: frame 2: atoms 0 and 1 (Si-Si)") == 1
    code, _, err = run(*relax, "--guard", "error", "--force")
    assert code == 1
    assert "error: crystals.extxyz: frame 2: atoms 0 and 1 (Si-Si)" in err
