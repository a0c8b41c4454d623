"""Suggestions for misspelt words ("did you mean ...?")."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILARITY = 0.6
"""Minimum similarity (difflib's ratio); below it suggestions mislead, e.g. ``auto`` for ``fast``."""


def nearest(word: object, words: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None; case is ignored.

    Args:
        word: The given word.
        words: The known words.
    """
    known = {name.lower(): name for name in words}
    near = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=SIMILARITY)
    return known[near[0]] if near else None


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """Return the end of a message, ``"; did you mean 'plain'?"``, or an empty string.

    Args:
        word: The given word.
        words: The known words.
    """
    near = nearest(word, words)
    return "" if near is None else f"; did you mean {near!r}?"
