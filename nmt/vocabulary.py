"""Vocabularies: text to ids and back, with the word that every piece belongs to.

A line is its whitespace words (whitespace as Unicode has it, so U+3000 and U+00A0 separate too). Every word is
normalised and encoded by itself, so that pieces never cross words and the word of a piece is known, not guessed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from nmt.errors import InputError
from nmt.settings import Settings
from nmt.text import written_whole

PAD, UNK, BOS, EOS = 0, 1, 2, 3
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
FORMAT = 1
# sentencepiece keeps its training text in memory; from more lines than this it draws a sample, always the same one.
SAMPLED_LINES = 2_000_000

_BOUNDARY = "▁"  # what sentencepiece writes for the space before a word
_CACHED_WORDS = 1 << 16


class VocabularySettings(Settings):
    """How a vocabulary is made from text. ``size`` counts the four special ids; without it, everything seen is in."""

    kind: Literal["words", "unigram", "bpe", "char", "word"] = "unigram"
    size: int | None = Field(default=None, ge=5)
    minimum_count: int = Field(default=1, ge=1)  # words: rarer ones are unknown
    coverage: float = Field(
        default=1.0, ge=0.9, le=1.0
    )  # sentencepiece: share of all characters that are never unknown
    lowercase: bool = False
    normalisation: Literal["none", "nfkc"] = "none"  # nfkc also makes Chinese ，into a comma, which a reference keeps

    @model_validator(mode="after")
    def _possible(self) -> VocabularySettings:
        if self.kind in ("unigram", "bpe") and self.size is None:
            raise ValueError(f"a vocabulary of kind {self.kind} needs a size, such as 8000")
        if self.kind != "words" and self.minimum_count != 1:
            raise ValueError(f"minimum_count is for kind words; kind {self.kind} has size and coverage instead")
        if self.kind == "words" and self.coverage != 1.0:
            raise ValueError("coverage is for sentencepiece kinds; kind words has size and minimum_count instead")
        return self


class Normaliser(NamedTuple):
    """What is done to a word before it is encoded, at training and ever after."""

    lowercase: bool
    normalisation: str

    def __call__(self, word: str) -> str:
        if self.normalisation == "nfkc":
            word = unicodedata.normalize("NFKC", word)
        return word.lower() if self.lowercase else word


class Vocabulary(ABC):
    """Ids of pieces; 0 to 3 are always PAD, UNK, BOS and EOS, and no text is ever encoded as PAD, BOS or EOS."""

    def __init__(self, kind: str, normaliser: Normaliser) -> None:
        self.kind = kind
        self.normaliser = normaliser
        self._ids_of_word: Callable[[str], list[int]] = lru_cache(_CACHED_WORDS)(self._encode_word)

    @abstractmethod
    def __len__(self) -> int:
        """Number of ids, the four special ones counted."""

    @abstractmethod
    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Every id as it is shown: words, or sentencepiece's pieces with their ▁."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; UNK is shown as ``<unk>``, the other special ids are left out."""

    @abstractmethod
    def _encode_word(self, word: str) -> list[int]: ...

    @abstractmethod
    def _clean(self, word: str) -> str:
        """A word as the vocabulary sees it; may hold spaces, at which it falls apart, or be empty."""

    @abstractmethod
    def _content(self) -> dict[str, bytes]:
        """What is saved: content by the ending of the file's name. All there is to know about the vocabulary."""

    def normalise(self, line: str) -> str:
        """What decoding gives back for a line of known pieces: ``decode(encode(line)) == normalise(line)``."""
        return " ".join(part for word in self.words(line) for part in self._clean(word).split())

    def words(self, line: str) -> list[str]:
        """The words of a line as it stands, before any normalisation."""
        return line.split()

    def encode(self, line: str) -> list[int]:
        """Ids of a line, without BOS and EOS; an empty or blank line has none."""
        return list(chain.from_iterable(map(self._ids_of_word, line.split())))

    def word_of_piece(self, line: str) -> list[int]:
        """For every id of ``encode(line)`` the index in ``words(line)`` of the word it is a piece of."""
        return [index for index, word in enumerate(line.split()) for _ in self._ids_of_word(word)]

    def digest(self) -> str:
        """SHA-256 over all that decides how text is encoded."""
        parts = (name.encode() + hashlib.sha256(content).digest() for name, content in self._content().items())
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def save(self, directory: Path, side: str) -> None:
        """Write ``SIDE.vocab.json`` and, for sentencepiece, ``SIDE.model`` before it."""
        for ending, content in self._content().items():
            with written_whole(directory / f"{side}.{ending}") as stream:
                stream.write(content)

    def _header(self, **rest: Any) -> bytes:
        header = {"format": FORMAT, "kind": self.kind, **self.normaliser._asdict(), **rest}
        return (json.dumps(header, ensure_ascii=False, indent=0) + "\n").encode()


class WordVocabulary(Vocabulary):
    """Whole words, numbered as given; any other word is UNK."""

    def __init__(self, words: Sequence[str], normaliser: Normaliser) -> None:
        super().__init__("words", normaliser)
        self._shown = [*SPECIAL, *words]
        self._id_of = {word: number for number, word in enumerate(words, start=len(SPECIAL))}

    def __len__(self) -> int:
        return len(self._shown)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._shown[number] for number in ids]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self._shown[number] for number in ids if number not in (PAD, BOS, EOS))

    def _clean(self, word: str) -> str:
        return self.normaliser(word)

    def _encode_word(self, word: str) -> list[int]:
        return [self._id_of.get(part, UNK) for part in self._clean(word).split()]

    def _content(self) -> dict[str, bytes]:
        return {"vocab.json": self._header(words=self._shown[len(SPECIAL) :])}


class PieceVocabulary(Vocabulary):
    """Pieces of words by a sentencepiece model (Kudo and Richardson 2018)."""

    def __init__(self, kind: str, model: bytes, normaliser: Normaliser) -> None:
        super().__init__(kind, normaliser)
        self._model = model
        self._processor = SentencePieceProcessor(model_proto=model)

    def __len__(self) -> int:
        return int(self._processor.get_piece_size())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._processor.id_to_piece(int(number)) for number in ids]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._processor.decode([int(number) for number in ids if number not in (PAD, BOS, EOS)])
        return " ".join(text.split())

    def _clean(self, word: str) -> str:
        return _clean_for_pieces(word, self.normaliser)

    def _encode_word(self, word: str) -> list[int]:
        return list(self._processor.encode(self._clean(word)))

    def _content(self) -> dict[str, bytes]:
        return {
            "model": self._model,
            "vocab.json": self._header(model_sha256=hashlib.sha256(self._model).hexdigest()),
        }


def _clean_for_pieces(word: str, normaliser: Normaliser) -> str:
    # sentencepiece would read a ▁ of the text as a space; here everybody does.
    return " ".join(normaliser(word).replace(_BOUNDARY, " ").split())


def train_vocabulary(lines: Iterable[str], settings: VocabularySettings, name: str) -> Vocabulary:
    """The vocabulary of a text; the same text and settings give the same vocabulary, to the byte.

    ``name`` is what errors call the text. For a joint vocabulary pass the lines of both sides, one after the other.
    Raises ``InputError`` for a text without words and for a size that the text does not allow.
    """
    normaliser = Normaliser(settings.lowercase, settings.normalisation)
    if settings.kind == "words":
        return _train_words(lines, settings, normaliser, name)
    return _train_pieces(lines, settings, normaliser, name)


def _train_words(
    lines: Iterable[str], settings: VocabularySettings, normaliser: Normaliser, name: str
) -> WordVocabulary:
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(chain.from_iterable(normaliser(word).split() for word in line.split()))
    if not counts:
        raise InputError(f"{name}: no words in it, so no vocabulary can be made")
    kept = [word for word, count in counts.items() if count >= settings.minimum_count and word not in SPECIAL]
    kept.sort(key=lambda word: (-counts[word], word))
    if settings.size is not None:
        _refuse_too_large(settings.size, len(SPECIAL) + len(kept), name)
        kept = kept[: settings.size - len(SPECIAL)]
    return WordVocabulary(kept, normaliser)


def _train_pieces(
    lines: Iterable[str], settings: VocabularySettings, normaliser: Normaliser, name: str
) -> PieceVocabulary:
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=_sentences(lines, normaliser, name),
            model_writer=model,
            model_type=settings.kind,
            **({"use_all_vocab": True} if settings.size is None else {"vocab_size": settings.size}),
            character_coverage=settings.coverage,
            normalization_rule_name="identity",
            byte_fallback=False,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=SPECIAL[PAD],
            unk_piece=SPECIAL[UNK],
            bos_piece=SPECIAL[BOS],
            eos_piece=SPECIAL[EOS],
            # an unknown word takes its space with it, an unknown character does not
            unk_surface=" <unk>" if settings.kind == "word" else "<unk>",
            input_sentence_size=SAMPLED_LINES,
            shuffle_input_sentence=True,
            # sentencepiece leaves longer lines (in bytes) out of training
            max_sentence_length=1 << 20,
            num_threads=4,  # the sums of the unigram model depend on it, so it must not depend on the machine
            minloglevel=2,
        )
    except RuntimeError as error:
        if most := re.search(r"value <= (\d+)", str(error)):
            _refuse_too_large(settings.size or 0, int(most.group(1)), name)
        if least := re.search(r"required_chars\. \d+ vs (\d+)", str(error)):
            raise InputError(
                f"{name}: a vocabulary of size {settings.size} does not hold the text's characters; "
                f"set size to at least {least.group(1)}, or coverage below {settings.coverage}"
            ) from None
        raise
    vocabulary = PieceVocabulary(settings.kind, model.getvalue(), normaliser)
    if settings.size is not None:  # the character model stops at what there is
        _refuse_too_large(settings.size, len(vocabulary), name)
    return vocabulary


def _sentences(lines: Iterable[str], normaliser: Normaliser, name: str) -> Iterator[str]:
    empty = True
    for line in lines:
        if text := _clean_for_pieces(line, normaliser):
            empty = False
            yield text
    if empty:
        raise InputError(f"{name}: no words in it, so no vocabulary can be made")


def _refuse_too_large(asked: int, possible: int, name: str) -> None:
    if asked > possible:
        raise InputError(
            f"{name}: a vocabulary of size {asked} is larger than the text allows; set size to {possible} at most"
        )


def load_vocabulary(directory: Path, side: str) -> Vocabulary:
    """What :meth:`Vocabulary.save` wrote.

    Raises ``InputError`` when it is missing, damaged or of another format version.
    """
    place = directory / f"{side}.vocab.json"
    header = _read_header(place)
    if header["format"] != FORMAT:
        raise InputError(f"{place}: format version {header['format']}, but this version of the toolkit reads {FORMAT}")
    try:
        normaliser = Normaliser(header["lowercase"], header["normalisation"])
        if header["kind"] == "words":
            return WordVocabulary(header["words"], normaliser)
        kind, expected = header["kind"], header["model_sha256"]
    except KeyError as error:
        raise InputError(f"{place}: damaged, {error} is missing") from None
    model = _read(directory / f"{side}.model")
    if hashlib.sha256(model).hexdigest() != expected:
        raise InputError(f"{directory / f'{side}.model'}: damaged, or not the model that {place.name} belongs to")
    return PieceVocabulary(kind, model, normaliser)


def _read_header(place: Path) -> dict[str, Any]:
    try:
        header = json.loads(_read(place))
    except ValueError:
        header = None
    if not isinstance(header, dict) or "format" not in header:
        raise InputError(f"{place}: damaged, it is no vocabulary")
    return header


def _read(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError as error:
        raise InputError(
            f"{place}: {(error.strerror or 'cannot be read').lower()}, a vocabulary was expected"
        ) from None
