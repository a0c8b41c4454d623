"""Trust a model, fine-tune it, or train anew? ``nequix assess`` (docs/assess.md)."""
