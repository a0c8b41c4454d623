"""What tells the data of one run from those of another."""

import os

from ase.build import bulk

from nequix.evaluation.digests import describe_paths
from nequix.evaluation.kappa.data import REFERENCE, STRUCTURES
from nequix.evaluation.kappa.task import Kappa
from nequix.evaluation.phonons.task import Phonons


def test_files_of_one_name_are_distinguished(tmp_path):
    for folder, text in (("a", "one"), ("b", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "t.xyz").write_text(text)
    paths = [tmp_path / "a/t.xyz", tmp_path / "b/t.xyz"]
    before = describe_paths(paths)
    assert list(before) == ["t.xyz", "t.xyz #2"]
    (tmp_path / "a/t.xyz").write_text("new")
    after = describe_paths(paths)
    assert after["t.xyz"] != before["t.xyz"]
    assert after["t.xyz #2"] == before["t.xyz #2"]


def test_folders_are_identified_by_what_is_in_their_files_wherever_they_are(tmp_path):
    file = tmp_path / "data/x.xyz"
    file.parent.mkdir()
    file.write_text("energy=-27")
    before, times = describe_paths([tmp_path / "data"]), file.stat()
    (tmp_path / "data/x.aselmdb-lock").write_text("")
    (tmp_path / "data/run").mkdir()  # of an evaluation
    (tmp_path / "data/run/report.md").write_text("")
    assert describe_paths([tmp_path / "data"]) == before
    file.write_text("energy=-97")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert describe_paths([tmp_path / "data"]) != before


def test_phonons_and_conductivities_tell_their_data(tmp_path):
    material = tmp_path / "Si/FORCE_SETS"
    material.parent.mkdir()
    structures, reference = (tmp_path / name.replace("*", "") for name in (STRUCTURES, REFERENCE))
    bulk("Si").write(structures, format="extxyz")
    reference.write_text("{}")
    for task, file in ((Phonons(tmp_path), material), (Kappa(tmp_path), reference)):
        file.write_text("{}")
        before = task.settings()
        file.write_text("[]")
        assert task.settings() != before
