"""The help of LibreOffice in two languages, by Debian's package manager."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import Field

from nmt import libreoffice
from nmt.corpus.base import FORMAT, Corpus, CorpusSettings, Report
from nmt.debian import fetch_packages, unpack
from nmt.errors import InputError
from nmt.kept import kept_directory, key_of, sha256_of
from nmt.text import write_lines


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
                    f"{self.name}: too few translated paragraphs for {self.dev} dev and {self.test} test pairs; "
                    "set dev and test lower, or choose other languages"
                )
            for name, pairs in splits.items():
                files = self.side_files(directory, name)
                write_lines(files.source, (source for source, _ in pairs))
                write_lines(files.target, (target for _, target in pairs))
            told = ", ".join(f"{len(pairs)} {name}" for name, pairs in splits.items())
            report(f"{self.name}: {told} pairs; {dropped} left out that share a side with dev or test")

        made = kept_directory(place / "text", key, build)
        train, dev, test = (self.side_files(made, name) for name in ("train", "dev", "test"))
        return self.corpus(train, dev, {"test": test}, tokenised=False)


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
