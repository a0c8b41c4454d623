"""Irreps of natural parity: ``"128x0e + 64x1o"`` as a mapping from degree to number of channels."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nequix.core.errors import SpecError

MAX_DEGREE = 4
"""The highest degree of the hidden features and of the spherical harmonics."""

_TERM = re.compile(r"(?:(\d{1,9})\s*x\s*)?(\d{1,9})([eo])")


def label(degree: int) -> str:
    """Name a degree with its natural parity ``(-1)^l``: ``0e``, ``1o``, ``2e``, ...

    Args:
        degree: The degree ``l``.
    """
    return f"{degree}{'eo'[degree % 2]}"


def parse(text: str) -> dict[int, int]:
    """Read irreps of natural parity into ``{degree: channels}``, ascending in degree.

    Args:
        text: Terms such as ``64x1o`` joined by ``+``; a missing multiplicity means one.

    Raises:
        SpecError: For a term that cannot be read, unnatural parity, a repeated or too high degree,
            or a multiplicity of zero.
    """
    channels: dict[int, int] = {}
    for term in map(str.strip, text.split("+")):
        match = _TERM.fullmatch(term)
        if match is None:
            raise SpecError(f"irreps {text!r:.99}: cannot read {term!r:.50}; write e.g. '64x1o'")
        mul, degree, parity = int(match[1] or 1), int(match[2]), match[3]
        if degree > MAX_DEGREE:
            raise SpecError(f"irreps {text!r:.99}: degree {degree} is above the supported {MAX_DEGREE}")
        if parity != label(degree)[-1]:
            raise SpecError(f"irreps {text!r:.99}: {degree}{parity} is unnatural; use {label(degree)}")
        if mul == 0:
            raise SpecError(f"irreps {text!r:.99}: {term!r} has no channels; leave out the term")
        if degree in channels:
            raise SpecError(f"irreps {text!r:.99}: degree {degree} appears twice; add up the multiplicities")
        channels[degree] = mul
    return dict(sorted(channels.items()))


def format(channels: Mapping[int, int]) -> str:
    """Write ``{degree: channels}`` as text, the inverse of :func:`parse`.

    Args:
        channels: Number of channels of each degree.
    """
    return " + ".join(f"{mul}x{label(degree)}" for degree, mul in sorted(channels.items()))
