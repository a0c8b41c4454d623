"""Run, train and adapt the Nequix foundation potential with JAX or PyTorch."""

__version__ = "0.1.0"
