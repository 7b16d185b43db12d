"""What a run tells at its end: a table of its scores in Markdown, with the signatures that make them comparable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nmt.score import Score
from nmt.text import write_lines


@dataclass(frozen=True)
class Row:
    """The scores of one test set.

    ``reference`` holds scores of the reference translation, shown beside those of the same name: repetition is often
    right, so a repetition rate says little without the reference's.
    """

    test: str
    sentences: int
    scores: Sequence[Score]
    reference: Sequence[Score] = ()


def result_table(rows: Sequence[Row]) -> str:
    """A Markdown table, a row a test set and a column a score, and below it the signatures.

    A cell is ``hypothesis / reference`` where both are known, and a dash where a test set lacks the score (it has
    no gold links, say). Columns come in the order in which scores are first met.
    """
    names = list(dict.fromkeys(score.name for row in rows for score in row.scores))
    compared = {score.name for row in rows for score in row.reference}
    heads = [f"{name} (reference)" if name in compared else name for name in names]
    cells = [[_escape(row.test), str(row.sentences), *(_cell(row, name) for name in names)] for row in rows]
    return "\n".join([*markdown_table(["test set", "sentences", *heads], cells), "", *_signatures(rows, names)])


def report(
    title: str, rows: Sequence[Row], *, notes: Iterable[str] = (), pictures: Iterable[tuple[str, Path]] = ()
) -> str:
    """A whole report in Markdown: the table, remarks, and pictures, each with its caption.

    Paths of pictures are relative to the report.
    """
    parts = [f"# {title}", result_table(rows), *notes]
    parts += [f"![{_escape(caption)}]({quote(path.as_posix())})" for caption, path in pictures]
    return "\n\n".join(parts)


def write_report(
    path: str | Path,
    title: str,
    rows: Sequence[Row],
    *,
    notes: Iterable[str] = (),
    pictures: Iterable[tuple[str, Path]] = (),
) -> None:
    """Write :func:`report` to a file that is complete or absent."""
    write_lines(path, report(title, rows, notes=notes, pictures=pictures).split("\n"))


def _cell(row: Row, name: str) -> str:
    own = [f"{score.value:.2f}" for score in row.scores if score.name == name]
    beside = [f"{score.value:.2f}" for score in row.reference if score.name == name]
    return " / ".join((own or ["–"]) + beside) if own or beside else "–"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table that is aligned as plain text too; all columns but the first are numbers."""
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(aligned)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(head), line(rule), *map(line, rows)]


def _signatures(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Each signature once, with the scores that have it; the test sets are named where they differ in it."""
    held: dict[str, dict[str, list[str]]] = {}  # signature -> score -> test sets
    for name in names:
        for row in rows:
            for score in row.scores:
                if score.name == name:
                    held.setdefault(score.signature, {}).setdefault(name, []).append(row.test)
    kinds = {name: sum(name in scores for scores in held.values()) for name in names}
    lines = []
    for signature, scores in held.items():
        told = [name if kinds[name] == 1 else f"{name} ({', '.join(tests)})" for name, tests in scores.items()]
        lines.append(f"* {_escape(', '.join(told))}: `{signature}`")
    return lines


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
