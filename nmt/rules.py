"""The rules of a synchronous grammar: what they hold, how they are read from YAML, and what is checked in them.

The notation is told in :mod:`nmt.grammar`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from nmt.errors import InputError
from nmt.lexicon import Entry, Node, derive_forms, entries_of, pattern_of, read_yaml

SIDES = ("source", "target")
STARTS = ("usual", "long")
PARTS = ("start", "lexicon", "derive", "adjust", "unlinked", "recurring", "rules")
RULE_KEYS = ("weight", "when", "let", "source", "target")
EMPTY = "-"  # how an argument says "the empty text"

Value = str | Entry


class Term(NamedTuple):
    """An argument: a bound name or constant, and possibly a field of it."""

    name: str
    field: str | None


class Choice(NamedTuple):
    """One of some values, by weight."""

    values: tuple[str, ...]
    cumulative: tuple[float, ...]


class Draw(NamedTuple):
    """An entry of a category that shares a tag with each of the terms."""

    category: str
    tags: tuple[Term, ...]


class Expansion(NamedTuple):
    """A phrase: a symbol and its arguments."""

    symbol: str
    arguments: tuple[Term, ...]


class Item(NamedTuple):
    """One word or ``<...>`` of a rule's side; ``marks`` are (name, sure?)."""

    name: str
    field: str | None
    bound: bool
    marks: tuple[tuple[str, bool], ...]


class Rule(NamedTuple):
    """One way to expand a symbol."""

    weight: float
    when: dict[str, frozenset[str]]
    let: dict[str, Choice | Draw | Expansion]
    sides: tuple[tuple[Item, ...], tuple[Item, ...]]
    place: str


class Symbol(NamedTuple):
    """A symbol with its parameters and all its rules."""

    parameters: tuple[str, ...]
    rules: list[Rule]
    place: str


class Adjustment(NamedTuple):
    """A word of one side that takes another form before certain words."""

    side: int
    word: str
    becomes: str
    before: re.Pattern[str]


@dataclass
class Grammar:
    """What :func:`load_grammar` reads and :func:`nmt.grammar.generate` draws sentences from."""

    starts: dict[str, str] = field(default_factory=dict)
    lexicon: dict[str, list[Entry]] = field(default_factory=dict)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    adjustments: list[Adjustment] = field(default_factory=list)
    unlinked: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    recurring: set[str] = field(default_factory=set)


def load_grammar(path: Path) -> Grammar:
    """Read a grammar from a YAML file, or from all ``*.yaml`` files of a directory, and check it.

    Raises ``InputError``, naming file and line, for a file that is not such a grammar: unknown keys, categories,
    symbols, fields, tags and names; a phrase that is not once on either side; a mark with no partner on the other side;
    a word with no mark; arguments that no rule fits; symbols that never end or are never reached.
    """
    path = Path(path)
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no *.yaml file in this directory")
    reader = _Reader()
    for file in files:
        reader.read(file)
    return reader.finish(path)


_TERM = r"(?:[\w']+(?:\.\w+)?|-)"
_DRAW = re.compile(rf"(\w+)(?:\[({_TERM}(?:, *{_TERM})*)\])?")
_EXPANSION = re.compile(rf"(\w+)\(({_TERM}(?:, *{_TERM})*)?\)")
_HEAD = re.compile(r"(\w+)(?:\((\w+(?:, *\w+)*)\))?")
_ITEM = re.compile(r"(?:<(\w+)(?:\.(\w+))?>|([^<>]+?))((?:[/~]\w+)*)")
_MARK = re.compile(r"([/~])(\w+)")


class _Reader:
    """Gathers the parts of all files first, so that a rule may use what a later file defines."""

    def __init__(self) -> None:
        self.grammar = Grammar()
        self.heads: list[tuple[str, Node]] = []
        self.derivations: list[tuple[str, Node]] = []

    def read(self, file: Path) -> None:
        parts = read_yaml(file).table(PARTS)
        grammar = self.grammar
        if "start" in parts:
            grammar.starts |= {key: node.text() for key, node in parts["start"].table(STARTS).items()}
        if "lexicon" in parts:
            for category, node in parts["lexicon"].table().items():
                grammar.lexicon.setdefault(category, []).extend(entries_of(category, node))
        if "derive" in parts:
            self.derivations += parts["derive"].table().items()
        if "adjust" in parts:
            grammar.adjustments += [_adjustment(node) for node in parts["adjust"].rows()]
        if "unlinked" in parts:
            for key, node in parts["unlinked"].table(SIDES).items():
                grammar.unlinked[SIDES.index(key)].update(node.words())
        if "recurring" in parts:
            grammar.recurring.update(parts["recurring"].words())
        if "rules" in parts:
            self.heads += parts["rules"].table().items()

    def finish(self, path: Path) -> Grammar:
        grammar = self.grammar
        for category, node in self.derivations:
            if category not in grammar.lexicon:
                raise InputError(f"{node.place}: derive names {category!r}, which the lexicon lacks")
            derive_forms(grammar.lexicon[category], node)
        for category in sorted(grammar.recurring - set(grammar.lexicon)):
            raise InputError(f"{path}: recurring names {category!r}, which the lexicon lacks")
        for head, node in self.heads:
            match = _HEAD.fullmatch(head)
            if match is None:
                raise InputError(f"{node.place}: {head!r} is no symbol; write Name or Name(parameter, parameter)")
            name, parameters = match[1], tuple(re.split(", *", match[2])) if match[2] else ()
            if name in grammar.symbols:
                raise InputError(f"{node.place}: the symbol {name} is already defined at {grammar.symbols[name].place}")
            grammar.symbols[name] = Symbol(parameters, [], node.place)
        for (_, node), symbol in zip(self.heads, grammar.symbols.values(), strict=True):
            symbol.rules.extend(_rule(grammar, symbol, rule) for rule in node.rows())
        for key in STARTS:
            if grammar.starts.get(key) not in grammar.symbols:
                raise InputError(f"{path}: start needs {key!r}, the name of a symbol that has rules")
            if grammar.symbols[grammar.starts[key]].parameters:
                raise InputError(f"{path}: the start symbol {grammar.starts[key]} must have no parameters")
        _check_arguments(grammar)
        _check_symbols(grammar)
        return grammar


def _adjustment(node: Node) -> Adjustment:
    node.table(("side", "word", "becomes", "before"))
    side = node.need("side").text()
    if side not in SIDES:
        raise InputError(f"{node.place}: side is source or target, not {side!r}")
    before = pattern_of(node.need("before").text(), node.place)
    return Adjustment(SIDES.index(side), node.need("word").text(), node.need("becomes").text(), before)


def _rule(grammar: Grammar, symbol: Symbol, node: Node) -> Rule:
    table = node.table(RULE_KEYS)
    when = (
        {
            key: frozenset("" if word == EMPTY else word for word in values.words())
            for key, values in table["when"].table().items()
        }
        if "when" in table
        else {}
    )
    for key in when:
        if key not in symbol.parameters:
            raise InputError(f"{node.place}: when asks for {key!r}, which is no parameter of this symbol")
    names = dict.fromkeys(symbol.parameters, "")
    let: dict[str, Choice | Draw | Expansion] = {}
    for name, bound in table["let"].table().items() if "let" in table else ():
        if name in names:
            raise InputError(f"{bound.place}: {name!r} is bound already")
        let[name] = _binding(grammar, bound, names)
        names[name] = let[name].category if isinstance(let[name], Draw) else ""  # type: ignore[union-attr]
    weight = _weight(table["weight"]) if "weight" in table else 1.0
    source, target = (_items(grammar, node.need(side), names, let) for side in SIDES)
    _check_links(grammar, node.place, let, (source, target))
    return Rule(weight, when, let, (source, target), node.place)


def _weight(node: Node) -> float:
    try:
        weight = float(node.text())
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise InputError(f"{node.place}: a weight is a number above 0, not {node.text()!r}")
    return weight


def _binding(grammar: Grammar, node: Node, names: Mapping[str, str]) -> Choice | Draw | Expansion:
    if isinstance(node.raw, dict):
        return Choice(tuple(node.raw), tuple(accumulate(_weight(weight) for weight in node.raw.values())))
    text = node.text()
    if match := _EXPANSION.fullmatch(text):
        name, arguments = match[1], _terms(match[2], names, node.place)
        if name not in grammar.symbols:
            raise InputError(f"{node.place}: no rules for the symbol {name!r}")
        wanted = grammar.symbols[name].parameters
        if len(arguments) != len(wanted):
            raise InputError(f"{node.place}: {name} takes {len(wanted)} arguments, not {len(arguments)}")
        return Expansion(name, arguments)
    match = _DRAW.fullmatch(text)
    if match is None or match[1] not in grammar.lexicon:
        raise InputError(f"{node.place}: {text!r} is neither a category of the lexicon, nor Symbol(...), nor a table")
    tags = _terms(match[2], names, node.place)
    for tag in tags:
        known = any(tag.name in entry.tags for entry in grammar.lexicon[match[1]])
        if tag.name not in names and not known:
            raise InputError(f"{node.place}: no entry of {match[1]} has the tag {tag.name!r}")
    return Draw(match[1], tags)


def _terms(text: str | None, names: Mapping[str, str], place: str) -> tuple[Term, ...]:
    terms = []
    for part in re.split(", *", text) if text else ():
        name, _, wanted = part.partition(".")
        if wanted and name not in names:
            raise InputError(f"{place}: {name!r} in {part!r} is not bound before")
        terms.append(Term(name, wanted or None))
    return tuple(terms)


def _items(
    grammar: Grammar, node: Node, names: Mapping[str, str], let: Mapping[str, Choice | Draw | Expansion]
) -> tuple[Item, ...]:
    items = []
    for text in node.words():
        match = _ITEM.fullmatch(text)
        if match is None:
            raise InputError(f"{node.place}: cannot read {text!r}; write a word or <name> or <name.field>, then marks")
        name, wanted, word, tail = match.groups()
        marks = tuple((mark, kind == "/") for kind, mark in _MARK.findall(tail))
        if word is not None:
            items.append(Item(word, None, False, marks))
            continue
        if name not in names:
            raise InputError(f"{node.place}: {text!r} names {name!r}, which let does not bind")
        if isinstance(let.get(name), Expansion):
            if wanted or marks:
                raise InputError(f"{node.place}: {text!r} is a phrase: it has neither fields nor marks")
        else:
            marks = marks or ((name, True),)
        if names[name] and wanted and wanted not in names:
            for entry in grammar.lexicon[names[name]]:
                if wanted not in entry.fields:
                    raise InputError(f"{node.place}: {text!r} needs the field {wanted!r}, which {entry.place} lacks")
        items.append(Item(name, wanted, True, marks))
    return tuple(items)


def _check_links(
    grammar: Grammar,
    place: str,
    let: Mapping[str, Choice | Draw | Expansion],
    sides: tuple[tuple[Item, ...], tuple[Item, ...]],
) -> None:
    marks = [{mark for item in items for mark, _ in item.marks} for items in sides]
    for side, items in enumerate(sides):
        for item in items:
            for mark, _ in item.marks:
                if mark not in marks[1 - side] and item.name not in grammar.unlinked[side]:
                    raise InputError(
                        f"{place}: the {SIDES[side]}'s {item.name!r} is linked to {mark!r}, "
                        f"which no word of the {SIDES[1 - side]} carries"
                    )
            if not item.bound and not item.marks and item.name not in grammar.unlinked[side]:
                raise InputError(f"{place}: the {SIDES[side]}'s word {item.name!r} has no link; mark it /name or ~name")
    for name, binding in let.items():
        if isinstance(binding, Expansion):
            for side, items in enumerate(sides):
                times = sum(item.bound and item.name == name for item in items)
                if times != 1:
                    raise InputError(
                        f"{place}: the phrase <{name}> stands {times} times in the {SIDES[side]}, not once"
                    )


def _check_arguments(grammar: Grammar) -> None:
    """Constant arguments must leave at least one rule of the symbol that applies."""
    for symbol in grammar.symbols.values():
        for rule in symbol.rules:
            bound = {*symbol.parameters, *rule.let}
            for expansion in rule.let.values():
                if not isinstance(expansion, Expansion):
                    continue
                called = grammar.symbols[expansion.symbol]
                given = dict(zip(called.parameters, expansion.arguments, strict=True))
                fixed = {name: constant(term) for name, term in given.items() if term.name not in bound}
                if not any(
                    all(fixed.get(key) in (None, *values) for key, values in r.when.items()) for r in called.rules
                ):
                    raise InputError(
                        f"{rule.place}: no rule of {expansion.symbol} applies when "
                        + " and ".join(f"{name} is {value!r}" for name, value in fixed.items())
                    )


def constant(term: Term) -> str:
    """The text that a term which names nothing bound stands for."""
    return "" if term.name == EMPTY else term.name


def _check_symbols(grammar: Grammar) -> None:
    """Every symbol must be reached from a start and must end: some rule of it leads to words in finitely many steps."""
    called = {
        name: [{b.symbol for b in rule.let.values() if isinstance(b, Expansion)} for rule in symbol.rules]
        for name, symbol in grammar.symbols.items()
    }
    ending: set[str] = set()
    while more := {name for name in called if name not in ending and any(c <= ending for c in called[name])}:
        ending |= more
    reached: set[str] = set()
    waiting = [grammar.starts[key] for key in STARTS]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += sorted(set().union(*called[name]))
    for name, symbol in grammar.symbols.items():
        if name not in ending:
            raise InputError(f"{symbol.place}: the symbol {name} never ends: each of its rules leads back to it")
        if name not in reached:
            raise InputError(f"{symbol.place}: the symbol {name} is never reached from the start symbols")
