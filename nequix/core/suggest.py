"""Suggestions for misspelt words: the one place that asks "did you mean ...?"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILARITY = 0.6
"""How similar a word must be (difflib's ratio); below it a suggestion misleads, as ``auto`` for ``fast``."""


def nearest(word: object, words: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None; upper and lower case count as equal.

    Args:
        word: What was given.
        words: What is known.
    """
    known = {name.lower(): name for name in words}
    near = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=SIMILARITY)
    return known[near[0]] if near else None


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """Return the end of a message, ``"; did you mean 'plain'?"``, or nothing if no known word is near.

    Args:
        word: What was given.
        words: What is known.
    """
    near = nearest(word, words)
    return "" if near is None else f"; did you mean {near!r}?"
