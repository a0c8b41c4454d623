"""Conversion is whole or resumed: killed at any time, the same call finishes it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nequix.core.errors import DataError
from nequix.data import convert as module
from nequix.data.convert import convert, converted_labels
from nequix.data.label_keys import LabelKeys
from nequix.data.opening import open_source
from tests.data.sets import relabelled, saved, strained_copper
from tests.data.test_sources import mptrj_frame

N = 10


@pytest.fixture
def source(tmp_path):
    frames = strained_copper(N)
    for atoms in frames[::2]:  # as a potential gives them
        atoms.calc.results["energies"] = np.linspace(-3, -2, len(atoms))
    return saved(tmp_path / "set.extxyz", frames)


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert (a.name, a.energy) == (b.name, b.energy)
        for field in ("numbers", "positions", "cell", "pbc", "forces", "stress", "energies"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_shards_hold_every_bit_and_name(source, tmp_path):
    done = []
    assert convert([source], tmp_path / "out", shard_size=4, progress=done.append) == N
    assert done == [4, 4, 2]
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.aselmdb"))
    assert shards == ["data.00000.aselmdb", "data.00001.aselmdb", "data.00002.aselmdb"]
    assert_equal(open_source(source), open_source(tmp_path / "out"))
    visible = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert visible == {*shards, "nequix-data.json"}


def test_finished_conversions_are_left_unchanged(source, tmp_path):
    convert([source], tmp_path / "out", shard_size=4)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.aselmdb")}
    assert convert([source], tmp_path / "out", shard_size=4) == N
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_interrupted_conversions_are_refused_as_data_and_resumed(source, tmp_path, monkeypatch):
    write, calls = module._write_shard, []

    def fail_once(path, shard):
        calls.append(path.name)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(path, shard)

    monkeypatch.setattr(module, "_write_shard", fail_once)
    with pytest.raises(DataError, match="No space left on device"):
        convert([source], tmp_path / "out", shard_size=4)
    with pytest.raises(DataError, match="was interrupted"):
        open_source(tmp_path / "out")
    assert convert([source], tmp_path / "out", shard_size=4) == N
    assert calls == [f"data.{i:05d}.aselmdb" for i in (0, 1, 1, 2)]
    assert_equal(open_source(source), open_source(tmp_path / "out"))


def test_a_stream_before_another_source_is_resumed(source, tmp_path):
    frames = {f"mp-1-0-{i}": mptrj_frame(atoms) for i, atoms in enumerate(strained_copper(3, seed=1))}
    stream, out = tmp_path / "mptrj.json", tmp_path / "out"
    stream.write_text(json.dumps({"mp-1": frames}))
    convert([stream, source], tmp_path / "at_once", shard_size=4)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert([stream, source], out, shard_size=4, progress=stop)
    assert convert([stream, source], out, shard_size=4) == 3 + N
    assert_equal(open_source(tmp_path / "at_once"), open_source(out))


def test_a_folder_within_the_source_is_converted_into_again(source, tmp_path):
    out = tmp_path / "out"
    assert convert([tmp_path], out, shard_size=4) == N
    (tmp_path / "data.aselmdb-lock").touch()
    (out / "data.00001.aselmdb").unlink()
    assert convert([tmp_path], out, shard_size=4) == N
    assert_equal(open_source(source), open_source(out))


@pytest.mark.parametrize("lost", [(0,), (1,), (2,), (0, 2)])
def test_lost_shards_are_named_and_written_again(source, tmp_path, lost):
    out = tmp_path / "out"
    convert([source], out, shard_size=4)
    paths = [out / f"data.{number:05d}.aselmdb" for number in range(3)]
    for number in lost:
        paths[number].unlink()
    kept = {path: path.stat().st_mtime_ns for path in paths if path.exists()}
    names = ", ".join(paths[number].name for number in lost)
    with pytest.raises(DataError, match=rf"{len(lost)} of 3 files are missing \({names}\); copy the folder"):
        open_source(out)
    done = []
    assert convert([source], out, shard_size=4, progress=done.append) == N
    assert done == [(4, 4, 2)[number] for number in lost]
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert_equal(open_source(source), open_source(out))


def test_a_source_too_short_for_a_lost_shard_is_an_error(source, tmp_path, monkeypatch):
    convert([source], tmp_path / "out", shard_size=4)
    (tmp_path / "out" / "data.00002.aselmdb").unlink()
    short = open_source(saved(tmp_path / "short.extxyz", strained_copper(9)))
    monkeypatch.setattr(module, "open_source", lambda *_: short)
    with pytest.raises(DataError, match=r"1 structures are left for it in .*short\.extxyz, expected 2"):
        convert([source], tmp_path / "out", shard_size=4)
    assert not (tmp_path / "out" / "data.00002.aselmdb").exists()


def test_killed_conversions_are_resumed(tmp_path):
    source = saved(tmp_path / "set.extxyz", strained_copper(400))
    out = tmp_path / "out"
    command = [
        sys.executable, "-c", "from nequix.cli import main; main()",
        "data", "convert", str(source), "-o", str(out), "--shard-size", "10",
    ]  # fmt: skip
    for kill in range(2):
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.aselmdb"))) < 3 * (kill + 1) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not json.loads((out / "nequix-data.json").read_text()).get("complete")
    assert 6 <= len(list(out.glob("*.aselmdb"))) < 40
    subprocess.run(command, check=True, timeout=120)
    assert_equal(open_source(source), open_source(out))
    assert not list(out.glob(".nequix-*"))


def test_a_source_without_structures_is_an_error_and_leaves_the_folder_as_it_was(source, tmp_path):
    (tmp_path / "empty.extxyz").touch()
    with pytest.raises(DataError, match="no structure to convert"):
        convert([tmp_path / "empty.extxyz"], tmp_path / "out")
    assert convert([source], tmp_path / "out") == len(open_source(source))


def test_folders_of_other_data_are_refused(source, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    with pytest.raises(DataError, match="is not empty"):
        convert([source], tmp_path / "full")
    convert([source], tmp_path / "out", shard_size=4)
    with pytest.raises(DataError, match="other shard_size"):
        convert([source], tmp_path / "out", shard_size=5)
    with pytest.raises(DataError, match="other keys"):
        convert([source], tmp_path / "out", shard_size=4, keys=LabelKeys.of(energy="e"))
    saved(source, strained_copper(N + 1))
    with pytest.raises(DataError, match="other sources"):
        convert([source], tmp_path / "out", shard_size=4)


def test_a_source_rewritten_in_the_same_size_is_refused(source, tmp_path):
    before = source.stat()
    convert([source], tmp_path / "out", shard_size=4)
    source.write_bytes(source.read_bytes().replace(b"energy=-", b"energy=+"))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert source.stat().st_size == before.st_size
    with pytest.raises(DataError, match=rf"{source.name} was written again since the conversion"):
        convert([source], tmp_path / "out", shard_size=4)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert convert([source], tmp_path / "out", shard_size=4) == N


def test_a_conversion_of_an_older_version_resumes_without_times(source, tmp_path):
    convert([source], tmp_path / "out", shard_size=4)
    manifest = tmp_path / "out" / "nequix-data.json"
    kept = json.loads(manifest.read_text())
    del kept["times"]
    manifest.write_text(json.dumps(kept))
    os.utime(source, (1, 1))
    assert convert([source], tmp_path / "out", shard_size=4) == N


def test_two_conversions_into_one_folder_exclude_each_other(source, tmp_path):
    seen = []

    def second(_):
        with pytest.raises(DataError, match="another process"):
            convert([source], tmp_path / "out", shard_size=4)
        seen.append(True)

    convert([source], tmp_path / "out", shard_size=4, progress=second)
    assert seen


def test_missing_labels_stay_missing(tmp_path):
    one, other = strained_copper(2)
    frames = [relabelled(one, energy=None), relabelled(other, stress=None, forces=None)]
    convert([saved(tmp_path / "set.extxyz", frames)], tmp_path / "out")
    first, second = open_source(tmp_path / "out")
    assert first.energy is None
    assert first.forces is not None
    assert (second.forces, second.stress) == (None, None)


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_a_named_key_that_no_structure_has_is_an_error(tmp_path, label):
    frames = strained_copper(3)
    for atoms in frames:
        atoms.info["my_energy"] = -1.0
        atoms.arrays["my_forces"] = atoms.positions
        atoms.info["my_stress"] = np.eye(3)
    source = saved(tmp_path / "set.extxyz", frames)
    message = rf"none of 2 structures has the key 'typo', named for {label}; set\.extxyz:0 has .*my_{label}"
    with pytest.raises(DataError, match=message):
        convert([source], tmp_path / "out", keys=LabelKeys.of(**{label: "typo"}), shard_size=2)
    assert not list((tmp_path / "out").glob("[!.]*"))
    assert convert([source], tmp_path / "out", keys=LabelKeys.of(**{label: f"my_{label}"}), shard_size=2) == 3


def test_labels_are_counted_over_interruptions(tmp_path, monkeypatch):
    frames = strained_copper(6)
    frames[1] = relabelled(frames[1], energy=None)
    frames[5] = relabelled(frames[5], forces=None, stress=None)
    source, out = saved(tmp_path / "set.extxyz", frames), tmp_path / "out"
    note, calls = module._note, []

    def fail_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # the second shard is there, but not noted
            raise OSError(28, "No space left on device")
        note(*arguments)

    monkeypatch.setattr(module, "_note", fail_third)
    with pytest.raises(DataError, match="No space left on device"):
        convert([source], out, shard_size=2)
    assert len(list(out.glob("*.aselmdb"))) == 2
    assert convert([source], out, shard_size=2) == 6
    assert converted_labels(out) == {"energy": 5, "forces": 5, "stress": 5}


@pytest.mark.parametrize("size", [0, 3000, 5000, 0.5, 0.9])
def test_truncated_shards_are_errors(source, tmp_path, size):
    convert([source], tmp_path / "out", shard_size=4)
    shard = tmp_path / "out" / "data.00001.aselmdb"
    copy = tmp_path / "cut.aselmdb"
    whole = shard.read_bytes()
    copy.write_bytes(whole[: int(size * len(whole)) if isinstance(size, float) else size])
    with pytest.raises(DataError, match=r"cut\.aselmdb"):
        list(open_source(copy))
