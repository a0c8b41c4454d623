"""Structures in files: read frame by frame, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nequix.core.errors import DataError

if TYPE_CHECKING:
    from ase import Atoms

    from nequix.data.structure import Structure

WITH_RESULTS = ("extxyz", "traj", "json")
"""ASE's formats that keep energies, forces and stress."""

WITH_SPREADS = ("extxyz",)
"""The one that keeps the spreads of an ensemble, too: results that ASE does not know."""

SPREADS = ("energy_spread", "forces_spread")

ENDINGS = {".extxyz": "extxyz", ".xyz": "extxyz", ".traj": "traj", ".json": "json"}
"""Formats that a name's ending decides, before ASE's patterns; to it ``POSCAR-relaxed.extxyz`` is VASP's."""

COMPRESSED = (".gz", ".bz2", ".xz")
"""Endings after the format's own, by which ASE compresses."""


def read_frames(path: Path) -> Iterator[Atoms]:
    """Read the structures of a file, one after the other.

    Args:
        path: A file of any format that ASE reads.

    Raises:
        DataError: If there is no such file or if it cannot be read, naming the frame, or if it is a CIF file
            whose sites are not occupied by one whole atom each.
    """
    from ase.io import iread
    from ase.io.formats import UnknownFileTypeError, filetype

    from nequix.data.ase_formats import check_file

    if not path.exists():
        raise DataError(f"{path}: no such file; check the path")
    if not path.is_file():  # a pipe without a writer would be waited for, and can be read only once
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise DataError(f"{path}: {kind}, not a file; give the path of a file of structures")
    index = 0
    try:
        name = _by_ending(path) or filetype(str(path))
        check_file(path, name)
        for atoms in iread(path, ":", format=name, do_not_split_by_at_sign=True):
            if ".cif" in path.suffixes:  # in other files what stands there may be older than the atoms
                _refuse_partial(atoms, f"{path}: frame {index}")
            yield atoms
            index += 1
    except DataError:
        raise
    except UnknownFileTypeError as error:
        raise DataError(
            f"{path}: not of a format that ASE knows; give the file its format's usual ending, as .extxyz"
        ) from error
    except Exception as error:  # ASE's readers raise whatever their parsing met
        reason = str(error) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is unknown"
        raise DataError(f"{path}: frame {index} cannot be read ({reason}); is the file whole?") from error
    if index == 0:
        raise DataError(f"{path}: holds no structure; is the file whole?")


def _refuse_partial(atoms: Atoms, where: str) -> None:
    """Refuse a disordered crystal, of which ASE keeps one whole atom a site."""
    for site, occupants in atoms.info.get("occupancy", {}).items():
        shares = list(occupants.values())
        if len(shares) != 1 or (isinstance(shares[0], float) and abs(shares[0] - 1) > 1e-3):
            told = ", ".join(f"{symbol} {share:g}" for symbol, share in occupants.items())
            raise DataError(
                f"{where}: site {site} has partial occupancies ({told}); "
                "give an ordered structure, such as a supercell with a whole atom on each site"
            )


def read_structures(
    paths: Iterable[Path], progress: Callable[[], None] = lambda: None
) -> Iterator[Structure]:
    """Read structures of any format that ASE reads, with the labels that they have.

    Args:
        paths: The files.
        progress: Called after each structure.

    Raises:
        DataError: If a file is missing or cannot be read, naming the frame.
    """
    from nequix.data.structure import from_atoms

    for path in paths:
        for index, atoms in enumerate(read_frames(path)):
            yield from_atoms(atoms, f"{path.name} {index}")
            progress()


def output_format(path: Path) -> str:
    """Tell by a file's name what is written there: by its ending if that says it, otherwise as ASE tells.

    Args:
        path: The output file, whose name may end in .gz, .bz2 or .xz besides.

    Returns:
        The format in ASE's words; empty if unknown.
    """
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        return _by_ending(path) or filetype(str(path), read=False)
    except UnknownFileTypeError:
        return ""


def _by_ending(path: Path) -> str | None:
    name = Path(path.stem) if path.suffix.lower() in COMPRESSED else path
    return ENDINGS.get(name.suffix.lower())


def check_target(target: Path, sources: Sequence[Path], force: bool, formats: Sequence[str] = ()) -> None:
    """Refuse an output file that could not be written, or that would destroy something, before any work.

    Args:
        target: The output file.
        sources: The input files, which are never replaced.
        force: Whether another existing file may be replaced.
        formats: The allowed formats, in ASE's words; by default all that ASE writes.

    Raises:
        DataError: If it is an input, exists, has no folder or one where nothing may be written, or a format
            that cannot be written.
    """
    from ase.io.formats import ioformats

    kind = output_format(target)
    if formats and kind not in formats:
        what = "energies, forces and spreads" if formats == WITH_SPREADS else "energies and forces"
        raise DataError(
            f"{target}: format {kind or 'unknown'!r} cannot hold {what}; "
            f"give a name that ends in .{', .'.join(formats)}"
        )
    if formats and kind == "json" and target.suffix.lower() in COMPRESSED:  # ASE puts no second frame there
        raise DataError(
            f"{target}: compressed JSON cannot hold several frames; "
            "give a name that ends in .json or .extxyz.gz"
        )
    if kind not in ioformats or not ioformats[kind].can_write or not ioformats[kind].acceptsfd:
        raise DataError(f"{target}: cannot write the format {kind or 'unknown'!r}; try the ending .extxyz")
    folder = _place(target).parent
    if target.is_dir() or not folder.is_dir():
        raise DataError(f"{target}: no place for a file; make its folder, or choose another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{target}: nothing may be written into {folder}; choose another folder")
    if not target.exists():
        return
    if any(source.exists() and source.samefile(target) for source in sources):
        raise DataError(f"{target}: is an input file, which is never replaced; choose another name")
    if not force:
        raise DataError(f"{target}: exists already; choose another name, or replace it with --force")


def try_format(target: Path, atoms: Atoms) -> None:
    """Refuse a format that cannot hold a structure, before any work on it.

    Args:
        target: The output file.
        atoms: The structure as it is before the work.

    Raises:
        DataError: If it cannot be written there.
    """
    import numpy as np
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write

    tried = atoms.copy()
    stress = {"stress": np.zeros(6)} if atoms.cell.rank == 3 else {}
    tried.calc = SinglePointCalculator(tried, energy=0.0, forces=np.zeros((len(atoms), 3)), **stress)
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(Path(folder) / f"tried{target.suffix}", [with_results(tried)], format=output_format(target))
        except Exception as error:  # ASE's writers raise whatever they met
            reason = str(error) or type(error).__name__
            raise DataError(
                f"{target}: the format {output_format(target)!r} cannot hold this structure ({reason}); "
                "try the ending .extxyz"
            ) from error


def write_frames(target: Path, frames: Iterable[Atoms]) -> None:
    """Write structures so that the file's name holds all of them, or what it held before.

    A link stays, and the file that it leads to is written.

    Args:
        target: The file to make or replace; its name tells the format.
        frames: The structures, with their results.

    Raises:
        DataError: If the disk is full or the format cannot hold these structures.
    """
    from ase.io import write

    place = _place(target)
    # Beside the target, since renaming from another disk would not be one step; with its ending, by which
    # ASE tells whether to compress.
    temporary = place.with_name(f".nequix-{secrets.token_hex(8)}.tmp{target.suffix}")
    try:
        write(temporary, list(frames), format=output_format(target))
        os.replace(temporary, place)
    except Exception as error:  # ASE's writers raise whatever they met
        reason = str(error) or type(error).__name__
        raise DataError(f"{target}: cannot be written ({reason}); choose another format or folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def _place(target: Path) -> Path:
    """Follow links to where a file is, or will be."""
    return Path(os.path.realpath(target))


def with_results(atoms: Atoms) -> Atoms:
    """Copy a structure with its calculator's results, raw forces included, instead of any older ones.

    An ensemble's ``energy_spread`` goes into ``info``, its ``forces_spread`` into ``arrays``.

    Args:
        atoms: A structure whose calculator has just evaluated it.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    copied = atoms.copy()
    results = dict(atoms.calc.results)  # pyright: ignore[reportOptionalMemberAccess]
    for name in (*results, "stress", "virial", *SPREADS):
        copied.info.pop(name, None)
        copied.arrays.pop(name, None)
    if "energy_spread" in results:
        copied.info["energy_spread"] = results.pop("energy_spread")
        copied.set_array("forces_spread", results.pop("forces_spread"))
    copied.calc = SinglePointCalculator(copied, **results)
    return copied
