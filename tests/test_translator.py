"""The library's door: N lines in, N out, in order; a translation and its alignment tell the same of the same model."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import Trained, prepared, write_project

import nmt.translator
from nmt.cells import Dropout
from nmt.errors import InputError
from nmt.model import Model, RecurrentSettings, build_model
from nmt.search import Hypothesis, SearchSettings
from nmt.translator import Translation, Translator, choose_device, find_weights
from nmt.vocabulary import UNK, Vocabulary, VocabularySettings, train_vocabulary

CPU = torch.device("cpu")
CHINESE = ["我喜欢苹果。", "他在北京工作", "今天 天气 很好，我们去公园吧", "你好 世界 hello"] * 20
ENGLISH = ["I like apples .", "hello world he works", "the weather is good let us go"] * 20
SIZES = {"unigram": (36, 29), "bpe": (36, 29)}
KINDS = ("words", "unigram", "bpe", "char", "word")

# What a line may be; a tab, a form feed and what Unicode holds for line ends are spaces inside one.
ODD_LINES = [
    "",
    " ",
    "\u3000\t",
    "我",
    "hello",
    "hello\u2028world",
    "hello\u0085world",
    "hello\x0cworld\x1e",
    "\ufeffhello",
    "hello\r",
    "▁",
    "▁▁ hello",
    "<unk> <s> </s> <pad>",
    "我喜欢苹果。" * 40,
    "never seen Ω 𝒳 \u200b x",
    "hello " * 120,
]


def vocabularies(kind: str) -> tuple[Vocabulary, Vocabulary]:
    sizes = SIZES.get(kind, (None, None))
    texts = (CHINESE, ENGLISH)
    made = [
        train_vocabulary(text, VocabularySettings(kind=kind, size=size), "text")
        for text, size in zip(texts, sizes, strict=True)
    ]
    return made[0], made[1]


def untrained(kind: str, **search: object) -> Translator:
    """A model that says anything: its output weights are wide."""
    torch.manual_seed(3)
    pair = vocabularies(kind)
    model = build_model(RecurrentSettings(embedding=8, hidden=8), *map(len, pair))
    torch.nn.init.normal_(model.decoder.output.weight, std=3.0)
    return Translator(model, pair, SearchSettings(**{"beam": 2, "maximum_length": 12, **search}), CPU)


every_kind = pytest.mark.parametrize("kind", KINDS)


def check(one: Translation, line: str) -> None:
    """Words, pieces and weights of a translation fit each other."""
    assert one.source_words == line.split()
    assert one.words == one.text.split()
    assert one.weight_TS.shape == (len(one.pieces) + 1, len(one.source_pieces) + 1)
    assert len(one.word_of_piece) == len(one.pieces)
    assert len(one.source_word_of_piece) == len(one.source_pieces)
    matrix = one.matrix()
    assert matrix.shape == (len(one.words), len(one.source_words))
    assert (matrix >= 0).all()
    assert (matrix.sum(axis=1) <= 1 + 1e-5).all()
    assert all(i < len(one.source_words) and j < len(one.words) for i, j in one.links().sure)


# --------------------------------------------------------------------------------------------------- lines, words


@every_kind
def test_as_many_translations_as_lines_in_their_order(kind: str) -> None:
    translator = untrained(kind)
    together = translator.translate(ODD_LINES)
    assert len(together) == len(ODD_LINES)
    for one, line in zip(together, ODD_LINES, strict=True):
        check(one, line)
        (alone,) = translator.translate([line])
        assert one.text == alone.text
        assert one.log_prob == pytest.approx(alone.log_prob, abs=1e-4)
    for place in (0, 1, 2):
        assert together[place].text == ""
        assert together[place].links().sure == frozenset()


def test_no_lines() -> None:
    assert untrained("words").translate([]) == []
    assert untrained("words").align([], []) == []


def test_a_line_of_a_thousand_tokens() -> None:
    translator = untrained("char")
    line = "我喜欢苹果 " * 200
    (one,) = translator.translate([line])
    assert len(one.source_pieces) >= 1000
    check(one, line)


@every_kind
def test_a_raw_chinese_line_is_one_word(kind: str) -> None:
    (one,) = untrained(kind).translate(["今天天气很好，我们去公园吧"])
    assert one.matrix().shape[1] == 1
    assert one.matrix() == pytest.approx(one.matrix().clip(0, 1))


@every_kind
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_found_has_its_words(kind: str, data: st.DataObject) -> None:
    """Any ids in any order, the unknown one and lone boundaries among them, as an untrained model might say them."""
    source, target = PAIRS[kind]
    boundary = [number for number in range(4, len(target)) if target.pieces([number]) == ["▁"]]
    likely = st.sampled_from([UNK, *boundary])
    ids = data.draw(st.lists(likely | st.sampled_from(range(4, len(target))), max_size=5))
    line = data.draw(st.sampled_from([line for line in ODD_LINES if source.encode(line)]))
    weight_TS = torch.rand(len(ids) + 1, len(source.encode(line)) + 1)
    weight_TS /= weight_TS.sum(dim=1, keepdim=True)
    translator = Translator(Model(), (source, target), SearchSettings(), CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nmt.translator, "beam_search", lambda *_: [[Hypothesis(ids, -1.0, -1.0, weight_TS)]])
        (one,) = translator.translate([line])
    check(one, line)
    assert one.pieces == target.pieces(ids)
    covered = one.matrix().sum() if one.words else 0.0
    words, pieces = np.array(one.word_of_piece), weight_TS[:-1, :-1].sum(dim=1).numpy()
    wanted = [pieces[words == word].mean() for word in range(len(one.words))]
    assert covered == pytest.approx(sum(wanted), abs=1e-4)


PAIRS = {kind: vocabularies(kind) for kind in KINDS}


def test_an_unknown_word_is_a_word_of_its_own() -> None:
    """The word model writes <unk> between spaces: its weights must not become those of the word before it."""
    translator = untrained("word")
    target = translator.vocabularies[1]
    ids = [*target.encode("hello"), UNK, UNK, *target.encode("world")]
    weight_TS = torch.eye(5)[:, :3]
    found = Hypothesis(ids, -1.0, -1.0, weight_TS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nmt.translator, "beam_search", lambda *_: [[found]])
        (one,) = translator.translate(["你好 世界"])
    assert one.words == ["hello", "<unk>", "<unk>", "world"]
    assert one.matrix().tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


def test_weights_are_summed_over_source_pieces_and_averaged_over_target_pieces() -> None:
    one = Translation(
        "ab c", 0.0, 0.0, ["▁x", "y", "▁z"], ["▁a", "b", "▁c"],
        np.array([[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.1, 0.2], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32),
        ["xy", "z"], ["ab", "c"], [0, 0, 1], [0, 0, 1],
    )  # fmt: skip
    np.testing.assert_allclose(one.matrix(), [[0.5, 0.2], [0.0, 1.0]], atol=1e-7)
    assert one.links().sure == {(0, 0), (1, 1)}


# ------------------------------------------------------------------------------------------------ search and force


@pytest.mark.parametrize("kind", ["words", "word"])
@pytest.mark.parametrize("normalise", ["average", "gnmt", "none"])
def test_a_translation_aligned_again_is_the_same(kind: str, normalise: str) -> None:
    """Where text and ids determine each other: found and forced agree in scores, attention, words and links."""
    draw = random.Random(1)
    translator = untrained(kind, beam=3, normalise=normalise, unknown=False)
    lines = [
        " ".join(draw.choices(["你好", "世界", "天气", "很好，我们去公园吧"], k=draw.randint(1, 9))) for _ in range(30)
    ]
    found = translator.translate(lines)
    assert len({one.text for one in found}) > 3
    for one, forced in zip(found, translator.align(lines, [one.text for one in found]), strict=True):
        assert forced.pieces == one.pieces
        assert forced.log_prob == pytest.approx(one.log_prob, abs=1e-5)
        assert forced.score == pytest.approx(one.score, abs=1e-5)
        np.testing.assert_allclose(forced.weight_TS, one.weight_TS, atol=1e-5)
        np.testing.assert_allclose(forced.matrix(), one.matrix(), atol=1e-5)
        assert forced.source_words == one.source_words
        assert forced.words == one.words


def test_alignment_does_not_depend_on_its_neighbours() -> None:
    translator = untrained("unigram", batch_tokens=30)
    targets = ["", "hello", "I like apples ." * 3, "never seen Ω", " ", "▁"] * 3
    lines = (ODD_LINES * 2)[: len(targets)]
    for line, target, one in zip(lines, targets, translator.align(lines, targets), strict=True):
        (alone,) = translator.align([line], [target])
        assert one.text == target
        assert one.log_prob == pytest.approx(alone.log_prob, abs=1e-4)
        np.testing.assert_allclose(one.weight_TS, alone.weight_TS, atol=1e-5)
        assert one.matrix().shape == (len(target.split()), len(line.split()))


def test_lines_without_translations_are_refused() -> None:
    with pytest.raises(InputError, match="2 source lines but 1 translations; one for each"):
        untrained("words").align(["a", "b"], ["c"])


def test_n_best_are_different_and_best_first() -> None:
    translator = untrained("words", beam=4, n_best=4)
    lines = ["你好 世界", "", "天气 很好"]
    lists = translator.n_best(lines)
    assert [len(found) for found in lists] == [4, 1, 4]
    for found, line in zip(lists, lines, strict=True):
        scores = [one.score for one in found]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(one.pieces) for one in found}) == len(found)
        for one in found:
            check(one, line)


def test_a_model_of_no_numbers_is_told() -> None:
    translator = untrained("words")
    torch.nn.init.constant_(translator.model.decoder.output.weight, torch.nan)
    with pytest.raises(InputError, match="scores are not numbers"):
        translator.translate(["你好 世界"])


def test_dropout_is_off() -> None:
    translator = untrained("words")
    translator.model.train()
    dropouts = [one for one in translator.model.modules() if isinstance(one, Dropout)]
    assert dropouts
    for one in dropouts:
        one.rate = 0.9
    assert translator.translate(["你好 世界"])[0].log_prob == translator.translate(["你好 世界"])[0].log_prob


# --------------------------------------------------------------------------------------------------- unknown words


def with_unknown(kind: str, said: list[int], weight_TS: torch.Tensor, line: str, **search: object) -> Translation:
    """What becomes of a hypothesis with these ids and this attention."""
    translator = untrained(kind, **search)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nmt.translator, "beam_search", lambda *_: [[Hypothesis(said, -1.0, -1.0, weight_TS)]])
        (one,) = translator.translate([line])
    return one


# Target words look at source words 1, 1, 0; the end looks at the end.
CROSSED = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize("kind", ["words", "word"])
def test_an_unknown_word_becomes_the_source_word_that_it_looks_at(kind: str, tmp_path: Path) -> None:
    target = PAIRS[kind][1]
    said = [UNK, *target.encode("hello"), UNK]
    (tmp_path / "dictionary").write_text("北京 Peking\n\nelse other\n北京\tBeijing\n")
    for setting, wanted, replaced in (
        (False, "<unk> hello <unk>", ()),
        (True, "北京 hello Müller", (0, 2)),
        (tmp_path / "dictionary", "Peking hello Müller", (0, 2)),
    ):
        one = with_unknown(kind, said, CROSSED, "Müller 北京", replace_unknown=setting)
        assert (one.text, one.replaced) == (wanted, replaced)
        assert one.words == one.text.split()
        assert one.links().sure == {(1, 0), (1, 1), (0, 2)}
        assert one.pieces == target.pieces(said)


def test_a_word_with_an_unknown_piece_is_replaced_as_a_whole() -> None:
    target = PAIRS["unigram"][1]
    said = [*target.encode("h"), UNK, *target.encode("hello")]
    pieces = target.pieces(said)
    first = sum(piece.startswith("▁") for piece in pieces[: pieces.index("<unk>") + 1])
    assert first == 1  # a piece and then the unknown one are one word, hello another
    line = "h\u00d8h hello"  # as many pieces as the vocabulary makes of it
    columns = PAIRS["unigram"][0].word_of_piece(line)
    weight_TS = torch.zeros(len(said) + 1, len(columns) + 1)
    weight_TS[: pieces.index("<unk>") + 1, columns.index(0)] = 1.0
    weight_TS[pieces.index("<unk>") + 1 : -1, columns.index(1)] = 1.0
    weight_TS[-1, -1] = 1.0
    one = with_unknown("unigram", said, weight_TS, line, replace_unknown=True)
    assert (one.text, one.replaced) == ("h\u00d8h hello", (0,))


def test_an_unknown_word_that_looks_nowhere_stays() -> None:
    weight_TS = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    one = with_unknown("words", [UNK], weight_TS, "北京", replace_unknown=True)
    assert (one.text, one.replaced) == ("<unk>", ())


def test_bfloat16_scores_nearly_the_same() -> None:
    """And not just the same, or it would be off."""
    lines, said = ["你好 世界", "天气 很好"], ["hello", "I like"]
    plain, coarse = (untrained("words", precision=name).align(lines, said) for name in ("float32", "bfloat16"))
    for one, other in zip(plain, coarse, strict=True):
        assert one.log_prob != other.log_prob
        assert one.log_prob == pytest.approx(other.log_prob, rel=0.02)
        np.testing.assert_allclose(one.weight_TS, other.weight_TS, atol=0.02)
    (one,) = untrained("words", precision="bfloat16", coverage="gnmt", stepwise=True).translate(lines[:1])
    check(one, lines[0])


def test_given_translations_are_left_as_they_are() -> None:
    (one,) = untrained("words", replace_unknown=True).align(["你好"], ["never"])
    assert (one.text, one.replaced) == ("never", ())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a b\n\na b c\n", "line 3: 3 words, but a dictionary has two a line"),
        ("a\n", "line 1: 1 words"),
        (None, "no such file"),
    ],
)
def test_a_dictionary_that_is_none(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "dictionary").write_text(content)
    with pytest.raises(InputError, match=sentence):
        untrained("words", replace_unknown=tmp_path / "dictionary")


# ------------------------------------------------------------------------------------------------------- loading


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    Trained(*prepared(write_project(directory), "training.average=2"), directory / "run").run()
    return directory / "run"


def test_search_settings_can_be_replaced(run: Path) -> None:
    assert Translator.load(run, "cpu").search == SearchSettings(beam=2)
    assert Translator.load(run, "cpu", search={"beam": 1}).search.beam == 1
    wide = Translator.load(run, "cpu", search={"n_best": 4}).search
    assert (wide.beam, wide.n_best) == (4, 4)  # a wider beam where none was asked for
    kept = {"coverage": {"kind": "gnmt", "beta": 0.5}, "block_ngrams": 3}
    settings = Translator.load(run, "cpu", search=kept).search
    assert settings == SearchSettings(beam=2, **kept)
    for search in ({"beam": 0}, {"beam": 2, "n_best": 3}, {"been": 1}, {"normalise": "gmnt"}):
        with pytest.raises(InputError, match=r"^search: "):
            Translator.load(run, "cpu", search=search)


def test_the_weights_are_those_asked_for(run: Path) -> None:
    assert find_weights(run).name.startswith("average-")
    assert find_weights(run, "best").name.startswith("best-")
    assert find_weights(run, "last").name.startswith("update-")
    with pytest.raises(InputError, match="has no whole checkpoint with best weights"):
        find_weights(run.parent, "best")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta", "", "cpu:x", "mps:7"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match=f"^device {name}: not available here; choose auto or cpu$"):
        choose_device(name)


def test_devices_that_are_there() -> None:
    assert choose_device("cpu") == CPU
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected


def test_runs_as_an_ensemble(run: Path) -> None:
    lines = ["a b c", "", "d e f g"]
    (alone, *_), together = Translator.load(run, "cpu").translate(lines), Translator.load([run, run], "cpu")
    found = together.translate(lines)
    assert [one.text for one in found] == [one.text for one in Translator.load([run], "cpu").translate(lines)]
    assert found[0].log_prob == pytest.approx(alone.log_prob, abs=1e-5)
    assert found[0].log_prob == pytest.approx(together.align(lines, [one.text for one in found])[0].log_prob, abs=1e-5)
    with pytest.raises(InputError, match="needs at least one run"):
        Translator.load([], "cpu")


def test_the_public_door(run: Path) -> None:
    import nmt

    (one,) = nmt.Translator.load(str(run), "cpu").translate(["a b c"])
    assert isinstance(one, nmt.Translation)
    assert one.source_words == ["a", "b", "c"]
