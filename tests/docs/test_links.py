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
_LINE = re.compile(r"^ {0,4}(nequix +[a-z].*)$", re.MULTILINE)


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


def unknown_options(text):
    """List the options of shown commands that the command line does not have."""
    top, unknown = typer.main.get_command(cli.app), []
    for line in _LINE.findall(re.sub(r"\\\n\s*", " ", text)):
        words = line.partition("  #")[0].split()[1:]
        command = top
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        command = getattr(command, "commands", {"check": command})["check"]  # that of a group is left out
        options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        unknown += [f"{command.name} {option}" for option in sorted(given - options)]
    return unknown


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_shown_commands_exist(page):
    assert unknown_options(page.read_text()) == []


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


def test_an_unknown_option_is_caught():
    text = """
    nequix predict a.xyz -o b.extxyz --modle nequix-nano    # not --this
    nequix evaluate kappa --data d \\
        -o e --only=mp-1 --retry
    nequix coverage a.xyz --no-features
"""
    assert unknown_options(text) == ["predict --modle", "kappa --retry"]
