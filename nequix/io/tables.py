"""Text tables that are never truncated, even in narrow terminals."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence

GAP = 2
"""Spaces between columns."""

_NUMBER = re.compile(r"-?|[-+]?[\d.,]+(e[-+]?\d+)?%?|nan|[-+]?inf")


def terminal_width() -> int:
    """Return the columns of the terminal: ``COLUMNS`` if it is set, 80 where there is no terminal."""
    return shutil.get_terminal_size((80, 24)).columns


def format_table(header: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None) -> str:
    """Format a text table.

    Columns of numbers are aligned to the right. In a table wider than ``width`` long cells continue on the
    next line; if even that does not fit, every row becomes a paragraph with one line per column. Words are
    never broken, so that names, paths and digests can be copied.

    Args:
        header: Name of each column.
        rows: The cells of each row, converted with ``str``.
        width: Columns of the terminal; by default the current one.

    Returns:
        The table, without a line break at its end.

    Example:
        >>> print(format_table(["engine", "error"], [["jax", "3e-15"], ["torch", "0"]]))
        engine  error
        jax     3e-15
        torch       0
    """
    cells = [[str(cell) for cell in row] for row in rows]
    width = terminal_width() if width is None else width
    columns = list(zip(header, *cells, strict=True))
    widths = _fit(columns, width)
    if widths is None:
        return "\n\n".join(format_fields(zip(header, row, strict=True), width) for row in cells)
    numeric = [all(_NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    return "\n".join(_lay_out(row, widths, numeric) for row in (list(header), *cells))


def format_fields(fields: Iterable[tuple[str, object]], width: int | None = None) -> str:
    """Format names and values, one per line; long values are wrapped with indentation.

    Args:
        fields: Names and values.
        width: Columns of the terminal; by default the current one.
    """
    width = terminal_width() if width is None else width
    pairs = list(fields)
    indent = min(max((len(name) for name, _ in pairs), default=0), width // 2) + GAP
    lines: list[str] = []
    for name, value in pairs:
        wrapped = _wrap(str(value), max(width - indent, 1))
        lines += [f"{name:<{indent}}{wrapped[0]}", *(" " * indent + line for line in wrapped[1:])]
    return "\n".join(line.rstrip() for line in lines)


def format_item(mark: str, text: str, width: int | None = None) -> str:
    """Format an item of a list; long text is wrapped with indentation.

    Args:
        mark: Start of the item, e.g. ``-``.
        text: The item.
        width: Columns of the terminal; by default the current one.
    """
    width = terminal_width() if width is None else width
    first = f"{mark} "
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _fit(columns: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Choose the width of each column, or return None if the table does not fit."""
    widths = [max(map(len, column)) for column in columns]
    least = [max(map(_longest_word, column)) for column in columns]
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    while excess > 0:
        shrinkable = [index for index in range(len(widths)) if widths[index] > least[index]]
        if not shrinkable:
            return None
        widths[max(shrinkable, key=lambda index: widths[index])] -= 1
        excess -= 1
    return widths


def _longest_word(cell: str) -> int:
    return max(map(len, cell.split()), default=0)


def _lay_out(row: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    wrapped = [_wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for index in range(max(map(len, wrapped))):
        parts = []
        for cell, width, right in zip(wrapped, widths, numeric, strict=True):
            text = cell[index] if index < len(cell) else ""
            parts.append(text.rjust(width) if right else text.ljust(width))
        lines.append((" " * GAP).join(parts).rstrip())
    return "\n".join(lines)


def _wrap(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_on_hyphens=False, break_long_words=False) or [""]
