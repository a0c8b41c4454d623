"""The evaluation ``kappa``: lattice thermal conductivity."""
