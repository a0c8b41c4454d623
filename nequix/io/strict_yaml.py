"""The project's YAML reader: only plain values, without code, references, deep nesting or expansion.

Rejected: tags (which stand for objects of programs), anchors and aliases (which multiply), nesting beyond
:data:`MAX_DEPTH` and more than one document. The parser's events are taken one by one, without recursion.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from nequix.core.errors import DataError

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 32
"""Lists and mappings within each other; a configuration has 4, a phonopy file 6."""

_PREFIX = "tag:yaml.org,2002:"


def compose(text: str | bytes, where: str) -> yaml.Node | None:
    """Parse YAML into nodes, which have their lines.

    Args:
        text: The document.
        where: The file's name, for messages.

    Returns:
        The document's node; None for an empty one.

    Raises:
        DataError: If it is not YAML of plain values, naming the line.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        parser = loader(text)
        try:
            return _compose(parser, where)
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        raise DataError(_unreadable(error, text, where)) from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{where}: cannot be read as YAML: {reason[:200]}") from None


def parse(text: str | bytes, where: str) -> Any:
    """Parse YAML into dicts, lists, text, numbers, booleans and None.

    Args:
        text: The document.
        where: The file's name, for messages.

    Raises:
        DataError: If it is not YAML of plain values, or a key is a list or appears twice, naming the line.
    """
    node = compose(text, where)
    return None if node is None else construct(node, where)


def construct(node: yaml.Node, where: str) -> Any:
    """Convert a node to plain values.

    Args:
        node: A node from :func:`compose`, and therefore of bounded depth.
        where: The file's name, for messages.

    Raises:
        DataError: If a key is a list or appears twice, naming the line.
    """
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return [construct(entry, where) for entry in node.value]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, where)
    values: dict[Any, Any] = {}
    for key_node, entry in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise DataError(f"{line(key_node, where)}: a list or a mapping as a key; use text")
        key = _scalar(key_node, where)
        if key in values:
            raise DataError(f"{line(key_node, where)}: the key {str(key)[:60]!r} appears twice; remove one")
        values[key] = construct(entry, where)
    return values


def line(node: yaml.Node | None, where: str) -> str:
    """Name the file and the line of a node.

    Args:
        node: The node, if there is one.
        where: The file's name.
    """
    return where if node is None else f"{where}, line {node.start_mark.line + 1}"


def _compose(parser: Any, where: str) -> yaml.Node | None:
    import yaml

    root: yaml.Node | None = None
    stack: list[tuple[yaml.CollectionNode, list[yaml.Node]]] = []
    n_documents = 0
    while (event := parser.get_event()) is not None:
        if isinstance(event, yaml.DocumentStartEvent):
            n_documents += 1
            if n_documents > 1:
                raise DataError(f"{_line(event, where)}: a second document begins; give one per file")
            continue
        if not isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
            continue
        _refuse_references(event, where)
        if isinstance(event, yaml.ScalarEvent):
            tag = parser.resolve(yaml.ScalarNode, event.value, event.implicit)
            node: Any = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark, event.style)
        else:
            kind = yaml.SequenceNode if isinstance(event, yaml.SequenceStartEvent) else yaml.MappingNode
            name = "seq" if kind is yaml.SequenceNode else "map"
            node = kind(_PREFIX + name, [], event.start_mark, event.end_mark)
        if stack:
            _add(stack[-1], node)
        else:
            root = node
        if not isinstance(event, yaml.ScalarEvent):
            if len(stack) == MAX_DEPTH:
                raise DataError(f"{_line(event, where)}: nested more than {MAX_DEPTH} levels deep")
            stack.append((node, []))
    return root


def _add(parent: tuple[yaml.CollectionNode, list[yaml.Node]], node: yaml.Node) -> None:
    """Add a node to a list, or to a mapping as a key or as the value of the last key."""
    import yaml

    collection, keys = parent
    if isinstance(collection, yaml.SequenceNode):
        collection.value.append(node)
    elif keys:
        collection.value.append((keys.pop(), node))
    else:
        keys.append(node)


def _refuse_references(event: Any, where: str) -> None:
    """Reject anchors, aliases and tags."""
    import yaml

    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
        raise DataError(
            f"{_line(event, where)}: {sign}{str(event.anchor)[:60]} is a reference (anchor or alias), which "
            "is not read; write the value itself, in quotes if it is text"
        )
    if event.tag is not None:
        raise DataError(
            f"{_line(event, where)}: the tag {event.tag[:80]!r} is not read, since files may only hold plain "
            "values; remove it"
        )


def _scalar(node: yaml.Node, where: str) -> Any:
    name = node.tag.removeprefix(_PREFIX)
    # Dates, binary data and merge keys are plain text here, and so are numbers to the base of 60 (1:30).
    if name not in ("null", "bool", "int", "float") or ":" in node.value:
        return node.value
    try:
        return getattr(_constructor(), f"construct_yaml_{name}")(node)
    except (ValueError, OverflowError):  # an integer with more digits than Python converts
        raise DataError(f"{line(node, where)}: the number {node.value[:40]}... cannot be read") from None


@functools.cache
def _constructor() -> Any:
    import yaml

    return yaml.constructor.SafeConstructor()


def _line(event: Any, where: str) -> str:
    return f"{where}, line {event.start_mark.line + 1}"


def _unreadable(error: yaml.MarkedYAMLError, text: str | bytes, where: str) -> str:
    """Describe a parser error and its position in one line."""
    mark = error.problem_mark or error.context_mark
    at = f", line {mark.line + 1}" if mark else ""
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    lines = (text if isinstance(text, str) else text.decode(errors="replace")).split("\n")
    indent = lines[mark.line][: mark.column + 1] if mark and mark.line < len(lines) else ""
    fix = "; indent with spaces, not with tabs" if not indent.strip() and "\t" in indent else ""
    return f"{where}{at}: cannot be read as YAML: {problem[:200]}{fix}"
