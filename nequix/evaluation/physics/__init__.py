"""Whether a potential can be trusted for dynamics: ``nequix evaluate physics``."""
