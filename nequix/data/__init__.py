"""Training data: sources, conversion, statistics, checks and the loader (docs/data.md)."""
