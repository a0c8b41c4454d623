import json
import re
from pathlib import Path

import pytest

from nequix.io import installation
from nequix.io.installation import install_command

ROOT = Path(__file__).parents[2]


def test_a_checkout_is_installed_again_from_where_it_is():
    assert install_command("jax") == f'pip install --editable "{ROOT}[jax]"'


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A copy in site-packages with a record of pip; returns a function that writes the record."""
    site = tmp_path / "site-packages"
    record = site / "nequix-0.1.0.dist-info"
    record.mkdir(parents=True)
    (site / "nequix").mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: nequix\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(installation, "PACKAGE", site / "nequix")
    return lambda content: (record / "direct_url.json").write_text(content)


def test_the_recorded_source_is_named_again(installed, tmp_path):
    source = tmp_path / "a folder"
    source.mkdir()
    expected = {
        source.as_uri(): f'pip install "{source}[jax]"',
        "https://example.org/nequix.whl": 'pip install "nequix[jax] @ https://example.org/nequix.whl"',
    }
    for url, command in expected.items():
        installed(json.dumps({"url": url, "archive_info": {}}))
        assert install_command("jax") == command
    repository = {"vcs": "git", "commit_id": "0123abc"}
    installed(json.dumps({"url": "https://example.org/nequix", "vcs_info": repository}))
    assert install_command("jax") == 'pip install "nequix[jax] @ git+https://example.org/nequix@0123abc"'


@pytest.mark.parametrize(
    "record",
    ["", "{", "[]", "[" * 100_000, '{"url": 3}', '{"url": "file:///absent/nequix"}', '{"url": "a\\"b"}'],
)
def test_without_a_usable_record_the_repository_is_left_open(installed, record):
    installed(record)
    assert install_command("jax,train") == 'pip install "PATH_TO_NEQUIX_REPOSITORY[jax,train]"'


def test_another_program_of_the_same_name_is_not_asked(installed, tmp_path, monkeypatch):
    installed(json.dumps({"url": "https://example.org/other"}))
    monkeypatch.setattr(installation, "PACKAGE", tmp_path / "elsewhere" / "nequix")
    assert "example.org" not in install_command("jax")


def test_no_message_or_page_advises_the_other_program_of_the_package_index():
    wrong = re.compile(r"pip install[^\n]*['\" ]nequix(\[|['\"\s]|$)(?!.* @ )")
    files = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("nequix/**/*.py")]
    hits = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        if path.name != "installation.py"
        for line in path.read_text().splitlines()
        if wrong.search(line)
    ]
    assert hits == []
