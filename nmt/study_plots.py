"""Curves of a study as a picture."""

from __future__ import annotations

from pathlib import Path

from nmt.pictures import save_figure
from nmt.study_analyses import Figure

# Told apart in grey and by the colour-blind: Okabe and Ito's colours, and marks.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKS = "osD^vPX*"
_ASIDE = 0.12  # of the distance between two names


def draw_curves(path: Path, figure: Figure) -> None:
    """Draw the curves of a figure to a PNG, SVG or PDF file, deviations as bars, names beside them; the same bytes from
    the same figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(6.4, 4.0))
    axes = canvas.add_subplot()
    for number, curve in enumerate(figure.curves):
        # Things under one name stand beside each other: equal values do not hide each other.
        aside = _ASIDE * (number - (len(figure.curves) - 1) / 2) if figure.names else 0.0
        axes.errorbar(
            [x + aside for x in curve.x],
            curve.y,
            yerr=curve.deviation,
            label=curve.name or None,
            color=_COLOURS[number % len(_COLOURS)],
            marker=_MARKS[(number if figure.names else number // len(_COLOURS)) % len(_MARKS)],
            linestyle="" if figure.names else ("-", "--", ":", "-.")[number // len(_COLOURS) % 4],
            markersize=4,
            linewidth=1.3,
            capsize=3,
        )
    if figure.logarithmic == "both":
        axes.set_xscale("log", base=2)
    if figure.logarithmic != "none":
        axes.set_yscale("log")
    if figure.names:
        axes.set_xticks(range(len(figure.names)), figure.names, rotation=30, ha="right", parse_math=False)
        axes.margins(x=0.1)
    axes.set_xlabel(figure.x, parse_math=False)
    axes.set_ylabel(figure.y, parse_math=False)
    axes.set_title(figure.title, loc="left", fontsize=11, parse_math=False)
    axes.grid(color="#dddddd", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if any(curve.name for curve in figure.curves):
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with mpl.rc_context({"svg.hashsalt": figure.name}):  # or ids in an SVG are drawn by chance
        save_figure(canvas, path)
