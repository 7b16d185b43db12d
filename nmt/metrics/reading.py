"""From files to outputs: plain text, JSONL, links, attention matrices, run directories."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any

from nmt.errors import InputError
from nmt.links import Lengths, Links, Matrix, argmax_links, links_of_lines, read_links, read_matrices
from nmt.metrics.base import Output
from nmt.text import STANDARD_INPUT, name_of, read_lines

MATRICES = (".npz", ".json")


@dataclass
class Reader:
    """What is given for all systems, and remarks on what was detected in the files (``notes``)."""

    references: Sequence[str] = ()
    source: str | None = None
    gold: str | None = None
    reference_links: str | None = None
    base: int | None = None
    gold_base: int | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        given = [path for path in (*self.references, self.source) if path is not None]
        for path in given:
            self.text(path)
        for path in given:
            self._same_length(path, len(self.text(path)), Output())

    def output(self, path: str, alignment: str | None = None, is_links: bool = False) -> Output:
        """The output of a system: a text, JSONL, or with ``is_links`` its links; with links of ``alignment``.

        Attention matrices (``.npz``, ``.json``) are known by their names, and give links by their highest weights.
        Raises ``InputError`` naming the files when they do not fit each other.
        """
        output = Output(
            references=[self.text(reference) for reference in self.references] or None,
            sources=None if self.source is None else self.text(self.source),
        )
        if alignment is None and _has_suffix(path, *MATRICES):
            alignment = path
        elif _is_jsonl(path, lines := self.text(path)):
            self._same_length(path, len(lines), output)
            output = self._jsonl(output, lines, path)
        elif is_links and alignment is None:
            alignment = path
        else:
            self._same_length(path, len(lines), output)
            output = replace(output, hypotheses=lines)
        if alignment is not None:
            output = self._aligned(output, alignment)
        return self._with_gold(output)

    def _aligned(self, output: Output, alignment: str) -> Output:
        if _has_suffix(alignment, *MATRICES):
            weights = read_matrices(alignment)
            self._same_length(alignment, len(weights), output)
            _check_shapes(weights, _lengths(output), alignment)
            return replace(output, weights=weights, links=[argmax_links(weight) for weight in weights])
        return replace(output, links=self._links(alignment, _lengths(output), self.base))

    def _with_gold(self, output: Output) -> Output:
        """Gold links, checked against source and reference where both are at hand, else against the matrices."""
        lengths = _lengths(replace(output, hypotheses=None)) or _lengths(output)
        if lengths is None and output.weights is not None:
            lengths = [(weight.shape[1], weight.shape[0]) for weight in output.weights]
        if self.gold is not None:
            gold = self._links(self.gold, lengths, self.gold_base)
            self._same_length(self.gold, len(gold), output)
            output = replace(output, gold=gold)
        if self.reference_links is not None:
            links = self._links(self.reference_links, lengths, self.base)
            self._same_length(self.reference_links, len(links), output)
            output = replace(output, reference_links=links)
        return output

    def _links(self, path: str, lengths: Lengths | None, base: int | None) -> list[Links]:
        found = links_of_lines(self.text(path), name_of(path), base, lengths)
        how = "as stated" if base is not None else "detected"
        note = f"{path}: counts from {found.base} ({how})"
        if note not in self.notes:
            self.notes.append(note)
        return found.links

    def _jsonl(self, output: Output, lines: Sequence[str], path: str) -> Output:
        """Fields ``src``, ``hyp``, ``ref`` (one or a list) and ``alignment``; files named by options come first."""
        rows = [_parse_object(line, f"{name_of(path)}, line {n}") for n, line in enumerate(lines, start=1)]
        output = replace(output, hypotheses=[_string(row, "hyp", path, n) for n, row in enumerate(rows, start=1)])
        if output.sources is None and rows and "src" in rows[0]:
            output = replace(output, sources=[_string(row, "src", path, n) for n, row in enumerate(rows, start=1)])
        if output.references is None and rows and "ref" in rows[0]:
            output = replace(output, references=_references(rows, path))
        if rows and "alignment" in rows[0]:
            texts = [_alignment(row, path, n) for n, row in enumerate(rows, start=1)]
            found = links_of_lines(texts, path, self.base, _lengths(output))
            self.notes.append(f"{path}: alignment counts from {found.base}")
            output = replace(output, links=found.links)
        return output

    def text(self, path: str) -> list[str]:
        """The lines of a file, which is read once. Raises ``InputError`` when there is none."""
        if path not in self._texts:
            self._texts[path] = list(read_lines(path))
            if not self._texts[path]:
                raise InputError(f"{name_of(path)} is empty; there is nothing to score")
        return self._texts[path]

    def _same_length(self, path: str, count: int, output: Output) -> None:
        """Raise ``InputError`` naming both files when ``path`` has another number of sentences than the texts."""
        others = {other: len(self._texts[other]) for other in (*self.references, self.source) if other is not None}
        if not others and output.hypotheses is not None:
            others = {"the hypotheses": len(output.hypotheses)}
        for other, lines in others.items():
            if lines != count:
                raise InputError(
                    f"{name_of(path)} has {count} lines but {name_of(other)} has {lines}; line n must be of sentence n"
                )


def is_run(path: str) -> bool:
    """Whether this is a directory (a run of ours, or a mistake that :func:`read_run` explains)."""
    return Path(path).is_dir()


def read_run(path: str) -> dict[str, Output]:
    """The test sets of a run directory: ``translations/NAME.hyp`` and .ref (.ref2, …), .src, .npz or .links, .gold.

    Links and attention matrices are those of the forced reference; links count from 0. Raises ``InputError`` for a
    directory without translations, and for files that do not fit each other.
    """
    texts = sorted(Path(path, "translations").glob("*.hyp"))
    if not texts:
        raise InputError(f"{path}: no translations/*.hyp in this directory; is it a run?")
    found = {}
    for hypotheses in texts:
        beside = {suffix: str(hypotheses.with_suffix(suffix)) for suffix in (".src", ".npz", ".links", ".gold")}
        there = {suffix: name for suffix, name in beside.items() if Path(name).exists()}
        # More than nine references are not met with; sorted by name, .ref comes before .ref2.
        references = sorted(str(path) for path in hypotheses.parent.glob(f"{escape(hypotheses.stem)}.ref*"))
        reader = Reader(references=references, source=there.get(".src"))
        output = reader.output(str(hypotheses))
        forced = replace(output, hypotheses=None)
        if ".npz" in there:
            forced = reader._aligned(forced, there[".npz"])
        if ".links" in there:
            links = read_links(there[".links"], 0, _lengths(forced)).links
            forced = replace(forced, links=links)
        if ".gold" in there:
            reader.gold = there[".gold"]
            forced = reader._with_gold(forced)
        found[hypotheses.stem] = replace(forced, hypotheses=output.hypotheses)
    return found


def _lengths(output: Output) -> Lengths | None:
    """Words (at spaces) of the source and of the text aligned to it: the hypothesis, or else the first reference."""
    target = output.hypotheses if output.hypotheses is not None else next(iter(output.references or ()), None)
    if output.sources is None or target is None:
        return None
    pairs = zip(output.sources, target, strict=True)
    return [(len(source.split()), len(line.split())) for source, line in pairs]


def _check_shapes(weights: Sequence[Matrix], lengths: Lengths | None, path: str) -> None:
    for number, (weight, (source, target)) in enumerate(zip(weights, lengths or (), strict=False)):
        if weight.shape != (target, source):
            raise InputError(
                f"{path}, sentence {number}: a matrix of {weight.shape[0]} by {weight.shape[1]} but {target} target "
                f"and {source} source words; likely pieces for words, or end-of-sentence left in"
            )


def _has_suffix(path: str, *suffixes: str) -> bool:
    return path.removesuffix(".gz").endswith(suffixes)


def _is_jsonl(path: str, lines: Sequence[str]) -> bool:
    if path != STANDARD_INPUT:
        return _has_suffix(path, ".jsonl")
    first = next((line for line in lines if line.strip()), "")
    return first.lstrip().startswith("{") and '"hyp"' in first


def _parse_object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON, or a number of thousands of digits
        raise InputError(f"{where}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object with hyp, and perhaps src, ref, alignment")
    return value


def _string(row: dict[str, Any], key: str, path: str, number: int) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise InputError(f"{name_of(path)}, sentence {number}: no text under {key!r}")
    return value


def _references(rows: Sequence[dict[str, Any]], path: str) -> list[list[str]]:
    found: list[list[str]] = []
    for number, row in enumerate(rows, start=1):
        value = row.get("ref")
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{name_of(path)}, sentence {number}: 'ref' is neither a text nor a list of texts")
        if found and len(texts) != len(found[0]):
            raise InputError(
                f"{name_of(path)}, sentence {number}: {len(texts)} references but {len(found[0])} before; give every "
                "sentence as many"
            )
        found.append(texts)
    return [list(reference) for reference in zip(*found, strict=True)]


def _alignment(row: dict[str, Any], path: str, number: int) -> str:
    value = row.get("alignment")
    if isinstance(value, str):
        return value
    pairs: Iterable[Any] = value if isinstance(value, list) else [None]
    words = []
    for pair in pairs:
        match pair:
            case [int(i), int(j)] if i >= 0 and j >= 0:
                words.append(f"{i}-{j}")
            case _:
                raise InputError(
                    f"{name_of(path)}, sentence {number}: 'alignment' is neither links (0-0 1-2) nor a list of pairs"
                )
    return " ".join(words)
