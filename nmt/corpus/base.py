"""What every corpus file says, and what every corpus is once it lies on this machine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, NamedTuple, Self

from pydantic import Field, model_validator

from nmt.settings import Settings
from nmt.text import read_parallel

FORMAT = 1  # of the files that are kept; another number, and they are made anew

Report = Callable[[str], None]
LocalName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]


class TextPair(NamedTuple):
    """Files of which line n of one translates line n of the other."""

    source: Path
    target: Path
    gold: Path | None = None  # word links, in Pharaoh's notation, counted from 0, with p for possible
    references: tuple[Path, ...] = ()  # further translations, beside target


class Corpus(NamedTuple):
    """Parallel text on this machine."""

    name: str
    source_language: str
    target_language: str
    train: TextPair
    dev: TextPair
    tests: dict[str, TextPair]
    licence: str
    tokenised: bool  # words and punctuation are separated already, so BLEU must not do it again


class CorpusSettings(Settings):
    """What every corpus file says."""

    kind: str
    name: LocalName = "corpus"  # the file's own name where it says nothing
    source_language: str = Field(pattern=r"^[a-z]{2,3}(-[a-z]+)?$")  # zh, en, zh-tw, ...
    target_language: str = Field(pattern=r"^[a-z]{2,3}(-[a-z]+)?$")
    licence: str

    @abstractmethod
    def prepare(self, place: Path, report: Report) -> Corpus:
        """The corpus, with what has to be made or fetched in ``place``, a directory that is this corpus's own."""

    def corpus(self, train: TextPair, dev: TextPair, tests: dict[str, TextPair], *, tokenised: bool) -> Corpus:
        """The prepared corpus, from its files."""
        languages = (_base_language(self.source_language), _base_language(self.target_language))
        return Corpus(self.name, *languages, train, dev, tests, self.licence, tokenised)

    def side_files(self, directory: Path, split: str) -> TextPair:
        """``train.zh`` and ``train.en``, say."""
        return TextPair(directory / f"{split}.{self.source_language}", directory / f"{split}.{self.target_language}")

    @model_validator(mode="after")
    def _two_languages(self) -> Self:
        if self.source_language == self.target_language:
            raise ValueError(f"source_language and target_language are both {self.source_language}")
        return self


def files_of(pair: TextPair) -> list[Path]:
    """All files of a pair, line n of each belonging to line n of the others."""
    return [path for path in (pair.source, pair.target, *pair.references, pair.gold) if path is not None]


def check_lines(pairs: Iterable[TextPair]) -> None:
    """Raises ``InputError`` unless all files of a pair can be read and have the same number of lines."""
    for pair in pairs:
        for _ in read_parallel(*files_of(pair)):
            pass


def one_target(target: object, references: tuple[object, ...]) -> None:
    """Raises ``ValueError`` unless a text has either a target or references."""
    if (target is None) == (not references):
        raise ValueError("give either target, or references for several translations of each sentence")


def _base_language(code: str) -> str:
    return code.split("-")[0]
