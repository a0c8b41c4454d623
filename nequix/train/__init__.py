"""Training with JAX; either engine reads the resulting files."""
