"""Other styles beside the model, threads, several systems, and what a process contains."""

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from nequix.io.catalogue import ENTRIES, load_published
from nequix.lammps.build import find_compiler, write_sources
from nequix.lammps.installed import find_lammps
from nequix.native.export import export_model
from tests.lammps.running import Results, pressure_of, read_results, write_data
from tests.lammps.structures import quartz, reference, salt, tiny

ZBL = "pair_coeff 1 1 {0} 12 12\npair_coeff 1 2 {0} 12 8\npair_coeff 2 2 {0} 8 8"
OVERLAY = "pair_style hybrid/overlay {}\npair_coeff * * nequix {model} Mg O\n" + ZBL.format("zbl")


def evaluate(lammps, folder, name, ranks=1, threads=1, **settings) -> Results:
    case = salt()
    write_data(folder / "salt.data", case.atoms, case.types, case.elements)
    text = lammps.setup(case.elements, "salt.data", **settings) + lammps.evaluation(name)
    lammps.run(folder, text, ranks, threads)
    return read_results(folder, name)


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize(
    "order", ["nequix precision double zbl 1.5 2.5", "zbl 1.5 2.5 nequix precision double"]
)
def test_overlay_is_the_sum(ranks, order, lammps, tmp_path):
    alone = evaluate(lammps, tmp_path, "zbl", style="pair_style zbl 1.5 2.5", coeff=ZBL.format(""))
    style, coeff = OVERLAY.format(order, model=lammps.model).split("\n", 1)
    both = evaluate(lammps, tmp_path, "both", ranks, style=style, coeff=coeff)
    atoms = reference("salt", "float64")
    assert np.abs(alone.forces).max() > 1
    np.testing.assert_allclose(both.forces, alone.forces + atoms.get_forces(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(both.energy, alone.energy + atoms.get_potential_energy(), atol=1e-6)
    np.testing.assert_allclose(both.pressure, alone.pressure + pressure_of(atoms), rtol=1e-7, atol=0.01)


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_of_type_null_are_not_there(ranks, lammps, tmp_path):
    style = "pair_style hybrid nequix precision double zbl 1.5 2.5"
    coeff = f"pair_coeff * * nequix {lammps.model} Mg NULL\npair_coeff 1 2 zbl 12 8\npair_coeff 2 2 zbl 8 8\n"
    coeff += "compute model all pair nequix\nthermo_style custom step c_model\nrun 0\n"
    coeff += 'print "$(c_model:%.15g)" file model.txt\n'
    evaluate(lammps, tmp_path, "null", ranks, style=style, coeff=coeff)
    atoms = reference("salt", "float64")
    rest = atoms[atoms.numbers == 12]
    rest.calc = atoms.calc.__class__("nequix-nano", backend="native", dtype="float64")
    found = float((tmp_path / "model.txt").read_text())
    np.testing.assert_allclose(found, rest.get_potential_energy(), rtol=1e-12)


@pytest.mark.parametrize(("ranks", "threads"), [(1, 2), (2, 2)])
def test_threads_change_nothing(ranks, threads, lammps, tmp_path):
    atoms = reference("salt", "float64")
    first, second = (evaluate(lammps, tmp_path, "threads", ranks, threads) for _ in range(2))
    np.testing.assert_allclose(first.forces, atoms.get_forces(), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(first.forces, second.forces)
    assert first.energy == second.energy


def test_log_says_what_runs_and_ghosts_reach_one_cutoff(lammps, tmp_path):
    case = salt()
    write_data(tmp_path / "salt.data", case.atoms, case.types, case.elements)
    text = lammps.setup(case.elements, "salt.data", style="pair_style nequix threads 2")
    maps = 'shell "cat /proc/$PPID/maps > maps.txt"\n'
    lammps.run(tmp_path, text + "run 0\n" + maps, ranks=2)
    log = (tmp_path / "log.test").read_text()
    assert "nequix model nequix-nano from" in log
    assert "theory: PBE+U, through nequix-mp-1" in log
    assert "licence: MIT" in log
    assert "atom types: 1=Mg 2=O" in log
    assert re.search(r"cutoff 5\.0+ A, precision single, instructions (avx512|avx2|base)", log)
    assert "2 MPI ranks with 2 threads each; 3.3 kB exchanged per ghost atom and step" in log
    assert re.search(r"ghost atom cutoff = 6$", log, re.MULTILINE)
    loaded = (tmp_path / "maps.txt").read_text()
    assert "nequixplugin.so" in loaded
    for unwanted in ("libpython", "torch", "jaxlib"):
        assert unwanted not in loaded
    ldd = shutil.which("ldd") or pytest.skip("there is no ldd")
    needed = subprocess.run([ldd, lammps.plugin], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].split("/")[-1].split(".so")[0] for line in needed.splitlines()}
    assert names <= {"linux-vdso", "libnequix", "libstdc++", "libm", "libgcc_s", "libc", "ld-linux-x86-64"}


def test_too_many_ghosts_and_too_many_threads_give_warnings(lammps, tmp_path):
    case = tiny()
    write_data(tmp_path / "tiny.data", case.atoms, case.types, case.elements)
    text = lammps.setup(case.elements, "tiny.data", style="pair_style nequix threads 1000")
    printed = lammps.run(tmp_path, text + "run 0\n", ranks=2)
    assert "use fewer MPI ranks with more threads each" in printed
    assert "1000 threads of rank 0 share" in printed


def test_model_given_twice_and_no_atoms(lammps, tmp_path):
    """The second pair_coeff frees the first model; a system without atoms has no energy."""
    case = tiny()
    write_data(tmp_path / "tiny.data", case.atoms, case.types, case.elements)
    text = lammps.setup(case.elements, "tiny.data") + f"pair_coeff * * {lammps.model} Li O\n"
    text += lammps.evaluation("twice") + "delete_atoms group all\nrun 0\n"
    text += 'print "$(pe) $(pxx)" file none.txt\n'
    lammps.run(tmp_path, text, ranks=2)
    atoms = reference("tiny", "float64")
    found = read_results(tmp_path, "twice")
    np.testing.assert_allclose(found.forces, atoms.get_forces(), rtol=0, atol=1e-9)
    assert (tmp_path / "none.txt").read_text().split() == ["0", "0"]


def test_partitions_and_two_systems_in_one_process(lammps, tmp_path):
    case = tiny()
    write_data(tmp_path / "tiny.data", case.atoms, case.types, case.elements)
    text = "variable name world left right\n" + lammps.setup(case.elements, "tiny.data")
    text += lammps.evaluation("${name}").replace('print "', 'print """').replace('" file', '""" file')
    lammps.run(tmp_path, text, ranks=2, options=("-partition", "1", "1"))
    energy = reference("tiny", "float64").get_potential_energy()
    for name in ("left", "right"):
        np.testing.assert_allclose(
            float((tmp_path / f"{name}.txt").read_text().split()[0]), energy, atol=1e-9
        )
    script = f"""
from lammps import lammps
both = []
for _ in range(2):
    both.append(lammps(cmdargs=["-screen", "none", "-log", "none"]))
    both[-1].commands_string({lammps.setup(case.elements, "tiny.data")!r} + "run 0")
print(*(one.get_thermo("pe") for one in both))
"""
    environment = {"LD_LIBRARY_PATH": str(Path(sys.prefix) / "lib"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", script]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(np.array(ran.stdout.split()[-2:], float), energy, atol=1e-9)


def test_program_for_a_lammps_without_plugins(lammps, tmp_path):
    """Compile main.cpp as docs/lammps.md says, against the shared library of LAMMPS."""
    installed, sources = find_lammps(), tmp_path / "sources"
    write_sources(sources)
    library, libraries = installed.headers.parents[1] / "liblammps.so.0", Path(sys.prefix) / "lib"
    flags = [
        "-O0",
        "-std=c++17",
        f"-DLAMMPS_{installed.sizes}",
        f"-I{installed.headers}",
        f"-I{installed.mpi}",
    ]
    files = [str(sources / name) for name in ("main.cpp", "pair_nequix.cpp", "pair_nequix_model.cpp")]
    links = [str(library), str(libraries / "libmpi.so.12"), f"-L{sources}", "-lnequix"]
    rpath = [f"-Wl,-rpath,{folder}" for folder in (sources, library.parent, libraries)]
    command = [find_compiler(), *flags, f"-I{sources}", *files, *links, *rpath, "-o", str(tmp_path / "lmp")]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    case = tiny()
    write_data(tmp_path / "tiny.data", case.atoms, case.types, case.elements)
    text = lammps.setup(case.elements, "tiny.data").replace(f"plugin load {lammps.plugin}", "")
    own = lammps.__class__(tmp_path / "lmp", lammps.mpirun, lammps.plugin, lammps.model)
    own.run(tmp_path, text + lammps.evaluation("own"), ranks=2)
    expected = reference("tiny", "float64").get_forces()
    np.testing.assert_allclose(read_results(tmp_path, "own").forces, expected, rtol=0, atol=1e-9)


def test_published_model(lammps, published_folder, tmp_path):
    from nequix.calculator import NequixCalculator
    from nequix.io.weights import write_weights

    weights = load_published(published_folder / ENTRIES["nequix-mp-1"].file)
    write_weights(tmp_path / "mp.safetensors", weights.spec, weights.parameters, weights.provenance)
    export_model(weights, tmp_path / "mp.lammps", ["float32"])
    case = tiny()
    write_data(tmp_path / "tiny.data", case.atoms, case.types, case.elements)
    coeff = "pair_coeff * * mp.lammps Li O"
    text = lammps.setup(case.elements, "tiny.data", precision="single", coeff=coeff)
    lammps.run(tmp_path, text + lammps.evaluation("mp"), ranks=2)
    case.atoms.calc = NequixCalculator(tmp_path / "mp.safetensors", backend="native", threads=1, guard=None)
    found = read_results(tmp_path, "mp")
    np.testing.assert_allclose(found.forces, case.atoms.get_forces(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.energy, case.atoms.get_potential_energy(), atol=12 * 2e-7)


def test_input_of_the_documentation_runs(lammps, tmp_path):
    """Only paths, the model and the number of steps are replaced."""
    page = (Path(__file__).parents[2] / "docs" / "lammps.md").read_text()
    block = page.split("## One input")[1].split("\n\n")[1]
    text = textwrap.dedent(block)
    case = quartz()
    write_data(tmp_path / "quartz.data", case.atoms, [3 - kind for kind in case.types], ["Si", "O"])
    text = re.sub(r"plugin load .*", f"plugin load {lammps.plugin}", text)
    text = text.replace("nequix-mp-1.lammps", str(lammps.model)).replace("10000", "3").replace("100\n", "1\n")
    lammps.run(tmp_path, text, ranks=2)
    rows = (tmp_path / "log.test").read_text().split("Step")[1].splitlines()[1:5]
    assert [row.split()[0] for row in rows] == ["0", "1", "2", "3"]
