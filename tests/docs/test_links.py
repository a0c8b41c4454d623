"""What the pages name exists: the files that they link to, and the commands that they show."""

import re
from pathlib import Path

import pytest
import typer

from nequix import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(
    r"^[`$ ]*(?:\w+=\S+ +)*nequix +([a-z][\w-]*)(?: +([a-z][\w-]*)(?![\w./]))?", re.MULTILINE
)


def broken_links(page, text):
    """List the relative links of a page that lead to no file."""
    paths = [link.partition("#")[0] for link in _LINK.findall(text) if not re.match(r"\w+:", link)]
    return [path for path in paths if not (page.parent / path).exists()]


def commands(app):
    """Name every command of an application, those of a group as ``(group, command)``."""
    click = typer.main.get_command(app)
    groups = {name: getattr(command, "commands", {"": None}) for name, command in click.commands.items()}
    return {(name, inner) for name, group in groups.items() for inner in group}


def shown_commands(text):
    """List every ``nequix COMMAND`` in the code of a page, with the word that follows it."""
    return [found for code in _CODE.findall(text) for found in _COMMAND.findall(code)]


def unknown_commands(text, known):
    """List the shown commands that do not exist; what follows counts after a group's name only."""
    fine = {pair for name, inner in known for pair in [(name, inner), (name, "")]}
    return [
        f"{name} {word}".strip()
        for name, word in shown_commands(text)
        if (name, "") not in known and (name, word) not in fine
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page):
    assert broken_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_exist(page):
    assert unknown_commands(page.read_text(), commands(cli.app)) == []


def test_every_command_is_shown():
    shown = {pair for page in PAGES for pair in shown_commands(page.read_text())}
    shown |= {(name, "") for name, _ in shown}
    assert commands(cli.app) - shown == set()


def test_a_broken_link_is_caught():
    text = "[a](testing.md#tolerances) [b](https://x.org/y.md) [c](../README.md) [d](tseting.md#x)"
    assert broken_links(ROOT / "docs" / "page.md", text) == ["tseting.md"]


def test_an_unknown_command_is_caught():
    text = """See `nequix verfy`, `nequix data` or `from nequix import cli`; the nequix models.

    nequix predict structures.xyz
    A=1 nequix pridict structures.xyz

```
$ nequix data check train.xyz
nequix data   chekc train.xyz
```
"""
    assert unknown_commands(text, commands(cli.app)) == ["verfy", "pridict", "data chekc"]
