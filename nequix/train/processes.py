"""Several processes as one run: found by Slurm's variables, or by nequix's own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from nequix.core.errors import DataError
from nequix.train.lifeline import lifeline

LOST_AFTER = 60
"""Seconds without a sign of life after which a process counts as lost; those that wait for it then end."""

VARIABLES = ("NEQUIX_COORDINATOR", "NEQUIX_PROCESSES", "NEQUIX_PROCESS")
"""Address ``host:port`` of the first process, number of processes, and which of them this one is."""


def join_processes() -> None:
    """Join the other processes of this run, if there are any; before JAX is used.

    Under Slurm's ``srun`` with more than one task, JAX finds the others by itself; a batch script's own
    process runs by itself, however many tasks the job has. Elsewhere set :data:`VARIABLES`. A lost process is
    then an error in all others, not an endless wait.

    Raises:
        DataError: If only some of the variables are set, or a number is none.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    started = "SLURM_STEP_NODELIST" in os.environ  # by srun, which tells its processes where the others are
    slurm = started and int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if not given and not slurm:
        return
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    initialize = partial(
        jax.distributed.initialize,
        heartbeat_timeout_seconds=LOST_AFTER,
        shutdown_timeout_seconds=LOST_AFTER,
    )
    if not given:
        initialize()
        return
    if len(given) < len(VARIABLES):
        raise DataError(f"only {', '.join(given)} is set, of {', '.join(VARIABLES)}; set all or none")
    address, n_processes, process = (given[name] for name in VARIABLES)
    if not n_processes.isdigit() or not process.isdigit():
        raise DataError(f"{VARIABLES[1]}={n_processes} and {VARIABLES[2]}={process} must be numbers")
    initialize(address, int(n_processes), int(process))


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Name the loss of another process as the reason, whether a computation fails or this process compiles.

    Raises:
        DataError: If there are other processes, and JAX cannot continue.
    """
    coordinator = os.environ.get(VARIABLES[0])
    try:
        with lifeline(coordinator and coordinator.rpartition(":")[0].strip("[]")):
            yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise DataError(
            f"process {jax.process_index()} of {jax.process_count()} cannot continue ({error}); another one "
            "was lost: see its output, then start all of them again: they continue from the last checkpoint"
        ) from error


def anywhere(value: bool) -> bool:
    """Return whether something is true in any process; all must ask.

    Args:
        value: Whether it is true in this one.
    """
    return value if jax.process_count() == 1 else bool(process_allgather(np.array(value)).any())


def same_everywhere(value: int) -> bool:
    """Return whether a number is the same in all processes; all must ask.

    Args:
        value: That of this one.
    """
    return jax.process_count() == 1 or bool((process_allgather(np.array(value)) == value).all())
