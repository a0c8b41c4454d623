"""Use a model as it is, fine-tune it, or train a new one? ``nequix assess`` (docs/assess.md)."""
