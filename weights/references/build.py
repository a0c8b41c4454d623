"""Make the coverage references that come with the package for the published models.

    python -m weights.references.build mptrj-random-1k.extxyz.gz -o nequix/weights

The published models do not come with their training data. A public sample stands for it: 1,000 random
structures of MPtrj, on which most of them were trained, at least in part. Every file says so (``CAVEATS``).
The program prints the digests that belong in ``REFERENCES`` of ``nequix/io/catalogue.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nequix.backends import load_model
from nequix.coverage.build import build_reference
from nequix.coverage.sidecar import ENDING, write_reference
from nequix.data.opening import open_source
from nequix.io.catalogue import ENTRIES, load_weights
from nequix.io.files import digest_file

DATA = "MPtrj, 1000 random structures"
SOURCE = (
    "mptrj-random-1k of MatterSim's benchmark sets, "
    "https://github.com/microsoft/mattersim/tree/296630372948fd35613939d14d3f97daa27cefda/data/benchmarks "
    "(MIT), "
    "positions rounded to 1e-6 A; drawn from MPtrj, B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), MIT"
)

_SAMPLE = (
    "the reference is a sample, 1,000 of the 1.6 million structures of MPtrj: of 89 elements it lacks 4, of "
    "pairs more than half, and rare environments and the shortest distances of the training set are not in it"
)
_PHONONS = "; neither are the MDR phonon structures"
_PROXY = (
    "the reference is only a proxy: 1,000 random structures of MPtrj stand for {}, which has far more "
    "disordered, hot and compressed structures; what is called outside may well be inside"
)
CAVEATS = {
    "nequix-mp-1": _SAMPLE,
    "nequix-mp-1-pft": _SAMPLE + _PHONONS,
    "nequix-mp-1-pft-nocotrain": _SAMPLE + _PHONONS,
    "nequix-omat-1": _PROXY.format("OMat24") + " (MPtrj itself was not trained on)",
    "nequix-oam-1": _PROXY.format("OMat24, sAlex and all of MPtrj"),
    "nequix-oam-1-pft": _PROXY.format("OMat24, sAlex, all of MPtrj and MDR phonons"),
}
"""What readers of a report must know, by model."""


def build(name: str, sample: Path, folder: Path) -> Path:
    """Make the reference of one model.

    Args:
        name: A published model.
        sample: The structures.
        folder: Where the file goes.
    """
    weights = load_weights(name)
    source = f"{SOURCE}; sha256 {digest_file(sample)}"
    reference = build_reference(
        open_source([sample]),
        weights,
        load_model(weights, "torch"),
        DATA,
        source=source,
        caveat=CAVEATS[name],
    )
    path = folder / f"{name}{ENDING}"
    write_reference(path, reference)
    return path


def main() -> None:
    """Make them all, and print their digests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sample", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(ENTRIES), choices=list(ENTRIES))
    options = parser.parse_args()
    for name in options.models:
        path = build(name, options.sample, options.output)
        print(f'    "{name}": "{digest_file(path)}",', flush=True)


if __name__ == "__main__":
    main()
