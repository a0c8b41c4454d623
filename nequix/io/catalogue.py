"""The known models: their origin, training data, and how they are loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from nequix.core.errors import WeightsError
from nequix.core.suggest import nearest
from nequix.io import cache
from nequix.io.files import digest_file
from nequix.io.published import read_published
from nequix.io.weights import Provenance, Weights, read_weights

_RELEASES = "https://github.com/atomicarchitects/nequix/raw"
_FIRST = f"{_RELEASES}/7c2854de8e754b1a60274c7d9d2e014989ed632e/models"
_SECOND = f"{_RELEASES}/9c852a9c4cce69ae5e75bc5a2cf670be21ff8c28/models"
_LICENCE = "MIT, Copyright (c) 2025 Teddy Koker"
_PAPER = "arXiv:2508.16067"
_PHONON_PAPER = "arXiv:2508.16067, arXiv:2601.07742"


@dataclass(frozen=True)
class Entry:
    """One published model.

    Attributes:
        name: Its name.
        url: URL of its file, pinned to a commit.
        size: Size of that file in bytes.
        sha256: Digest of that file.
        converted: Digest of the converted weight file in the current format versions.
        training_data: Data sets it was trained on, in order.
        theory: Level of theory of the labels.
        citation: What to cite.
        licence: Licence and copyright holder of the weights.
    """

    name: str
    url: str
    size: int
    sha256: str
    converted: str
    training_data: str
    theory: str
    citation: str
    licence: str = _LICENCE

    @property
    def file(self) -> str:
        """Name of the published file."""
        return self.url.rsplit("/", 1)[1]

    @property
    def provenance(self) -> Provenance:
        """Provenance that a weight file converted from this model records."""
        source = f"{self.url} sha256:{self.sha256}"
        return Provenance(self.name, self.training_data, self.theory, self.licence, self.citation, source)


ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "nequix-mp-1",
            f"{_FIRST}/nequix-mp-1.nqx",
            2842366,
            "1647af8e627e1afa11e2bfadeab0797326513a521afd7dd01606a96f56783eee",
            "71c6ca2d2820f63510042b8751502fbbf7a6206d911ea21653fb7a99a3307021",
            "MPtrj",
            "PBE+U",
            _PAPER,
        ),
        Entry(
            "nequix-mp-1-pft",
            f"{_FIRST}/nequix-mp-1-pft.nqx",
            2842840,
            "a88aeaed71fd447572dc57af21d469207d7737b85a6dbb66f8c38156f175c5f1",
            "133bad844105d362b37ab04a30aec168e8bec8a499e8cb3730cb1bf483495fe4",
            "MPtrj, then MDR phonons (co-trained)",
            "PBE+U",
            _PHONON_PAPER,
        ),
        Entry(
            "nequix-mp-1-pft-nocotrain",
            f"{_FIRST}/nequix-mp-1-pft-nocotrain.nqx",
            2842825,
            "c191f7208e15f7caf8cc5c1202444652f301fed2f41d85f9a8080af3843ef308",
            "643ed40e47efe758326f7f27d23c5db7559f5e5719147f862ca06e2a9b1acb70",
            "MPtrj, then MDR phonons only",
            "PBE+U",
            _PHONON_PAPER,
        ),
        Entry(
            "nequix-omat-1",
            f"{_SECOND}/nequix-omat-1.nqx",
            2841752,
            "2d0802ae7f5915cb488c44d25649d98404a103697e6500abb40f515e003a46a6",
            "8e87c65e703ad449aec0482d7571d476fa2254166d56e85ccc1e111ec8e60a4f",
            "OMat24",
            "PBE+U (VASP 54 potentials)",
            _PAPER,
        ),
        Entry(
            "nequix-oam-1",
            f"{_SECOND}/nequix-oam-1.nqx",
            2869928,
            "6a43475eaeb32a7a049f36c1306d78aa1e7a17e8af37aeda7901c8fec0ca845c",
            "1e16db49a5ee156e85c575d37922c7dab998e23958fba6a44e6f4d73ae340ca6",
            "OMat24, sAlex, MPtrj",
            "PBE+U",
            _PAPER,
        ),
        Entry(
            "nequix-oam-1-pft",
            f"{_SECOND}/nequix-oam-1-pft.nqx",
            2842066,
            "4ce693d68886512aab50c84ea2400efd68163e11155f7c7babe98e695177e809",
            "480c5ba5039bc1b51ab4fee77dc09fecbb50160121fe78b76f545d4ee797c952",
            "OMat24, sAlex, MPtrj, MDR phonons",
            "PBE+U",
            _PHONON_PAPER,
        ),
    )
}
"""All published models by name."""

BUNDLED = {"nequix-nano": "fa53b6df6174e2358fe3549e621b9b4ad3ea82c5504ed8a4ac3840eba8a4e7a1"}
"""The models included in the package, in ``nequix/weights``, and the digests of their files."""

REFERENCES = {
    "nequix-nano": "f10d5ae84d56e958b257ee2a0791ede153e245ef1115263231f94a732a83bf6a",
    "nequix-mp-1": "cec317ae42358dea6d68510bad59377384d123b7e92e27efbce4d6f8068b1838",
    "nequix-mp-1-pft": "757158af7bc726648d526488849d910ce065b8b111fd3e3d9688a06a58ccc3e8",
    "nequix-mp-1-pft-nocotrain": "91e3539ef8008c8937590dd7fd0e68a834e0e8b7d4a2cfad5163237d86c1c558",
    "nequix-omat-1": "1741b92962e015c11d25a83f409dec0bd4a93ff9c69fea3353bf4997f6c74d2e",
    "nequix-oam-1": "4d6b75d678b3039a40b3c4644e5002d3ba3b04fd994c395e3c90556970f36f50",
    "nequix-oam-1-pft": "6dfd4cdd6e8b9d1ffe53b307eda960876bf759cfcdd867b6eec1194cf18e2fe1",
}
"""The models with a coverage reference in the package, in ``nequix/weights``, and the digests of these files.

``weights/nano/README.md`` and ``weights/references/README.md`` describe how they were made.
"""


def list_models() -> list[str]:
    """List the names that :func:`load_weights` knows.

    Example:
        >>> from nequix import list_models
        >>> list_models()[0]
        'nequix-nano'
    """
    return [*BUNDLED, *ENTRIES]


def load_weights(name_or_path: str | os.PathLike[str]) -> Weights:
    """Load a model by its name, or from a weight file or a published ``.nqx`` file.

    The first use of a published model downloads, verifies and converts it; later uses, and the models
    included in the package, need no network. A known name always means the model: write ``./name`` for a file
    of the same name.

    Args:
        name_or_path: A name of :func:`list_models`, or a path.

    Raises:
        WeightsError: If there is no such model or file, it cannot be downloaded, or is damaged.

    Example:
        >>> from nequix import load_weights
        >>> weights = load_weights("nequix-nano")
        >>> weights.provenance.name
        'nequix-nano'
    """
    entry = _lookup(name_or_path)
    if entry is not None:
        return cache.obtain(entry)
    if name_or_path in BUNDLED:
        return _bundled(str(name_or_path))
    path = Path(name_or_path)
    return load_published(path) if path.suffix == ".nqx" else read_weights(path)


def _bundled(name: str) -> Weights:
    place = place_bundled(name)
    weights = read_weights(place)
    if weights.digest != BUNDLED[name]:
        raise WeightsError(
            f"{place}: the digest is {weights.digest}, expected {BUNDLED[name]}; reinstall nequix"
        )
    return weights


def place_bundled(name: str, ending: str = ".safetensors") -> Path:
    """Return the path of a file of a bundled model.

    Args:
        name: Name of the model.
        ending: Ending of the file name.
    """
    return Path(__file__).parents[1] / "weights" / f"{name}{ending}"


def load_published(path: str | os.PathLike[str]) -> Weights:
    """Load a published ``.nqx`` file; its provenance is known if its digest is.

    Args:
        path: The file.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    spec, parameters = read_published(path)
    digest = digest_file(path)
    known = [entry.provenance for entry in ENTRIES.values() if entry.sha256 == digest]
    unknown = Provenance(name=Path(path).stem, source=f"{Path(path).name} sha256:{digest}")
    return Weights(spec, parameters, [*known, unknown][0], digest)


def resolve(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the path of a model's file, downloading and converting it on the first use of its name.

    Args:
        name_or_path: A name of :func:`list_models`, or a path.

    Raises:
        WeightsError: If the model or file does not exist or cannot be downloaded.
    """
    entry = _lookup(name_or_path)
    if name_or_path in BUNDLED:
        return place_bundled(str(name_or_path))
    if entry is None:
        return Path(name_or_path)
    cache.obtain(entry)
    return cache.location(entry)


def _lookup(name_or_path: str | os.PathLike[str]) -> Entry | None:
    """Return the entry of a published model; None for a bundled model and for an existing path."""
    if isinstance(name_or_path, str) and name_or_path in ENTRIES:
        return ENTRIES[name_or_path]
    if name_or_path in BUNDLED or os.path.exists(name_or_path):
        return None
    near = nearest(os.fspath(name_or_path), list_models())
    guess = f"did you mean {near!r}? " if near else ""
    raise WeightsError(
        f"{name_or_path}: neither a file nor a known model; {guess}check the path, or use one of the names "
        f"that `nequix models` lists: {', '.join(list_models())}"
    )
