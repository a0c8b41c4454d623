"""Is a structure inside a model's training distribution? ``nequix coverage`` (docs/coverage.md)."""
