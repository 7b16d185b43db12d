"""From files to a test set: texts of any system, and alignments in every format of :mod:`nmt.formats`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats import READERS
from nmt.formats.base import soft
from nmt.links import links_of_lines, read_matrices
from nmt.metrics.reading import Reader
from nmt.page.base import Entry, Section
from nmt.text import STANDARD_INPUT, read_lines, read_parallel
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
    pieces: str | None = None  # the style of pieces that source, translations and alignments are made of


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
    given = [texts.source, *texts.references, *hypotheses.values(), texts.gold]
    if given.count(STANDARD_INPUT) > (0 if aligned else 1):
        raise InputError("standard input can be read once, and not where alignments are given; name files")
    own, forced = (
        _matched("--links", texts.own, hypotheses),
        _matched("--ref-links", texts.forced, hypotheses, new=True),
    )
    for _ in read_parallel(*[path for path in (texts.source, *texts.references) if path not in (None, STANDARD_INPUT)]):
        pass  # what differs in length is told by the names of the files
    # The other files are found wrong by the same reader as those of nmt-eval, in the same words.
    reader = Reader(texts.references, texts.source)
    outputs = {name: reader.output(path) for name, path in hypotheses.items()}
    sources = None if texts.source is None else _words(read_lines(texts.source), texts.pieces)
    references = [list(read_lines(path)) for path in texts.references]
    entries = []
    for name in dict.fromkeys([*hypotheses, *forced]):
        output = outputs.get(name)
        said = None if output is None or output.hypotheses is None else _words(output.hypotheses, texts.pieces)
        entry = Entry(name, said)
        if name in own:
            lengths = _lengths(texts.source, hypotheses[name])
            entry = replace(entry, own=_alignments(own[name], texts, hypotheses[name], lengths))
        if name in forced:
            lengths = _lengths(texts.source, texts.references[0])
            entry = replace(entry, forced=_alignments(forced[name], texts, texts.references[0], lengths))
        entries.append(entry)
    gold = None
    if texts.gold is not None and sources is not None:
        lengths = [(len(one.split()), len(two.split())) for one, two in zip(sources, references[0], strict=False)]
        gold = links_of_lines(list(read_lines(texts.gold)), texts.gold, texts.gold_base, lengths).links
    return Section(None, entries, sources, references, gold)


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


def _words(lines: Iterable[str], pieces: str | None) -> list[str]:
    return list(lines) if pieces is None else [" ".join(joined(line.split(), pieces).words) for line in lines]


def _lengths(source: str | None, target: str) -> list[tuple[int, int]]:
    assert source is not None
    return [(len(one.split()), len(two.split())) for one, two in read_parallel(source, target)]


def _alignments(path: str, texts: Texts, target: str, lengths: Sequence[tuple[int, int]]) -> list[Alignment]:
    """All alignments of a file, between words."""
    assert texts.source is not None
    named = next((form for end, form in _BY_NAME.items() if path.removesuffix(".gz").endswith(end)), None)
    if (form := texts.form or named) is not None:
        needs = READERS[form].needs
        sides = [file if side in needs else None for side, file in (("source", texts.source), ("target", target))]
        found = list(READERS[form].read(path, *sides))
    else:
        pairs = [(one.split(), two.split()) for one, two in read_parallel(texts.source, target)]
        if path.endswith(".json"):
            matrices = read_matrices(path)
            numbered = enumerate(zip(pairs, matrices, strict=False), start=1)
            found = [soft(one, two, weight, f"{path}, sentence {n}", _HINT) for n, ((one, two), weight) in numbered]
        else:
            links = links_of_lines(list(read_lines(path)), path, None, lengths).links
            found = [Alignment(one, two, link) for (one, two), link in zip(pairs, links, strict=True)]
    if len(found) != len(lengths):
        raise InputError(f"{path} has the alignments of {len(found)} sentences but {target} has {len(lengths)}")
    if texts.pieces is not None:
        found = [one.to_words(texts.pieces) for one in found]
    return [one.ends("drop") for one in found]
