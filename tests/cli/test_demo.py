import pytest

from nequix import demo, engines
from nequix.native import library
from tests.calculator import small


def test_the_demo_compares_all_backends(tmp_path, capsys, monkeypatch):
    slab = {name: atoms for name, atoms in demo.structures().items() if "slab" in name}
    monkeypatch.setattr(demo, "structures", lambda: slab)
    monkeypatch.setattr(demo, "FMAX", 100.0)  # the small model's minimum is far away
    assert demo.main([str(small.write_small(tmp_path))]) == 0
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert max(map(len, printed.splitlines()[1:])) <= 80  # the first has the path of the model
    for word in ("jax, native", "jax, torch", "slab", "energy (eV)", "fmax", "call (ms)", "float64"):
        assert word in printed


def test_the_demo_fails_if_a_relaxation_does_not_converge(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "FMAX", 1e-9)
    monkeypatch.setattr(demo, "STEPS", 1)
    slab = {name: atoms for name, atoms in demo.structures().items() if "slab" in name}
    monkeypatch.setattr(demo, "structures", lambda: slab)
    monkeypatch.setattr(demo, "installed_backends", lambda: ["torch"])
    assert demo.main([str(small.write_small(tmp_path))]) == 1


def test_the_demo_says_what_to_do_without_weights(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NEQUIX_MIRROR", str(tmp_path))
    monkeypatch.setenv("NEQUIX_CACHE", str(tmp_path / "cache"))
    assert demo.main(["nequix-mp-1"]) == 1
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert "set NEQUIX_MIRROR" in error
    assert "python -m nequix.demo PATH" in error


def test_the_demo_needs_a_backend(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "installed_engines", list)
    monkeypatch.setattr(library, "path", lambda: tmp_path / "libnequix.so")
    assert demo.main([str(small.write_small(tmp_path))]) == 1
    assert "pip install" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["MgO", "slab"])
def test_the_structures_start_off_their_minimum(name):
    (atoms,) = [atoms for title, atoms in demo.structures().items() if name in title]
    assert atoms.cell.rank == 3
    assert bool(atoms.pbc.all()) == (name == "MgO")
    assert len(atoms.constraints) == (name == "slab")
