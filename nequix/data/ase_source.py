"""Files of other formats that ASE reads, such as ``vasprun.xml``, ``OUTCAR`` and ``.traj``, as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nequix.data.frames import file_format, read_frames
from nequix.data.label_keys import LabelKeys
from nequix.data.sources import Source
from nequix.data.structure import Structure, from_atoms

if TYPE_CHECKING:
    from ase import Atoms


class AseSource(Source):
    """The frames of a file that ASE reads, with their results.

    The first random access reads the whole file into the memory of each process.

    Of VASP's energies, ``energy`` is the one extrapolated to zero smearing, as in MPtrj and in ASE;
    ``free_energy`` is consistent with the forces.

    Args:
        path: The file.
        keys: Keys of the labels.

    Raises:
        DataError: If the format is unknown.
    """

    def __init__(self, path: str | os.PathLike[str], keys: LabelKeys) -> None:
        self.path: str = os.fspath(path)
        self.keys = keys
        self._atoms: list[Atoms] | None = None
        file_format(Path(path))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_atoms": None}

    def __len__(self) -> int:
        return len(self._frames())

    def __getitem__(self, index: int) -> Structure:
        index = self._checked(index)
        return self._structure(index, self._frames()[index])

    def read(self, start: int) -> Iterator[Structure]:
        """Read the structures from an index on, with one in memory at a time."""
        for index, atoms in enumerate(read_frames(Path(self.path))):
            if index >= start:
                yield self._structure(index, atoms)

    def _structure(self, index: int, atoms: Atoms) -> Structure:
        return from_atoms(atoms, f"{os.path.basename(self.path)}:{index}", self.keys)

    def _frames(self) -> list[Atoms]:
        if self._atoms is None:
            self._atoms = list(read_frames(Path(self.path)))
        return self._atoms
