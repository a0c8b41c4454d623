"""Proof, on the machine at hand, that every engine, kernel and precision gives the same numbers."""

from nequix.verify.certificate import Certificate, Configuration, certify
from nequix.verify.structures import random_model

__all__ = ["Certificate", "Configuration", "certify", "random_model"]
