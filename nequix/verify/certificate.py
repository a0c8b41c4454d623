"""Running all configurations, and the certificate that tells what came out."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import numpy as np

from nequix import __version__
from nequix.backends import import_backend
from nequix.engines import installed_engines
from nequix.io.provenance import describe_model, package_versions
from nequix.io.weights import Weights
from nequix.verify.checks import Check, Observed, Problem, compare, compare_products, observe, pose
from nequix.verify.tolerances import TOLERANCES

FORMAT = 1
"""Version of the certificate's layout."""

DTYPES = ("float64", "float32")
COMPILING = ("jax",)
"""Engines that compile every function before its first use."""

PACKAGES = (
    "numpy",
    "ase",
    "vesin",
    "jax",
    "jaxlib",
    "equinox",
    "torch",
    "e3nn",
    "e3nn-jax",
    "openequivariance",
)


@dataclass
class Configuration:
    """One engine, kernel and precision, and what came out.

    Attributes:
        backend: The engine.
        kernel: The convolution kernel.
        dtype: Precision of the layers.
        device: Where it ran, in the engine's words.
        calls: How often the kernel ran in each stage, for proof that it did.
        seconds: How long each stage took, compilation included.
        checks: The comparisons.
        failures: What went wrong besides them, in words.
        left_out: Names of the checks that only a thorough verification makes.
    """

    backend: str
    kernel: str
    dtype: str
    device: str = "unknown"
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Engine, kernel and precision."""
        return f"{self.backend} {self.kernel} {self.dtype}"

    @property
    def passed(self) -> bool:
        """Whether there were checks and all passed."""
        return not self.failures and bool(self.checks) and all(check.passed for check in self.checks)


@dataclass
class Certificate:
    """What was verified.

    Attributes:
        model: Name and digest of the model, and its specification.
        structures: Names of the structures.
        configurations: Every engine, kernel and precision.
        reference: The configuration that the others were compared with.
        seconds: How long all of it took.
    """

    model: dict[str, Any]
    structures: list[str]
    configurations: list[Configuration]
    reference: str
    seconds: float = 0.0

    @property
    def between_backends(self) -> bool:
        """Whether more than one engine was there, so that their agreement was checked."""
        return len({configuration.backend for configuration in self.configurations}) > 1

    @property
    def passed(self) -> bool:
        """Whether there were configurations and all passed."""
        return bool(self.configurations) and all(c.passed for c in self.configurations)

    def to_dict(self) -> dict[str, Any]:
        """List everything, for JSON; an error that is not a number is None."""
        return {
            "format": FORMAT,
            "passed": self.passed,
            "thorough": not any(configuration.left_out for configuration in self.configurations),
            "seconds": self.seconds,
            "parity_between_backends_checked": self.between_backends,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "nequix": __version__,
            "python": platform.python_version(),
            "platform": {"system": platform.system(), "machine": platform.machine()},
            "packages": package_versions(PACKAGES),
            "model": self.model,
            "structures": self.structures,
            "reference": self.reference,
            "tolerances": {name: tolerance._asdict() for name, tolerance in TOLERANCES.items()},
            "configurations": [_describe(configuration) for configuration in self.configurations],
        }


def certify(
    weights: Weights,
    backends: Sequence[str],
    device: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
    *,
    thorough: bool = True,
) -> Certificate:
    """Verify every kernel and precision of engines.

    Args:
        weights: The model.
        backends: Names of the engines.
        device: Where they run; by default the first device of each.
        progress: Called with the name of each configuration before it runs.
        thorough: Whether every configuration evaluates Hessian products. Otherwise those are left out for
            kernels that delegate them to ``plain``, and in an engine that compiles them first (JAX: more
            than half a minute each).

    Raises:
        BackendUnavailable: If an engine or the device is not there.
    """
    start = time.perf_counter()
    progress("reference energies in NumPy")
    problem = pose(weights)
    done: list[tuple[Configuration, Observed]] = []
    configurations = []
    for backend in backends:
        engine = import_backend(backend)
        for kernel in _kernels(engine, weights, device):
            for dtype in DTYPES:
                configuration = Configuration(backend, kernel, dtype)
                configurations.append(configuration)
                progress(configuration.name)
                is_reference = configuration.name in _references(backends)
                observed = _run(configuration, weights, device, problem, thorough, is_reference)
                if observed is not None:
                    done.append((configuration, observed))
    references = [(c, o) for c, o in done if c.name in _references(backends)]
    products = next((o.products for _, o in references if o.products is not None), None)
    for first, reference in references[:1]:
        for configuration, observed in done:
            if configuration is not first:
                compare(observed, observed.precision, reference, problem)
            compare_products(observed, products, problem)
    if not references:
        for configuration in configurations:
            configuration.failures.append("there is no float64 reference configuration to compare with")
    name = references[0][0].name if references else "none"
    seconds = time.perf_counter() - start
    return Certificate(describe_model(weights), problem.names, configurations, name, seconds)


def _kernels(engine: ModuleType, weights: Weights, device: str | None) -> Sequence[str]:
    """List the kernels of a backend; the native backend has only one."""
    if engine.__name__ == "nequix.native":
        return engine.KERNELS
    place = engine.Potential(weights, kernel="plain", device=device).platform
    return engine.kernels.available_kernels(place)


def _references(backends: Sequence[str]) -> list[str]:
    """Name the configurations to compare with: plain in each engine, or else the native library."""
    engines = [backend for backend in backends if backend != "native"]
    return [f"{engine} plain float64" for engine in engines] or ["native native float64"]


def _run(
    configuration: Configuration,
    weights: Weights,
    device: str | None,
    problem: Problem,
    thorough: bool,
    differences: bool,
) -> Observed | None:
    """Run one configuration; whatever it raises is a failure of it, not the end of all."""
    engine = import_backend(configuration.backend)
    try:
        potential = engine.Potential(
            weights, kernel=configuration.kernel, dtype=configuration.dtype, device=device
        )
        configuration.device = str(potential.device)
        if potential.kernel.name != configuration.kernel:
            configuration.failures.append(f"the kernel {potential.kernel.name!r} was chosen instead")
        # One configuration of each engine: the others are compared with these far more sharply.
        products = thorough or (configuration.backend not in COMPILING and potential.native is None)
        if configuration.backend == "native" and not installed_engines():
            products = False  # second derivatives are those of an engine
        observed = observe(potential, problem, differences, products)
        configuration.left_out = [] if products else ["Hessian", *["FD Hessian"] * differences]
    except Exception as error:  # a fault of any kind belongs into the certificate
        configuration.failures.append(f"{type(error).__name__}: {error}")
        return None
    configuration.calls, configuration.seconds = observed.calls, observed.seconds
    configuration.checks = observed.checks
    idle = [stage for stage, calls in observed.calls.items() if calls < 1]
    if idle:
        configuration.failures.append(f"the kernel never ran in: {', '.join(idle)}")
    return observed


def _describe(configuration: Configuration) -> dict[str, Any]:
    checks = [
        {
            "name": check.name,
            "error": check.error if np.isfinite(check.error) else None,
            "tolerance": check.tolerance,
            "unit": TOLERANCES[check.name].unit,
            "worst_structure": check.structure,
            "passed": check.passed,
        }
        for check in configuration.checks
    ]
    return {"passed": configuration.passed, **vars(configuration), "checks": checks}
