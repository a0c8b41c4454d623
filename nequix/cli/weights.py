"""Commands about weight files: ``convert``, ``info`` and ``models``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nequix.core.errors import WeightsError
from nequix.io.tables import format_fields, format_table

if TYPE_CHECKING:
    from nequix.io.weights import Provenance, Weights

_Text = Annotated[str | None, typer.Option(help="Provenance; by default taken from the known model.")]
_UNITS = {"cutoff": "A", "scale": "eV", "shift": "eV"}
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def convert(
    published: Annotated[Path, typer.Argument(help="A published .nqx file.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the target if it exists.")] = False,
    name: _Text = None,
    training_data: _Text = None,
    theory: _Text = None,
    licence: _Text = None,
    citation: _Text = None,
) -> None:
    """Convert a published .nqx file to the safetensors format."""
    import dataclasses

    from nequix.io.catalogue import list_models, load_published
    from nequix.io.weights import write_weights

    if target.suffix != ".safetensors":
        raise WeightsError(f"{target}: the target must end in .safetensors")
    if target.exists() and not force:
        raise WeightsError(f"{target}: already exists; choose another name, or replace it with --force")
    if not published.exists() and str(published) in list_models():
        raise WeightsError(
            f"{published}: a name, not a .nqx file; known models need no conversion: use their names in "
            "place of a path"
        )
    weights = load_published(published)
    options = {
        "name": name,
        "training_data": training_data,
        "theory": theory,
        "licence": licence,
        "citation": citation,
    }
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    provenance = dataclasses.replace(weights.provenance, **given)
    write_weights(target, weights.spec, weights.parameters, provenance)
    print(f"{target}: {provenance.name}, trained on {provenance.training_data}")


def info(
    model: Annotated[str, typer.Argument(help="A weight file, or a name that `nequix models` lists.")],
    as_json: _Json = False,
) -> None:
    """Describe a model: architecture, elements and origin."""
    from nequix.io.catalogue import load_weights

    facts = _facts(load_weights(model))
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    facts["elements"] = " ".join(facts["elements"])
    print(
        format_fields(
            (_NAMES.get(key, key.replace("_", " ")), f"{value} {_UNITS.get(key, '')}".rstrip())
            for key, value in facts.items()
        )
    )


_NAMES = {"digest": "file, SHA-256", "checksum": "parameters, SHA-256"}
"""Labels of the two digests in reports."""


def _facts(weights: Weights) -> dict[str, Any]:
    """Collect what ``info`` prints."""
    from ase.data import chemical_symbols

    from nequix.core.parameters import count
    from nequix.io.provenance import describe_model

    spec = weights.spec
    return {
        **weights.provenance.to_metadata(),
        "digest": weights.digest,
        "checksum": describe_model(weights)["checksum"],
        "dtype": str(weights.parameters["atom_energies"].dtype),
        "parameters": count(spec),
        "hidden_irreps": spec.hidden_irreps,
        "lmax": spec.lmax,
        "layers": spec.n_layers,
        "cutoff": spec.cutoff,
        "radial_basis_size": spec.radial_basis_size,
        "radial_mlp": [spec.radial_mlp_size] * spec.radial_mlp_layers,
        "layer_norm": spec.layer_norm,
        "scale": spec.scale,
        "shift": spec.shift,
        "avg_n_neighbors": spec.avg_n_neighbors,
        "elements": [chemical_symbols[number] for number in spec.atomic_numbers],
    }


def models(as_json: _Json = False) -> None:
    """List the known models, and whether each is on this machine."""
    from nequix.io import cache
    from nequix.io.catalogue import BUNDLED, ENTRIES, load_weights

    known: list[tuple[Provenance, str, str | None, str]] = [
        (load_weights(name).provenance, "bundled", None, digest) for name, digest in BUNDLED.items()
    ]
    for entry in ENTRIES.values():
        here = "cached" if cache.cached(entry) else "no"
        known.append((entry.provenance, here, entry.url, entry.sha256))
    rows = [
        {
            "name": provenance.name,
            "training_data": provenance.training_data,
            "theory": provenance.theory,
            "local": here,
            "citation": provenance.citation,
            "licence": provenance.licence,
            "url": url,
            "sha256": sha256,
        }
        for provenance, here, url, sha256 in known
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("name", "training_data", "theory", "local")
    header = [name.replace("_", " ") for name in columns]
    print(format_table(header, [[row[name] for name in columns] for row in rows]))
