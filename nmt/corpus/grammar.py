"""Text that a synchronous grammar generates: parallel by construction, with the word links known."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

import nmt.grammar
import nmt.lexicon
import nmt.rules
from nmt.corpus.base import FORMAT, Corpus, CorpusSettings, Report
from nmt.errors import InputError
from nmt.grammar import format_links, generate, load_grammar
from nmt.kept import kept_directory, key_of, sha256_of
from nmt.settings import FilePath
from nmt.text import write_lines

# What turns a grammar into text: a change of it makes the text anew, as a change of the grammar does.
PROGRAM = (nmt.lexicon, nmt.rules, nmt.grammar)


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
        if not self.grammar.exists():
            raise InputError(f"{self.grammar}: no such file; corpus {self.name} is generated from it")
        rules = sorted(self.grammar.glob("*.yaml")) if self.grammar.is_dir() else [self.grammar]
        key = key_of(
            format=FORMAT,
            grammar=[sha256_of(path) for path in rules],
            program=[sha256_of(Path(str(module.__file__))) for module in PROGRAM],
            settings=[sizes, self.max_length, self.seed, self.source_language, self.target_language],
        )

        def build(directory: Path) -> None:
            report(f"{self.name}: generating {sum(sizes.values())} sentence pairs from {self.grammar.name}")
            splits = generate(load_grammar(self.grammar), **sizes, max_length=self.max_length, seed=self.seed)
            for split, pairs in splits.items():
                files = self.side_files(directory, split)
                write_lines(files.source, (" ".join(pair.source) for pair in pairs))
                write_lines(files.target, (" ".join(pair.target) for pair in pairs))
                write_lines(directory / f"{split}.gold", map(format_links, pairs))

        made = kept_directory(place / "text", key, build)
        pairs = {split: self.side_files(made, split)._replace(gold=made / f"{split}.gold") for split in sizes}
        train, dev = pairs.pop("train"), pairs.pop("dev")
        tests = {split: pair for split, pair in pairs.items() if sizes[split]}
        return self.corpus(train, dev, tests, tokenised=True)
