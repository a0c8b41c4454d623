import hashlib
import re
import sys
from pathlib import PurePosixPath

import pytest

from nequix import cli
from nequix.data.public_datasets import SETS, Original, OriginalSet, places
from tests.data.sets import real


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["nequix", "data", "get", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_every_file_has_an_address_and_a_digest():
    for held in SETS.values():
        paths = [file.path for file in held.files]
        assert len(set(paths)) == len(paths) > 0
        for file in held.files:
            assert file.url.startswith("https://")
            assert re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.digest)
            assert not PurePosixPath(file.path).is_absolute()
            assert ".." not in PurePosixPath(file.path).parts
            if file.url.startswith("https://raw.githubusercontent.com"):
                assert re.search(r"/[0-9a-f]{40}/", file.url)


def test_digests_are_those_of_the_copies_here():
    folder = real("phonons/phonopy_examples/MgB2/FORCE_SETS").parents[1]
    copies = {"dimers": real("diatomics/diatomics-dft.json.gz").parent, "phonopy-examples": folder}
    for name, where in copies.items():
        for file in SETS[name].files:
            found = hashlib.sha256((where / file.path).read_bytes()).hexdigest()
            assert file.digest == f"sha256:{found}", file.path


def test_the_command_fetches_from_a_mirror(tmp_path, monkeypatch, capsys):
    files = {"a.json": b"{}", "inner/b.yaml": b"b: 1"}
    held = [
        Original(path, f"https://nowhere.invalid/{path}", f"sha256:{hashlib.sha256(content).hexdigest()}")
        for path, content in files.items()
    ]
    monkeypatch.setitem(SETS, "toy", OriginalSet("toy", "a toy", "nowhere", tuple(held)))
    for path, content in files.items():
        (tmp_path / "mirror" / "toy" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror" / "toy" / path).write_bytes(content)
    assert run(monkeypatch, "toy", "-o", tmp_path / "out", "--mirror", tmp_path / "mirror") == 0
    assert {path: (tmp_path / "out" / "toy" / path).read_bytes() for path in files} == files
    assert capsys.readouterr().out.count("fetched") == 2
    monkeypatch.setenv("NEQUIX_MIRROR", str(tmp_path / "out"))  # what was fetched is a mirror itself
    assert run(monkeypatch, "toy", "-o", tmp_path / "again") == 0
    assert run(monkeypatch, "toy", "-o", tmp_path / "again") == 0
    assert capsys.readouterr().out.count("is there") == 2
    (tmp_path / "out" / "toy" / "a.json").write_bytes(b"[]")
    assert run(monkeypatch, "toy", "-o", tmp_path / "third") == 1
    assert "not the published file" in capsys.readouterr().err
    assert not (tmp_path / "third" / "toy" / "a.json").exists()


def test_the_command_lists_and_knows_its_sets(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "--list") == 0
    listed = capsys.readouterr().out
    for held in SETS.values():
        assert held.name in listed
        assert all(file.url in listed and file.digest in listed for file in held.files)
    assert run(monkeypatch, "wbm", "nothing", "-o", tmp_path / "out") == 1
    assert "no such set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_address_is_used_without_a_mirror(monkeypatch):
    monkeypatch.delenv("NEQUIX_MIRROR", raising=False)
    file = SETS["mptrj"].files[0]
    assert places("mptrj", file) == [file.url]
    assert places("mptrj", file, "https://mirror.org/x/") == [f"https://mirror.org/x/mptrj/{file.path}"]
    monkeypatch.setenv("NEQUIX_MIRROR", "/mirror")
    assert places("mptrj", file) == [f"/mirror/mptrj/{file.path}", file.url]
    assert places("mptrj", file, "") == [file.url]
