"""The JAX engine; the other one has the same files, names and numbers."""

from nequix.jax.compilation import cache_compilations
from nequix.jax.ensemble import EnsemblePotential
from nequix.jax.kernels import KERNELS, find_device, select_kernel
from nequix.jax.model import Model
from nequix.jax.potential import Potential

__all__ = [
    "KERNELS",
    "EnsemblePotential",
    "Model",
    "Potential",
    "cache_compilations",
    "find_device",
    "select_kernel",
]
