"""Files: weights, downloads, caches, and the catalogue of models."""
