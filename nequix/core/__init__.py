"""The specification of a model, shared by all engines. No framework is imported."""
