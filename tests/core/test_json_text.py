"""JSON is bounded in depth before a parser recurses into it."""

import json
import subprocess
import sys
import time

import pytest

from nequix.core.json_text import MAX_DEPTH, check_depth, parse

DEEP = """
import sys
from nequix.core.json_text import parse
sys.setrecursionlimit(10**6)  # as symfc does, which phonopy imports
for text in ("[" * 10**6, '{"a": ' * 10**6, '["]", ' * 10**6):
    try:
        parse(text)
    except ValueError as error:
        print(error)
"""


def test_deep_text_is_rejected_whatever_the_recursion_limit():
    ran = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["nested more than 64 levels deep"] * 3


def test_the_deepest_text_that_is_allowed_is_parsed():
    text = "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH
    value = parse(text)
    for _ in range(MAX_DEPTH):
        (value,) = value
    assert value == 1
    with pytest.raises(ValueError, match="nested"):
        parse(f"[{text}]")


def test_brackets_in_text_and_side_by_side_do_not_count():
    values = {"a": "[" * 1000 + '"\\', 'b"]': [[i, "]{"] for i in range(1000)]}
    assert parse(json.dumps(values)) == values


def test_long_lists_are_checked_quickly():
    text = json.dumps([[0.123456, "x", 3]] * 300_000)
    begin = time.process_time()
    check_depth(text)
    assert time.process_time() - begin < 1
