"""YAML as a person means it, every value with the file and the line it comes from.

YAML 1.1 reads ``no`` as false, ``012`` as ten, ``12:30`` as 750 and ``1e-4`` as text. Here ``true`` and ``false`` are
the only booleans, a number is what a person would call a decimal number (``1e-4``, ``1_000``, ``.5``, ``.inf``),
``null``, ``~`` and nothing at all are null, and everything else is text. A key is always text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nmt.errors import InputError

_PREFIX = "tag:yaml.org,2002:"
_NUMBER = r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)"
# What a plain scalar is, tried in this order; the key of the second part is the first character it can have.
_PLAIN = {
    "bool": (r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "null": (r"^(?:null|Null|NULL|~|)$", ["n", "N", "~", ""]),
    "int": (r"^[-+]?\d[\d_]*$", "-+0123456789"),
    "float": (rf"^(?:{_NUMBER}(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+.0123456789"),
}


class Origin(NamedTuple):
    """Where a value was written: a file and a line counted from 1 (0: the whole of it)."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}" if self.line else self.file


class Located(NamedTuple):
    """A value with its origin: a scalar, a list of ``Located``, or a mapping from text to ``Located``."""

    value: Any
    origin: Origin
    directory: Path  # what relative paths among the text are relative to


class Text(str):
    """Text that knows the directory of the file it was written in, and its line there."""

    __slots__ = ("directory", "origin")
    directory: Path
    origin: Origin


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - replaces the table that the parent declares

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node; aliases are refused, for a tree has one line for every value."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias (*name) is not read here, write the value out", problem_mark=mark
            )
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012 - replaces the table that the parent declares

    def represent_text(self, text: str) -> yaml.Node:
        """Text as YAML; what YAML 1.1 takes for line ends is escaped, as it would be folded otherwise."""
        style = '"' if re.search("[\x85\u2028\u2029]", text) else None
        return self.represent_scalar(f"{_PREFIX}str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)
for _name, (_pattern, _first) in _PLAIN.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _name, re.compile(_pattern, re.ASCII), list(_first))


def read(path: Path, mistakes: list[str]) -> Located:
    """The tree of a YAML file; a key given twice is added to ``mistakes``.

    Raises ``InputError`` for a file that cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: invalid UTF-8; convert the file to UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return parse(text, str(path), path.parent, mistakes)


def parse(text: str, name: str, directory: Path, mistakes: list[str], first_line: int = 1) -> Located:
    """The tree of a YAML text that errors call ``name``; ``first_line`` 0 where lines mean nothing."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + first_line if error.problem_mark else first_line
        raise InputError(f"{Origin(name, line if first_line else 0)}: not YAML: {_reason(text, error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + first_line
        raise InputError(
            f"{Origin(name, line)}: not YAML: the character U+{error.character:04X} is not allowed"
        ) from None

    def origin(part: yaml.Node) -> Origin:
        return Origin(name, part.start_mark.line + first_line if first_line else 0)

    def convert(part: yaml.Node, where: Origin) -> Located:
        value: Any
        if isinstance(part, yaml.MappingNode):
            value = {}
            for key, child in part.value:
                if not isinstance(key, yaml.ScalarNode):
                    mistakes.append(f"{origin(key)}: a key must be plain text")
                elif key.value in value:
                    first = value[key.value].origin
                    mistakes.append(f'{origin(key)}: the key "{key.value}" is given twice (first in line {first.line})')
                else:
                    value[key.value] = convert(child, origin(key))
        elif isinstance(part, yaml.SequenceNode):
            value = [convert(child, origin(child)) for child in part.value]
        else:
            value = _scalar(part, where, directory)
            if value is part:
                mistakes.append(f"{where}: the tag {part.tag} is not allowed")
                value = None
        return Located(value, where, directory)

    if node is None:
        return Located(None, Origin(name, 0), directory)
    return convert(node, Origin(name, 0))


def merge(base: Located, over: Located) -> Located:
    """``base`` with what ``over`` says: mapping by mapping, anything else is replaced.

    A mapping whose ``kind`` changes is replaced whole, for the settings of another kind would be left behind in it; a
    name that meets a mapping without ``kind`` is the kind of it (``bahdanau`` is short for ``{kind: bahdanau}``).
    """
    if not isinstance(over.value, dict):
        return over
    below = base.value
    if isinstance(below, str):
        below = {"kind": base}
    if not isinstance(below, dict) or ("kind" in over.value and _kind(below) != _kind(over.value)):
        return over
    merged = dict(below)
    for key, value in over.value.items():
        merged[key] = merge(merged[key], value) if key in merged else value
    return Located(merged, base.origin, base.directory)


def plain(tree: Located) -> Any:
    """The value alone: dictionaries, tuples (settings never change) and scalars."""
    if isinstance(tree.value, dict):
        return {key: plain(value) for key, value in tree.value.items()}
    if isinstance(tree.value, list):
        return tuple(plain(value) for value in tree.value)
    return tree.value


def write(value: Any) -> str:
    """Dictionaries, lists and scalars as YAML that :func:`parse` reads back to the same."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


def _kind(mapping: Mapping[str, Located]) -> Any:
    return mapping["kind"].value if "kind" in mapping else None


def _scalar(node: yaml.Node, where: Origin, directory: Path) -> Any:
    tag, text = node.tag.removeprefix(_PREFIX), node.value
    try:
        if tag == "int":
            return int(text.replace("_", ""))
        if tag == "float":
            number = text.lower().replace("_", "")
            return float(number.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:  # an explicit tag on something else: !!int abc
        return node
    if tag == "bool":
        return text.lower() == "true"
    if tag == "null":
        return None
    if tag != "str":
        return node
    located = Text(text)
    located.directory, located.origin = directory, where
    return located


def _reason(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    if mark is not None and mark.index < len(text) and text[mark.index] == "\t":
        return "a tab where spaces were expected; indent with spaces"
    return ", ".join(part for part in (error.context, error.problem) if part)
