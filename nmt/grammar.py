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

``source`` and ``target`` are words and ``<...>``: a phrase (exactly once on either side), a bound value, or a field of
an entry; in ``<v.number>`` a bound ``number`` is replaced by its value. Marks link words: all words of one rule that
carry the same mark are linked across the sides, surely where both carry it as ``/mark``, possibly where one carries it
as ``~mark``. A field with no mark of its own carries ``/`` and the name of its entry, so ``<n.zh>`` and
``<n.singular>`` are linked without further words. In the lexicon ``~`` before a word (``listen ~to``) makes its links
possible ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple

from nmt.errors import InputError
from nmt.lexicon import Entry
from nmt.rules import Choice, Draw, Grammar, Item, Rule, Symbol, Term, constant, load_grammar

__all__ = ["Grammar", "Pair", "format_links", "generate", "load_grammar"]

Value = str | Entry

LONG_FACTORS = (2, 3)  # a long sentence has 2 to 3 times max_length words on either side
PATIENCE = 20_000  # draws without a new sentence after which the grammar is held to be exhausted
DEEPEST = 60  # nested phrases; a derivation that goes deeper is given up
FAMILIAR = 5  # words of the held-out splits occur in this many training sentences


class Pair(NamedTuple):
    """A sentence, its translation, and the gold links between their words, (source index, target index) from 0."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[tuple[int, int]]
    possible: frozenset[tuple[int, int]]


def generate(
    grammar: Grammar, *, train: int, dev: int, test: int, long: int, max_length: int, seed: int
) -> dict[str, list[Pair]]:
    """Draw a corpus: lists of pairs under ``train``, ``dev``, ``test`` and ``long``, the same for the same arguments.

    No sentence of either language occurs twice in the whole of it. The first three splits are one random sample of
    sentences with at most ``max_length`` words on either side; those of ``long`` have between two and three times
    ``max_length`` words on both sides. Every word of ``dev``, ``test`` and ``long`` occurs in one sentence of ``train``
    for every thousand that ``train`` has, five at most.

    Raises ``InputError`` when the grammar translates one sentence in two ways, has too few sentences, or lacks a form.
    """
    pool = _Pool(_Sampler(grammar, Random(seed)))
    usual = pool.fill(train + dev + test, "usual", (1, max_length), lambda pair: True)
    # The later a sentence is drawn, the longer it tends to be, for the short ones run out: so the splits are shuffled.
    _shuffle(usual, pool.sampler.random)
    enough = min(FAMILIAR, train // 1000)
    counts = Counter(word for pair in usual for word in _words(pair))
    held: list[Pair] = []
    kept: list[Pair] = []
    for pair in usual:
        if len(held) < dev + test and all(counts[word] > enough for word in _words(pair)):
            held.append(pair)
            counts.subtract(_words(pair))
        else:
            kept.append(pair)
    if len(held) < dev + test:
        raise InputError(
            f"only {len(held)} of {dev + test} sentences for dev and test have words that occur {enough} times "
            "elsewhere; ask for more training sentences or write rules that use rare words more often"
        )

    def familiar(pair: Pair) -> bool:
        return all(counts[word] >= enough for word in _words(pair))

    low, high = (factor * max_length for factor in LONG_FACTORS)
    return {
        "train": kept,
        "dev": held[:dev],
        "test": held[dev:],
        "long": pool.fill(long, "long", (low, high), familiar),
    }


def format_links(pair: Pair) -> str:
    """The links in Pharaoh's notation, sorted: ``i-j`` sure and ``ipj`` possible, source first, counted from 0."""
    links = sorted([(link, "-") for link in pair.sure] + [(link, "p") for link in pair.possible])
    return " ".join(f"{source}{mark}{target}" for (source, target), mark in links)


def _words(pair: Pair) -> set[tuple[int, str]]:
    return {(side, word) for side, words in enumerate((pair.source, pair.target)) for word in words}


def _shuffle(items: list[Pair], random: Random) -> None:
    """Fisher and Yates's, from ``random.random`` alone: that sequence is the same in every version of Python."""
    for last in range(len(items) - 1, 0, -1):
        other = int(random.random() * (last + 1))
        items[last], items[other] = items[other], items[last]


class _Pool:
    """Takes sentences from a sampler so that none comes twice, on either side, and none has two translations."""

    def __init__(self, sampler: _Sampler) -> None:
        self.sampler = sampler
        self.translation: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.targets: set[tuple[str, ...]] = set()

    def fill(self, size: int, start: str, lengths: tuple[int, int], wanted: Callable[[Pair], bool]) -> list[Pair]:
        """``size`` new sentences from a start symbol whose lengths on both sides are within ``lengths``."""
        shortest, longest = lengths
        pairs: list[Pair] = []
        vain, reason = 0, f"sentences of {shortest} to {longest} words are used up"
        while len(pairs) < size:
            if vain == PATIENCE:
                raise InputError(
                    f"the grammar gave {len(pairs)} of {size} sentences from its {start} start symbol and then no new "
                    f"one in {PATIENCE} draws ({reason}); ask for fewer sentences or write more rules"
                )
            vain += 1
            try:
                pair = self.sampler.sentence(self.sampler.grammar.starts[start])
            except _NoDerivationError as error:
                reason = str(error)
                continue
            known = self.translation.setdefault(pair.source, pair.target)
            if known != pair.target:
                raise InputError(
                    f"the grammar translates one sentence in two ways: {' '.join(pair.source)!r} is "
                    f"{' '.join(known)!r} and {' '.join(pair.target)!r}; make the source say which"
                )
            fits = all(shortest <= len(side) <= longest for side in (pair.source, pair.target))
            if fits and pair.target not in self.targets and wanted(pair):
                self.targets.add(pair.target)
                pairs.append(pair)
                vain = 0
        return pairs


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
        self._rules: dict[tuple[str, tuple[str | None, ...]], tuple[list[Rule], Sequence[float]]] = {}
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
        rules, cumulative = self._applicable(name, symbol, arguments)
        while rules and depth < DEEPEST:
            at = self._pick(cumulative)
            drawn = dict(self._drawn)
            try:
                return self._apply(rules[at], dict(scope), depth)
            except _NoDerivationError:
                self._drawn = drawn
                rules = rules[:at] + rules[at + 1 :]
                cumulative = list(accumulate(rule.weight for rule in rules))
        told = ", ".join(value if isinstance(value, str) else f"an entry of {value.category}" for value in arguments)
        raise _NoDerivationError(f"{symbol.place}: no rule can be applied to {name}({told})")

    def _applicable(
        self, name: str, symbol: Symbol, arguments: tuple[Value, ...]
    ) -> tuple[list[Rule], Sequence[float]]:
        """The rules whose ``when`` holds, with their cumulative weights; an entry satisfies no ``when``."""
        texts = tuple(value if isinstance(value, str) else None for value in arguments)
        key = (name, texts)
        if key not in self._rules:
            scope = dict(zip(symbol.parameters, texts, strict=True))
            rules = [rule for rule in symbol.rules if all(scope[key] in values for key, values in rule.when.items())]
            self._rules[key] = rules, list(accumulate(rule.weight for rule in rules))
        return self._rules[key]

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
        return constant(term)
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
