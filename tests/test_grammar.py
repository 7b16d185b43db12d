"""Synchronous grammars: hand-worked pairs with their links, refusals, and the laws of the Chinese-English corpus."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.errors import InputError
from nmt.grammar import Grammar, Pair, format_links, generate, load_grammar

CHINESE = Path(__file__).resolve().parent.parent / "data" / "zh-en-grammar"

# One sentence for each value of ``number``, so that every pair and link can be worked out by hand.
TINY = """\
start: {usual: S, long: S}
unlinked: {target: the}
adjust:
- {side: target, word: a, becomes: an, before: "[aeiou]"}
lexicon:
  noun:
    columns: zh | measure | singular | tags
    rows:
    - 橙子 | 个 | orange | fruit
    - 孩子 | 个 | child | human | plural=children
  verb:
    columns: zh | base | tags
    rows:
    - 找 | look ~for | fruit | past=looked
derive:
  noun:
    plural:
      from: singular
      word: last
      rules: [(s|x)$ -> \\1es, $ -> s]
  verb:
    past: {from: base, word: first, rules: [$ -> ed]}
rules:
  S:
  - let: {number: {singular: 1, plural: 1}, v: verb, o: "Object(v.tags, number)", p: "noun[human]"}
    source: <p.zh> 找/v 了~v <o> 。/f
    target: the <p.number> <v.past> <o> ./f
  Object(kind, number):
  - when: {number: singular}
    let: {n: "noun[kind]"}
    source: 一/q <n.measure>~q <n.zh>
    target: a/q <n.singular>
  - when: {number: plural}
    let: {n: "noun[kind]"}
    source: 两/q <n.measure>~q <n.zh>
    target: two/q <n.plural>
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def draw(path: Path, train: int, *, dev: int = 0, long: int = 0, max_length: int = 9, seed: int = 1) -> list[Pair]:
    splits = generate(load_grammar(path), train=train, dev=dev, test=0, long=long, max_length=max_length, seed=seed)
    return [pair for pairs in splits.values() for pair in pairs]


# ------------------------------------------------------------------------------------------------------- by hand


def test_pairs_and_links_worked_by_hand(tmp_path: Path) -> None:
    told = {(" ".join(p.source), " ".join(p.target), format_links(p)) for p in draw(write(tmp_path, TINY), 2)}
    assert told == {
        # child 0-1, 找 1 - looked 2 sure and for 3 possible, 了 2 with both possible, 一 3-4, 个 4p4, orange 5-5
        ("孩子 找 了 一 个 橙子 。", "the child looked for an orange .", "0-1 1-2 1p3 2p2 2p3 3-4 4p4 5-5 6-6"),
        ("孩子 找 了 两 个 橙子 。", "the children looked for two oranges .", "0-1 1-2 1p3 2p2 2p3 3-4 4p4 5-5 6-6"),
    }


def test_links_follow_words_across_reordering(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
start: {usual: S, long: S}
lexicon: {noun: {columns: zh | en, rows: [书 | book]}, name: {columns: zh | en, rows: [小明 | xiaoming]}}
rules:
  S:
  - {let: {n: noun, r: Relative()}, source: <r> <n.zh>, target: <n.en> <r>}
  Relative:
  - {let: {p: name}, source: <p.zh> 买/b 的/t, target: that/t <p.en> bought/b}
""",
    )
    assert draw(path, 1) == [
        Pair(
            ("小明", "买", "的", "书"),
            ("book", "that", "xiaoming", "bought"),
            frozenset({(0, 2), (1, 3), (2, 1), (3, 0)}),
            frozenset(),
        )
    ]


def test_no_entry_twice_in_a_sentence_unless_recurring(tmp_path: Path) -> None:
    text = """
start: {usual: S, long: S}
lexicon: {noun: {columns: zh | en, rows: [甲 | a, 乙 | b]}}
rules:
  S:
  - {let: {x: noun, y: noun}, source: <x.zh> <y.zh>, target: <x.en> <y.en>}
"""
    path = write(tmp_path, text)
    assert {pair.target for pair in draw(path, 2)} == {("a", "b"), ("b", "a")}
    with pytest.raises(InputError, match="gave 2 of 3 sentences"):
        draw(path, 3)
    repeating = write(tmp_path, "recurring: noun\n" + text)
    assert {pair.target for pair in draw(repeating, 4)} == {(x, y) for x in "ab" for y in "ab"}


def test_a_rule_that_finds_no_entry_gives_way_to_another(tmp_path: Path) -> None:
    text = TINY.replace("singular: 1, plural: 1", "singular: 1").replace("when: {number: plural}", "weight: 1")
    text = text.replace('let: {n: "noun[kind]"}', 'let: {n: "noun[kind, human]"}', 1)  # no fruit is human
    assert [pair.target for pair in draw(write(tmp_path, text), 1)] == [
        ("the", "child", "looked", "for", "two", "oranges", ".")
    ]


def test_weights_are_relative_frequencies(tmp_path: Path) -> None:
    words = " ".join(f"甲{n}" for n in range(1000))
    text = f"""
start: {{usual: S, long: S}}
lexicon: {{noun: {{columns: zh | en, rows: [{", ".join(f"{w} | {w}" for w in words.split())}]}}}}
rules:
  S:
  - {{weight: 3, let: {{x: noun}}, source: 三/o <x.zh>, target: three/o <x.en>}}
  - {{weight: 1, let: {{x: noun}}, source: 一/o <x.zh>, target: one/o <x.en>}}
"""
    firsts = Counter(pair.target[0] for pair in draw(write(tmp_path, text), 400))
    assert abs(firsts["three"] / 400 - 0.75) < 0.1  # more than four standard deviations


def test_a_form_of_one_word_stands_for_the_word_that_changes(tmp_path: Path) -> None:
    text = TINY.replace("look ~for | fruit | past=looked", "take ~care ~of | fruit | past=took")
    assert draw(write(tmp_path, text), 1)[0].target[2:5] == ("took", "care", "of")


def test_yaml_words_stay_words(tmp_path: Path) -> None:
    text = "start: {usual: S, long: S}\nrules:\n  S:\n  - {source: 不/n 一/1, target: no/n 1/1}\n"
    assert draw(write(tmp_path, text), 1)[0].target == ("no", "1")


def test_links_are_sorted_by_source_then_target() -> None:
    pair = Pair(("a",) * 11, ("b",) * 11, frozenset({(10, 0), (2, 1)}), frozenset({(2, 0)}))
    assert format_links(pair) == "2p0 2-1 10-0"


# ------------------------------------------------------------------------------------------------------- refusals

WRONG = {
    "unknown key": ("unlinked:", "unliked:", r"line 2: unknown key 'unliked'"),
    "no start": ("{usual: S, long: S}", "{usual: S, long: T}", r"start needs 'long'"),
    "unknown symbol": (
        'Object(v.tags, number)"',
        'Objekt(v.tags, number)"',
        r"line 25: no rules for the symbol 'Objekt'",
    ),
    "too few arguments": ('Object(v.tags, number)"', 'Object(v.tags)"', r"line 25: Object takes 2 arguments, not 1"),
    "unknown category": ("v: verb", "v: werb", r"line 25: 'werb' is neither a category"),
    "unknown tag": ("noun[human]", "noun[humane]", r"line 25: no entry of noun has the tag 'humane'"),
    "unbound name": ("<p.zh>", "<q.zh>", r"line 26: '<q.zh>' names 'q', which let does not bind"),
    "missing form": ("<v.past>", "<v.gone>", r"line 27: '<v.gone>' needs the field 'gone', which .*line 14 lacks"),
    "mark without partner": (
        "找/v",
        "找/w",
        r"line 25: the source's '找' is linked to 'w', which no word of the target",
    ),
    "word without mark": ("了~v", "了", r"line 25: the source's word '了' has no link"),
    "phrase missing": ("<v.past> <o>", "<v.past>", r"line 25: the phrase <o> stands 0 times in the target, not once"),
    "phrase twice": ("了~v <o>", "了~v <o> <o>", r"line 25: the phrase <o> stands 2 times in the source"),
    "unknown parameter": ("{number: singular}", "{numbre: singular}", r"line 29: when asks for 'numbre'"),
    "key twice": ("  S:\n", "  S: []\n  S:\n", r"line 25: 'S' is given twice"),
    "cells": ("橙子 | 个 |", "橙子 |", r"line 9: 3 cells, but noun has the columns zh, measure, singular, tags"),
    "weight": ("{singular: 1, plural: 1}", "{singular: 0, plural: 1}", r"line 25: a weight is a number above 0"),
    "pattern": ("(s|x)$", "(s|x$", r"is no regular expression"),
    "derived from nothing": ("from: singular", "from: single", r"line 9: no field 'single' to derive 'plural' from"),
    "not YAML": ("rules:\n  S", "rules: [\n  S", r"not YAML"),
    "no rule for a value": ('number)", p', 'dual)", p', r"line 25: no rule of Object applies when number is 'dual'"),
}


@pytest.mark.parametrize(("old", "new", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_grammar_is_refused_with_its_place(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in TINY
    with pytest.raises(InputError, match=told):
        load_grammar(write(tmp_path, TINY.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("  Lost:\n  - {source: 丢/l, target: lost/l}\n", "line 37: the symbol Lost is never reached"),
        ("  Loop:\n  - {let: {l: Loop()}, source: <l>, target: <l>}\n", "line 37: the symbol Loop never ends"),
    ],
)
def test_symbols_must_be_reached_and_end(tmp_path: Path, more: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_grammar(write(tmp_path, TINY + more))


def test_an_indirect_form_that_is_missing_is_told_when_it_is_met(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 25: <p.number> asks for the field 'dual', which .*line 10 lacks"):
        draw(
            write(tmp_path, TINY.replace("{singular: 1, plural: 1}", "{dual: 1}").replace('number)"', 'singular)"')), 1
        )


def test_one_sentence_with_two_translations_is_refused(tmp_path: Path) -> None:
    text = TINY.replace("两/q", "一/q")
    with pytest.raises(InputError, match="translates one sentence in two ways: '孩子 找 了 一 个 橙子 。'"):
        draw(write(tmp_path, text), 2)


def test_too_few_sentences_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gave 2 of 3 sentences from its usual start symbol"):
        draw(write(tmp_path, TINY), 3)


def test_missing_files_and_empty_directories_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_grammar(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match=r"no \*\.yaml file"):
        load_grammar(tmp_path)


# --------------------------------------------------------------------------------------- the Chinese-English corpus

LENGTH = 20


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return load_grammar(CHINESE)


@pytest.fixture(scope="module")
def corpus(grammar: Grammar) -> dict[str, list[Pair]]:
    return generate(grammar, train=36_000, dev=1_000, test=1_000, long=300, max_length=LENGTH, seed=1)


@pytest.fixture(scope="module")
def everything(corpus: dict[str, list[Pair]]) -> list[Pair]:
    return [pair for pairs in corpus.values() for pair in pairs]


def test_the_same_bytes_everywhere(grammar: Grammar) -> None:
    splits = generate(grammar, train=200, dev=20, test=20, long=5, max_length=LENGTH, seed=3)
    text = "\n".join(
        f"{name}\t{' '.join(pair.source)}\t{' '.join(pair.target)}\t{format_links(pair)}"
        for name, pairs in splits.items()
        for pair in pairs
    )
    # Changes with every change of the grammar or of the draws, and for no other reason.
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "99a52a2ff366cce03141015b02f42bcaa2e3f48b6dfc5c04080b830dbef651a9"
    )


def test_sizes_and_distinct_sides(corpus: dict[str, list[Pair]], everything: list[Pair]) -> None:
    assert {name: len(pairs) for name, pairs in corpus.items()} == {
        "train": 36_000,
        "dev": 1_000,
        "test": 1_000,
        "long": 300,
    }
    # No sentence of either language twice: so no leak, and one translation for every sentence.
    assert len({pair.source for pair in everything}) == len({pair.target for pair in everything}) == len(everything)


def test_lengths(corpus: dict[str, list[Pair]]) -> None:
    usual = [len(side) for name in ("train", "dev", "test") for pair in corpus[name] for side in pair[:2]]
    assert (min(usual), max(usual)) == (4, LENGTH)
    assert {2 * LENGTH <= len(side) <= 3 * LENGTH for pair in corpus["long"] for side in pair[:2]} == {True}
    means = [sum(len(pair.source) for pair in corpus[name]) / len(corpus[name]) for name in ("train", "test")]
    assert 9 < means[0] < 12
    assert abs(means[0] - means[1]) < 0.5


def test_words_of_held_out_sentences_are_familiar(corpus: dict[str, list[Pair]]) -> None:
    for side in (0, 1):
        counts = Counter(word for pair in corpus["train"] for word in set(pair[side]))
        held = {word for name in ("dev", "test", "long") for pair in corpus[name] for word in pair[side]}
        assert min(counts[word] for word in held) >= 5
        assert len(counts) >= 700


def test_links_are_in_range_and_no_word_is_left_out(grammar: Grammar, everything: list[Pair]) -> None:
    unlinked = grammar.unlinked
    assert len(unlinked[0] | unlinked[1]) <= 6
    for pair in everything:
        assert not pair.sure & pair.possible
        for side in (0, 1):
            linked = {link[side] for link in pair.sure | pair.possible}
            assert linked <= set(range(len(pair[side])))
            assert {word for at, word in enumerate(pair[side]) if at not in linked} <= unlinked[side], pair


def test_content_words_have_sure_links(grammar: Grammar, everything: list[Pair]) -> None:
    names = {entry.fields["zh"]: entry.fields["en"] for entry in grammar.lexicon["name"]}
    nouns = {entry.fields["zh"] for entry in grammar.lexicon["noun"]}
    for pair in everything:
        sure = {source for source, _ in pair.sure}
        for at, word in enumerate(pair.source):
            assert word not in nouns or at in sure, (pair, word)
            if word in names:
                assert {pair.target[j] for i, j in pair.sure if i == at} == {names[word]}


PHENOMENA = {  # a pattern of the Chinese sentence, one of the English, and the least share of training pairs in percent
    "把": (r" 把 (?!那 |这 )?.* 了 ", r".", 3),
    "被": (r" 被 ", r" (was|were) ", 2),
    "relative clause": (r" 的 ", r" (that|who) ", 15),
    "measure word of a book": (r" (一|这|那|两|三) 本 ", r".", 1),
    "measure word of an animal": (r" (只|头|匹|条) ", r".", 1),
    "time before the verb": (r"(昨天|前天|去年|刚才|前|上 个 \S+) .*了 ", r" (yesterday|last|now|ago)\b", 5),
    "place before the verb": (r" 在 \S+ (里 |上 |边 )?", r" (in|at|on|by) ", 5),
    "了": (r" 了 ", r".", 20),
    "过": (r" 过 ", r" (has|have) ", 1),
    "着": (r" 着 ", r" (wearing) ", 0.5),
    "正在": (r"正在 ", r"ing ", 5),
    "comparison": (r" 比 ", r" than ", 1),
    "question": (r" ？$", r" \?$", 5),
    "negation": (r" (不|没有) ", r" (not|never) ", 5),
    "because": (r"^因为 .* 所以 ", r"^because ", 1),
    "although": (r"^虽然 .* 但是 ", r"^although ", 1),
    "two things": (r"^[^、]* 和 [^、]*$", r" and ", 3),
    "verb twice, two words": (r" (\S+) \1 。", r".", 0.3),
    "verb twice, one word": (r" (看看|尝尝|试试|听听) ", r".", 0.3),
    "doubled adjective": (r" ((\S)\2(\S)\3) 地 ", r"ly ", 1),
    "very, very": (r" 非常 非常 ", r" very , very ", 0.3),
    "day after day": (r" 一 (\S+) 又 一 \1 地 ", r" (\w+) after \1 ", 0.1),
    "again and again": (r" (一 [遍次] )又 \1地 ", r" (again and again|over and over) ", 0.1),
}


@pytest.mark.parametrize(("source", "target", "least"), PHENOMENA.values(), ids=PHENOMENA)
def test_what_makes_the_pair_hard_is_there(
    corpus: dict[str, list[Pair]], source: str, target: str, least: float
) -> None:
    zh, en = re.compile(source), re.compile(target)
    found = sum(bool(zh.search(" ".join(pair.source)) and en.search(" ".join(pair.target))) for pair in corpus["train"])
    assert 100 * found / len(corpus["train"]) >= least


@pytest.mark.parametrize("items", range(2, 7))
def test_lists_of_two_to_six(corpus: dict[str, list[Pair]], items: int) -> None:
    zh = re.compile(r"(?<!、 )" + r"\S+ 、 (\S+ ){0,4}" * (items - 2) + r"\S+ 和 ")
    exact = [pair for pair in corpus["train"] if pair.source.count("、") == items - 2 and "和" in pair.source]
    assert len([pair for pair in exact if zh.search(" ".join(pair.source))]) >= 100


def test_word_senses_are_decided_by_their_objects(corpus: dict[str, list[Pair]]) -> None:
    seen: dict[str, set[str]] = {}
    for pair in corpus["train"]:
        for at in range(len(pair.source) - 1):
            thing = " ".join(pair.source[at : at + 2])
            seen.setdefault(thing, set()).update(pair.target[j] for i, j in pair.sure if i == at)
    assert {"play", "playing"} <= seen["打 篮球"]
    assert {"make", "making"} <= seen["打 电话"]
    assert {"watch", "watching"} <= seen["看 电视"]
    assert {"read", "reading"} <= seen["看 书"]
    assert not seen["打 篮球"] & seen["打 电话"]
    assert not seen["看 电视"] & seen["看 书"]


def test_english_agrees(everything: list[Pair]) -> None:
    wrong = re.compile(
        r"(?<![\w'])(a [aeiou]\w+|an [^aeiouh\W]\w+|(this|that|a) (?!bus )\w+s (is|was)"
        r"|(these|those|two) \w+[^es\W] (is|was)|more (?!clever)\w+er|most (?!honest)\w+est"
        r"|\w+eed(ed)|childs|mouses|peoples|ated|goed|buyed) "
    )
    disagreeing = re.compile(
        r"\b((he|she) (are|do|have|were)|(they|we|you) (is|was|does|has)|i (is|are|does|has|were)) "
    )
    for pair in everything:
        text = " ".join(pair.target)
        found = wrong.search(text) or ("?" not in text and disagreeing.search(text))
        assert not found, (found, text)
        assert pair.source.count("每") == pair.target.count("every"), text


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), train=st.integers(1, 60), length=st.integers(8, 24))
def test_any_seed_gives_a_corpus(grammar: Grammar, seed: int, train: int, length: int) -> None:
    sizes = {"train": train, "dev": 2, "test": 3, "long": 1}
    splits = generate(grammar, **sizes, max_length=length, seed=seed)
    assert {name: len(pairs) for name, pairs in splits.items()} == sizes
    assert splits == generate(grammar, **sizes, max_length=length, seed=seed)
