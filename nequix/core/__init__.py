"""The specification: what a model computes, decided once for every engine. No framework is imported."""
