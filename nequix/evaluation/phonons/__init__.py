"""The evaluation ``phonons``: harmonic phonons against DFT's."""
