"""Tables of results: Markdown that is aligned as plain text too, with the machine, the date and the command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from pathlib import Path

from nmt.text import write_lines

Cell = str | float | None


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[str]:
    """Lines of a Markdown table; all columns but the first are numbers, a dash where there is none."""
    texts = [[_text(cell) for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(head, *texts, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        aligned = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(aligned)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return [line(head), line(rule), *map(line, texts)]


def _text(cell: Cell) -> str:
    """A number with three digits that say something, a large one with all before the point."""
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell.replace("|", "\\|")
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"


def page(title: str, machine: str, command: str, parts: Iterable[Sequence[str]]) -> list[str]:
    """A whole page: the title, where and how it was measured, and its parts, with a line between them."""
    lines = [f"# {title}", "", f"`{command}`", "", machine]
    for part in parts:
        lines += ["", *part]
    return lines


def write_page(path: Path, lines: Sequence[str]) -> None:
    """Write a page to a file that is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, lines)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The exponent b of the curve y = a x^b of least squares between logarithms: 1 where y grows linearly with x."""
    xs, ys = [log(x) for x, _ in points], [log(y) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    along = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return along / sum((x - mean_x) ** 2 for x in xs)
