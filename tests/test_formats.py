"""Files of other tools: a small one of our own writing in each format, what damages it, and our own there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats import READERS, WRITERS, from_heads, from_json, one_matrix
from nmt.links import Links

SOURCE = "我 喜欢 苹果\n谢谢\n"
TARGET = "I like apples\nthank you\n"
LINKS = [Links([(0, 0), (1, 1), (2, 2)]), Links([(0, 0), (0, 1)])]
# Rows of the second sentence: two target tokens and the end, a source token and the end.
SECOND = [[0.9, 0.1], [0.75, 0.25], [0.0, 1.0]]
FIRST = [[0.7, 0.1, 0.0, 0.2], [0.1, 0.6, 0.1, 0.2], [0.0, 0.1, 0.8, 0.1], [0.0, 0.0, 0.1, 0.9]]
WHOLE = [
    Alignment(*(text.split("\n")[n].split() for text in (SOURCE, TARGET)), weight_TS=weights)
    for n, weights in enumerate([FIRST, SECOND])
]

COMMAS = [" ".join(",".join(map(str, row)) for row in rows) for rows in (FIRST, SECOND)]
SOCKEYE = """\
1 ||| I like apples </s> ||| -1.5 ||| 我 喜欢 苹果 ||| 3 ||| 4
0.7 0.1 0.0 0.0
0.1 0.6 0.1 0.0
0.0 0.1 0.8 0.1

2 ||| thank you </s> ||| -0.5 ||| 谢谢 ||| 1 ||| 3
0.9 0.75 0.0

"""
NEMATUS = """\
0 ||| I like apples ||| 1.5 ||| 我 喜欢 苹果 ||| 4 4
0.7 0.1 0.0 0.2
0.1 0.6 0.1 0.2
0.0 0.1 0.8 0.1
0.0 0.0 0.1 0.9

1 ||| thank you ||| 0.5 ||| 谢谢 ||| 2 3
0.9 0.1
0.75 0.25
0.0 1.0

"""
DEBUG = """\
[2026-01-01 10:00:00,000 INFO]                     我         喜欢         苹果
         I  0.7000000  0.1000000  0.0000000
      like  0.1000000  0.6000000  0.1000000
    apples  0.0000000  0.1000000  0.8000000
      </s>  0.0000000  0.0000000  0.1000000

[2026-01-01 10:00:00,001 INFO]                     谢谢
     thank  0.9000000
       you  0.7500000
      </s>  0.0000000

[2026-01-01 10:00:01,000 INFO] PRED SCORE: -0.5
"""
NO_COLUMN = [Alignment(one.source, one.target, weight_TS=np.array(one.weight_TS)[:, :-1]) for one in WHOLE]
HARD = [Alignment(one.source, one.target, links) for one, links in zip(WHOLE, LINKS, strict=True)]
TO_END = [HARD[0], Alignment(HARD[1].source, HARD[1].target, Links([(0, 0)]))]
FAIRSEQ = "S-1\t谢谢\nT-1\tthanks\nH-1\t-0.3\tthank you\nD-1\t-0.3\tthank you\nP-1\t-0.1 -0.2 -0.3\nA-1\t{1}\n" + (
    "S-0\t我 喜欢 苹果\nH-0\t-0.2\tI like apples\nA-0\t{0}\nGenerate test with beam=5\n"
)
RESULTS = [
    {"hypotheses": [[*one.target, "</s>"]], "scores": [], "attention": [np.array(two.weight_TS).tolist()]}
    for one, two in zip(WHOLE, NO_COLUMN, strict=True)
]
OLD = [[{"tokens": one["hypotheses"][0], "attention": one["attention"][0]}] for one in RESULTS]  # type: ignore[index]
NEMATUS_JSON = [
    {"id": n, "prob": 0.5, "source_sent": " ".join(a.source), "target_sent": " ".join(a.target), "matrix": rows}
    for n, (a, rows) in enumerate(zip(WHOLE, (FIRST, SECOND), strict=True))
]


def lines(values: list[object]) -> str:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


# Format, what the file says, what it means.
CASES: list[tuple[str, str, list[Alignment]]] = [
    ("pharaoh", "0-0 1-1 2-2\n0-0 0-1\n", HARD),
    ("fast-align", "0-0 1-1 2-2\n0-0 0-1\n", HARD),
    ("eflomal", "0-0 1-1 2-2\n0-0 0-1\n", HARD),
    ("awesome-align", "2-2 0-0 1-1\n0-0 0-1\n", HARD),
    ("talp", "1-1 2-2 3-3\n1-1 1-2\n", HARD),
    ("naacl", "2 1 1 S\n2 1 2 S\n1 1 1 S\n1 2 2\n1 3 3 S 0.5\n", HARD),
    ("simalign", "a\t0-0 1-1 2-2\nb\t0-0-.93 0-1-.5\n", HARD),
    ("marian", f"I like apples ||| {COMMAS[0]}\nthank you ||| {COMMAS[1]}\n", WHOLE),
    ("marian", "I like apples ||| 0-0 1-1 2-2 3-3\nthank you ||| 0-0 1-1 1-2 ||| WordScores= -0.1\n", TO_END),
    ("fairseq", FAIRSEQ.format(*COMMAS), WHOLE),
    ("fairseq", FAIRSEQ.format("0-0 1-1 2-2", "0-0 0-1"), HARD),
    ("opennmt", "I like apples ||| 0-0 1-1 2-2\nthank you ||| 0-0 0-1\t-0.5\n", HARD),
    ("opennmt-debug", DEBUG, NO_COLUMN),
    ("sockeye", SOCKEYE, NO_COLUMN),
    ("sockeye-links", "I like apples\t0-0 1-1 2-2\nthank you\t0-0 0-1 0-2\n", HARD),
    ("nematus", NEMATUS, WHOLE),
    ("nematus", lines(NEMATUS_JSON), WHOLE),
    ("ctranslate2", lines(RESULTS), NO_COLUMN),
    ("ctranslate2", lines(OLD), NO_COLUMN),
    ("json", "".join(one.to_json() + "\n" for one in WHOLE), WHOLE),
]


def texts(folder: Path, more: str = "") -> tuple[Path, Path]:
    source, target = folder / "source", folder / "target"
    source.write_text(SOURCE + more, encoding="utf-8")
    target.write_text(TARGET + more, encoding="utf-8")
    return source, target


@pytest.mark.parametrize(("name", "text", "wanted"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
@pytest.mark.parametrize("all_texts", [False, True])
def test_a_file_of_each_format(tmp_path: Path, name: str, text: str, wanted: list[Alignment], all_texts: bool) -> None:
    """With the texts that it needs; and with both, of other words, which replace what the file says."""
    given_files = dict(zip(("source", "target"), texts(tmp_path), strict=True))
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    needs = ("source", "target") if all_texts else READERS[name].needs
    if all_texts:
        given_files["source"].write_text(SOURCE.replace("喜欢", "爱"), encoding="utf-8")
        given_files["target"].write_text(TARGET.upper(), encoding="utf-8")
        wanted = [
            Alignment(
                [{"喜欢": "爱"}.get(s, s) for s in one.source], map(str.upper, one.target), one.links, one.weight_TS
            )
            for one in wanted
        ]
    found = list(READERS[name].read(path, *(given_files[side] if side in needs else None for side in given_files)))
    assert [(one.source, one.target, one.links) for one in found] == [(w.source, w.target, w.links) for w in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert (one.weight_TS is None) == (other.weight_TS is None)
        if one.weight_TS is not None and other.weight_TS is not None:
            np.testing.assert_allclose(one.weight_TS, other.weight_TS)


@pytest.mark.parametrize(("name", "text"), [case[:2] for case in CASES if case[0] != "naacl"])
def test_a_file_of_fewer_sentences_than_the_text(tmp_path: Path, name: str, text: str) -> None:
    """NAACL files alone may leave a sentence out: it has no links."""
    (tmp_path / "file").write_text(text, encoding="utf-8")
    source, target = texts(tmp_path, more="a\n")
    with pytest.raises(InputError, match=r"file has 2 sentences but .*source has more"):
        list(READERS[name].read(tmp_path / "file", source, target))


def test_every_format_is_tested_and_says_what_it_needs(tmp_path: Path) -> None:
    assert {case[0] for case in CASES} | {"npz", "huggingface"} == set(READERS)
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name, one in READERS.items():
        if one.needs and name not in ("npz", "huggingface"):
            with pytest.raises(InputError, match=r"give the (source|target) text too"):
                list(one.read(tmp_path / "file", None, None))


BAD = [
    ("pharaoh", "0-0\n0-0 1-1\n", r"file, line 2: link 1-1 is out of range"),
    ("pharaoh", "0-0\n", r"file has 1 sentences but .* has more"),
    ("talp", "0-0\n1-1\n", r"file, line 1: index 0"),
    ("naacl", "0-0\n0-0\n", r"file, line 1: '0-0' is no NAACL link"),
    ("simalign", "0-0\n0-0\n", r"file, line 1: no tab"),
    ("marian", "I like apples\nthank you ||| 0-0\n", r"line 1: no ` \|\|\| `"),
    ("marian", "0 ||| I like ||| 0-0 ||| F0= -1 ||| -1\n\n", r"line 1: an n-best list"),
    ("marian", "I like ||| 0.5,0.5\nthank you ||| 0-0\n", r"line 1: attention of shape \(1, 2\) .*spm_encode"),
    ("marian", "I like ||| 0.5,x\nthank you ||| 0-0\n", r"line 1: '0.5,x' is no soft alignment"),
    ("marian", "I like ||| 0.5,0.5 1\nthank you ||| 0-0\n", r"line 1: the rows"),
    ("fairseq", "nothing\n", r"no line begins with S-"),
    ("fairseq", "S-0\ta\nH-0\t-1\tb\n", r"no line A-0; run fairseq with --print-alignment"),
    ("fairseq", "S-0\ta\nH-0\t-1\tb\nA-0\t0-0 1-1\n", r"line 3: link 1-1 .*--remove-bpe"),
    ("opennmt", "I like apples\n\n", r"line 1: no ` \|\|\| `"),
    ("opennmt-debug", DEBUG.replace("      like", "        be  0.1 x"), r"table 2 at line 3: weights where"),
    ("sockeye", NEMATUS, r"line 1: 5 fields"),
    ("sockeye", SOCKEYE.replace("0.7 0.1 0.0 0.0\n", ""), r"line 1: .* matrix of 3 lines of 4 weights"),
    ("sockeye-links", "I\n\n", r"line 1: no tab"),
    ("nematus", SOCKEYE, r"line 1: expected number"),
    ("nematus", '{"matrix": 1}\n', r"line 1: no JSON object"),
    ("ctranslate2", "[]\n[]\n", r"line 1: no JSON of a result"),
    ("ctranslate2", lines(RESULTS[::-1]), r"line 1: attention of shape"),
    ("json", "[]\n", r"line 1: no alignment in JSON"),
    ("json", '{"format": 1, "source": "a", "target": "b", "sure": [[Infinity, 0]]}\n', r"line 1: no alignment in JSON"),
    ("json", '{"format": 9, "source": [], "target": []}\n', r"line 1: format 9, known is 1"),
    ("json", '{"format": 1, "source": [], "target": [], "sure": [[0, 0]], "possible": []}\n', r"line 1: link 0-0"),
]


@pytest.mark.parametrize(("name", "text", "message"), BAD, ids=[f"{n}-{bad[0]}" for n, bad in enumerate(BAD)])
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    given_files = dict(zip(("source", "target"), texts(tmp_path), strict=True))
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(READERS[name].read(path, *(given_files[s] if s in READERS[name].needs else None for s in given_files)))


def test_a_sentence_that_fairseq_left_out(tmp_path: Path) -> None:
    text = FAIRSEQ.format("0-0", "0-0").replace("-1\t", "-2\t")
    (tmp_path / "file").write_text(text, encoding="utf-8")
    assert len(list(READERS["fairseq"].read(tmp_path / "file", None, None))) == 2
    with pytest.raises(InputError, match=r"file has no sentence 1, which is line 2 of .*target; let fairseq"):
        list(READERS["fairseq"].read(tmp_path / "file", None, texts(tmp_path, more="a\n")[1]))


def test_layers_and_heads(tmp_path: Path) -> None:
    """An array a sentence, layers by heads by rows by columns, as `generate` gives them step by step."""
    random = np.random.default_rng(1)
    steps = [[random.dirichlet([1.0] * 4, size=(1, 5)).reshape(1, 5, 1, 4) for _ in range(2)] for _ in range(4)]
    weight_LHTS = np.stack([[layer[0, :, 0] for layer in step] for step in steps], axis=2)
    assert weight_LHTS.shape == (2, 5, 4, 4)
    np.testing.assert_array_equal(weight_LHTS[1, 3, 2], steps[2][1][0, 3, 0])
    np.testing.assert_allclose(one_matrix(weight_LHTS), weight_LHTS.mean(axis=(0, 1)))
    np.testing.assert_allclose(one_matrix(weight_LHTS, layer=-1), weight_LHTS[1].mean(axis=0))
    np.testing.assert_array_equal(one_matrix(weight_LHTS, 0, 4), weight_LHTS[0, 4])
    with pytest.raises(InputError, match="head 5 of 5"):
        one_matrix(weight_LHTS, head=5)
    with pytest.raises(InputError, match=r"shape \(0, 5, 4, 4\), expected layers, heads"):
        one_matrix(weight_LHTS[:0])
    with pytest.raises(InputError, match="no array of numbers"):
        one_matrix(weight_LHTS.astype(str)[:, :, :1, :1] + "x")
    assert from_heads(weight_LHTS, "abc", "xyz").has_source_end
    with pytest.raises(InputError, match="special tokens"):
        from_heads(weight_LHTS, "ab", "xyz")
    source, target = texts(tmp_path)
    second = random.dirichlet([1.0] * 2, size=(2, 5, 3))
    np.savez(tmp_path / "a.npz", **{"0": weight_LHTS, "1": second})
    found = list(READERS["huggingface"].read(tmp_path / "a.npz", source, target))
    np.testing.assert_allclose(np.array(found[1].weight_TS), second.mean(axis=(0, 1)))
    np.savez(tmp_path / "short.npz", **{"0": weight_LHTS})
    with pytest.raises(InputError, match="1 arrays, but"):
        list(READERS["huggingface"].read(tmp_path / "short.npz", source, target))
    np.savez(tmp_path / "long.npz", **{"0": weight_LHTS, "1": second, "2": second})
    with pytest.raises(InputError, match="more arrays"):
        list(READERS["huggingface"].read(tmp_path / "long.npz", source, target))


WORD = st.text("ab中文é.", min_size=1, max_size=3)


@st.composite
def linked(draw: st.DrawFn) -> Alignment:
    source, target = draw(st.lists(WORD, min_size=1, max_size=4)), draw(st.lists(WORD, min_size=1, max_size=4))
    link = st.tuples(st.integers(0, len(source) - 1), st.integers(0, len(target) - 1))
    shape = len(target) + draw(st.integers(0, 1)), len(source) + draw(st.integers(0, 1))
    weights = draw(st.lists(st.floats(0, 1), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    links = Links(draw(st.frozensets(link, max_size=6)), draw(st.frozensets(link, max_size=3)))
    return Alignment(source, target, links, np.array(weights).reshape(shape))


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=30)
@given(sentences=st.lists(linked(), min_size=1, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, name: str, sentences: list) -> None:
    folder = tmp_path_factory.mktemp(name)
    path = folder / ("a.npz" if name == "npz" else "a")
    for side in ("source", "target"):
        text = "".join(" ".join(getattr(one, side)) + "\n" for one in sentences)
        (folder / side).write_text(text, encoding="utf-8")
    WRITERS[name](path, iter(sentences))
    found = list(READERS[name].read(path, folder / "source", folder / "target"))
    whole = {"json": lambda one: one, "npz": lambda one: Alignment(one.source, one.target, None, one.between_words())}
    wanted = [whole.get(name, lambda one: Alignment(one.source, one.target, one.links))(one) for one in sentences]
    assert found == wanted


@settings(max_examples=50)
@given(sentences=st.lists(linked(), min_size=1, max_size=4), base=st.sampled_from(["pharaoh", "talp"]))
def test_pharaoh_in_is_pharaoh_out(tmp_path_factory: pytest.TempPathFactory, sentences: list, base: str) -> None:
    """To the byte, where the links of a line are in order, as ours are; with the same links where they are not."""
    folder = tmp_path_factory.mktemp("pharaoh")
    for side in ("source", "target"):
        (folder / side).write_text("".join(" ".join(getattr(one, side)) + "\n" for one in sentences), encoding="utf-8")
    first = 0 if base == "pharaoh" else 1
    rows = [
        [f"{i + first}{'-' if (i, j) in one.links.sure else 'p'}{j + first}" for i, j in sorted(one.links.possible)]
        for one in sentences
    ]
    for order in (1, -1):
        text = "".join(" ".join(row[::order]) + "\n" for row in rows)
        (folder / "in").write_text(text, encoding="utf-8")
        WRITERS[base](folder / "out", READERS[base].read(folder / "in", folder / "source", folder / "target"))
        written = (folder / "out").read_text(encoding="utf-8")
        assert [sorted(line.split(" ")) for line in written.split("\n")] == [
            sorted(line.split(" ")) for line in text.split("\n")
        ]
        assert order < 0 or written == text


@given(linked())
def test_a_line_of_json_comes_back(one: Alignment) -> None:
    assert from_json(one.to_json()) == one
    with pytest.raises(InputError, match="alignment: no alignment in JSON"):
        from_json(one.to_json()[1:])


def test_links_are_needed_to_write_links(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Alignment\.hard"):
        WRITERS["pharaoh"](tmp_path / "a", WHOLE)
    assert not list(tmp_path.iterdir())


def test_reading_streams(tmp_path: Path) -> None:
    """What stands before a damaged line is given."""
    source, target = texts(tmp_path)
    (tmp_path / "file").write_text("0-0\nbad\n", encoding="utf-8")
    found = READERS["pharaoh"].read(tmp_path / "file", source, target)
    assert next(found).links == Links([(0, 0)])
    with pytest.raises(InputError, match="line 2"):
        next(found)
