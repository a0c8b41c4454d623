"""A few kills of quick commands; ``python -m tests.hostile.kill`` does as many as wanted, of all commands."""

import pytest

from tests.hostile.kill import Command, kill_commands, make_commands


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    return make_commands(tmp_path_factory.mktemp("inputs"))


def test_killed_commands_end_with_equal_results(commands, tmp_path):
    quick = {name: commands[name] for name in ("convert", "build")}
    counts, faults = kill_commands(quick, 4, 0, tmp_path)
    assert not faults
    assert sum(counts.values()) == 4


def test_other_results_are_noticed(commands, tmp_path):
    seen = iter(range(9))
    changing = Command(commands["stats"].arguments, lambda folder: next(seen))
    assert kill_commands({"stats": changing}, 1, 0, tmp_path)[1]
