"""Some hundred mutated files, in this process; ``python -m tests.hostile.fuzz`` reads as many as wanted."""

import random

import pytest

from tests.hostile.fuzz import mutate, read_one
from tests.hostile.seeds import make_seeds

SLOW = ("phonopy", "phonopy-xz", "phonopy-packed", "sets", "constants", "hdf5", "sidecar", "protocol")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return make_seeds(tmp_path_factory.mktemp("seeds"))


def test_the_seeds_are_good(seeds):
    for seed in seeds.values():
        seed.read(seed.path)


@pytest.mark.filterwarnings("ignore")  # of ASE's readers about what they met
def test_mutated_files_are_read_or_refused(seeds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = {kind: seed for kind, seed in seeds.items() if kind not in SLOW}
    faults = {}
    for number in range(400):
        kind, outcome = read_one(quick, number, 0, tmp_path)
        if outcome not in ("read", "refused"):
            faults[number, kind] = outcome
    assert not faults


def test_mutations_are_many_and_the_same_again():
    data = bytes(range(200))
    made, again = ([mutate(data, random.Random(number)) for number in range(100)] for _ in range(2))  # noqa: S311
    assert made == again
    assert len(set(made) - {data}) > 90
