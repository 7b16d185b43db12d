"""How nmt-eval prints: a table and bad sentences for people, JSON and TSV for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nmt.metrics.base import Marked, Marks, Metric, Output
from nmt.metrics.comparison import Cell, Comparison, Row

WIDE = 10_000  # a file or a pipe has no right edge at which a line would have to be broken
TSV_HEADER = (
    "test",
    "system",
    "kind",
    "metric",
    "value",
    "low",
    "high",
    "deviation",
    "p_bootstrap",
    "p_randomisation",
    "signature",
)


def console() -> Console:
    """Standard output; colour only on a terminal, and no line broken elsewhere."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=WIDE, no_color=True)


def print_table(out: Console, comparison: Comparison, title: str | None) -> None:
    """One table: a line a system, a column a number; below it how to read it and the signatures."""
    table = Table(title=None if title is None else Text(title), title_justify="left")
    table.add_column("system")
    for column in comparison.columns:
        arrow = "↑" if comparison.higher_is_better[column] else "↓"
        table.add_column(f"{column} {arrow}", justify="right")
    for row in comparison.rows:
        tested = row.kind == "system"
        cells = [_cell(row.cells[column], tested) if column in row.cells else "" for column in comparison.columns]
        table.add_row(Text(_row_name(row)), *cells, style="dim" if row.kind in ("reference", "source") else None)
    out.print(table)
    for line in _legend(comparison):
        out.print(Text(line))


def as_json(comparison: Comparison, test: str | None) -> dict[str, Any]:
    """Everything of a comparison, as plain values."""
    return {"test": test, **asdict(comparison)}


def tsv_lines(comparison: Comparison, test: str | None) -> Iterator[str]:
    """A line a number, in the columns of :data:`TSV_HEADER`; what there is not stays empty."""
    for row in comparison.rows:
        for column, cell in row.cells.items():
            numbers = (cell.value, cell.low, cell.high, cell.deviation, cell.p_bootstrap, cell.p_randomisation)
            fields = [test, row.name, row.kind, column, *numbers, comparison.signatures[column]]
            yield "\t".join("" if field is None else str(field).replace("\t", " ") for field in fields)


def print_sentence(out: Console, output: Output, number: int, value: float, metric: Metric) -> None:
    """A bad sentence: its texts with what was marked, in colour or in brackets, and the remarks."""
    marks = metric.marks(output, number)
    out.print(Text(f"sentence {number + 1}   {' / '.join(metric.columns)} {value:.2f}", style="bold"))
    for name, marked in _texts(output, number, marks):
        out.print(Text(f"  {name:<11}").append_text(_highlight(marked, out.is_terminal)), soft_wrap=True)
    for note in marks.notes:
        out.print(Text(f"  note       {note}"), soft_wrap=True)


def sentence_as_json(output: Output, number: int, value: float, metric: Metric) -> dict[str, Any]:
    """The same as plain values; spans count words from 0."""
    marks = metric.marks(output, number)
    texts = [
        {"text": name, "words": marked.words, "spans": [list(span) for span in marked.spans]}
        for name, marked in _texts(output, number, marks)
    ]
    return {"sentence": number + 1, "value": value, "texts": texts, "notes": list(marks.notes)}


def _texts(output: Output, number: int, marks: Marks) -> Iterator[tuple[str, Marked]]:
    """Source, hypothesis and references: marked where the metric marks them, else as they are."""
    if output.sources is not None:
        yield "source", marks.source or Marked(output.sources[number].split(), ())
    if output.hypotheses is not None:
        yield "hypothesis", marks.hypothesis or Marked(output.hypotheses[number].split(), ())
    marked = marks.references or [Marked(lines[number].split(), ()) for lines in output.references or ()]
    for reference in marked:
        yield "reference", reference


def _highlight(marked: Marked, colour: bool) -> Text:
    text, place = Text(), 0
    for start, end in marked.spans:
        text.append(" ".join(marked.words[place:start]) + (" " if start > place else ""))
        span = " ".join(marked.words[start:end])
        text.append(span, style="bold red") if colour else text.append(f"[{span}]")
        text.append(" " if end < len(marked.words) else "")
        place = end
    return text.append(" ".join(marked.words[place:]))


def _row_name(row: Row) -> str:
    names = {"baseline": row.name, "system": row.name, "reference": "(reference)", "source": "(source)"}
    return names[row.kind] + (f" ×{row.outputs}" if row.outputs > 1 else "")


def _cell(cell: Cell, tested: bool) -> str:
    lines = [f"{cell.value:.2f}" + ("" if cell.deviation is None else f" ±{cell.deviation:.2f}")]
    if cell.low is not None and cell.high is not None:
        lines.append(f"{cell.low:.2f}–{cell.high:.2f}")
    if tested and (cell.p_bootstrap is not None or cell.p_randomisation is not None):
        lines.append(f"p {_p(cell.p_bootstrap)} {_p(cell.p_randomisation)}")
    return "\n".join(lines)


def _p(p: float | None) -> str:
    """Three digits without the 0 before the point, as tables have it; a dash where there is none."""
    return "–" if p is None else f"{p:.3f}".removeprefix("0")


def _legend(comparison: Comparison) -> Iterator[str]:
    kinds = [row.kind for row in comparison.rows]
    parts = [f"{comparison.sentences} sentences"]
    if comparison.resamples:
        parts.append(f"below a value its 95% interval ({comparison.resamples} bootstrap resamples)")
    if "system" in kinds:
        tests = ["paired bootstrap"] * bool(comparison.resamples)
        tests += ["approximate randomisation"] * bool(comparison.trials)
        if tests:
            parts.append(f"p against {comparison.rows[0].name} by {' and '.join(tests)}")
    if any(cell.deviation is not None for row in comparison.rows for cell in row.cells.values()):
        parts.append("× outputs of one system: mean ± standard deviation")
    if comparison.resamples or comparison.trials:
        parts.append(f"seed {comparison.seed}")
    yield "; ".join(parts)
    yield from _short(comparison.rows)
    columns: dict[str, list[str]] = {}
    for column, signature in comparison.signatures.items():
        columns.setdefault(signature, []).append(column)
    for signature, names in columns.items():
        yield f"{', '.join(names)}: {signature}"


def _short(rows: Sequence[Row]) -> Iterator[str]:
    """How many sentences are too short to have an n-gram of an order; said only where there is one."""
    for row in rows:
        counts = row.detail.get("short", {})
        if any(counts.values()):
            found = ", ".join(f"{count} have no {order[:-1]}" for order, count in counts.items() if count)
            yield f"{_row_name(row)}: of its sentences {found}"
