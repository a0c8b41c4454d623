"""Several processes as one run: found by Slurm's variables, or by nequix's own."""

from __future__ import annotations

import os

import jax

from nequix.core.errors import DataError

VARIABLES = ("NEQUIX_COORDINATOR", "NEQUIX_PROCESSES", "NEQUIX_PROCESS")
"""Address ``host:port`` of the first process, number of processes, and which of them this one is."""


def join_processes() -> None:
    """Join the other processes of this run, if there are any; before JAX is used.

    Under Slurm with more than one task, JAX finds the others by itself. Elsewhere set :data:`VARIABLES`. A
    process that is lost then is an error in all others, not a wait without end.

    Raises:
        DataError: If only some of the variables are set, or a number is none.
    """
    given = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    slurm = "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1
    if not given and not slurm:
        return
    if os.environ.get("JAX_PLATFORMS", "").startswith("cpu"):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if not given:
        jax.distributed.initialize()
        return
    if len(given) < len(VARIABLES):
        raise DataError(f"only {', '.join(given)} is set, of {', '.join(VARIABLES)}; set all or none")
    address, n_processes, process = (given[name] for name in VARIABLES)
    if not n_processes.isdigit() or not process.isdigit():
        raise DataError(f"{VARIABLES[1]}={n_processes} and {VARIABLES[2]}={process} must be numbers")
    jax.distributed.initialize(address, int(n_processes), int(process))
