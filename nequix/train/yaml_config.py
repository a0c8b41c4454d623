"""YAML into dataclasses, where a wrong key or value is named with its line."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import types
import typing
from typing import Any

import yaml

from nequix.core.errors import DataError
from nequix.core.migrations import Format
from nequix.core.suggest import did_you_mean
from nequix.io import strict_yaml
from nequix.io.limits import MAX_SETTINGS, read_bounded


class WrongValue(DataError):
    """A value that a section refuses when it is made.

    Args:
        key: Its key in the section.
        reason: What is wrong.
    """

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(str(reason))
        self.key = key


def read_yaml(
    kind: Any, path: str | os.PathLike[str], default: Any = None, versions: Format | None = None
) -> Any:
    """Read a dataclass.

    Args:
        kind: Its class; a key is a field, and a section a field that is a dataclass.
        path: A YAML file.
        default: Has the values of the keys that the file lacks; without it, the file must have every key that
            has no default of its own.
        versions: Versions of such files; a key ``version`` then states for which one the file was written.

    Raises:
        DataError: If it cannot be read, or a key or value is wrong, naming its line and the nearest key.
    """
    where = os.fspath(path)
    node = strict_yaml.compose(read_bounded(path, MAX_SETTINGS), where)
    if versions is not None and isinstance(node, yaml.MappingNode):
        _upgrade(node, where, versions)
    return _build(kind, node, where, default)


def _upgrade(root: yaml.MappingNode, where: str, versions: Format) -> None:
    """Bring a file of an older version to the current one; without a version it is of the current one."""
    stated = next((pair for pair in root.value if pair[0].value == "version"), None)
    if stated is None:
        return
    root.value.remove(stated)
    before, version = strict_yaml.construct(root, where), strict_yaml.construct(stated[1], where)
    try:
        values = versions.upgrade(before, version)
    except ValueError as error:
        raise DataError(f"{strict_yaml.line(stated[0], where)}: {error}") from None
    _update(root, values, where)


def _update(node: yaml.MappingNode, values: dict[Any, Any], where: str) -> None:
    """Give a node other values; keys that keep their value keep their line."""
    pairs = []
    for key, value in node.value:
        name = strict_yaml.construct(key, where)
        if isinstance(value, yaml.MappingNode) and isinstance(values.get(name), dict):
            _update(value, values[name], where)
            pairs.append((key, value))
        elif name in values and strict_yaml.construct(value, where) == values[name]:
            pairs.append((key, value))
    same = {strict_yaml.construct(key, where) for key, _ in pairs}
    other = {name: value for name, value in values.items() if name not in same}
    added = strict_yaml.compose(yaml.safe_dump(other), where)
    for key, value in added.value if isinstance(added, yaml.MappingNode) else []:
        key.start_mark = value.start_mark = node.start_mark
        pairs.append((key, value))
    node.value[:] = pairs


def _build(kind: Any, node: yaml.Node | None, where: str, default: Any = None) -> Any:
    if not isinstance(node, yaml.MappingNode):
        raise DataError(f"{strict_yaml.line(node, where)}: expected keys and values")
    types_of = typing.get_type_hints(kind, include_extras=True)
    optional = (dataclasses.MISSING, dataclasses.MISSING)
    required = {f.name for f in dataclasses.fields(kind) if (f.default, f.default_factory) == optional}
    values: dict[str, Any] = {}
    lines: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise DataError(f"{strict_yaml.line(key, where)}: a list or a mapping as a key; use text")
        name = str(key.value)
        if name not in types_of:
            hint = did_you_mean(name, types_of) or f"; the keys are {', '.join(types_of)}"
            raise DataError(f"{strict_yaml.line(key, where)}: unknown key {name[:60]!r}{hint}")
        if name in values:
            raise DataError(f"{strict_yaml.line(key, where)}: the key {name!r} appears twice; remove one")
        values[name] = _value(types_of[name], name, value, where, getattr(default, name, None))
        lines[name] = key
    missing = sorted(required - values.keys()) if default is None else []
    if missing:
        raise DataError(f"{strict_yaml.line(node, where)}: the keys {missing} are missing; add them")
    try:
        return kind(**values) if default is None else dataclasses.replace(default, **values)
    except DataError as error:
        at = lines.get(error.key, node) if isinstance(error, WrongValue) else node
        raise DataError(f"{strict_yaml.line(at, where)}: {error}") from None


def _value(kind: Any, name: str, node: yaml.Node, where: str, default: Any = None) -> Any:
    section = next((k for k in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(k)), None)
    if section is not None and (section is kind or isinstance(node, yaml.MappingNode)):
        return _build(section, node, where, default)
    value = strict_yaml.construct(node, where)
    for choice in _choices(kind):
        with contextlib.suppress(TypeError):
            converted = _convert(choice, value)
            if isinstance(converted, dict) and len(converted) < len(node.value):
                raise DataError(f"{strict_yaml.line(node, where)}: {name}: a key appears twice; remove one")
            return converted
    raise _mistake(kind, name, node, where)


def _mistake(kind: Any, name: str, node: yaml.Node, where: str) -> DataError:
    """Describe what is wrong with a value, and in which entry, if it has entries."""
    for choice in _choices(kind):
        origin, arguments = typing.get_origin(choice), typing.get_args(choice)
        entries: list[tuple[Any, str, yaml.Node]] = []
        if origin is list and isinstance(node, yaml.SequenceNode):
            entries = [(arguments[0], f"{name}[{i}]", entry) for i, entry in enumerate(node.value)]
        if origin is dict and isinstance(node, yaml.MappingNode):
            entries = [(arguments[0], f"a key of {name}", key) for key, _ in node.value]
            entries += [(arguments[1], f"{name}[{key.value}]", entry) for key, entry in node.value]
        for inner, problem, entry in entries:
            try:
                _convert(inner, strict_yaml.construct(entry, where))
            except TypeError:
                return _mistake(inner, problem, entry, where)
    value = strict_yaml.construct(node, where)
    return DataError(
        f"{strict_yaml.line(node, where)}: {name} = {value!r:.60}, expected {_wanted(kind, value)}"
    )


def _choices(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return typing.get_args(kind) if union else (kind,)


def _wanted(kind: Any, value: Any) -> str:
    """Describe the allowed values of a field."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if len(choices := _choices(kind)) > 1:
        return " or ".join("nothing" if kind is type(None) else _wanted(kind, value) for kind in choices)
    if origin is typing.Annotated:
        return arguments[1].wanted(arguments[0].__name__, value)
    if origin is typing.Literal:
        return f"one of {', '.join(arguments)}{did_you_mean(value, arguments)}"
    if origin is list:
        return f"a list, each entry {_wanted(arguments[0], value)}"
    if origin is dict:
        return f"keys ({_wanted(arguments[0], None)}) and values ({_wanted(arguments[1], None)})"
    return getattr(kind, "__name__", str(kind))


def _convert(kind: Any, value: Any) -> Any:
    """Return a value of a kind, or raise TypeError; a single one stands for a list of it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        if (converted := _convert(arguments[0], arguments[1].read(value))) not in arguments[1]:
            raise TypeError
        return converted
    if origin is typing.Literal and value in arguments:
        return value
    if origin is list:
        return [_convert(arguments[0], item) for item in (value if isinstance(value, list) else [value])]
    if origin is dict and isinstance(value, dict):
        return {_convert(arguments[0], k): _convert(arguments[1], v) for k, v in value.items()}
    if kind is float and type(value) in (int, float, str):
        with contextlib.suppress(ValueError, OverflowError):  # YAML takes 1e-3, without a point, for text
            return float(value)
    if type(value) is not kind:
        raise TypeError
    return value
