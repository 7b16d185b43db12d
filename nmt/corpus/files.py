"""Files of the user's own, whole or only the lines that a label chooses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from nmt.corpus.base import (
    FORMAT,
    Corpus,
    CorpusSettings,
    LocalName,
    Report,
    TextPair,
    check_lines,
    files_of,
    one_target,
)
from nmt.errors import InputError
from nmt.kept import kept_directory, key_of, sha256_of
from nmt.settings import FilePath, Settings
from nmt.text import read_lines, read_parallel, write_lines


class Keep(Settings):
    """Keep the lines whose line in ``file`` is one of ``labels``."""

    file: FilePath
    labels: tuple[str, ...] = Field(min_length=1)


class TextFiles(Settings):
    """One text of a corpus, by its paths."""

    source: FilePath
    target: FilePath | None = None
    references: tuple[FilePath, ...] = ()
    gold: FilePath | None = None
    keep: Keep | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        one_target(self.target, self.references)
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
        check_lines([dev, *tests.values()])
        return self.corpus(train, dev, tests, tokenised=self.tokenised)

    def _require(self, entry: TextFiles) -> None:
        for path in [*files_of(entry.pair()), *([entry.keep.file] if entry.keep else [])]:
            if not path.is_file():
                problem = "is a directory, a text file was expected" if path.is_dir() else "no such file"
                raise InputError(f"{path}: {problem}; corpus {self.name} is made of files of your own, put it there")


def _kept_lines(pair: TextPair, keep: Keep, place: Path, report: Report) -> TextPair:
    """The lines of all files of a pair that the labels choose, kept at ``place``."""
    files = files_of(pair)
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
