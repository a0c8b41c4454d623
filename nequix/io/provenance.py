"""The model and programs behind a number, as certificates and reports record them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any

import numpy as np

from nequix.core.parameters import manifest
from nequix.io.weight_checks import checksum
from nequix.io.weights import Weights


def describe_model(weights: Weights) -> dict[str, Any]:
    """Identify a model by its name, file digest, parameter checksum and specification.

    Args:
        weights: The model.
    """
    arrays = (np.ascontiguousarray(weights.parameters[item.name]) for item in manifest(weights.spec))
    return {
        "name": weights.provenance.name,
        "file_sha256": weights.digest,
        "checksum": checksum(weights.spec.to_json(), (array.tobytes() for array in arrays)),
        "spec": {name: value for name, value in weights.spec.to_dict().items() if name != "version"},
    }


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """Look up package versions without importing the packages.

    Args:
        packages: Names of the distributions.
    """
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
