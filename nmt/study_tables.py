"""How a study is told: tables in Markdown, TSV and HTML, and plots."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

from nmt.metrics.comparison import Cell as Number
from nmt.report import markdown_table
from nmt.study import Study, is_number
from nmt.study_analyses import Curve, Figure
from nmt.study_plots import draw_curves
from nmt.study_results import Column, Findings, Line, Section
from nmt.text import write_lines

TSV_HEADER = (
    "section",
    "cell",
    "axes",
    "seeds",
    "number",
    "value",
    "deviation",
    "low",
    "high",
    "p_bootstrap",
    "p_randomisation",
)
# A p below this is set bold in HTML; it decides nothing else.
CLEAR = 0.05

_STYLE = (
    "body{font:15px/1.4 sans-serif;margin:2em;max-width:80em}table{border-collapse:collapse;margin:1em 0}"
    "th,td{border-bottom:1px solid #ddd;padding:.25em .7em;text-align:right}"
    "th:first-child,td:first-child{text-align:left}"
    "small{color:#777}img{max-width:42em;display:block}"
)


def write_findings(findings: Findings, directory: Path) -> list[Path]:
    """NAME.md, NAME.tsv, NAME.html and the plots they show, each whole or absent; the paths."""
    name = findings.name
    plots = []
    for figure in _all_figures(findings):
        place = directory / f"{name}-{_for_a_file(figure.name)}.{findings.study.plots}"
        draw_curves(place, figure)
        plots.append((figure, place))
    texts = {
        "md": "\n\n".join(_markdown(findings, plots)),
        "tsv": "\n".join(_tsv(findings)),
        "html": "\n".join(_html(findings, plots)),
    }
    for ending, text in texts.items():
        write_lines(directory / f"{name}.{ending}", text.split("\n"))
    return [*(directory / f"{name}.{ending}" for ending in texts), *(place for _, place in plots)]


def _for_a_file(name: str) -> str:
    """A name that is no path: ``tokens-s`` for tokens/s."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def markdown_section(study: Study, section: Section) -> str:
    """One table of a study."""
    return "\n".join(markdown_table(_head(study, section), [_row(study, section, line) for line in section.lines]))


def _head(study: Study, section: Section) -> list[str]:
    arrows = {True: " ↑", False: " ↓", None: ""}
    return [*study.axes, "seeds", *(column.name + arrows[column.higher_is_better] for column in section.columns)]


def _row(study: Study, section: Section, line: Line) -> list[str]:
    of_all = f"{len(line.seeds)}/{len(study.seeds)}"
    seeds = str(len(line.seeds)) if len(line.seeds) == len(study.seeds) else of_all
    return [*line.cell.values, seeds, *(_told(column, line.numbers.get(column.name)) for column in section.columns)]


def _told(column: Column, number: Number | None) -> str:
    """``27.31 ± 0.20 (p .012)``, or a dash where there is nothing."""
    if number is None:
        return "–"
    told = format(number.value, column.form)
    if number.deviation is not None:
        told += f" ± {format(number.deviation, column.form)}"
    p = p_of(number)
    return told if p is None else f"{told} (p {f'{p:.3f}'.removeprefix('0')})"


def p_of(number: Number) -> float | None:
    """By approximate randomisation; where that does not apply, by the bootstrap."""
    return number.p_randomisation if number.p_randomisation is not None else number.p_bootstrap


def _markdown(findings: Findings, plots: Sequence[tuple[Figure, Path]]) -> Iterator[str]:
    yield f"# {findings.name}"
    for section in findings.sections:
        yield f"## {section.name}"
        yield markdown_section(findings.study, section)
        if section.notes:
            yield "\n".join(f"* {note}" for note in section.notes)
    for figure, place in plots:
        yield f"## {figure.title}"
        yield f"![{figure.title}]({place.name})"
        yield "\n".join(markdown_table(figure.head, _points(figure)))
    if findings.unfinished:
        yield "## Not finished"
        yield "\n".join(f"* {sentence}" for sentence in findings.unfinished)


def _points(figure: Figure) -> list[list[str]]:
    """A row for every x of any curve."""
    rows = []
    for x in sorted({x for curve in figure.curves for x in curve.x}):
        cells = []
        for curve in figure.curves:
            place = curve.x.index(x) if x in curve.x else None
            told = "–" if place is None else f"{curve.y[place]:.4g}"
            if place is not None and curve.deviation is not None:
                told += f" ± {curve.deviation[place]:.2g}"
            cells.append(told)
        rows.append([figure.told(x), *cells])
    return rows


def _tsv(findings: Findings) -> Iterator[str]:
    """A line a number; what there is not stays empty."""
    yield "\t".join(TSV_HEADER)
    for section in findings.sections:
        for line in section.lines:
            axes = " ".join(
                f"{axis}={value}" for axis, value in zip(findings.study.axes, line.cell.values, strict=True)
            )
            for name, one in line.numbers.items():
                numbers = (one.value, one.deviation, one.low, one.high, one.p_bootstrap, one.p_randomisation)
                seeds = ",".join(map(str, line.seeds))
                fields = (section.name, line.cell.name, axes, seeds, name, *numbers)
                yield "\t".join("" if field is None else str(field) for field in fields)
    for figure in findings.figures:
        for curve in figure.curves:
            for x, y, deviation in zip(curve.x, curve.y, curve.deviation or [""] * len(curve.x), strict=True):
                place = f"{figure.x}={figure.told(x)}"
                yield "\t".join((figure.name, curve.name, place, "", figure.y, str(y), str(deviation), *[""] * 4))


def _html(findings: Findings, plots: Sequence[tuple[Figure, Path]]) -> Iterator[str]:
    title = html.escape(findings.name)
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
    for section in findings.sections:
        yield f"<h2>{html.escape(section.name)}</h2>"
        yield from _html_table(_head(findings.study, section), [_html_row(findings, section, x) for x in section.lines])
        yield from (f"<p><small>{html.escape(note)}</small></p>" for note in section.notes)
    for figure, place in plots:
        yield f"<h2>{html.escape(figure.title)}</h2>"
        yield f'<img src="{html.escape(place.name)}" alt="{html.escape(figure.title)}">'
        yield from _html_table(figure.head, [[html.escape(cell) for cell in row] for row in _points(figure)])
    if findings.unfinished:
        yield "<h2>Not finished</h2><ul>"
        yield from (f"<li>{html.escape(sentence)}</li>" for sentence in findings.unfinished)
        yield "</ul>"
    yield "</body></html>"


def _html_row(findings: Findings, section: Section, line: Line) -> list[str]:
    cells = [html.escape(cell) for cell in _row(findings.study, section, line)]
    for place, column in enumerate(section.columns, start=len(cells) - len(section.columns)):
        number = line.numbers.get(column.name)
        if number is not None and (p := p_of(number)) is not None and p < CLEAR:
            cells[place] = f"<b>{cells[place]}</b>"
    return cells


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"
    yield from ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    yield "</table>"


def _all_figures(findings: Findings) -> Iterator[Figure]:
    """A figure of every number of the tables along the study's axis, then those of the analyses."""
    for section in findings.sections:
        for column in section.columns:
            wanted = findings.study.drawn is None or column.name in findings.study.drawn
            if wanted and (figure := _along(findings.study, section, column)) is not None:
                yield figure
    yield from findings.figures


def _along(study: Study, section: Section, column: Column) -> Figure | None:
    """One number of a table along the study's axis, a curve for each combination of the other axes' values.

    None where no curve would have two points.
    """
    axes = list(study.axes)
    place, names = axes.index(study.axis), list(study.axes[study.axis])
    numeric = all(map(is_number, names))
    points: dict[str, list[tuple[float, Number]]] = {}
    for line in section.lines:
        if (number := line.numbers.get(column.name)) is not None:
            others = ", ".join(
                f"{axis} {value}" if is_number(value) else value  # which "0.2" does not say by itself
                for axis, value in zip(axes, line.cell.values, strict=True)
                if axis != study.axis
            )
            name = line.cell.values[place]
            points.setdefault(others, []).append((float(name) if numeric else float(names.index(name)), number))
    if max(map(len, points.values()), default=0) < 2:
        return None
    curves = []
    for others, found in points.items():
        x, numbers = zip(*sorted(found, key=lambda point: point[0]), strict=True)
        spread = [number.deviation for number in numbers]
        deviation = tuple(one or 0.0 for one in spread) if any(one is not None for one in spread) else None
        curves.append(Curve(others, x, tuple(number.value for number in numbers), deviation))
    return Figure(
        f"{section.name}-{_for_a_file(column.name.lower())}",
        f"{column.name}, {section.name}",
        study.axis,
        column.name,
        tuple(curves),
        names=() if numeric else tuple(names),
    )
