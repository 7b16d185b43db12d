"""Synchronous grammars: parallel text with its gold word links, generated from rules and a lexicon.

A grammar is one YAML file or a directory of them (read in the order of their names; their parts add up). Every value is
read as text, so ``no`` is a word and not false. The parts:

    start:   {usual: Sentence, long: Text}      # the symbols that generation starts from
    lexicon:                                    # tables of entries, their fields separated by |
      noun:
        columns: zh | measure | singular | tags # ``tags`` are words that draws select by
        rows:
        - 苹果 | 个 | apple | fruit food
        - 孩子 | 个 | child | human | plural=children      # further fields at the end
    derive:                                     # fields that an entry lacks, made by the first pattern that matches
      noun:
        plural: {from: singular, word: last, rules: [(s|x|ch|sh)$ -> \\1es, $ -> s]}
    adjust:                                     # a word that depends on the one that follows it
    - {side: target, word: a, becomes: an, before: "[aeiou]"}
    unlinked: {target: the it}                  # words that may stand without any link
    recurring: pronoun number                   # categories whose entries may be drawn twice for one sentence
    rules:
      Noun(kind, number):                       # a symbol and its parameters; below, its rules
      - weight: 2                               # how often, against the other rules that apply (1 when absent)
        when: {number: singular}                # the rule applies to these values of the parameters
        let: {n: noun[kind]}                    # what it needs, in this order
        source: 一/q <n.measure>~q <n.zh>
        target: a/q <n.singular>

``let`` binds a name to an entry drawn from a category (``noun``, or ``noun[kind, big]``: entries that share a tag with
each of these), to a phrase (``Noun(kind, plural)``, expanded on the spot), or to one of some weighted values
(``{singular: 3, plural: 1}``). An argument is a name bound before, a field of it (``v.tags``), a value, or ``-``, the
empty text. No entry is drawn twice for one sentence, unless its category is recurring. A rule whose draw finds nothing
is passed over for another rule of its symbol.

``source`` and ``target`` are words and ``<...>``: a phrase (exactly once on either side), a bound value, or a field of an
entry; in ``<v.number>`` a bound ``number`` is replaced by its value. Marks link words: all words of one rule that carry
the same mark are linked across the sides, surely where both carry it as ``/mark``, possibly where one carries it as
``~mark``. A field with no mark of its own carries ``/`` and the name of its entry, so ``<n.zh>`` and ``<n.singular>`` are
linked without further words. In the lexicon ``~`` before a word (``listen ~to``) makes its links possible ones.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

import yaml

from nmt.errors import InputError
from nmt.text import read_lines

SIDES = ("source", "target")
STARTS = ("usual", "long")
PARTS = ("start", "lexicon", "derive", "adjust", "unlinked", "recurring", "rules")
RULE_KEYS = ("weight", "when", "let", "source", "target")
EMPTY = "-"  # how an argument says "the empty text"
LONG_FACTORS = (2, 3)  # a long sentence has 2 to 3 times max_length words on either side
PATIENCE = 20_000  # draws without a new sentence after which the grammar is held to be exhausted
DEEPEST = 60  # nested phrases; a derivation that goes deeper is given up


class Pair(NamedTuple):
    """A sentence, its translation, and the gold links between their words, (source index, target index) from 0."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[tuple[int, int]]
    possible: frozenset[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Entry:
    """A row of the lexicon: its fields by name, and its tags."""

    category: str
    fields: Mapping[str, str]
    tags: frozenset[str]
    place: str


Value = str | Entry


class Term(NamedTuple):
    """An argument: a bound name or constant, and possibly a field of it."""

    name: str
    field: str | None


class Choice(NamedTuple):
    values: tuple[str, ...]
    cumulative: tuple[float, ...]


class Draw(NamedTuple):
    category: str
    tags: tuple[Term, ...]


class Expansion(NamedTuple):
    symbol: str
    arguments: tuple[Term, ...]


class Item(NamedTuple):
    """One word or ``<...>`` of a rule's side; ``marks`` are (name, sure?)."""

    name: str
    field: str | None
    bound: bool
    marks: tuple[tuple[str, bool], ...]


class Rule(NamedTuple):
    weight: float
    when: dict[str, frozenset[str]]
    let: dict[str, Choice | Draw | Expansion]
    sides: tuple[tuple[Item, ...], tuple[Item, ...]]
    place: str


class Symbol(NamedTuple):
    parameters: tuple[str, ...]
    rules: list[Rule]
    place: str


class Adjustment(NamedTuple):
    side: int
    word: str
    becomes: str
    before: re.Pattern[str]


@dataclass
class Grammar:
    """What :func:`load_grammar` reads; :func:`generate` draws sentences from it."""

    starts: dict[str, str] = field(default_factory=dict)
    lexicon: dict[str, list[Entry]] = field(default_factory=dict)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    adjustments: list[Adjustment] = field(default_factory=list)
    unlinked: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))
    recurring: set[str] = field(default_factory=set)


# ------------------------------------------------------------------------------------------------------ generation


def generate(
    grammar: Grammar, *, train: int, dev: int, test: int, long: int, max_length: int, seed: int
) -> dict[str, list[Pair]]:
    """Draw a corpus: lists of pairs under ``train``, ``dev``, ``test`` and ``long``, the same for the same arguments.

    No sentence of either language occurs twice in the whole of it. The first three splits are one random sample of
    sentences with at most ``max_length`` words on either side; those of ``long`` have between two and three times
    ``max_length`` words on both sides.

    Raises ``InputError`` when the grammar translates one sentence in two ways, has too few sentences, or lacks a form.
    """
    draw = _Sampler(grammar, Random(seed))
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    targets: set[tuple[str, ...]] = set()

    def sample(start: str, size: int, shortest: int, longest: int) -> list[Pair]:
        pairs: list[Pair] = []
        vain, reason = 0, f"fewer than {size} sentences of {shortest} to {longest} words"
        while len(pairs) < size:
            if vain == PATIENCE:
                raise InputError(
                    f"the grammar gave no new sentence in {PATIENCE} draws from {start} ({reason}); "
                    "ask for fewer sentences or write more rules"
                )
            vain += 1
            try:
                pair = draw.sentence(start)
            except _NoDerivationError as error:
                reason = str(error)
                continue
            if known.get(pair.source, pair.target) != pair.target:
                raise InputError(
                    f"the grammar translates one sentence in two ways: {' '.join(pair.source)!r} is "
                    f"{' '.join(known[pair.source])!r} and {' '.join(pair.target)!r}; make the source say which"
                )
            fits = all(shortest <= len(side) <= longest for side in (pair.source, pair.target))
            if not fits or pair.source in known or pair.target in targets:
                continue
            known[pair.source] = pair.target
            targets.add(pair.target)
            pairs.append(pair)
            vain = 0
        return pairs

    usual = sample(grammar.starts["usual"], train + dev + test, 1, max_length)
    # The later a sentence is drawn, the longer it tends to be, for the short ones run out: so the splits are shuffled.
    _shuffle(usual, draw.random)
    low, high = (factor * max_length for factor in LONG_FACTORS)
    return {
        "train": usual[:train],
        "dev": usual[train : train + dev],
        "test": usual[train + dev :],
        "long": sample(grammar.starts["long"], long, low, high),
    }


def format_links(pair: Pair) -> str:
    """The links in Pharaoh's notation, sorted: ``i-j`` sure and ``ipj`` possible, source first, counted from 0."""
    links = sorted([(link, "-") for link in pair.sure] + [(link, "p") for link in pair.possible])
    return " ".join(f"{source}{mark}{target}" for (source, target), mark in links)


def _shuffle(items: list[Pair], random: Random) -> None:
    """Fisher and Yates's, from ``random.random`` alone: that sequence is the same in every version of Python."""
    for last in range(len(items) - 1, 0, -1):
        other = int(random.random() * (last + 1))
        items[last], items[other] = items[other], items[last]


class _NoDerivationError(Exception):
    """This derivation cannot be completed; another one may be."""


class _Phrase(NamedTuple):
    sides: tuple[list[tuple[int, str]], list[tuple[int, str]]]  # words, each with a number of its own
    links: list[tuple[int, int, bool]]  # numbers of a source and a target word, sure?


class _Sampler:
    """Draws derivations top down and left to right, backing out of those that cannot be completed."""

    def __init__(self, grammar: Grammar, random: Random) -> None:
        self.grammar = grammar
        self.random = random
        self._fitting: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
        self._drawn: dict[Entry, None] = {}  # in order; an entry equals itself alone
        self._words = 0

    def sentence(self, start: str) -> Pair:
        self._drawn.clear()
        phrase = self._expand(start, (), 0)
        texts = tuple(self._adjusted([word for _, word in words], side) for side, words in enumerate(phrase.sides))
        source_at, target_at = ({number: at for at, (number, _) in enumerate(words)} for words in phrase.sides)
        sure = frozenset((source_at[i], target_at[j]) for i, j, is_sure in phrase.links if is_sure)
        possible = frozenset((source_at[i], target_at[j]) for i, j, _ in phrase.links)
        return Pair(texts[0], texts[1], sure, possible - sure)

    def _adjusted(self, words: list[str], side: int) -> tuple[str, ...]:
        for adjustment in self.grammar.adjustments:
            if adjustment.side == side:
                for at in range(len(words) - 1):
                    if words[at] == adjustment.word and adjustment.before.match(words[at + 1]):
                        words[at] = adjustment.becomes
        return tuple(words)

    def _expand(self, name: str, arguments: tuple[Value, ...], depth: int) -> _Phrase:
        symbol = self.grammar.symbols[name]
        scope = dict(zip(symbol.parameters, arguments, strict=True))
        rules = [rule for rule in symbol.rules if all(scope[key] in values for key, values in rule.when.items())]
        while rules and depth < DEEPEST:
            at = self._pick(list(accumulate(rule.weight for rule in rules)))
            drawn = dict(self._drawn)
            try:
                return self._apply(rules[at], dict(scope), depth)
            except _NoDerivationError:
                self._drawn = drawn
                del rules[at]
        told = ", ".join(value if isinstance(value, str) else f"an entry of {value.category}" for value in arguments)
        raise _NoDerivationError(f"{symbol.place}: no rule can be applied to {name}({told})")

    def _apply(self, rule: Rule, scope: dict[str, Value], depth: int) -> _Phrase:
        phrases: dict[str, _Phrase] = {}
        for name, binding in rule.let.items():
            if isinstance(binding, Choice):
                scope[name] = binding.values[self._pick(binding.cumulative)]
            elif isinstance(binding, Draw):
                scope[name] = self._draw(binding, scope, rule)
            else:
                arguments = tuple(_value(term, scope, rule) for term in binding.arguments)
                phrases[name] = self._expand(binding.symbol, arguments, depth + 1)
        links = [link for phrase in phrases.values() for link in phrase.links]
        texts: tuple[list[tuple[int, str]], list[tuple[int, str]]] = ([], [])
        marked: dict[str, tuple[list[tuple[int, bool]], list[tuple[int, bool]]]] = {}
        for side, items in enumerate(rule.sides):
            for item in items:
                if item.bound and item.name in phrases:
                    texts[side].extend(phrases[item.name].sides[side])
                    continue
                for word in _text(item, scope, rule).split():
                    texts[side].append((self._words, word.removeprefix("~")))
                    for mark, sure in item.marks:
                        group = marked.setdefault(mark, ([], []))
                        group[side].append((self._words, sure and not word.startswith("~")))
                    self._words += 1
        for sources, targets in marked.values():
            links += [(i, j, sure_i and sure_j) for i, sure_i in sources for j, sure_j in targets]
        return _Phrase(texts, links)

    def _draw(self, binding: Draw, scope: dict[str, Value], rule: Rule) -> Entry:
        tags = tuple(_value(term, scope, rule) for term in binding.tags)
        texts = tuple(tag if isinstance(tag, str) else " ".join(sorted(tag.tags)) for tag in tags)
        key = (binding.category, texts)
        if key not in self._fitting:
            self._fitting[key] = [
                entry
                for entry in self.grammar.lexicon[binding.category]
                if all(not entry.tags.isdisjoint(text.split()) for text in texts)
            ]
        entries = self._fitting[key]
        if binding.category not in self.grammar.recurring:
            entries = [entry for entry in entries if entry not in self._drawn]
        if not entries:
            raise _NoDerivationError(f"{rule.place}: no entry left to draw from {binding.category}[{', '.join(texts)}]")
        entry = entries[int(self.random.random() * len(entries))]
        self._drawn[entry] = None
        return entry

    def _pick(self, cumulative: Sequence[float]) -> int:
        return min(bisect_right(cumulative, self.random.random() * cumulative[-1]), len(cumulative) - 1)


def _value(term: Term, scope: Mapping[str, Value], rule: Rule) -> Value:
    if term.name not in scope:
        return "" if term.name == EMPTY else term.name
    value = scope[term.name]
    return value if term.field is None else _field(value, term.name, term.field, scope, rule)


def _text(item: Item, scope: Mapping[str, Value], rule: Rule) -> str:
    if not item.bound:
        return item.name
    value = scope[item.name]
    if item.field is not None:
        return _field(value, item.name, item.field, scope, rule)
    if isinstance(value, str):
        return value
    raise InputError(f"{rule.place}: <{item.name}> is an entry of {value.category}; say which field of it")


def _field(value: Value, name: str, wanted: str, scope: Mapping[str, Value], rule: Rule) -> str:
    if not isinstance(value, Entry):
        raise InputError(f"{rule.place}: <{name}.{wanted}> asks for a field of {value!r}, which is no entry")
    indirect = scope.get(wanted, wanted)
    if not isinstance(indirect, str) or indirect not in value.fields:
        raise InputError(f"{rule.place}: <{name}.{wanted}> asks for the field {indirect!r}, which {value.place} lacks")
    return value.fields[indirect]


# --------------------------------------------------------------------------------------------------------- reading


def load_grammar(path: Path) -> Grammar:
    """Read a grammar from a YAML file, or from all ``*.yaml`` files of a directory, and check it.

    Raises ``InputError``, naming file and line, for a file that is not such a grammar: unknown keys, categories, symbols,
    fields, tags and names; a phrase that is not once on either side; a mark with no partner on the other side; a word
    with no mark; symbols that never end or are never reached.
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

Raw = str | list["_Node"] | dict[str, "_Node"]


class _Node(NamedTuple):
    """A YAML value that remembers where it stands."""

    raw: Raw
    place: str

    def text(self) -> str:
        if not isinstance(self.raw, str):
            raise InputError(f"{self.place}: text was expected")
        return self.raw

    def words(self) -> list[str]:
        return self.text().split()

    def rows(self) -> list[_Node]:
        if not isinstance(self.raw, list):
            raise InputError(f"{self.place}: a list was expected (lines that begin with a dash)")
        return self.raw

    def table(self, keys: Sequence[str] | None = None) -> dict[str, _Node]:
        if not isinstance(self.raw, dict):
            raise InputError(f"{self.place}: a table was expected (key: value)")
        for key, node in self.raw.items():
            if keys is not None and key not in keys:
                raise InputError(f"{node.place}: unknown key {key!r}; the keys here are {', '.join(keys)}")
        return self.raw

    def need(self, key: str) -> _Node:
        table = self.table()
        if key not in table:
            raise InputError(f"{self.place}: the key {key!r} is missing")
        return table[key]


def _node(node: yaml.Node, file: Path) -> _Node:
    place = f"{file}, line {node.start_mark.line + 1}"
    if isinstance(node, yaml.SequenceNode):
        return _Node([_node(child, file) for child in node.value], place)
    if isinstance(node, yaml.MappingNode):
        table: dict[str, _Node] = {}
        for key, child in node.value:
            if key.value in table:
                raise InputError(f"{file}, line {key.start_mark.line + 1}: {key.value!r} is given twice")
            table[str(key.value)] = _node(child, file)
        return _Node(table, place)
    return _Node(str(node.value), place)


class _Reader:
    """Gathers the parts of all files first, so that a rule may use what a later file defines."""

    def __init__(self) -> None:
        self.grammar = Grammar()
        self.heads: list[tuple[str, _Node]] = []
        self.derivations: list[tuple[str, _Node]] = []

    def read(self, file: Path) -> None:
        try:
            root = yaml.compose("\n".join(read_lines(file)), Loader=yaml.BaseLoader)
        except yaml.YAMLError as error:
            raise InputError(f"{file}: not YAML ({' '.join(str(error).split())})") from None
        if root is None:
            raise InputError(f"{file}: the file is empty")
        parts = _node(root, file).table(PARTS)
        grammar = self.grammar
        if "start" in parts:
            grammar.starts |= {key: node.text() for key, node in parts["start"].table(STARTS).items()}
        if "lexicon" in parts:
            for category, node in parts["lexicon"].table().items():
                grammar.lexicon.setdefault(category, []).extend(_entries(category, node))
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
            _derive(grammar, category, node)
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
        _check_symbols(grammar)
        return grammar


def _entries(category: str, node: _Node) -> Iterator[Entry]:
    table = node.table(("columns", "rows"))
    columns = [column.strip() for column in node.need("columns").text().split("|")]
    if not node.need("rows").rows():
        raise InputError(f"{node.place}: the category {category} has no rows")
    for row in table["rows"].rows():
        cells = [cell.strip() for cell in row.text().split("|")]
        if len(cells) == len(columns) + 1:  # one more cell: further fields, name=value with _ for a space
            extra = dict(part.partition("=")[::2] for part in cells.pop().split())
        else:
            extra = {}
        if len(cells) != len(columns):
            raise InputError(f"{row.place}: {len(cells)} cells, but {category} has the columns {', '.join(columns)}")
        fields = dict(zip(columns, cells, strict=True)) | {key: text.replace("_", " ") for key, text in extra.items()}
        yield Entry(category, fields, frozenset(fields.get("tags", "").split()), row.place)


def _derive(grammar: Grammar, category: str, node: _Node) -> None:
    if category not in grammar.lexicon:
        raise InputError(f"{node.place}: derive names {category!r}, which the lexicon lacks")
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
            patterns.append((_pattern(pattern.strip(), rule.place), replacement.strip()))
        entries = grammar.lexicon[category]
        for at, entry in enumerate(entries):
            if origin not in entry.fields:
                raise InputError(f"{entry.place}: no field {origin!r} to derive {name!r} from")
            form = _derived(entry.fields[origin], which, patterns, entry.fields.get(name))
            entries[at] = Entry(category, {**entry.fields, name: form}, entry.tags, entry.place)


def _derived(text: str, which: str, patterns: list[tuple[re.Pattern[str], str]], given: str | None) -> str:
    """The form of ``text``; one that the entry gives counts for the word that changes (``take ~care``, past ``took``)."""
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


def _pattern(text: str, place: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InputError(f"{place}: {text!r} is no regular expression ({error})") from None


def _adjustment(node: _Node) -> Adjustment:
    node.table(("side", "word", "becomes", "before"))
    side = node.need("side").text()
    if side not in SIDES:
        raise InputError(f"{node.place}: side is source or target, not {side!r}")
    before = _pattern(node.need("before").text(), node.place)
    return Adjustment(SIDES.index(side), node.need("word").text(), node.need("becomes").text(), before)


def _rule(grammar: Grammar, symbol: Symbol, node: _Node) -> Rule:
    table = node.table(RULE_KEYS)
    when = {key: frozenset("" if word == EMPTY else word for word in values.words()) for key, values in table["when"].table().items()} if "when" in table else {}
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


def _weight(node: _Node) -> float:
    try:
        weight = float(node.text())
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise InputError(f"{node.place}: a weight is a number above 0, not {node.text()!r}")
    return weight


def _binding(grammar: Grammar, node: _Node, names: Mapping[str, str]) -> Choice | Draw | Expansion:
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
    grammar: Grammar, node: _Node, names: Mapping[str, str], let: Mapping[str, Choice | Draw | Expansion]
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
