"""Vocabularies: what goes in comes out, every piece knows its word, and nothing depends on the day."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nmt.errors import InputError
from nmt.vocabulary import (
    BOS,
    EOS,
    PAD,
    UNK,
    Vocabulary,
    VocabularySettings,
    load_vocabulary,
    train_vocabulary,
)

LINES = [
    "他 说 ， 他 明天 来 。",
    "the cat sat on the mat , naïvely .",
    "我看看这本书，高高兴兴。",
    "Ｆull width１ ａｎｄ ﬁne ligatures",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z 0 1 2 3 4 5 6 7 8 9",
] * 3
KINDS = {
    "words": VocabularySettings(kind="words"),
    "unigram": VocabularySettings(kind="unigram", size=100),
    "bpe": VocabularySettings(kind="bpe", size=120),
    "char": VocabularySettings(kind="char"),
    "word": VocabularySettings(kind="word"),
    "words, lower-cased": VocabularySettings(kind="words", lowercase=True),
    "bpe, nfkc": VocabularySettings(kind="bpe", size=115, normalisation="nfkc", lowercase=True),
}
VOCABULARIES = {name: train_vocabulary(LINES, settings, "the lines") for name, settings in KINDS.items()}
all_kinds = pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=VOCABULARIES)

# Text with all that trips: odd whitespace and line ends, ▁ itself, names of special ids, composed characters.
odd = st.text("ab猫 \t\r\u00a0\u2028\u0085\u3000\u200b▁<>/s\u0301\u00a8Ａ\0\ufeff", max_size=20)
lines = st.one_of(st.text(max_size=30), odd, st.sampled_from(["</s> <s> <pad> <unk>", "", " ", *LINES]))


@all_kinds
def test_special_ids_come_first(vocabulary: Vocabulary) -> None:
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)
    assert vocabulary.pieces([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]
    assert vocabulary.decode([BOS, PAD, EOS]) == ""
    assert vocabulary.decode([BOS, UNK, EOS, PAD]) == "<unk>"


@all_kinds
@given(words=st.lists(st.sampled_from(" ".join(LINES).split()), max_size=12), space=st.sampled_from(" \t\u3000\u2028"))
def test_known_text_comes_back(vocabulary: Vocabulary, words: list[str], space: str) -> None:
    line = space.join(words)
    ids = vocabulary.encode(line)
    assert UNK not in ids
    assert vocabulary.decode(ids) == vocabulary.normalise(line)
    assert vocabulary.decode([BOS, *ids, EOS, PAD]) == vocabulary.decode(ids)


@pytest.mark.parametrize("name", ["words", "unigram", "bpe", "char", "word"])
def test_what_comes_back_is_the_text_itself(name: str) -> None:
    for line in LINES:
        assert VOCABULARIES[name].decode(VOCABULARIES[name].encode(line)) == line


def test_normalisation_is_what_it_says() -> None:
    assert VOCABULARIES["bpe, nfkc"].normalise(" Ｆull  width１\u3000ﬁne ，") == "full width1 fine ,"
    assert VOCABULARIES["words, lower-cased"].normalise("The Ｆull") == "the ｆull"
    assert VOCABULARIES["bpe"].normalise("The  Ｆull ，") == "The Ｆull ，"


@all_kinds
@given(line=lines)
def test_any_text_is_encoded_and_every_piece_has_its_word(vocabulary: Vocabulary, line: str) -> None:
    ids = vocabulary.encode(line)
    owners = vocabulary.word_of_piece(line)
    words = vocabulary.words(line)
    assert all(0 <= number < len(vocabulary) and number not in (PAD, BOS, EOS) for number in ids)
    assert len(owners) == len(ids)
    assert owners == sorted(owners)
    assert all(0 <= owner < len(words) for owner in owners)
    for place, word in enumerate(words):  # a word's pieces are those of the word alone
        assert [number for number, owner in zip(ids, owners, strict=True) if owner == place] == vocabulary.encode(word)


@pytest.mark.parametrize("name", ["unigram", "bpe", "char"])
@given(line=lines)
def test_encoding_by_words_is_sentencepieces_own(
    tmp_path_factory: pytest.TempPathFactory, name: str, line: str
) -> None:
    vocabulary = VOCABULARIES[name]
    directory = tmp_path_factory.mktemp("model")
    vocabulary.save(directory, "source")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "source.model"))
    ids = processor.encode(vocabulary.normalise(line))
    assert vocabulary.encode(line) == ids
    assert vocabulary.pieces(ids) == processor.id_to_piece(ids)
    if UNK not in ids:
        assert vocabulary.decode(ids) == processor.decode(ids)


def test_neighbouring_unknown_words_stay_apart() -> None:
    for name in ("words", "word"):
        assert VOCABULARIES[name].encode("the qqqq wwww cat")[1:3] == [UNK, UNK]
        assert VOCABULARIES[name].decode(VOCABULARIES[name].encode("the qqqq wwww cat")) == "the <unk> <unk> cat"


def test_word_vocabulary_by_hand() -> None:
    text = ["b a b", "c b a <unk>", "d"]
    vocabulary = train_vocabulary(text, VocabularySettings(kind="words", size=7), "text")
    assert vocabulary.pieces(range(len(vocabulary))) == ["<pad>", "<unk>", "<s>", "</s>", "b", "a", "c"]
    assert vocabulary.encode("d c a </s>") == [UNK, 6, 5, UNK]
    rare = train_vocabulary(text, VocabularySettings(kind="words", minimum_count=2), "text")
    assert rare.pieces(range(4, len(rare))) == ["b", "a"]


@all_kinds
def test_saved_and_loaded_it_is_the_same(vocabulary: Vocabulary, tmp_path: Path) -> None:
    vocabulary.save(tmp_path, "target")
    loaded = load_vocabulary(tmp_path, "target")
    assert loaded.digest() == vocabulary.digest()
    assert (loaded.kind, len(loaded)) == (vocabulary.kind, len(vocabulary))
    for line in [*LINES, "unknown 龘 ﬁ"]:
        assert loaded.encode(line) == vocabulary.encode(line)
    assert all(not path.name.startswith(".") for path in tmp_path.iterdir())


@pytest.mark.parametrize("name", KINDS)
def test_the_same_text_gives_the_same_vocabulary(name: str) -> None:
    assert train_vocabulary(iter(LINES), KINDS[name], "again").digest() == VOCABULARIES[name].digest()


def test_other_content_has_another_digest() -> None:
    digests = {vocabulary.digest() for vocabulary in VOCABULARIES.values()}
    assert len(digests) == len(VOCABULARIES)


def test_training_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train_vocabulary(LINES, KINDS["unigram"], "lines")
    assert capfd.readouterr() == ("", "")


def test_a_very_long_line_is_trained_on() -> None:
    vocabulary = train_vocabulary(["x" * 10_000 + " 稀"], VocabularySettings(kind="char"), "long")
    assert UNK not in vocabulary.encode("稀")


@pytest.mark.parametrize("kind", ["words", "unigram", "bpe", "char", "word"])
def test_too_large_a_size_names_the_largest(kind: str) -> None:
    with pytest.raises(InputError, match=r"^small: a vocabulary of size 5000 is larger than the text allows") as told:
        train_vocabulary(["hello world", "good day"], VocabularySettings(kind=kind, size=5000), "small")
    largest = int(re.findall(r"set size to (\d+) at most", str(told.value))[0])
    vocabulary = train_vocabulary(["hello world", "good day"], VocabularySettings(kind=kind, size=largest), "small")
    assert len(vocabulary) == largest


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_too_small_a_size_names_the_smallest(kind: str) -> None:
    with pytest.raises(InputError, match=r"^small: .* does not hold the text's characters; set size to at least \d+"):
        train_vocabulary(["hello world"], VocabularySettings(kind=kind, size=5), "small")


@pytest.mark.parametrize("kind", ["words", "char", "word"])
@pytest.mark.parametrize("text", [[], ["", " \t", "\u3000"]])
def test_text_without_words_is_refused(kind: str, text: list[str]) -> None:
    with pytest.raises(InputError, match=r"^empty\.txt: no words in it"):
        train_vocabulary(text, VocabularySettings(kind=kind), "empty.txt")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "bpe"}, "needs a size"),
        ({"kind": "bpe", "size": 100, "minimum_count": 2}, "minimum_count is for kind words"),
        ({"kind": "words", "coverage": 0.99}, "coverage is for sentencepiece"),
        ({"kind": "words", "size": 4}, "greater than or equal to 5"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        VocabularySettings.model_validate(settings)


def test_damage_is_told(tmp_path: Path) -> None:
    VOCABULARIES["bpe"].save(tmp_path, "source")
    with pytest.raises(InputError, match=r"target\.vocab\.json: no such file or directory"):
        load_vocabulary(tmp_path, "target")
    header, model = tmp_path / "source.vocab.json", tmp_path / "source.model"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"source\.model: damaged"):
        load_vocabulary(tmp_path, "source")
    model.unlink()
    with pytest.raises(InputError, match=r"source\.model: no such file"):
        load_vocabulary(tmp_path, "source")
    header.write_text(json.dumps({**json.loads(header.read_text()), "format": 99}))
    with pytest.raises(InputError, match="format version 99"):
        load_vocabulary(tmp_path, "source")
    for content in ("{", "[]", "{}", '{"format": 1}'):
        header.write_text(content)
        with pytest.raises(InputError, match=r"source\.vocab\.json: damaged"):
            load_vocabulary(tmp_path, "source")
