"""Energies above the hull of structures that the model relaxes, as Matbench-Discovery has them."""
