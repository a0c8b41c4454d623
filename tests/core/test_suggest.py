"""Suggestions for misspelt words."""

import pytest

from nequix.core.suggest import did_you_mean, nearest

KERNELS = ("auto", "plain", "native", "e3nn", "openequivariance")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("natve", "native"),
        ("PLAIN", "plain"),
        ("openequi", "openequivariance"),
        ("fast", None),
        ("cuda", None),
        ("", None),
        (3, None),
    ],
)
def test_only_a_similar_word_is_suggested(word, meant):
    assert nearest(word, KERNELS) == meant
    assert did_you_mean(word, KERNELS) == ("" if meant is None else f"; did you mean {meant!r}?")


def test_the_spelling_of_the_known_word_is_kept():
    assert nearest("si", ["H", "Si"]) == "Si"
