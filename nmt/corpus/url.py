"""Files from any web address, each with its SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from nmt.corpus.base import FORMAT, Corpus, CorpusSettings, LocalName, Report, TextPair, check_lines, one_target
from nmt.download import extract, fetch
from nmt.kept import kept_directory, key_of
from nmt.settings import Settings


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
        one_target(self.target, self.references)
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
        check_lines([files(self.dev), *tests.values()])
        return self.corpus(files(self.train), files(self.dev), tests, tokenised=self.tokenised)


def _members(archive: Path, download: Download, place: Path) -> dict[str, Path]:
    key = key_of(format=FORMAT, archive=download.sha256, members=download.members)
    made = kept_directory(
        place,
        key,
        lambda directory: extract(archive, {directory / name: member for name, member in download.members.items()}),
    )
    return {name: made / name for name in download.members}
