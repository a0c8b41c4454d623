"""Errors of energies, forces and stresses on labelled structures: ``nequix evaluate errors``."""
