"""The lexicon of a grammar: entries with named fields, and the forms that are derived from them.

The notation is told in :mod:`nmt.grammar`. Every YAML value is read as text and remembers where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml

from nmt.errors import InputError
from nmt.text import read_lines


@dataclass(frozen=True, eq=False)
class Entry:
    """A row of the lexicon: its fields by name, and its tags."""

    category: str
    fields: Mapping[str, str]
    tags: frozenset[str]
    place: str


Raw = str | list["Node"] | dict[str, "Node"]


class Node(NamedTuple):
    """A YAML value that remembers where it stands."""

    raw: Raw
    place: str

    def text(self) -> str:
        """The text that stands here; this and the methods below raise ``InputError`` for anything else."""
        if not isinstance(self.raw, str):
            raise InputError(f"{self.place}: text was expected")
        return self.raw

    def words(self) -> list[str]:
        """The words of the text that stands here."""
        return self.text().split()

    def rows(self) -> list[Node]:
        """The list that stands here."""
        if not isinstance(self.raw, list):
            raise InputError(f"{self.place}: a list was expected (lines that begin with a dash)")
        return self.raw

    def table(self, keys: Sequence[str] | None = None) -> dict[str, Node]:
        """The table that stands here, with these keys at most."""
        if not isinstance(self.raw, dict):
            raise InputError(f"{self.place}: a table was expected (key: value)")
        for key, node in self.raw.items():
            if keys is not None and key not in keys:
                raise InputError(f"{node.place}: unknown key {key!r}; the keys here are {', '.join(keys)}")
        return self.raw

    def need(self, key: str) -> Node:
        """What stands under a key that must be there."""
        table = self.table()
        if key not in table:
            raise InputError(f"{self.place}: the key {key!r} is missing")
        return table[key]


def read_yaml(file: Path) -> Node:
    """The tree of a YAML file. Raises ``InputError`` for one that is missing, empty, not YAML, or gives a key twice."""
    try:
        root = yaml.compose("\n".join(read_lines(file)), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not YAML ({' '.join(str(error).split())})") from None
    if root is None:
        raise InputError(f"{file}: the file is empty")
    return _located(root, file)


def _located(node: yaml.Node, file: Path, line: int = 0) -> Node:
    place = f"{file}, line {line or node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        return Node([_located(child, file) for child in node.value], place)
    if isinstance(node, yaml.MappingNode):
        table: dict[str, Node] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if key.value in table:
                raise InputError(f"{file}, line {line}: {key.value!r} is given twice")
            table[str(key.value)] = _located(child, file, line)
        return Node(table, place)
    return Node(str(node.value), place)


def entries_of(category: str, node: Node) -> Iterator[Entry]:
    """The rows of one category of a lexicon. Raises ``InputError`` for a row whose cells do not fit the columns."""
    table = node.table(("columns", "rows"))
    columns = [column.strip() for column in node.need("columns").text().split("|")]
    if not node.need("rows").rows():
        raise InputError(f"{node.place}: the category {category} has no rows")
    for row in table["rows"].rows():
        cells = [cell.strip() for cell in row.text().split("|")]
        further = cells.pop().split() if len(cells) == len(columns) + 1 else []  # name=value, with _ for a space
        if len(cells) != len(columns):
            raise InputError(f"{row.place}: {len(cells)} cells, but {category} has the columns {', '.join(columns)}")
        fields = dict(zip(columns, cells, strict=True))
        for part in further:
            name, equals, value = part.partition("=")
            if not equals:
                raise InputError(f"{row.place}: {part!r} after the last column is no further field; write name=value")
            fields[name] = value.replace("_", " ")
        yield Entry(category, fields, frozenset(fields.get("tags", "").split()), row.place)


def derive_forms(entries: list[Entry], node: Node) -> None:
    """Replace every entry of a category by one that has all the forms that ``node``, a part of ``derive``, describes.

    Raises ``InputError`` for a form of a field that an entry lacks, and for a bad pattern.
    """
    for name, spec in node.table().items():
        table = spec.table(("from", "word", "rules"))
        origin, which = spec.need("from").text(), table["word"].text() if "word" in table else "all"
        if which not in ("all", "first", "last"):
            raise InputError(f"{spec.place}: word is first, last or all, not {which!r}")
        patterns: list[tuple[re.Pattern[str], str]] = []
        for rule in spec.need("rules").rows():
            pattern, arrow, replacement = rule.text().partition("->")
            if not arrow:
                raise InputError(f"{rule.place}: write a pattern, an arrow -> and what replaces it")
            patterns.append((pattern_of(pattern.strip(), rule.place), replacement.strip()))
        for at, entry in enumerate(entries):
            if origin not in entry.fields:
                raise InputError(f"{entry.place}: no field {origin!r} to derive {name!r} from")
            form = _derived(entry.fields[origin], which, patterns, entry.fields.get(name))
            entries[at] = Entry(entry.category, {**entry.fields, name: form}, entry.tags, entry.place)


def _derived(text: str, which: str, patterns: list[tuple[re.Pattern[str], str]], given: str | None) -> str:
    """The form of ``text``; one that the entry gives stands for the word that changes (``take ~care``: ``took``)."""
    if which == "all":
        words, at = [text], 0
    else:
        words, at = text.split() or [""], 0 if which == "first" else -1
    if given is not None:
        words[at] = given
    else:
        for pattern, replacement in patterns:
            if pattern.search(words[at]):
                words[at] = pattern.sub(replacement, words[at], count=1)
                break
    return " ".join(words)


def pattern_of(text: str, place: str) -> re.Pattern[str]:
    """A regular expression that stands at ``place``. Raises ``InputError`` for one that is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"{place}: {text!r} is no regular expression ({error})") from None
