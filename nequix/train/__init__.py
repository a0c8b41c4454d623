"""Training with JAX; what it writes, either engine reads."""
