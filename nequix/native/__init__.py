"""Compiled kernels for CPUs: the whole model, its energies and their derivatives, without a framework."""
