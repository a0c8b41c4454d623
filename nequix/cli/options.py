"""Options that several commands share, and the six that say how a model is executed."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nequix.execution import Execution

if TYPE_CHECKING:
    from nequix.calculator import NequixCalculator
    from nequix.io.weights import Weights


class Backend(StrEnum):
    """What ``--backend`` takes."""

    auto = "auto"
    native = "native"
    jax = "jax"
    torch = "torch"


class Dtype(StrEnum):
    """What ``--dtype`` takes."""

    float32 = "float32"
    float64 = "float64"


class GuardOption(StrEnum):
    """What ``--guard`` takes."""

    warn = "warn"
    error = "error"
    none = "none"


Model = Annotated[str, typer.Option(help="A name that `nequix models` lists, or a weight file.")]
ModelOrEnsemble = Annotated[
    str, typer.Option(help="A name that `nequix models` lists, a weight file, or an ensemble's folder.")
]
BackendOption = Annotated[
    Backend, typer.Option(help="auto: the native library on a CPU, otherwise an installed engine.")
]
Guard = Annotated[
    GuardOption,
    typer.Option(help="What is done about atoms that are closer than in the model's training data."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]

THREADS = "Of the native kernel; by default OMP_NUM_THREADS, or all."


def execution_options(
    threads: str | None = THREADS, dtype: Dtype = Dtype.float32
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that gives a command the options ``--backend``, ``--dtype``, ``--kernel``, ....

    They take the place of the command's parameter ``execution``, which receives them as an
    :class:`~nequix.execution.Execution`.

    Args:
        threads: Help of ``--threads``; None for a command without that option.
        dtype: The default of ``--dtype``.
    """
    options: dict[str, tuple[Any, Any]] = {
        "backend": (BackendOption, Backend.auto),
        "dtype": (Annotated[Dtype, typer.Option(help="Precision of the layers.")], dtype),
        "kernel": (Annotated[str, typer.Option(help="The convolution kernel.")], "auto"),
        "device": (
            Annotated[str | None, typer.Option(help="cpu, gpu, gpu:1, ...; by default the backend's first.")],
            None,
        ),
    }
    if threads is not None:
        options["threads"] = (Annotated[int | None, typer.Option(help=threads)], None)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, (kind, default) in options.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def parsed(**values: Any) -> None:
            chosen = {name: values.pop(name) for name in options}
            chosen.update(backend=str(chosen["backend"]), dtype=str(chosen["dtype"]))
            command(**values, execution=Execution(**chosen))

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            one = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += added if parameter.name == "execution" else [one]
        # What typer reads: the options in the place of the parameter.
        vars(parsed)["__signature__"] = inspect.Signature(parameters)
        parsed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return parsed

    return decorate


def make_calculator(
    model: str,
    execution: Execution,
    guard: GuardOption = GuardOption.none,
    *,
    weights: Weights | None = None,
    ensemble: bool = False,
) -> NequixCalculator:
    """Make the calculator that the options ask for, and say on stderr what was chosen.

    Args:
        model: A known name or a path.
        execution: How the model is executed.
        guard: What is done about atoms that are closer than in the model's training data.
        weights: The model, if it is loaded already.
        ensemble: Whether the model is the folder of an ensemble.

    Raises:
        BackendUnavailable: If the backend, the kernel or the device is not available.
        WeightsError: If the model is not.
    """
    from nequix.calculator import NequixCalculator
    from nequix.ensemble import NequixEnsembleCalculator

    action = None if guard == GuardOption.none else guard.value
    try:
        if ensemble:
            calc = NequixEnsembleCalculator(model, guard=action, **execution.options())
        else:
            calc = NequixCalculator(weights or model, guard=action, **execution.options())
    except ValueError as error:
        if type(error) is not ValueError:  # the project's own errors say all by themselves
            raise
        raise typer.BadParameter(str(error)) from None
    if isinstance(calc, NequixEnsembleCalculator) and calc.calibration is None:
        print(f"{model}: not calibrated: spreads are as they are, usually too small", file=sys.stderr)
    print(
        f"{model}: backend {calc.backend}, kernel {calc.kernel}, {calc.dtype}, on {calc.device}",
        file=sys.stderr,
    )
    return calc
