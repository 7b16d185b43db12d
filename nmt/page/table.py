"""The table of scores as HTML that needs no script: a row a number, a column a system, each with its interval.

Every text goes through ``html.escape``; shapes of the pictures are numbers of our own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from nmt.metrics.comparison import Cell, Comparison, Row

# What a number says, in words; the rest of its name is its order.
MEANINGS = {
    "BLEU": "likeness to the references",
    "chrF2": "likeness to the references, by characters",
    "TER": "edits to become a reference, %",
    "1-GRR": "words said again, %",
    "2-GRR": "pairs of words said again, %",
    "3-GRR": "three words said again, %",
    "4-GRR": "four words said again, %",
    "REP": "repetition that the reference has not",
    "TNG": "sentences that oscillate, %",
    "OTEM-2": "n-grams more often than in the reference",
    "UTEM-4": "n-grams of the reference that are missing",
    "DROP": "source words that only the reference translates, %",
    "CDR": "source words covered as by the reference, %",
    "Ignored": "source words left uncovered, %",
    "Coverage": "attention received by a source word",
    "Entropy": "how spread attention is, bits",
    "Nothing": "attention to no source word, %",
    "AER": "wrong and missing links against gold, %",
    "SAER": "the same by weights, %",
    "Precision": "links that are right, %",
    "Recall": "gold links that are found, %",
    "F1": "precision and recall as one, %",
}
_SURE = 0.05  # below this a difference from the first system is called one
_WIDE, _HIGH = 96, 12  # of a picture of an interval


def table(comparisons: Sequence[Comparison], caption: str) -> str:
    """The whole table."""
    heads = list(dict.fromkeys((row.kind in ("reference", "source"), row.name) for c in comparisons for row in c.rows))
    heads.sort(key=lambda head: head[0])  # the yardsticks last
    lines = [f'<table class="scores"><caption>{escape(caption)}</caption>', '<thead><tr><th scope="col">metric</th>']
    lines += [f'<th scope="col" dir="auto">{_head(yardstick, name)}</th>' for yardstick, name in heads]
    lines.append("</tr></thead><tbody>")
    for comparison in comparisons:
        rows = {(row.kind in ("reference", "source"), row.name): row for row in comparison.rows}
        for column in comparison.columns:
            lines.append(f"<tr>{_metric(comparison, column)}")
            lines += [_cell(comparison, rows.get(head), column) for head in heads]
            lines.append("</tr>")
    lines.append("</tbody></table>")
    return "\n".join(lines)


def reading(comparisons: Sequence[Comparison]) -> str:
    """How to read the table, and the signature of every number."""
    if not comparisons:
        return '<p class="legend">There is nothing to measure: neither translations nor gold links.</p>'
    first = comparisons[0]
    parts = ["↑ higher is better, ↓ lower is better."]
    if first.resamples:
        parts.append(f"Below a value its 95 % interval from {first.resamples} bootstrap resamples of the sentences.")
    tested = [c for c in comparisons if any(row.kind == "system" for row in c.rows)]
    ways = ["paired bootstrap"] * bool(first.resamples) + ["approximate randomisation"] * bool(first.trials)
    if tested and ways:
        baselines = " or ".join(dict.fromkeys(c.rows[0].name for c in tested))
        parts.append(
            f"p is of the difference from {baselines} by {' and '.join(ways)}; ▲ better and ▼ worse where every p is "
            f"below {_SURE:g}."
        )
    if first.resamples or first.trials:
        parts.append(f"Seed {first.seed}.")
    signatures: dict[str, list[str]] = {}
    for comparison in comparisons:
        for column, signature in comparison.signatures.items():
            signatures.setdefault(signature, []).append(column)
    items = [f"<li>{escape(', '.join(names))}: <code>{escape(one)}</code></li>" for one, names in signatures.items()]
    details = f"<details><summary>Signatures</summary><ul>{''.join(items)}</ul></details>"
    return f'<p class="legend">{escape(" ".join(parts))}</p>{details}'


def _head(yardstick: bool, name: str) -> str:
    return f"<i>({escape(name)})</i>" if yardstick else escape(name)


def _metric(comparison: Comparison, column: str) -> str:
    arrow = ("↑", "higher is better") if comparison.higher_is_better[column] else ("↓", "lower is better")
    said = f'<span class="meaning">{escape(MEANINGS[column])}</span>' if column in MEANINGS else ""
    return f'<th scope="row">{escape(column)} <span title="{arrow[1]}">{arrow[0]}</span>{said}</th>'


def _cell(comparison: Comparison, row: Row | None, column: str) -> str:
    cell = None if row is None else row.cells.get(column)
    if row is None or cell is None:
        return '<td class="none">–</td>'
    bounded = cell.low is not None and cell.high is not None
    picture = _picture(comparison, cell, column) if bounded else ""
    lines = [f"<div>{picture}<b>{cell.value:.2f}{_verdict(comparison, row, column)}</b></div>"]
    if bounded:
        lines.append(f"<small>{cell.low:.2f}–{cell.high:.2f}</small> ")
    found = [p for p in (cell.p_bootstrap, cell.p_randomisation) if p is not None]
    if row.kind == "system" and found:
        lines.append(f"<small>p {' '.join(f'{p:.3f}'.removeprefix('0') for p in found)}</small>")
    return f"<td>{''.join(lines)}</td>"


def _verdict(comparison: Comparison, row: Row, column: str) -> str:
    """▲ or ▼ where a system differs from the baseline beyond chance."""
    cell, first = row.cells[column], comparison.rows[0].cells[column]
    found = [p for p in (cell.p_bootstrap, cell.p_randomisation) if p is not None]
    if row.kind != "system" or not found or max(found) >= _SURE:
        return ""
    better = (cell.value > first.value) == comparison.higher_is_better[column]
    mark, word = ("▲", "better") if better else ("▼", "worse")
    return f' <span class="{word}" title="{word} than {escape(comparison.rows[0].name)}">{mark}</span>'


def _picture(comparison: Comparison, cell: Cell, column: str) -> str:
    """The interval as a line and the value as a dot, on one scale for all of the row."""
    cells = [row.cells[column] for row in comparison.rows if column in row.cells]
    ends = [end for one in cells for end in (one.low, one.high, one.value) if end is not None and math.isfinite(end)]
    low, span = min(ends), (max(ends) - min(ends)) or 1.0

    def place(value: float | None) -> str:
        return f"{4 + (_WIDE - 8) * ((value or 0.0) - low) / span:.1f}"

    middle = _HIGH / 2
    return (
        f'<svg class="interval" width="{_WIDE}" height="{_HIGH}" viewBox="0 0 {_WIDE} {_HIGH}" aria-hidden="true">'
        f'<line class="rail" x1="4" x2="{_WIDE - 4}" y1="{middle}" y2="{middle}"/>'
        f'<line x1="{place(cell.low)}" x2="{place(cell.high)}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{place(cell.value)}" cy="{middle}" r="3.5"/></svg>'
    )
