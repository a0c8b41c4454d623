"""MPtrj's JSON of September 2022, streamed: one structure of its eleven gigabytes is in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nequix.core.errors import BackendUnavailable, DataError
from nequix.data.extxyz import reading
from nequix.data.label_keys import LabelKeys
from nequix.data.sources import Source, StreamError
from nequix.data.structure import Structure
from nequix.io.installation import install_command
from nequix.io.limits import open_bounded

KBAR = 6.241509074e-4
"""One kB in eV/A^3: 1e8 Pa times 1e-30 m^3 over the elementary charge."""

_LEVELS = ("the document", "a material", "a frame")
_NAMES = {"start_array": "an array"}
_LAYOUTS = (
    "JSON is read in two layouts, MPtrj's {material: {frame: {structure, uncorrected_total_energy, force, "
    "stress}}} and that of ASE's databases; convert other data to extended XYZ"
)
_HEAD = 4096  # bytes of a file that say whose JSON it is
_ASE_JSON = re.compile(rb'\s*\{\s*"(\d+"\s*:\s*\{|ids"|nextid"|__ase_objtype__")')

ENERGY = "uncorrected_total_energy"
"""The energy that is read, eV: VASP's own, with the forces and the stress as its derivatives.

The corrected ones add constants for each element and compound class; nequix-mp-1 was trained without.
"""


class MPtrjSource(Source):
    """MPtrj as first published: ``{material: {frame: {structure, energies, force, stress, ...}}}``.

    It can only be streamed; convert it for random access.

    Args:
        path: The ``.json`` file, or ``.json.gz``.
        keys: Where the labels are; the usual keys stand for those of this file.

    Raises:
        DataError: If a virial is asked for.
    """

    def __init__(self, path: str | os.PathLike[str], keys: LabelKeys) -> None:
        self.path: str = os.fspath(path)
        usual = LabelKeys()
        self._energy = ENERGY if keys.energy == usual.energy else keys.energy[0]
        self._forces = "force" if keys.forces == usual.forces else keys.forces[0]
        if "stress" in keys.named() and keys.virial:
            raise DataError(
                f"{self.path}: holds stresses, in kB, and no virial {' or '.join(keys.virial)}; leave the "
                "key of the virial out, or name a stress"
            )
        self._stress = "stress" if keys.stress == usual.stress else keys.stress[0]

    def __len__(self) -> int:
        raise self._only_streamed()

    def __getitem__(self, index: int) -> Structure:
        raise self._only_streamed()

    def _only_streamed(self) -> StreamError:
        return StreamError(
            f"{self.path}: can only be read from beginning to end; convert it first: "
            f"nequix data convert {self.path} -o FOLDER"
        )

    def read(self, start: int) -> Iterator[Structure]:
        """Read the structures from an index on, holding one at a time."""
        for index, (name, frame) in enumerate(self._frames()):
            if index >= start:
                yield self._structure(name, frame)

    def _frames(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Read the frames' names and contents."""
        ijson = _ijson()
        n_frames = 0
        try:
            with reading(self.path), open_bounded(self.path) as handle:
                # Events, since the items of this file are nested two deep and a material may hold thousands.
                builder, depth, name = None, 0, ""
                for event, value in ijson.basic_parse(handle, use_float=True):
                    if builder is not None:
                        builder.event(event, value)
                    if depth < len(_LEVELS) and event not in ("start_map", "end_map", "map_key"):
                        what = f"{_LEVELS[depth]} is {_NAMES.get(event, f'a {event}')}, not a JSON object"
                        raise DataError(f"{self.path}: {what}; {_LAYOUTS}")
                    depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
                    if event == "map_key" and depth == 2:
                        name = value
                    elif event == "start_map" and depth == 3:
                        builder = ijson.ObjectBuilder()
                        builder.event(event, value)
                    elif event == "end_map" and depth == 2 and builder is not None:
                        yield name, builder.value
                        builder = None
                        n_frames += 1
        except ijson.JSONError as error:
            reason = " ".join(str(error).split())
            fix = "is it complete? Download it again" if n_frames else _LAYOUTS
            raise DataError(f"{self.path}: not one complete JSON document ({reason}); {fix}") from error
        if not n_frames:
            raise DataError(f"{self.path}: contains no frame; {_LAYOUTS}")

    def _structure(self, name: str, frame: Mapping[str, Any]) -> Structure:
        """Convert a frame: Cartesian positions, kB and VASP's sign to eV/A^3 and ASE's."""
        from ase.data import atomic_numbers

        try:
            lattice, sites = frame["structure"]["lattice"]["matrix"], frame["structure"]["sites"]
            symbols = [_symbol(site) for site in sites]
            cell = np.array(lattice, float).reshape(3, 3)
            positions = np.array([site["abc"] for site in sites], float).reshape(-1, 3) @ cell
            energy, forces, stress = (frame.get(key) for key in (self._energy, self._forces, self._stress))
            return Structure(
                numbers=np.array([atomic_numbers[symbol] for symbol in symbols]),
                positions=positions,
                cell=cell,
                pbc=np.ones(3, bool),
                energy=None if energy is None else float(energy) * self._factor(len(sites)),
                forces=None if forces is None else np.array(forces, float).reshape(len(sites), 3),
                stress=None if stress is None else -KBAR * np.array(stress, float).reshape(3, 3),
                name=name,
                unread=tuple(sorted(set(frame) - {"structure", self._energy, self._forces, self._stress})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{os.path.basename(self.path)}: frame {name} cannot be read ({type(error).__name__}: "
                f"{error}); is it MPtrj's JSON, and complete? {_LAYOUTS}"
            ) from error

    def _factor(self, n_atoms: int) -> int:
        return n_atoms if self._energy.endswith("_per_atom") else 1


def is_ase_json(path: str | os.PathLike[str]) -> bool:
    """Return whether a JSON file is one of ASE's: a database, which begins with a row's number, or an object.

    Args:
        path: An existing file, ``.json`` or ``.json.gz``.

    Raises:
        DataError: If it cannot be read.
    """
    path = os.fspath(path)
    with reading(path), open_bounded(path) as handle:
        return _ASE_JSON.match(handle.read(_HEAD)) is not None


def _symbol(site: Mapping[str, Any]) -> str:
    (species,) = site["species"]
    if species.get("occu", 1) != 1:
        raise ValueError(f"a site is occupied to {species['occu']}")
    return str(species["element"])


def _ijson() -> Any:
    try:
        import ijson
    except ImportError as error:
        raise BackendUnavailable(
            f"streaming JSON needs another package ({error}); install it: {install_command('train')}"
        ) from error
    return ijson
