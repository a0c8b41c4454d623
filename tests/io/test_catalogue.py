import errno
import io
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from nequix.core.errors import FetchError, FileError, WeightsError
from nequix.io import cache, catalogue, download, locks
from nequix.io.weights import digest_file, read_weights, write_weights
from tests.graphs.gallery import PARAMETERS, PROVENANCE, SPEC, good, published
from tests.io.origin import CHANGED, CONTENT, entry, serving

ROOT = Path(__file__).parents[2]
SCRIPT = """if True:
    import sys
    from nequix.io import catalogue
    from tests.io.origin import entry
    catalogue.ENTRIES["small"] = entry(sys.argv[1])
    print("ready", flush=True)
    print(catalogue.load_weights("small").digest)
"""


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    monkeypatch.setenv("NEQUIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NEQUIX_MIRROR", raising=False)


@pytest.fixture
def origin(monkeypatch):
    with serving() as origin:
        monkeypatch.setitem(catalogue.ENTRIES, "small", entry(origin.url))
        yield origin


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(cache, "download", refuse)


def _start(url):
    return subprocess.Popen([sys.executable, "-c", SCRIPT, url], stdout=subprocess.PIPE, cwd=ROOT)


def _check(weights):
    assert weights.spec == SPEC
    assert all(weights.parameters[name].tobytes() == values.tobytes() for name, values in PARAMETERS.items())
    assert weights.provenance == catalogue.ENTRIES["small"].provenance


def _kept():
    """Names in the cache that count: neither the lock nor a half-written file does."""
    return sorted(path.suffix for path in cache.folder().glob("*") if path.name != ".lock")


def test_list_models_names_the_own_and_the_six_published():
    assert catalogue.list_models() == [
        "nequix-nano",
        "nequix-mp-1",
        "nequix-mp-1-pft",
        "nequix-mp-1-pft-nocotrain",
        "nequix-omat-1",
        "nequix-oam-1",
        "nequix-oam-1-pft",
    ]


def test_entries_are_pinned_and_attributed():
    for name, item in catalogue.ENTRIES.items():
        assert item.name == name
        assert item.url.startswith("https://")
        assert item.file == f"{name}.nqx"
        assert len(bytes.fromhex(item.sha256)) == 32
        assert "Teddy Koker" in item.licence
        assert "arXiv:2508.16067" in item.citation
        assert ("arXiv:2601.07742" in item.citation) == ("pft" in name)


@pytest.mark.parametrize("name", catalogue.ENTRIES)
def test_every_published_model_converts_to_its_pinned_digest(name, published_folder, tmp_path):
    entry = catalogue.ENTRIES[name]
    known = catalogue.load_published(published_folder / entry.file)
    path = tmp_path / "converted.safetensors"
    write_weights(path, known.spec, known.parameters, known.provenance)
    assert read_weights(path).digest == entry.converted


def test_first_use_downloads_and_the_next_needs_no_network(origin, request):
    first = catalogue.load_weights("small")
    _check(first)
    assert origin.requests == ["/models/small.nqx"]
    assert _kept() == [".safetensors", ".sha256"]
    request.getfixturevalue("no_network")
    _check(catalogue.load_weights("small"))
    path = catalogue.resolve("small")
    assert read_weights(path).digest == first.digest == digest_file(path)
    assert cache.location(catalogue.ENTRIES["small"]) == path
    assert path.with_suffix(".sha256").read_text() == f"{first.digest}  {path.name}\n"


def test_a_cached_model_needs_no_lock(origin, monkeypatch):
    catalogue.load_weights("small")
    monkeypatch.setattr(locks, "FileLock", None)
    _check(catalogue.load_weights("small"))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no_sidecar", "other_model", "no_file", "folder"])
def test_a_damaged_entry_is_made_again(origin, damage):
    path = catalogue.resolve("small")
    content = path.read_bytes()
    if damage == "no_sidecar":
        path.with_suffix(".sha256").unlink()
    elif damage == "other_model":
        write_weights(path, SPEC, PARAMETERS, PROVENANCE)
    elif damage in ("no_file", "folder"):
        path.unlink()
    else:
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes({"flip": flipped, "cut": content[:-9], "empty": b""}[damage])
    if damage == "folder":
        path.mkdir()
        with pytest.raises(FileError, match="cannot be written"):
            catalogue.load_weights("small")
        path.rmdir()
    assert cache.cached(catalogue.ENTRIES["small"]) is None
    _check(catalogue.load_weights("small"))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("cut", "broke off after .* bytes.*NEQUIX_MIRROR"),
        ("changed", "not the published file: SHA-256 .* expected .*NEQUIX_MIRROR"),
        ("long", "not the published file: more than"),
        ("missing", "cannot be downloaded .*404.*NEQUIX_MIRROR.*path of a local weight file"),
        ("file:///small.nqx", "cannot be downloaded"),
        ("ftp://127.0.0.1/small.nqx", "cannot be downloaded"),
    ],
)
def test_a_bad_origin_leaves_nothing_in_the_cache(origin, behaviour, says):
    origin.behaviour = behaviour
    with pytest.raises(WeightsError, match=says):
        catalogue.load_weights("small")
    assert _kept() == []
    origin.behaviour = "good"
    _check(catalogue.load_weights("small"))


def test_a_redirection_is_followed(origin):
    origin.behaviour = f"{origin.base}/elsewhere/small.nqx"
    _check(catalogue.load_weights("small"))
    assert origin.requests == ["/models/small.nqx", "/elsewhere/small.nqx"]


def test_a_silent_origin_times_out(origin, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    origin.behaviour = "stalled"
    with pytest.raises(WeightsError, match="timed out"):
        catalogue.load_weights("small")
    assert _kept() == []


def test_a_slow_origin_meets_the_deadline(origin, monkeypatch):
    monkeypatch.setattr(download, "DEADLINE", -1.0)
    with pytest.raises(FetchError, match=r"cannot be downloaded .* bytes after"):
        catalogue.load_weights("small")


def test_an_unreachable_origin_says_what_to_do(monkeypatch):
    monkeypatch.setenv("NEQUIX_MIRROR", "http://127.0.0.1:1")
    with pytest.raises(WeightsError, match=r"refused.*NEQUIX_MIRROR.*small\.nqx"):
        download.download("https://example.invalid/small.nqx", 1, "0" * 64)


def test_a_mirror_folder_replaces_the_origin(tmp_path, monkeypatch):
    monkeypatch.setitem(catalogue.ENTRIES, "small", entry("https://example.invalid/small.nqx"))
    (tmp_path / "mirror folder").mkdir()
    monkeypatch.setenv("NEQUIX_MIRROR", str(tmp_path / "mirror folder"))
    with pytest.raises(WeightsError, match="no such file"):
        catalogue.load_weights("small")
    (tmp_path / "mirror folder" / "small.nqx").write_bytes(CHANGED)
    with pytest.raises(WeightsError, match="not the published file"):
        catalogue.load_weights("small")
    (tmp_path / "mirror folder" / "small.nqx").write_bytes(CONTENT)
    _check(catalogue.load_weights("small"))


def test_a_mirror_address_replaces_the_origin(origin, tmp_path, monkeypatch):
    monkeypatch.setitem(catalogue.ENTRIES, "small", entry("https://example.invalid/small.nqx"))
    monkeypatch.setenv("NEQUIX_MIRROR", f"{origin.base}/mirror/")
    _check(catalogue.load_weights("small"))
    assert origin.requests == ["/mirror/small.nqx"]
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "small.nqx").write_bytes(CONTENT)
    catalogue.resolve("small").unlink()
    monkeypatch.setenv("NEQUIX_MIRROR", (tmp_path / "a folder").as_uri())
    _check(catalogue.load_weights("small"))


@pytest.mark.parametrize("mirror", ["ftp://127.0.0.1", "data://x", "http://[", "http://127.0.0.1:port"])
def test_a_mirror_of_another_kind_is_refused(mirror, monkeypatch):
    monkeypatch.setenv("NEQUIX_MIRROR", mirror)
    with pytest.raises(WeightsError, match="NEQUIX_MIRROR"):
        catalogue.load_weights("nequix-mp-1")


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_mirror_without_the_file_is_named(scheme, tmp_path, monkeypatch):
    monkeypatch.setitem(catalogue.ENTRIES, "small", entry("https://example.invalid/small.nqx"))
    monkeypatch.setenv("NEQUIX_MIRROR", f"{scheme}{tmp_path}/none")
    with pytest.raises(WeightsError, match=r"mirror NEQUIX_MIRROR=.*none; put small\.nqx there") as caught:
        catalogue.load_weights("small")
    assert "nequix models" not in str(caught.value)


def test_two_processes_download_once(origin):
    origin.behaviour = "stalled"
    children = [_start(origin.url) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == b"ready\n"
    assert origin.half_sent.wait(30)
    time.sleep(0.5)  # the other process would ask by now if nothing held it
    assert len(origin.requests) == 1
    origin.behaviour = "good"
    origin.release.set()
    digests = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert len(digests) == 1
    assert len(origin.requests) == 1
    _check(catalogue.load_weights("small"))


def test_a_process_killed_while_downloading_leaves_no_entry(origin):
    origin.behaviour = "stalled"
    child = _start(origin.url)
    assert origin.half_sent.wait(30)
    child.kill()
    child.communicate(timeout=30)
    assert _kept() == []
    origin.behaviour = "good"
    origin.release.set()
    _check(catalogue.load_weights("small"))


def test_what_a_process_killed_while_writing_leaves_is_cleared(origin):
    path = cache.location(catalogue.ENTRIES["small"])
    path.parent.mkdir()
    (path.parent / ".nequix-0123456789abcdef.tmp").write_bytes(good()[:99])
    path.write_bytes(good())  # in place, but killed before its digest was
    _check(catalogue.load_weights("small"))
    assert _kept() == [".safetensors", ".sha256"]


def test_other_weights_under_a_published_name_are_not_loaded(origin):
    path = catalogue.resolve("small")
    content = path.read_bytes()
    others = {name: values + 1 for name, values in PARAMETERS.items()}
    write_weights(path, SPEC, others, catalogue.ENTRIES["small"].provenance)
    path.with_suffix(".sha256").write_text(f"{digest_file(path)}  {path.name}\n")  # forged, too
    assert cache.cached(catalogue.ENTRIES["small"]) is None
    _check(catalogue.load_weights("small"))
    assert path.read_bytes() == content


def test_a_conversion_with_another_digest_is_refused(origin, monkeypatch):
    changed = replace(catalogue.ENTRIES["small"], converted="0" * 64)
    monkeypatch.setitem(catalogue.ENTRIES, "small", changed)
    with pytest.raises(WeightsError, match=r"has the digest .* expected 0000"):
        catalogue.load_weights("small")


def test_a_cache_that_everybody_can_write_to_is_named(origin):
    catalogue.load_weights("small")
    cache.folder().chmod(0o777)
    with pytest.warns(RuntimeWarning, match=r"every user of this machine can write .* `chmod o-w"):
        _check(catalogue.load_weights("small"))


@pytest.mark.parametrize("call", [1, 2])
def test_a_full_disk_leaves_no_entry(origin, monkeypatch, call):
    calls = []
    replace = os.replace

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*arguments)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WeightsError, match="No space left"):
        catalogue.load_weights("small")
    assert cache.cached(catalogue.ENTRIES["small"]) is None
    assert list(cache.folder().glob("*.tmp")) == []
    _check(catalogue.load_weights("small"))


def test_a_cache_that_cannot_be_used_says_so(origin, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NEQUIX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(WeightsError, match=r"cannot be used .*NEQUIX_CACHE"):
        catalogue.load_weights("small")


def test_a_lock_that_is_held_says_so(origin, monkeypatch):
    monkeypatch.setattr(cache, "DEADLINE", -59.9)
    cache.folder().mkdir()
    holder = filelock.FileLock(cache.folder() / ".lock")
    with holder, pytest.raises(WeightsError, match="another process holds the lock"):
        catalogue.load_weights("small")


def test_the_default_cache_is_the_platforms(monkeypatch):
    monkeypatch.delenv("NEQUIX_CACHE")
    assert cache.folder().name.lower() in ("nequix", "cache")
    assert cache.folder().is_absolute()


def test_a_path_is_used_directly(tmp_path, no_network):
    weight_file, published_file = tmp_path / "small.safetensors", tmp_path / "small.nqx"
    weight_file.write_bytes(good())
    published_file.write_bytes(published())
    assert catalogue.load_weights(weight_file).provenance == PROVENANCE
    assert catalogue.resolve(str(weight_file)) == weight_file
    weights = catalogue.load_weights(str(published_file))
    assert weights.spec == SPEC
    assert weights.digest == digest_file(published_file)
    assert weights.provenance.name == "small"
    assert weights.provenance.licence == "unknown"


def test_a_published_file_of_known_digest_has_its_provenance(tmp_path, monkeypatch):
    monkeypatch.setitem(catalogue.ENTRIES, "small", entry("https://example.invalid/small.nqx"))
    (tmp_path / "renamed.nqx").write_bytes(CONTENT)
    _check(catalogue.load_weights(tmp_path / "renamed.nqx"))


def test_a_known_name_means_the_model_even_beside_a_file(origin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small").write_bytes(b"")
    _check(catalogue.load_weights("small"))
    with pytest.raises(WeightsError, match="not a weight file"):
        catalogue.load_weights("./small")


@pytest.mark.parametrize(
    ("name", "guess"),
    [("nequix-mp1", "nequix-mp-1"), ("NEQUIX-OAM-1-PFT", "nequix-oam-1-pft"), ("zzz", None)],
)
def test_an_unknown_name_is_answered_with_a_guess_and_the_list(name, guess, no_network):
    with pytest.raises(WeightsError) as caught:
        catalogue.load_weights(name)
    assert (f"did you mean {guess!r}?" in str(caught.value)) == (guess is not None)
    assert "nequix-omat-1" in str(caught.value)
    assert "nequix models" in str(caught.value)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_to_a_terminal_only(origin, monkeypatch, terminal):
    class Stream(io.StringIO):
        def isatty(self):
            return terminal

    stream = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    _check(catalogue.load_weights("small"))
    assert ("small.nqx" in stream.getvalue()) == terminal


def test_released_models_load_by_name(published_folder, monkeypatch, request):
    monkeypatch.setenv("NEQUIX_MIRROR", str(published_folder))
    digests = {name: catalogue.load_weights(name).digest for name in catalogue.list_models()}
    request.getfixturevalue("no_network")
    assert digests == {name: catalogue.load_weights(name).digest for name in catalogue.list_models()}
    assert len(set(digests.values())) == len(digests) == 7
