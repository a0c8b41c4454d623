"""Public data that evaluation and training read: where each file comes from, and its digest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_MATBENCH = "https://github.com/janosh/matbench-discovery"
_PHONOPY = "https://github.com/phonopy/phonopy"
_RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Original:
    """One published file.

    Attributes:
        path: Its place in the folder of the set, and of a mirror.
        url: Its address.
        digest: ``md5:`` or ``sha256:`` and hexadecimal digits, as its source gives it.
    """

    path: str
    url: str
    digest: str


@dataclass(frozen=True)
class OriginalSet:
    """Files that belong together.

    Attributes:
        name: What the command calls them, and the name of their folder.
        what: What they are.
        home: Where their terms and papers are named.
        files: The files.
    """

    name: str
    what: str
    home: str
    files: tuple[Original, ...]


def _figshare(number: int, path: str, md5: str) -> Original:
    # Figshare's own address for programs; that for browsers may answer with a challenge.
    return Original(path, f"https://api.figshare.com/v2/file/download/{number}", f"md5:{md5}")


# Numbers, names and MD5 digests: matbench_discovery/data-files.yml of github.com/janosh/matbench-discovery,
# commit 02c292dbc95fb54b688f7100137d96c3244a4090.
_ELEMENTS = _figshare(
    40387775, "2023-02-07-mp-elemental-reference-entries.json.gz", "6e93b6f38d6e27d6c811d3cafb23a070"
)
_KAPPA = (
    _figshare(52179965, "2024-11-09-phononDB-PBE-103-structures.extxyz", "0b149802835e260aa3ab0c7e3c88625b"),
    _figshare(59988539, "2024-11-09-kappas-phononDB-PBE-noNAC.json.gz", "70c7a8b0df4cbb4d98f12aea5f61aeee"),
)
_WBM = (
    _figshare(48169597, "2024-08-04-wbm-initial-atoms.extxyz.zip", "2a292211ca6acb30ed8416178d644098"),
    _figshare(64706751, "2023-12-13-wbm-summary.csv.gz", "1555268d3aa59d20262cb9d01ce0994b"),
    _figshare(48169600, "2024-08-04-wbm-relaxed-atoms.extxyz.zip", "4726643ac0dfbab69a4284454c891e68"),
    _ELEMENTS,
)
_HULL = (
    _figshare(
        40344436, "2023-02-07-mp-computed-structure-entries.json.gz", "76fc748db6b175bb80de4c276d27c235"
    ),
    _figshare(52080797, "2025-02-01-mp-energies.csv.gz", "7eb0c49fc169ba92783f2f6d0d19d741"),
    _ELEMENTS,
)
_MPTRJ = (_figshare(49034296, "2024-09-03-mp-trj.extxyz.zip", "7f433171e4e5f2ef9304dccd42d5488f"),)

# SHA-256 of the file as it is at this commit of github.com/janosh/matbench-discovery.
_DIMERS = (
    Original(
        "diatomics-dft.json.gz",
        f"{_RAW}/janosh/matbench-discovery/2c7f9fc42d018711dc2f5df573d225ea6d2d17b2/site/src/lib/diatomics-dft.json.gz",
        "sha256:1fe6334a82e98208ea74169a3beaf98cd5188bdc7ac40e518697fd36c7196e3d",
    ),
)

# SHA-256 of the files as they are at this commit of github.com/phonopy/phonopy, folder example.
_PHONOPY_COMMIT = "3a3e0f099da5de2556e75d72ea89b3bb22c8e97e"
_PHONOPY_FILES = {
    "Al2O3/FORCE_SETS": "d4e9a1aef70e8b768419c42480f04dcd47ea2cb32968cbaadd7376006cb02f61",
    "Al2O3/phonopy_disp.yaml": "8fa70df79a959a042c67cdc9dbbf12b41179d82257aff0eda0dfeff5a1ab837e",
    "CaTiO3/FORCE_SETS": "06af1ea344f727cb7129454108b4afd144c5d3b58278f227506a404c5b077838",
    "CaTiO3/phonopy_disp.yaml": "94d117ea286594ddd01f2bbd0b5f38b297836e51b83a07f3c80bebcad7660ef6",
    "Cr/FORCE_SETS": "08e3711418762def57b35c55f758080d45078ad6faf35d3cfba5cb72f1067cf3",
    "Cr/phonopy_disp.yaml": "330974ccec905a4e4e160526dda6198180d65d6792fa79050da12e1180eeda6f",
    "MgB2/FORCE_SETS": "5400dd39e2079e078ce4f7728bcfb3689c70e272fdbf1e9936e68cad7ecaf6df",
    "MgB2/phonopy_disp.yaml": "780fb6c8455096960eae4f8ab436c30e5d554743fdaf54b3472533fcfa878ce8",
    "MgO/FORCE_SETS": "a9c88d502ec38871fefaf4b7be521780a7ea2631c6cd650c814333e45833ffc0",
    "MgO/phonopy_disp.yaml": "fc4ae95b377becae740f329e9ab5611a66d34e7a42e1b0c28d05d432708ad008",
    "NaCl-rd/FORCE_SETS": "16bf1107352084d4a4977ffecb5899230de43074d56409bfdc5bdfd1133c0c42",
    "NaCl-rd/phonopy_disp.yaml": "300e3030fd4618311f60902c81ea600fd044a116a58ffbd767af9e27531c845c",
    "SiO2-HP/FORCE_SETS": "95a9fa7cddb598c39bb88a039f6d8f85bdde691c82b8ebf44e9a69abb86567ee",
    "SiO2-HP/phonopy_disp.yaml": "1a96c4012829e550c4aea4427bcc18544cbe8d9aa0dba03329a0d5820b3cbcba",
    "SnO2/FORCE_SETS": "2dd92add3680c790bee8a56a02229c0bcc5597ad2284d598a58b323d678d413d",
    "SnO2/phonopy_disp.yaml": "71ef230c56d70e6d80f667e1cca77de78c21d8b0f0cbd6fc1d41878be950878d",
    "TiO2-anatase/FORCE_SETS": "34712dbc2c8858eb63ce9923416dc5e6a2b72c9b8b93075687a5bcb1c505f263",
    "TiO2-anatase/phonopy_disp.yaml": "25de992fb63db8e5a756cf2610207d279a04e803ee7916204b726acfbcd7d34b",
    "ZnO/FORCE_SETS": "403e821f0017ca396874edcdb7da58366c6dce3cbe1f8ca03cd1346f1bd02dc5",
    "ZnO/phonopy_disp.yaml": "93f4adbeafa702a85c30da81f17895c13bf38e1d88fe55433966c9137138b40c",
    "Si-gruneisen/minus/FORCE_SETS": "bb31e6ecd1d6c58e727b5f108aaf484a209f9917fc9158a75b2e5f9c4e185c5a",
    "Si-gruneisen/minus/POSCAR-unitcell": "beba3aa0746d0c9a114e87cf0321782ee83f8181545b6a1fe33425403b788142",
    "Si-gruneisen/minus/disp.yaml": "ab32400d250d2ab7637ec33ebb241069e89859194d2000c099ea1ba417ca721a",
    "Si-gruneisen/orig/FORCE_SETS": "03373cb3c3aba8119ede639a7c86a9360e4096ded8a8e87dcd1879b9da982ced",
    "Si-gruneisen/orig/POSCAR-unitcell": "57e34cdc69484169dd16fa99d70e90860341323acab9f60878e202404142eaf8",
    "Si-gruneisen/orig/disp.yaml": "d494db6d3b2beddaa599156309ba39d40b8f1228c6943b71aada95c12744f552",
    "Si-gruneisen/plus/FORCE_SETS": "970b74c025f5695b158aff5beabbf81734f397f07afdea911bd8348241c9b51a",
    "Si-gruneisen/plus/POSCAR-unitcell": "20de2693a109e4e03d5bc4b308afe0be3e5bfbc2911b5c08339cb39ba2307736",
    "Si-gruneisen/plus/disp.yaml": "8e9045230066991e1dde092a6d502ce0266d8950e813f8157a5bc4d346f7e59d",
}


def _example(path: str, sha256: str) -> Original:
    # The evaluation looks for folders directly below the set's.
    place = path.replace("Si-gruneisen/", "Si-gruneisen-")
    return Original(place, f"{_RAW}/phonopy/phonopy/{_PHONOPY_COMMIT}/example/{path}", f"sha256:{sha256}")


SETS: dict[str, OriginalSet] = {
    held.name: held
    for held in (
        OriginalSet("kappa103", "phononDB-PBE, 103 thermal conductivities", _MATBENCH, _KAPPA),
        OriginalSet("wbm", "WBM, 257,487 structures to be judged stable or not", _MATBENCH, _WBM),
        OriginalSet("mp-hull", "Materials Project, entries of the convex hull", _MATBENCH, _HULL),
        OriginalSet("mptrj", "MPtrj, 1.6 million labelled structures", _MATBENCH, _MPTRJ),
        OriginalSet("dimers", "DFT energies of two atoms of 92 elements", _MATBENCH, _DIMERS),
        OriginalSet(
            "phonopy-examples",
            "displaced supercells of 13 crystals with DFT forces",
            _PHONOPY,
            tuple(_example(path, sha256) for path, sha256 in _PHONOPY_FILES.items()),
        ),
    )
}
"""Every set by its name."""


def places(name: str, file: Original, mirror: str | None = None) -> list[str]:
    """List where a file can be fetched from, in the order in which to ask.

    A mirror that is named for this call is asked only. ``NEQUIX_MIRROR``, which may be meant for models, is
    asked first, and the publisher if it does not have the file.

    Args:
        name: Of the set.
        file: The file.
        mirror: A folder or a base URL with ``NAME/PATH``; by default ``NEQUIX_MIRROR``, if that is set.
    """
    if mirror:
        return [_in_mirror(name, file, mirror)]
    usual = os.environ.get("NEQUIX_MIRROR", "") if mirror is None else ""
    return [_in_mirror(name, file, usual), file.url] if usual else [file.url]


def _in_mirror(name: str, file: Original, mirror: str) -> str:
    inner = f"{name}/{file.path}"
    return f"{mirror.rstrip('/')}/{inner}" if "://" in mirror else str(Path(mirror).expanduser() / inner)
