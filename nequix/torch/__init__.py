"""The PyTorch engine; the other one has the same files, names and numbers."""

from nequix.torch.ensemble import EnsemblePotential
from nequix.torch.kernels import KERNELS, find_device, select_kernel
from nequix.torch.model import Model
from nequix.torch.potential import Potential

__all__ = ["KERNELS", "EnsemblePotential", "Model", "Potential", "find_device", "select_kernel"]
