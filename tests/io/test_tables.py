"""Tables in text: as wide as the terminal, and nothing is cut off."""

import re

import numpy as np
import pytest

from nequix.io.tables import format_fields, format_item, format_table

WORDS = (
    "a",
    "energy",
    "out-of-range",
    "nequix-mp-1-pft-nocotrain",
    "1.2e-15",
    "Å",
    "meV/A",
    "runs/mine/x.xyz",
)


def words(text):
    return sorted(text.split())


@pytest.mark.parametrize("seed", range(20))
def test_no_word_is_lost_or_cut_and_lines_fit(seed):
    rng = np.random.default_rng(seed)
    header = rng.choice(WORDS, rng.integers(1, 8)).tolist()
    rows = [[" ".join(rng.choice(WORDS, rng.integers(0, 13))) for _ in header] for _ in range(4)]
    table = format_table(header, rows, width=80)
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    expected = words(" ".join(cell for row in rows for cell in row))
    shown = words(table)
    n_headers = (len(shown) - len(expected)) // len(header)
    assert n_headers in (1, len(rows))  # once above a table, or once in each paragraph
    assert shown == sorted([*expected, *(name for name in header for _ in range(n_headers))])


def test_columns_are_aligned_and_numbers_to_the_right():
    table = format_table(("engine", "error", "n"), [("jax", "3e-15", 12), ("torch", "-", 3)])
    assert table.splitlines() == ["engine  error   n", "jax     3e-15  12", "torch       -   3"]


def test_long_cells_continue_below():
    table = format_table(("rule", "what"), [("volume", "one two three"), ("stress", "four")], width=16)
    assert table.splitlines() == ["rule    what", "volume  one two", "        three", "stress  four"]


def test_a_table_that_is_too_wide_becomes_paragraphs():
    digests = ["a" * 60, "b" * 60]
    table = format_table(("name", "digest"), [("one", digests[0]), ("two", digests[1])], width=40)
    assert table.splitlines() == [
        "name    one",
        f"digest  {digests[0]}",
        "",
        "name    two",
        f"digest  {digests[1]}",
    ]


def test_the_width_is_that_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    assert format_item("-", "word " * 12).splitlines()[:2] == [
        "- word word word word word",
        "  word word word word word",
    ]
    assert format_fields([("a", 1), ("long name", "word " * 8)]) == "\n".join(
        ["a          1", "long name  word word word word", "           word word word word"]
    )


def test_an_empty_table_is_its_header():
    assert re.fullmatch("a  b", format_table("ab", []))
