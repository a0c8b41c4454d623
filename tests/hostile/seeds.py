"""A good file of every kind, and what reads it: the fuzzer's seeds."""

import gzip
import json
import lzma
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import write

from nequix.data.convert import convert
from nequix.data.opening import open_source
from nequix.io.ensemble import write_ensemble
from nequix.io.weights import read_weights, write_weights
from tests.calculator.small import SPEC, WEIGHTS
from tests.data.vasp import write_outcar, write_vasprun
from tests.graphs.gallery import good, published
from tests.hostile.files import labelled

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Seed:
    """A kind of file.

    Attributes:
        path: The good file; in a folder of its own, which the reader may need.
        read: Reads the file at a path.
        weight: How often it is drawn.
        pack: Compresses the mutated bytes, if the file is compressed after it was mutated.
    """

    path: Path
    read: Callable[[Path], Any]
    weight: float = 1.0
    pack: Callable[[bytes], bytes] | None = None


def make_seeds(folder: Path) -> Mapping[str, Seed]:
    """Write a good file of every kind.

    Args:
        folder: Where they go.
    """
    seeds = {**_structures(folder), **_models(folder), **_runs(folder)}
    return {**seeds, **_references(folder), **_phonons(folder)}


def _place(folder: Path, kind: str, name: str) -> Path:
    (folder / kind).mkdir()
    return folder / kind / name


def _structures(folder: Path) -> dict[str, Seed]:
    from nequix.data.frames import read_frames

    frames = [labelled(seed) for seed in range(3)]
    names = {
        "xyz": "a.extxyz", "poscar": "POSCAR", "cif": "a.cif", "trajectory": "a.traj", "ase-json": "a.json",
        "lammps": "a.lammps-data", "xsf": "a.xsf", "gen": "a.gen",
    }  # fmt: skip
    formats = {
        "poscar": "vasp",
        "lammps": "lammps-data",
        "xyz": "extxyz",
        "trajectory": "traj",
        "ase-json": "json",
    }
    seeds = {}
    for kind, name in names.items():
        path = _place(folder, kind, name)
        several = kind in ("xyz", "trajectory", "ase-json")
        write(path, frames if several else frames[0], format=formats.get(kind, kind))
        seeds[kind] = Seed(path, lambda path: list(read_frames(path)), 3.0 if kind == "xyz" else 1.0)
    vasprun, outcar = (
        write_vasprun(_place(folder, "vasprun", "vasprun.xml")),
        _place(folder, "outcar", "OUTCAR"),
    )
    seeds["vasprun"] = Seed(vasprun, lambda path: list(read_frames(path)))
    seeds["outcar"] = Seed(write_outcar(outcar), lambda path: list(read_frames(path)))
    source = seeds["xyz"].path
    seeds["source"] = Seed(source, _read_source, 3.0)
    packed = _place(folder, "xyz-gz", "a.extxyz.gz")
    packed.write_bytes(gzip.compress(source.read_bytes()))
    seeds["xyz-gz"] = Seed(packed, _read_source)
    archive = _place(folder, "zip", "a.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as handle:
        handle.writestr("a.extxyz", source.read_bytes())
    seeds["zip"] = Seed(archive, _read_source)
    database = _place(folder, "db", "a.db")
    write(database, frames, format="db")
    seeds["db"] = Seed(database, _read_source)
    convert([source], folder / "shards")
    shard = next((folder / "shards").glob("*.aselmdb"))
    shutil.copy(shard, _place(folder, "aselmdb", "a.aselmdb"))
    seeds["aselmdb"] = Seed(folder / "aselmdb" / "a.aselmdb", _read_source)
    mptrj = _place(folder, "mptrj", "m.json")
    mptrj.write_text(json.dumps({"mp-1": {"mp-1-0": _mptrj_frame()}}))
    seeds["mptrj"] = Seed(mptrj, _read_source)
    return seeds


def _read_source(path: Path) -> None:
    for _ in open_source(path):
        pass


def _mptrj_frame() -> dict:
    atoms = labelled()
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": abc.tolist()}
        for symbol, abc in zip(atoms.symbols, atoms.get_scaled_positions(), strict=True)
    ]
    structure = {"lattice": {"matrix": atoms.cell.tolist()}, "sites": sites}
    return {
        "structure": structure, "uncorrected_total_energy": -1.0, "force": atoms.get_forces().tolist(),
        "stress": np.eye(3).tolist(),
    }  # fmt: skip


def _models(folder: Path) -> dict[str, Seed]:
    from nequix.coverage.sidecar import read_reference
    from nequix.io.ensemble import read_ensemble
    from nequix.io.published import read_published

    weights = _place(folder, "weights", "a.safetensors")
    weights.write_bytes(good())
    nqx = _place(folder, "nqx", "a.nqx")
    nqx.write_bytes(published())
    sidecar = _place(folder, "sidecar", "a.coverage.safetensors")
    shutil.copy(ROOT / "nequix" / "weights" / "nequix-nano.coverage.safetensors", sidecar)
    ensemble = _place(folder, "ensemble", "ensemble.json")
    for name in ("a", "b"):
        write_weights(ensemble.parent / f"{name}.safetensors", SPEC, WEIGHTS.parameters, WEIGHTS.provenance)
    members = [
        (f"{name}.safetensors", read_weights(ensemble.parent / f"{name}.safetensors")) for name in ("a", "b")
    ]
    write_ensemble(ensemble.parent, members, None)

    return {
        "weights": Seed(weights, read_weights, 3.0),
        "nqx": Seed(nqx, read_published, 2.0),
        "sidecar": Seed(sidecar, read_reference, 0.5),
        "ensemble": Seed(ensemble, read_ensemble, 2.0),
    }


def _runs(folder: Path) -> dict[str, Seed]:
    from nequix.assess.thresholds import Thresholds
    from nequix.evaluation.run_directory import RunDirectory
    from nequix.evaluation.task import ItemResult
    from nequix.finetune.config import configure
    from nequix.train.checkpoint import load_checkpoint, save_checkpoint
    from nequix.train.config import read_config

    state = {"a": np.arange(6.0).reshape(2, 3), "b": np.ones(2, np.int32)}
    checkpoint = _place(folder, "checkpoint", "step-1.safetensors")
    save_checkpoint(checkpoint, state, {"step": 1, "best": 0.5})
    run = RunDirectory(folder / "run")
    with run.begin({"task": "errors", "model": "small", "settings": {"a": 1}}):
        run.write("item", ItemResult({"x": 1.0}, {"y": np.arange(5.0)}), 1.0)

    def read_run(path: Path) -> None:
        with RunDirectory(path.parent).begin({"task": "errors", "model": "small", "settings": {"a": 1}}):
            pass

    def read_item(path: Path) -> None:
        RunDirectory(path.parent.parent).read("item")

    config = _place(folder, "train-yaml", "a.yml")
    shutil.copy(ROOT / "configs" / "quickstart.yml", config)
    tune = _place(folder, "finetune-yaml", "a.yml")
    shutil.copy(ROOT / "configs" / "finetune.yml", tune)
    protocol = folder / "protocol"
    Thresholds().record(protocol)
    name = next(protocol.iterdir()).name
    return {
        "checkpoint": Seed(checkpoint, lambda path: load_checkpoint(path, state)),
        "run": Seed(folder / "run" / "run.json", read_run),
        "item": Seed(folder / "run" / "items" / "item.json", read_item),
        "npz": Seed(folder / "run" / "items" / "item.npz", read_item),
        "train-yaml": Seed(config, read_config, 3.0),
        "finetune-yaml": Seed(
            tune, lambda path: configure(WEIGHTS, "small", "head", ["a.extxyz"], path=path), 2.0
        ),
        "protocol": Seed(protocol / name, lambda path: Thresholds().record(path.parent)),
    }


def _references(folder: Path) -> dict[str, Seed]:
    from nequix.evaluation.discovery.reference import read_elements, read_reference
    from nequix.evaluation.discovery.structures import Structures
    from nequix.evaluation.kappa import data as kappa
    from nequix.evaluation.physics.references import read_dimers, read_eos

    columns = "material_id,n_sites,uncorrected_energy,e_form_per_atom_mp2020_corrected\n"
    table = _place(folder, "csv", "a.csv")
    table.write_text(columns + "".join(f"wbm-1-{n},2,-3.0,-0.{n}\n" for n in range(9)))
    packed = _place(folder, "csv-gz", "a.csv.gz")
    packed.write_bytes(gzip.compress(table.read_bytes()))
    elements = _place(folder, "elements", "a.json")
    entry = {"energy": -2.0, "composition": {"Na": 2.0}, "correction": 0.0}
    elements.write_text(json.dumps({"Na": entry, "Cl": -1.8}))
    columns = {
        "mp_id": {"0": "mp-1"}, "kappa_TOT_ave": {"0": [1.0]}, "mode_kappa_TOT_ave": {"0": [[[1.0, 2.0]]]},
        "qpoints": {"0": [[0, 0, 0]]}, "weights": {"0": [1]}, "frequencies": {"0": [[1.0, 2.0]]},
    }  # fmt: skip
    conductivities = _place(folder, "kappa", "kappas-phononDB-PBE-noNAC.json")
    conductivities.write_text(json.dumps(columns))
    records = _place(folder, "records", "a.json")
    structure = _mptrj_frame()["structure"]
    records.write_text(json.dumps([{"material_id": "wbm-1-1", "structure": structure}]))
    dimers = _place(folder, "dimers", "a-dft.json")
    curve = {"distances": [1.0, 2.0, 3.0, 4.0, 5.0], "energies": [3.0, -1.0, -0.5, 0.0, 0.0]}
    dimers.write_text(json.dumps({"PBE": {"H-H": curve}}))
    eos = _place(folder, "eos", "a.json")
    eos.write_text(
        json.dumps({"Na-X/FCC": {"natoms": 1, "ae": [37.0, 0.05, 4.0], "vasp": [37.0, 0.05, 4.0]}})
    )

    def cleared(read: Any) -> Callable[[Path], Any]:
        return lambda path: (read.cache_clear(), read(path))

    def read_kappa(path: Path) -> None:
        kappa.read_reference.cache_clear()
        kappa.read_reference(path.parent)

    return {
        "csv": Seed(table, read_reference, 2.0),
        "csv-gz": Seed(packed, read_reference),
        "csv-packed": Seed(table, read_reference, pack=gzip.compress),
        "elements": Seed(elements, read_elements),
        "kappa": Seed(conductivities, read_kappa),
        "records": Seed(records, lambda path: list(Structures(path).by_name())),
        "dimers": Seed(dimers, cleared(read_dimers)),
        "eos": Seed(eos, cleared(read_eos)),
    }


def _phonons(folder: Path) -> dict[str, Seed]:
    from phonopy.file_IO import write_FORCE_CONSTANTS, write_force_constants_to_hdf5, write_FORCE_SETS

    from nequix.evaluation.phonons.data import read_reference
    from tests.evaluation.test_phonon_files import calculated

    phonons = calculated()
    whole = _place(folder, "phonopy", "a.yaml")
    phonons.save(whole, settings={"force_sets": True})
    packed = _place(folder, "phonopy-xz", "a.yaml.xz")
    packed.write_bytes(lzma.compress(whole.read_bytes()))
    seeds = {
        "phonopy": Seed(whole, read_reference, 1.0),
        "phonopy-xz": Seed(packed, read_reference, 0.5),
        "phonopy-packed": Seed(whole, read_reference, 0.5, lzma.compress),
    }
    for kind, name in (
        ("sets", "FORCE_SETS"),
        ("constants", "FORCE_CONSTANTS"),
        ("hdf5", "force_constants.hdf5"),
    ):
        path = _place(folder, kind, name)
        phonons.save(path.parent / "phonopy_disp.yaml", settings={"force_sets": False})
        if kind == "sets":
            write_FORCE_SETS(phonons.dataset, path)
        else:
            writer = write_FORCE_CONSTANTS if kind == "constants" else write_force_constants_to_hdf5
            writer(phonons.force_constants, path, p2s_map=phonons.primitive.p2s_map)
        seeds[kind] = Seed(path, lambda path: read_reference(path.parent), 0.5)
    return seeds


if __name__ == "__main__":
    print(*make_seeds(Path(sys.argv[1])), sep="\n")
