"""Check the text that people read against the word list: ``python tests/language/check.py [FILE...]``.

It reads comments, docstrings, string literals and the names of functions and classes in Python, comments and
strings in C++, and everything in Markdown, YAML and the Makefile. ``words.toml`` is the list.
"""

from __future__ import annotations

import bisect
import io
import re
import sys
import tokenize
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = ("nequix", "docs", "tests", "benchmarks", "weights", "examples", "configs", "packaging")
SUFFIXES = (".py", ".h", ".cpp", ".md", ".yaml", ".yml")
NOT_YET = (
    "benchmarks",
    "configs",
    "docs/data.md",
    "docs/ensembles.md",
    "docs/evaluate.md",
    "docs/results",
    "tests",
    "weights",
    "nequix/__init__.py",
    "nequix/assess",
    "nequix/blas_threads.py",
    "nequix/calculator.py",
    "nequix/cli",
    "nequix/core",
    "nequix/coverage",
    "nequix/data",
    "nequix/demo.py",
    "nequix/devices.py",
    "nequix/ensemble.py",
    "nequix/evaluation",
    "nequix/finetune",
    "nequix/graphs",
    "nequix/io",
    "nequix/jax",
    "nequix/native",
    "nequix/torch",
    "nequix/train",
    "nequix/verify",
)
"""Files and folders that are still to be rewritten."""

_CODE = "\0"
"""Stands for each character that is not text, so that no phrase reaches across code."""

_STRING_START = re.compile(r"[a-zA-Z]*(?:\"\"\"|'''|\"|')")
_CPP_TEXT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_CPP_INCLUDE = re.compile(r"^\s*#\s*include[^\n]*", re.MULTILINE)


class Rule(NamedTuple):
    """A word or phrase that is not used."""

    pattern: re.Pattern[str]
    instead: str
    wrong: str
    right: str


class Finding(NamedTuple):
    """A place where a rule is broken."""

    line: int
    words: str
    instead: str


def rules() -> list[Rule]:
    """Read the word list."""
    table = tomllib.loads((ROOT / "tests/language/words.toml").read_text(encoding="utf-8"))
    return [
        Rule(
            re.compile(entry["pattern"], re.IGNORECASE),
            entry["instead"],
            entry["wrong"],
            entry["right"],
        )
        for entry in table["rule"]
    ]


def paths() -> list[Path]:
    """List the files that are checked."""
    files = [path for path in ROOT.iterdir() if path.suffix == ".md" or path.name == "Makefile"]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted(files)


def python_text(source: str) -> str:
    """Blank out the code of a Python file; what remains keeps its place.

    Comments, strings and the names after ``def`` and ``class`` remain, with blanks for underscores in names.
    Comment signs and quotes become blanks, so that a phrase may extend over several lines or literals.
    """
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    text = [character if character.isspace() else _CODE for character in source]

    previous = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        start = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        shown = source[start:end]
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            text[start:end] = " " + shown[1:]
        elif kind == "STRING":
            text[start:end] = _without_quotes(shown)
        elif kind == "FSTRING_MIDDLE":
            text[start:end] = shown
        elif kind in ("FSTRING_START", "FSTRING_END"):
            text[start:end] = " " * len(shown)
        elif kind == "NAME" and previous in ("def", "class"):
            text[start:end] = shown.replace("_", " ")
        previous = token.string
    return "".join(text)


def _without_quotes(literal: str) -> str:
    opening = _STRING_START.match(literal)
    assert opening is not None
    n_quotes = len(opening.group().lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    return " " * opening.end() + literal[opening.end() : -n_quotes] + " " * n_quotes


def cpp_text(source: str) -> str:
    """Blank out the code of a C++ file; comments and strings keep their place."""
    source = _CPP_INCLUDE.sub(lambda line: re.sub(r"\S", _CODE, line.group()), source)
    text = [character if character.isspace() else _CODE for character in source]
    for part in _CPP_TEXT.finditer(source):
        text[part.start() : part.end()] = re.sub(r"^//|^/\*|\*/$|^\"|\"$", _blanks, part.group())
    return "".join(text)


def _blanks(match: re.Match[str]) -> str:
    return " " * len(match.group())


def hash_text(source: str) -> str:
    """Blank the comment signs of a YAML file or the Makefile; everything else remains."""
    return source.replace("#", " ")


_READERS = {
    ".py": python_text,
    ".h": cpp_text,
    ".cpp": cpp_text,
    ".yaml": hash_text,
    ".yml": hash_text,
    "": hash_text,
}


def check(path: Path, words: list[Rule]) -> list[Finding]:
    """List the places of a file where a rule is broken.

    Args:
        path: A file; its suffix says how its text is found.
        words: The word list.
    """
    source = path.read_text(encoding="utf-8")
    reader = _READERS.get(path.suffix)
    return findings(reader(source) if reader else source, words)


def findings(text: str, words: list[Rule]) -> list[Finding]:
    """List the places of a text where a rule is broken, by line."""
    lines, starts, parts, position = [], [], [], 0
    for number, line in enumerate(text.split("\n"), start=1):
        for word in line.split():
            lines.append(number)
            starts.append(position)
            parts.append(word)
            position += len(word) + 1
    joined = " ".join(parts)
    result = []
    for rule in words:
        group = "phrase" if "phrase" in rule.pattern.groupindex else 0
        for match in rule.pattern.finditer(joined):
            line = lines[bisect.bisect(starts, match.start(group)) - 1]
            result.append(Finding(line, match.group(group), rule.instead))
    return sorted(result)


def main(arguments: list[str]) -> int:
    """Print every finding as ``file:line``; return 1 if there is one."""
    words = rules()
    failed = False
    for path in [Path(name).resolve() for name in arguments] or paths():
        for line, phrase, instead in check(path, words):
            failed = True
            print(f"{path.relative_to(ROOT)}:{line}: {phrase!r}: use {instead}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
