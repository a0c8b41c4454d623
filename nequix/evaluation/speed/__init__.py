"""Steps of dynamics a day, and memory: ``nequix evaluate speed``."""
