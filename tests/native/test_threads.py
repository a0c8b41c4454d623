"""How many threads the native library takes, and what it says where it cannot have them."""

import os

import pytest

from nequix import GraphError, ResourceError
from nequix.native import model, thread_counts


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), (" 4 ", 4), ("4,2", 4), ("99999999999999999999", thread_counts.MOST_THREADS)],
)
def test_the_variable_gives_the_number(monkeypatch, value, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_counts.default_threads() == expected


@pytest.mark.parametrize("value", ["", "0", "000", "²", "٣", "-1", "1.5", "many", ",2"])
def test_what_is_not_a_number_of_threads_is_ignored(monkeypatch, value):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    default = thread_counts.default_threads()
    assert 1 <= default <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_counts.default_threads() == default


@pytest.mark.parametrize(
    "message", ["the system refused to start 64 threads; ask for fewer", "out of memory"]
)
def test_what_the_system_lacks_is_not_a_fault_of_the_structure(message):
    with pytest.raises(ResourceError, match=message) as raised:
        model._check(message.encode())
    assert not isinstance(raised.value, GraphError)
    with pytest.raises(GraphError, match="sender"):
        model._check(b"edge 3 has the sender 9")
