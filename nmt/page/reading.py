"""From files to a test set: texts of any system, and alignments in every format of :mod:`nmt.formats`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats import READERS
from nmt.formats.base import soft
from nmt.links import links_of_lines, read_matrices
from nmt.metrics.reading import Reader
from nmt.page.base import Entry, Section
from nmt.text import STANDARD_INPUT, read_lines, write_lines
from nmt.words import joined

_HINT = "a matrix has a row a target word and a column a source word, words being what stands between spaces"
# The format of an alignment by the end of its name; .json holds matrices, all others links, from 0 or 1 as they show.
_BY_NAME = {".npz": "npz", ".jsonl": "json", ".talp": "talp"}


@dataclass(frozen=True)
class Texts:
    """What is given: files, those of systems as ``NAME=FILE`` or ``FILE``."""

    source: str | None = None
    references: Sequence[str] = ()
    hypotheses: Sequence[str] = ()
    own: Sequence[str] = ()  # alignments of source and translations
    forced: Sequence[str] = ()  # alignments of source and first reference
    gold: str | None = None
    gold_base: int | None = None
    form: str | None = None  # of the alignments, a name of nmt.formats.READERS; None: by the name of the file
    pieces: str | None = None  # how pieces are marked, in whichever texts are made of them


class Side(NamedTuple):
    """A text of the test set: its file, its lines, and how pieces are marked where there are any."""

    path: str
    lines: Sequence[str]
    pieces: str | None

    @property
    def style(self) -> str:
        """How its own pieces are marked. A text without a mark is of words, as the reference often is."""
        if self.pieces is None:
            return "words"
        mark = "▁" if self.pieces == "sentencepiece" else self.pieces
        return self.pieces if any(mark in line for line in self.lines) else "words"

    def words(self) -> list[str]:
        """The lines with what stands between spaces made words."""
        style = self.style
        if style == "words":
            return list(self.lines)
        return [" ".join(joined(line.split(), style).words) for line in self.lines]


def read_section(texts: Texts) -> Section:
    """The test set that the files are. Raises ``InputError`` for a mistake in them or in what was given together."""
    hypotheses = _named(texts.hypotheses)
    if not hypotheses and not texts.forced:
        raise InputError("there is nothing to show; give runs, or texts with --hyp (or --ref-links), --src and --ref")
    if texts.own and not hypotheses:
        raise InputError("--links is of translations, and none were given; links of the reference are --ref-links")
    aligned = [*texts.own, *texts.forced]
    if aligned and texts.source is None:
        raise InputError(f"{aligned[0]}: an alignment needs the source text; give --src")
    if texts.forced and not texts.references:
        raise InputError(f"{texts.forced[0]}: an alignment with the reference needs it; give --ref")
    if texts.gold is not None and not texts.forced:
        raise InputError(f"{texts.gold}: gold links judge alignments with the reference; give some with --ref-links")
    aligners = [_split(argument)[1] for argument in aligned]
    given = [texts.source, *texts.references, *hypotheses.values(), *aligners, texts.gold]
    if given.count(STANDARD_INPUT) > 1:
        raise InputError("standard input can be read once; name files for the rest")
    own, forced = (
        _matched("--links", texts.own, hypotheses),
        _matched("--ref-links", texts.forced, hypotheses, new=True),
    )
    # What is wrong is found by the same reader as that of nmt-eval, in the same words; it reads every text once.
    reader = Reader(texts.references, texts.source)
    outputs = {name: reader.output(path) for name, path in hypotheses.items()}
    source = None if texts.source is None else Side(texts.source, reader.text(texts.source), texts.pieces)
    references = [Side(path, reader.text(path), texts.pieces) for path in texts.references]
    entries = []
    for name in dict.fromkeys([*hypotheses, *forced]):
        said = outputs[name].hypotheses if name in hypotheses else None
        target = None if said is None else Side(hypotheses[name], said, texts.pieces)
        entry = Entry(name, None if target is None else target.words())
        if source is not None and target is not None and name in own:
            entry = replace(entry, own=_alignments(own[name], texts.form, source, target))
        if source is not None and name in forced:
            entry = replace(entry, forced=_alignments(forced[name], texts.form, source, references[0]))
        entries.append(entry)
    sources, words = None if source is None else source.words(), [one.words() for one in references]
    gold = None
    if texts.gold is not None and sources is not None:
        lengths = _lengths(sources, words[0])
        gold = links_of_lines(list(read_lines(texts.gold)), texts.gold, texts.gold_base, lengths).links
    return Section(None, entries, sources, words, gold)


def _named(arguments: Iterable[str]) -> dict[str, str]:
    """Name and file of every ``NAME=FILE`` or ``FILE``; a file goes by its own name."""
    found: dict[str, str] = {}
    for argument in arguments:
        name, path = _split(argument)
        name = name or (Path(path).name if Path(path).name not in found else path)
        if name in found:
            raise InputError(f"two systems are called {name}; give each a name of its own (NAME=FILE)")
        found[name] = path
    return found


def _split(argument: str) -> tuple[str, str]:
    name, equals, path = argument.partition("=")
    return (name, path) if equals and name and not Path(argument).exists() else ("", argument)


def _matched(option: str, arguments: Sequence[str], hypotheses: dict[str, str], *, new: bool = False) -> dict[str, str]:
    """Alignments by the names of their systems: as they say, or in the order of the systems."""
    pairs = [_split(argument) for argument in arguments]
    if any(name for name, _ in pairs) or (new and not hypotheses):
        found = _named(arguments)
        unknown = [name for name in found if name not in hypotheses]
        if unknown and not new:
            raise InputError(f"{option}: no system is called {unknown[0]}; there are {', '.join(hypotheses)}")
        return found
    if arguments and len(arguments) != len(hypotheses):
        raise InputError(
            f"{option}: {len(arguments)} files for {len(hypotheses)} systems; give each one, or say whose: NAME=FILE"
        )
    return dict(zip(hypotheses, arguments, strict=False))


def _lengths(source: Sequence[str], target: Sequence[str]) -> list[tuple[int, int]]:
    return [(len(one.split()), len(two.split())) for one, two in zip(source, target, strict=True)]


def _alignments(path: str, form: str | None, source: Side, target: Side) -> list[Alignment]:
    """All alignments of a file, between words."""
    named = next((form for end, form in _BY_NAME.items() if path.removesuffix(".gz").endswith(end)), None)
    if (form := form or named) is not None:
        with TemporaryDirectory(prefix="nmt-") as directory:
            files = _file(source, Path(directory, "source")), _file(target, Path(directory, "target"))
            found = list(READERS[form].read(path, *files))
    else:
        pairs = [(one.split(), two.split()) for one, two in zip(source.lines, target.lines, strict=True)]
        if path.removesuffix(".gz").endswith(".json"):
            matrices = read_matrices(path)
            numbered = enumerate(zip(pairs, matrices, strict=False), start=1)
            found = [soft(one, two, weight, f"{path}, sentence {n}", _HINT) for n, ((one, two), weight) in numbered]
        else:
            lengths = _lengths(source.lines, target.lines)
            links = links_of_lines(list(read_lines(path)), path, None, lengths).links
            found = [Alignment(one, two, link) for (one, two), link in zip(pairs, links, strict=True)]
    if len(found) != len(target.lines):
        raise InputError(
            f"{path} has the alignments of {len(found)} sentences but {target.path} has {len(target.lines)}"
        )
    if (source.style, target.style) != ("words", "words"):
        found = [one.to_words(source.style, target.style) for one in found]
    return [one.ends("drop") for one in found]


def _file(side: Side, new: Path) -> str | Path:
    """Where a reader finds the lines: in the file that holds them, or in a new one, where that was a pipe or JSONL."""
    if os.path.isfile(side.path) and list(read_lines(side.path)) == side.lines:
        return side.path
    write_lines(new, side.lines)
    return new
