"""Corpora: a corpus file in ``data/`` says where parallel text comes from; here it becomes files on this machine.

Each kind is one class of settings that knows how to prepare itself, and one line in :data:`CORPORA`.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, model_validator

import nmt.grammar
from nmt import libreoffice
from nmt.debian import fetch_packages, unpack
from nmt.download import extract, fetch
from nmt.errors import InputError
from nmt.grammar import format_links, generate, load_grammar
from nmt.kept import kept_directory, key_of, sha256_of
from nmt.settings import FilePath, Settings, load
from nmt.text import read_lines, read_parallel, write_lines

FORMAT = 1

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

    def _corpus(self, train: TextPair, dev: TextPair, tests: dict[str, TextPair], *, tokenised: bool) -> Corpus:
        languages = (_base_language(self.source_language), _base_language(self.target_language))
        return Corpus(self.name, *languages, train, dev, tests, self.licence, tokenised)

    def _side_files(self, directory: Path, split: str) -> TextPair:
        return TextPair(directory / f"{split}.{self.source_language}", directory / f"{split}.{self.target_language}")

    @model_validator(mode="after")
    def _two_languages(self) -> Self:
        if self.source_language == self.target_language:
            raise ValueError(f"source_language and target_language are both {self.source_language}")
        return self


# ------------------------------------------------------------------------------------------------------- embedded


class GrammarCorpus(CorpusSettings):
    """Text that a synchronous grammar of the repository generates, with its gold word links."""

    kind: Literal["grammar"]
    grammar: FilePath
    train: int = Field(ge=1)
    dev: int = Field(ge=1)
    test: int = Field(ge=1)
    long: int = Field(ge=0)
    max_length: int = Field(ge=1)  # of the sentences in all but long, in words
    seed: int = 1

    def prepare(self, place: Path, report: Report) -> Corpus:
        sizes = {"train": self.train, "dev": self.dev, "test": self.test, "long": self.long}
        program = Path(nmt.grammar.__file__)
        files = [path for path in (sorted(self.grammar.glob("*")), [self.grammar]) for path in path if path.is_file()]
        key = key_of(
            format=FORMAT,
            grammar=[sha256_of(path) for path in [*files, program]],
            settings=[sizes, self.max_length, self.seed, self.source_language, self.target_language],
        )

        def build(directory: Path) -> None:
            report(f"{self.name}: generating {sum(sizes.values())} sentence pairs from {self.grammar.name}")
            splits = generate(load_grammar(self.grammar), **sizes, max_length=self.max_length, seed=self.seed)
            for split, pairs in splits.items():
                files = self._side_files(directory, split)
                write_lines(files.source, (" ".join(pair.source) for pair in pairs))
                write_lines(files.target, (" ".join(pair.target) for pair in pairs))
                write_lines(directory / f"{split}.gold", map(format_links, pairs))

        made = kept_directory(place / "text", key, build)
        pairs = {split: self._side_files(made, split)._replace(gold=made / f"{split}.gold") for split in sizes}
        train, dev = pairs.pop("train"), pairs.pop("dev")
        tests = {split: pair for split, pair in pairs.items() if sizes[split]}
        return self._corpus(train, dev, tests, tokenised=True)


# ------------------------------------------------------------------------------------------------ LibreOffice's help


class HelpCorpus(CorpusSettings):
    """The help of LibreOffice in two languages, from Debian's package manager."""

    kind: Literal["libreoffice-help"]
    dev: int = Field(default=1000, ge=1)
    test: int = Field(default=1000, ge=1)

    def prepare(self, place: Path, report: Report) -> Corpus:
        languages = (self.source_language, self.target_language)
        packages = fetch_packages([f"libreoffice-help-{code}" for code in languages], place / "packages", report)
        versions = [path.name for path in packages.values()]
        key = key_of(
            format=[FORMAT, libreoffice.FORMAT],
            packages=[sha256_of(path) for path in packages.values()],
            settings=[languages, self.dev, self.test],
        )

        def build(directory: Path) -> None:
            report(f"{self.name}: reading the pages of {' and '.join(versions)}")
            with TemporaryDirectory() as folder:
                sides = [Path(folder, code) for code in languages]
                for package, side in zip(packages.values(), sides, strict=True):
                    side.mkdir()
                    unpack(package, side)
                splits, dropped = split(libreoffice.help_pairs(*sides), dev=self.dev, test=self.test)
            if not all(splits.values()):
                raise InputError(
                    f"{self.name}: too few translated paragraphs ({', '.join(f'{len(splits[s])} {s}' for s in splits)}); "
                    "set dev and test lower, or choose other languages"
                )
            for name, pairs in splits.items():
                files = self._side_files(directory, name)
                write_lines(files.source, (source for source, _ in pairs))
                write_lines(files.target, (target for _, target in pairs))
            told = ", ".join(f"{len(pairs)} {name}" for name, pairs in splits.items())
            report(f"{self.name}: {told} pairs; {dropped} left out that share a side with dev or test")

        made = kept_directory(place / "text", key, build)
        train, dev, test = (self._side_files(made, name) for name in ("train", "dev", "test"))
        return self._corpus(train, dev, {"test": test}, tokenised=False)


def split(pairs: Sequence[tuple[str, str]], *, dev: int, test: int) -> tuple[dict[str, list[tuple[str, str]]], int]:
    """Train, dev and test, and how many pairs are in none of them because they share a side with dev or test.

    The pairs whose source has the lowest hash are held out, so the same sentences are when the corpus grows. No source
    and no target occurs in two splits, or twice in dev or test.
    """
    ranked = sorted(range(len(pairs)), key=lambda n: (hashlib.sha256(pairs[n][0].encode()).digest(), pairs[n][1]))
    sources: set[str] = set()
    targets: set[str] = set()
    held: list[tuple[str, str]] = []
    for source, target in (pairs[n] for n in ranked):
        if len(held) == dev + test:
            break
        if source not in sources and target not in targets:
            held.append((source, target))
            sources.add(source)
            targets.add(target)
    train = [pair for pair in pairs if pair[0] not in sources and pair[1] not in targets]
    splits = {"train": train, "dev": held[test:], "test": held[:test]}
    return splits, len(pairs) - sum(map(len, splits.values()))


# ----------------------------------------------------------------------------------------------- files of one's own


class Keep(Settings):
    """Keep the lines whose line in ``file`` is one of ``labels``."""

    file: FilePath
    labels: tuple[str, ...] = Field(min_length=1)


def _one_target(entry: TextFiles | TextNames) -> None:
    if (entry.target is None) == (not entry.references):
        raise ValueError("give either target, or references for several translations of each sentence")


class TextFiles(Settings):
    """One text of a corpus, by its paths."""

    source: FilePath
    target: FilePath | None = None
    references: tuple[FilePath, ...] = ()
    gold: FilePath | None = None
    keep: Keep | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _one_target(self)
        return self

    def pair(self) -> TextPair:
        """The files as they are, unfiltered."""
        target, *others = self.references if self.target is None else (self.target,)
        return TextPair(self.source, target, self.gold, tuple(others))


class FilesCorpus(CorpusSettings):
    """Files of the user's own."""

    kind: Literal["files"]
    tokenised: bool
    train: TextFiles
    dev: TextFiles
    tests: dict[LocalName, TextFiles] = Field(default_factory=dict)

    def prepare(self, place: Path, report: Report) -> Corpus:
        def files(name: str, entry: TextFiles) -> TextPair:
            self._require(entry)
            return entry.pair() if entry.keep is None else _kept_lines(entry.pair(), entry.keep, place / name, report)

        train, dev = files("train", self.train), files("dev", self.dev)
        tests = {name: files(f"test-{name}", entry) for name, entry in self.tests.items()}
        _check_lines([dev, *tests.values()])
        return self._corpus(train, dev, tests, tokenised=self.tokenised)

    def _require(self, entry: TextFiles) -> None:
        for path in [*_files_of(entry.pair()), *([entry.keep.file] if entry.keep else [])]:
            if not path.is_file():
                problem = "is a directory, a text file was expected" if path.is_dir() else "no such file"
                raise InputError(f"{path}: {problem}; corpus {self.name} is made of files of your own, put it there")


def _files_of(pair: TextPair) -> list[Path]:
    return [path for path in (pair.source, pair.target, *pair.references, pair.gold) if path is not None]


def _check_lines(pairs: Iterable[TextPair]) -> None:
    for pair in pairs:
        for _ in read_parallel(*_files_of(pair)):
            pass


def _kept_lines(pair: TextPair, keep: Keep, place: Path, report: Report) -> TextPair:
    """The lines of all files of a pair that the labels choose, kept at ``place``."""
    files = _files_of(pair)
    key = key_of(format=FORMAT, files=[sha256_of(path) for path in [*files, keep.file]], labels=keep.labels)

    def build(directory: Path) -> None:
        found = set(read_lines(keep.file))
        if missing := [label for label in keep.labels if label not in found]:
            known = ", ".join(sorted(found)[:20])
            raise InputError(f'{keep.file}: no line is labelled "{missing[0]}"; its labels are: {known}')
        for _ in read_parallel(*files, keep.file):  # the same number of lines, told with both names
            pass
        for path in files:
            write_lines(directory / names[path], _chosen(path, keep))
        report(f"{place.name}: kept {sum(label in keep.labels for label in read_lines(keep.file))} labelled lines")

    names = {path: f"{number}-{path.name.removesuffix('.gz')}" for number, path in enumerate(files)}
    made = kept_directory(place, key, build)
    return TextPair(
        made / names[pair.source],
        made / names[pair.target],
        made / names[pair.gold] if pair.gold else None,
        tuple(made / names[path] for path in pair.references),
    )


def _chosen(path: Path, keep: Keep) -> Iterator[str]:
    for line, label in read_parallel(path, keep.file):
        if label in keep.labels:
            yield line


# -------------------------------------------------------------------------------------------------------- the web


class Download(Settings):
    """A file on the web; ``members`` takes files out of an archive, and gives each a name of its own."""

    url: str = Field(pattern=r"^https?://")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int | None = Field(default=None, ge=0)  # bytes
    members: dict[LocalName, str] = Field(default_factory=dict)


class TextNames(Settings):
    """One text of a corpus, by the names that its downloads give to files."""

    source: str
    target: str | None = None
    references: tuple[str, ...] = ()
    gold: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _one_target(self)
        return self

    def names(self) -> list[str]:
        """All that are mentioned."""
        return [name for name in (self.source, self.target, *self.references, self.gold) if name is not None]


class UrlCorpus(CorpusSettings):
    """Files from any web address, each with its SHA-256."""

    kind: Literal["url"]
    tokenised: bool
    files: dict[LocalName, Download] = Field(min_length=1)
    train: TextNames
    dev: TextNames
    tests: dict[LocalName, TextNames] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _all_names_known(self) -> Self:
        names = [name for file, download in self.files.items() for name in (download.members or [file])]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two files are named {min(twice)}")
        for entry in (self.train, self.dev, *self.tests.values()):
            if unknown := [name for name in entry.names() if name not in names]:
                raise ValueError(f"no file is named {unknown[0]}; there are: {', '.join(names)}")
        return self

    def prepare(self, place: Path, report: Report) -> Corpus:
        here: dict[str, Path] = {}
        for name, download in self.files.items():
            file = fetch(download.url, place / "files" / name, download.sha256, report, size=download.size)
            here |= _members(file, download, place / "members" / name) if download.members else {name: file}

        def files(entry: TextNames) -> TextPair:
            target, *others = [entry.target] if entry.target else entry.references
            gold = here[entry.gold] if entry.gold else None
            return TextPair(here[entry.source], here[target], gold, tuple(here[name] for name in others))

        tests = {name: files(entry) for name, entry in self.tests.items()}
        _check_lines([files(self.dev), *tests.values()])
        return self._corpus(files(self.train), files(self.dev), tests, tokenised=self.tokenised)


def _members(archive: Path, download: Download, place: Path) -> dict[str, Path]:
    key = key_of(format=FORMAT, archive=download.sha256, members=download.members)
    made = kept_directory(
        place,
        key,
        lambda directory: extract(archive, {directory / name: member for name, member in download.members.items()}),
    )
    return {name: made / name for name in download.members}


# ----------------------------------------------------------------------------------------------------- all of them

CORPORA: dict[str, type[CorpusSettings]] = {
    "grammar": GrammarCorpus,
    "libreoffice-help": HelpCorpus,
    "files": FilesCorpus,
    "url": UrlCorpus,
}


class _Kind(Settings):
    """Only what kind of corpus a file describes."""

    model_config = ConfigDict(extra="ignore")

    kind: Literal["grammar", "libreoffice-help", "files", "url"]


def load_corpus(path: Path) -> CorpusSettings:
    """The settings in a corpus file. Raises ``InputError`` with one sentence for each of its mistakes."""
    settings = load(path, CORPORA[load(path, _Kind).kind])
    return settings if "name" in settings.model_fields_set else settings.model_copy(update={"name": path.stem})


def prepare_corpus(settings: CorpusSettings, downloads: Path, report: Report) -> Corpus:
    """The corpus on this machine: what is made or fetched lies in ``downloads/NAME``, complete or absent, and is reused.

    ``report`` gets lines that tell what is going on. Raises ``InputError`` when the text cannot be had.
    """
    return settings.prepare(downloads / settings.name, report)


def _base_language(code: str) -> str:
    return code.split("-")[0]
