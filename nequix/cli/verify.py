"""The command ``nequix verify``: compare all engines, kernels and precisions on this machine."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nequix.core.errors import DataError, WeightsError
from nequix.core.suggest import did_you_mean
from nequix.io import strict_json
from nequix.io.limits import MAX_SETTINGS
from nequix.io.progress import progress_bar
from nequix.io.tables import format_item, format_table

if TYPE_CHECKING:
    from nequix.io.weights import Weights
    from nequix.verify import Certificate, Configuration

RANDOM = "random"
"""Value of ``--model`` for a random model of the published shape."""

CERTIFICATE = Path("nequix-verify.json")
"""Where the certificate goes by default, in the current folder."""


def verify(
    model: Annotated[
        str, typer.Option(help=f"A known name, a weight file, or {RANDOM!r}: random parameters, no download.")
    ] = "nequix-mp-1",
    backends: Annotated[
        str | None,
        typer.Option(help="Comma-separated backends, e.g. jax,torch; by default all that are installed."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, gpu, ...; by default each backend's first device.")
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--json", help=f"File for the certificate, with all figures; by default {CERTIFICATE}."),
    ] = None,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Check Hessian products in all configurations; JAX compiles a few minutes longer.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the --json file if it exists.")] = False,
) -> None:
    """Compare all engines, kernels and precisions. Exit code 1 if any check fails on this machine."""
    from nequix.io.files import write_atomic
    from nequix.verify import certify

    target = certificate or CERTIFICATE
    _check_target(target, force or (certificate is None and _is_certificate(target)))
    chosen = _backends(backends)
    weights = _weights(model)
    with progress_bar("verify") as bar:

        def show(what: str) -> None:
            bar.update(what)
            if not bar.visible:
                print(what, file=sys.stderr, flush=True)

        made = certify(weights, chosen, device, show, thorough=thorough)
    _show(made)
    write_atomic(target, [json.dumps(made.to_dict(), indent=2).encode() + b"\n"])
    print(f"certificate: {target}")
    if not made.passed:
        raise typer.Exit(1)


def _check_target(target: Path, replace: bool) -> None:
    """Reject a path that cannot be written or would replace another file, before any work."""
    folder = target.absolute().parent
    if not folder.is_dir():
        raise DataError(
            f"{target}: there is no folder {folder}; create it, or choose another file with --json"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DataError(f"{target}: no permission to write to {folder}; choose another file with --json")
    if target.is_dir():
        raise DataError(f"{target}: a folder, not a file; choose a file with --json")
    if target.exists() and not target.is_file():
        raise DataError(f"{target}: a pipe or a device, not a file; choose another file with --json")
    if target.exists() and not replace:
        raise DataError(
            f"{target}: already exists; choose another name with --json, or replace it with --force"
        )


def _is_certificate(path: Path) -> bool:
    """Return whether a file is an older certificate, which a newer one may replace."""
    try:
        held = strict_json.read_object(path, MAX_SETTINGS)
    except DataError:
        return False
    return {"nequix", "parity_between_backends_checked"} <= held.keys()


def _backends(given: str | None) -> list[str]:
    from nequix.backends import BACKENDS, choose_backend, installed_backends

    if given is None:
        choose_backend()  # raises if there is none
        return installed_backends()
    names = list(dict.fromkeys(name.strip() for name in given.split(",")))
    wrong = [name for name in names if name not in BACKENDS]
    if wrong:
        hint = did_you_mean(wrong[0], BACKENDS)
        raise typer.BadParameter(f"backend {wrong[0]!r}, but the backends are {', '.join(BACKENDS)}{hint}")
    return names


def _weights(model: str) -> Weights:
    from nequix.io.catalogue import load_weights
    from nequix.verify import random_model

    if model == RANDOM:
        return random_model()
    try:
        return load_weights(model)
    except WeightsError as error:
        raise WeightsError(
            f"{error}. Set NEQUIX_MIRROR to a folder or base URL that has the .nqx files, give --model the "
            f"path of a weight file, or use a random model: nequix verify --model {RANDOM}"
        ) from error


def _show(made: Certificate) -> None:
    """Print the verdict and one row per engine, kernel and precision."""
    for line in verdict(made):
        print(format_item("-", line) if line.startswith("FAILED") else line)
    rows = []
    for configuration in made.configurations:
        n_failed = sum(not check.passed for check in configuration.checks) + len(configuration.failures)
        result = f"{n_failed} FAILED" if n_failed else f"{len(configuration.checks)} passed"
        calls, seconds = sum(configuration.calls.values()), sum(configuration.seconds.values())
        row = (configuration.backend, configuration.kernel, configuration.dtype, result)
        rows.append((*row, _closest(configuration), calls, f"{seconds:.0f}"))
    header = ("engine", "kernel", "precision", "checks", "closest to its tolerance", "kernel calls", "s")
    print("\n" + format_table(header, rows))


def _closest(configuration: Configuration) -> str:
    """Name the check whose error is the largest part of its tolerance."""
    from nequix.verify.tolerances import TOLERANCES

    if not configuration.checks:
        return "-"
    # NaN counts as the largest.
    worst = max(
        configuration.checks,
        key=lambda check: math.inf if math.isnan(check.error) else check.error / check.tolerance,
    )
    unit = TOLERANCES[worst.name].unit
    return f"{worst.name}: {worst.error:.0e} of {worst.tolerance:.0e} {unit}"


def verdict(made: Certificate) -> list[str]:
    """List what was verified, what failed and what was left out.

    Args:
        made: The certificate.
    """
    model = f"{made.model['name']} ({made.model['checksum'][:12]})"
    n_checks = sum(len(configuration.checks) for configuration in made.configurations)
    outcome = "all checks passed" if made.passed else "NOT all checks passed"
    lines = [f"{model}: {outcome} ({n_checks} checks, {made.seconds:.0f} s)"]
    for configuration in made.configurations:
        lines += [f"FAILED {configuration.name}: {failure}" for failure in configuration.failures]
        lines += [
            f"FAILED {configuration.name}: {check.name}: error {check.error:.2g}, tolerance "
            f"{check.tolerance:.2g}, largest in {check.structure}"
            for check in configuration.checks
            if not check.passed
        ]
    lines.append(f"compared with {made.reference}; its energies with the equations in NumPy")
    if not made.between_backends:
        lines.append("parity between engines was NOT checked: only one engine is installed")
    n_left_out = sum(bool(configuration.left_out) for configuration in made.configurations)
    if n_left_out:
        lines.append(f"Hessian products of {n_left_out} configurations left out; --thorough checks them")
    return lines
