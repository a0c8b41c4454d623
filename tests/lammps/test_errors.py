"""What other pair styles get silently wrong stops here, with a message that names the remedy."""

import dataclasses
import json

import pytest

from nequix.io.catalogue import load_weights
from nequix.io.weights import write_weights
from nequix.lammps.build import build_plugin
from nequix.lammps.installed import find_lammps
from tests.lammps.running import write_data
from tests.lammps.structures import tiny

WATER = """water

3 atoms
2 bonds
2 atom types
1 bond types
0 9 xlo xhi
0 9 ylo yhi
0 9 zlo zhi

Masses

1 1.008
2 15.999

Atoms # molecular

1 1 2 4 4 4
2 1 1 4.76 4.59 4
3 1 1 3.24 4.59 4

Bonds

1 1 1 2
2 1 1 3
"""

MOLECULAR = """clear
units metal
atom_style molecular
bond_style zero
read_data water.data
bond_coeff *
"""


def other_files(folder, model):
    """Write files that are not model files."""
    whole = model.read_bytes()
    (folder / "truncated.lammps").write_bytes(whole[:100_000])
    weights = load_weights("nequix-nano")
    write_weights(folder / "weights.safetensors", weights.spec, weights.parameters, weights.provenance)
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    header["__metadata__"]["format_version"] = "7"
    raw = json.dumps(header).encode()
    (folder / "future.lammps").write_bytes(len(raw).to_bytes(8, "little") + raw + whole[8 + size :])


ERRORS = {
    "element not in the model": ({"coeff": "pair_coeff * * {model} Li He"}, "'He' of atom type 2 is not an"),
    "no element": ({"coeff": "pair_coeff * * {model} Li Xx"}, "which has: H Li Be B C N O F"),
    "too few elements": ({"coeff": "pair_coeff * * {model} Li"}, "names 1 elements for 2 atom types"),
    "missing": ({"coeff": "pair_coeff * * none.lammps Li O"}, "cannot read 'none.lammps' (no such file"),
    "truncated": ({"coeff": "pair_coeff * * truncated.lammps Li O"}, "damaged or not a model file"),
    "weights": ({"coeff": "pair_coeff * * weights.safetensors Li O"}, "lammps export WEIGHTS FILE.lammps"),
    "future": ({"coeff": "pair_coeff * * future.lammps Li O"}, "format version 7, and this program reads"),
    "single types": ({"coeff": "pair_coeff 1 1 {model} Li O"}, "ERROR: "),
    "units": ({"after": "clear\nunits real\nread_data tiny.data"}, "needs 'units metal', and this input has"),
    "newton": ({"before": "newton off"}, "needs 'newton on'"),
    "exclude": ({"after": "neigh_modify exclude type 1 2"}, "neigh_modify exclude none"),
    "bonds": ({"after": MOLECULAR}, "special_bonds lj/coul 1 1 1"),
    "option": ({"style": "pair_style nequix presicion double"}, "unknown option 'presicion'; it takes:"),
    "no value": ({"style": "pair_style nequix threads"}, "option 'threads' needs a value"),
    "threads": ({"style": "pair_style nequix threads 0"}, "threads 0, expected 1 to 1024"),
    "precision": ({"style": "pair_style nequix precision half"}, "'half', expected single or double"),
}


@pytest.fixture(scope="module")
def folder(lammps, tmp_path_factory):
    made = tmp_path_factory.mktemp("errors")
    case = tiny()
    write_data(made / "tiny.data", case.atoms, case.types, case.elements)
    (made / "water.data").write_text(WATER)
    other_files(made, lammps.model)
    return made


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_stop_with_the_remedy(kind, lammps, folder):
    settings, words = ERRORS[kind]
    settings = {key: value.format(model=lammps.model) for key, value in settings.items()}
    elements = ["H", "O"] if kind == "bonds" else ["Li", "O"]
    ran = lammps.launch(folder, lammps.setup(elements, "tiny.data", **settings) + "run 0\n", ranks=2)
    assert ran.returncode != 0
    assert words in ran.stdout + ran.stderr


def test_positions_that_are_not_finite(lammps, folder):
    text = lammps.setup(["Li", "O"], "tiny.data", after="neigh_modify delay 100")
    text += "run 0\nvariable far atom 1e300*1e300\nset atom 1 x v_far\nrun 1 pre no\n"
    ran = lammps.launch(folder, text, ranks=2)
    assert ran.returncode != 0
    assert "is not finite" in ran.stdout + ran.stderr


def test_special_bonds_as_the_message_says(lammps, folder):
    after = MOLECULAR + "special_bonds lj/coul 1 1 1\n"
    text = lammps.setup(["H", "O"], "tiny.data", after=after) + lammps.evaluation("water")
    lammps.run(folder, text, ranks=2)
    assert float((folder / "water.txt").read_text().split()[0]) < -12


def test_a_plugin_of_another_version_is_not_loaded(lammps, folder):
    other = build_plugin(dataclasses.replace(find_lammps(), version=20230802), folder / "other")
    changed = dataclasses.replace(lammps, plugin=other)
    ran = lammps.launch(folder, changed.setup(["Li", "O"], "tiny.data") + "run 0\n")
    assert ran.returncode != 0
    assert "built for LAMMPS version 20230802, and this is" in ran.stderr
    assert "`nequix lammps build`" in ran.stderr
