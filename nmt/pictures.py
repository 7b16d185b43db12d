"""Pictures of alignments: which source words each target word was made from, and how much of each source word was said.

Shapes: T target words, S source words.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.links import Links, matrix_of_links
from nmt.text import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

SUFFIXES = (".png", ".svg", ".pdf")

_LATIN = "DejaVu Sans"  # comes with matplotlib
# Fonts of the system, asked in this order for characters that the fonts which come with us do not have.
_OF_THE_SYSTEM = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Droid Sans Fallback",
    "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", "NanumGothic", "Noto Sans", "Noto Sans Arabic",
    "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS", "Unifont",
)  # fmt: skip
_CELL = 0.42  # inches, as long as the sentences are short
_LARGEST = 16.0  # inches that the cells may take, in each direction
_GOLD = "#d1495b"
_BLUE = "#4a7fb5"


def draw_attention(
    path: str | Path,
    weight_TS: NDArray[np.floating[Any]],
    source_words: Sequence[str],
    target_words: Sequence[str],
    *,
    gold: Links | None = None,
    title: str = "",
) -> None:
    """Draw an attention matrix to a PNG, SVG or PDF file: a row a target word, a column a source word, white 0, blue 1.

    Gold links are outlined, sure ones solid and possible ones dashed. The end-of-sentence row and column are drawn if
    the matrix and the words have them. The scale is the same in every picture, so that pictures can be compared.

    Raises ``InputError`` for another kind of file and ``ValueError`` when words and matrix do not belong together.
    Warns when no font at hand has one of the characters, naming what to install.
    """
    from matplotlib.figure import Figure

    path = _picture(path)
    if weight_TS.shape != (len(target_words), len(source_words)) or not weight_TS.size:
        words = f"{len(target_words)} target and {len(source_words)} source words"
        raise ValueError(f"attention of shape {weight_TS.shape} for {words}")
    source_words, target_words = [_visible(word) for word in source_words], [_visible(word) for word in target_words]
    title = _visible(title)
    cell = min(_CELL, _LARGEST / max(weight_TS.shape))
    font = _font([*source_words, *target_words, title], cell)
    # The cells fill the figure; labels, colour bar and legend stand outside, and the tight box takes them in.
    figure = Figure(figsize=(cell * len(source_words), cell * len(target_words)))
    axes = figure.add_axes((0, 0, 1, 1))
    _draw_matrix(axes, weight_TS, source_words, target_words, title, gold, cell, font)
    save_figure(figure, path)


def draw_systems(path: str | Path, systems: Mapping[str, Alignment], *, gold: Links | None = None) -> None:
    """Draw what several systems made of one source side by side, each matrix under the system's name, as
    :func:`draw_attention` does; links, where there is no matrix, as cells of weight 1. The ends of the sentences are
    not drawn.

    Raises ``ValueError`` when the sources differ, there is no word, or there is no system.
    """
    from matplotlib.figure import Figure

    path, source_words = _picture(path), _one_source(systems)
    names = [_visible(name) for name in systems]
    targets = [[_visible(word) for word in alignment.target] for alignment in systems.values()]
    if not all(targets):
        raise ValueError("a translation without words has no matrix to draw")
    rows = max(map(len, targets))
    cell = min(_CELL, _LARGEST / max(rows, len(source_words)))
    font = _font([*source_words, *names, *(word for words in targets for word in words)], cell)
    # Between two matrices there is room for the names of rows, and for the last, slanted name of a column.
    em = font.get_size() / 72
    sides = [em * (1.5 + 0.75 * max(map(_width, words))) for words in targets]
    gap = em * (6 + 0.55 * max(map(_width, source_words)))
    lefts: list[float] = []
    wide = cell * len(source_words)
    for side in sides:
        lefts.append((lefts[-1] + wide + gap if lefts else 0.0) + side)
    figure = Figure(figsize=(lefts[-1] + wide, cell * rows))
    width, height = figure.get_size_inches()
    for left, name, words, alignment in zip(lefts, names, targets, systems.values(), strict=True):
        tall = cell * len(words)
        axes = figure.add_axes((left / width, 1 - tall / height, wide / width, tall / height))
        _draw_matrix(axes, _weights(alignment), source_words, words, name, gold, cell, font)
    save_figure(figure, path)


def draw_coverage(
    path: str | Path, systems: Mapping[str, Alignment], *, below: float = 0.2, above: float = 2.0
) -> None:
    """Draw the coverage of every source word by one or more systems as bars, those below ``below`` (dropped) and above
    ``above`` (translated repeatedly) in red, with lines there and at 1.

    Raises ``ValueError`` when the sources differ, there is no word, or there is no system.
    """
    from matplotlib.figure import Figure

    path, source_words = _picture(path), _one_source(systems)
    names = [_visible(name) for name in systems]
    cell = min(_CELL, _LARGEST / len(source_words))
    font = _font([*source_words, *names], cell)
    em = font.get_size() / 72
    tall, gap = 1.4, em * 3
    figure = Figure(figsize=(cell * len(source_words), (tall + gap) * len(systems) - gap))
    height = figure.get_size_inches()[1]
    highest = max(1.15 * above, *(float(alignment.coverage().max()) for alignment in systems.values()))
    for row, (name, alignment) in enumerate(zip(names, systems.values(), strict=True)):
        axes = figure.add_axes((0, 1 - (row * (tall + gap) + tall) / height, 1, tall / height))
        coverage_S = alignment.coverage()
        wrong_S = (coverage_S < below) | (coverage_S > above)
        colours = [_GOLD if wrong else _BLUE for wrong in wrong_S]
        axes.bar(range(len(source_words)), coverage_S, width=0.7, color=colours, zorder=2)
        # A word without any coverage has no bar; the mark shows that it is one all the same.
        axes.plot(
            np.flatnonzero(coverage_S < below),
            np.zeros((coverage_S < below).sum()),
            "x",
            color=_GOLD,
            zorder=3,
            clip_on=False,
        )
        for level, style in ((below, ":"), (1.0, "-"), (above, ":")):
            axes.axhline(level, color="#999999", linewidth=0.8, linestyle=style, zorder=1)
        axes.set_xlim(-0.5, len(source_words) - 0.5)
        axes.set_ylim(0, 1.05 * highest)
        axes.set_yticks([below, 1, above])
        axes.tick_params(labelsize=0.8 * font.get_size(), length=2)
        axes.set_ylabel(name or "coverage", fontproperties=font, parse_math=False)
        axes.xaxis.tick_top()
        axes.tick_params(axis="x", length=0)
        axes.set_xticks(range(len(source_words)))
        # All systems have the same words, so they stand above the first alone.
        axes.set_xticklabels(
            source_words if row == 0 else [""] * len(source_words),
            rotation=45, ha="left", rotation_mode="anchor", fontproperties=font, parse_math=False,
        )  # fmt: skip
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    save_figure(figure, path)


def _picture(path: str | Path) -> Path:
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a picture's name must end in {', '.join(SUFFIXES)}")
    return Path(path)


def _one_source(systems: Mapping[str, Alignment]) -> list[str]:
    sources = {alignment.source for alignment in systems.values()}
    if len(sources) != 1 or not (words := sources.pop()):
        raise ValueError("systems are drawn beside each other for one source, which has words")
    return [_visible(word) for word in words]


def _weights(alignment: Alignment) -> NDArray[np.floating[Any]]:
    if alignment.weight_TS is not None:
        return alignment.between_words()
    return matrix_of_links(alignment.links or Links(), len(alignment.target), len(alignment.source))


def _font(texts: Sequence[str], cell: float) -> FontProperties:
    """The font of cells so large, with every character of the texts."""
    from matplotlib.font_manager import FontProperties

    _warn_of_unshaped(texts)
    return FontProperties(family=font_families(texts), size=max(4.0, 26 * cell))  # points


def _width(text: str) -> float:
    """About how wide a text is, in letters; Chinese characters are as wide as high."""
    return sum(1.6 if unicodedata.east_asian_width(character) in "WF" else 0.85 for character in text)


def _warn_of_unshaped(texts: Iterable[str]) -> None:
    """matplotlib joins the letters of Arabic and puts them from right to left since it has libraqm (3.11)."""
    from matplotlib import ft2font

    to_the_left = any(unicodedata.bidirectional(character) in ("R", "AL") for text in texts for character in text)
    if to_the_left and not hasattr(ft2font, "__libraqm_version__"):
        warnings.warn(
            "this matplotlib writes Arabic and Hebrew from left to right, letter by letter; install 3.11 or newer",
            stacklevel=4,
        )


def _draw_matrix(
    axes: Axes,
    weight_TS: NDArray[np.floating[Any]],
    source_words: Sequence[str],
    target_words: Sequence[str],
    title: str,
    gold: Links | None,
    cell: float,
    font: FontProperties,
) -> None:
    """The cells with their words, the scale at the right, the title above, gold outlined."""
    size = font.get_size()
    image = axes.imshow(weight_TS, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    _label(axes, source_words, target_words, font)
    if title:
        axes.set_title(title, fontproperties=font, loc="left", pad=8, parse_math=False)
    if gold is not None:
        _outline(axes, gold, cell, font)
    wide, tall = 1 / len(source_words), max(3, min(6, len(target_words))) / len(target_words)
    bar = axes.inset_axes((1 + 0.5 * wide, 1 - tall, 0.35 * wide, tall))
    axes.figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1]).outline.set_visible(False)
    bar.tick_params(labelsize=0.8 * size, length=2)
    bar.set_ylabel("attention", size=0.8 * size)


def save_figure(figure: Figure, path: Path) -> None:
    """Whole or not at all, and the same bytes from the same picture."""
    stream = io.BytesIO()
    undated = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[path.suffix.lower()]
    figure.savefig(
        stream, format=path.suffix[1:].lower(), dpi=160, bbox_inches="tight", pad_inches=0.1, metadata=undated
    )
    with written_whole(path) as file:
        file.write(stream.getvalue())


def font_families(texts: Iterable[str]) -> list[str]:
    """Font families that together have every character of the texts, for matplotlib, in the order it must ask them.

    The font that comes with matplotlib first, then the Chinese one that comes with this package's dependencies, so that
    pictures look the same everywhere; fonts of the system only for what these lack. Warns when something is left.
    """
    wanted = {ord(character) for text in texts for character in text}
    families: list[str] = []
    for family in _families_at_hand():
        has = wanted & _characters(family)
        if has or not families:
            families.append(family)
            wanted -= has
        if not wanted:
            break
    if wanted:
        some = " ".join(chr(point) for point in sorted(wanted)[:10])
        warnings.warn(
            f"no font at hand has {some}; install one that does, for Chinese `pip install zhplot` or Noto Sans CJK",
            stacklevel=3,
        )
    return families


@functools.cache
def _families_at_hand() -> list[str]:
    from matplotlib import font_manager

    manager = font_manager.fontManager
    families = [_LATIN]
    # Found but not imported, for the package would change matplotlib's settings: only its font is wanted.
    found = importlib.util.find_spec("zhplot")
    for directory in (found.submodule_search_locations or []) if found else []:
        for file in sorted(Path(directory).glob("fonts/*.ttf")):
            manager.addfont(file)
            families.append(font_manager.FontProperties(fname=file).get_name())
    installed = {entry.name for entry in manager.ttflist}
    return list(dict.fromkeys([*families, *(family for family in _OF_THE_SYSTEM if family in installed)]))


@functools.cache
def _characters(family: str) -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont(family)).get_charmap())


def _visible(text: str) -> str:
    """The text with a space for every kind of space, and without characters that have no shape."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)


def _label(axes: Axes, source_words: Sequence[str], target_words: Sequence[str], font: FontProperties) -> None:
    """Source words above, slanted so that long ones do not meet; target words at the left."""
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(source_words)))
    axes.set_yticks(range(len(target_words)))
    # parse_math: a word may hold dollar signs.
    axes.set_xticklabels(
        source_words, rotation=45, ha="left", rotation_mode="anchor", fontproperties=font, parse_math=False
    )
    axes.set_yticklabels(target_words, fontproperties=font, parse_math=False)
    axes.tick_params(length=0, pad=4)
    for spine in axes.spines.values():
        spine.set_visible(False)
    # Lines between the cells, along which they can be followed to their words.
    axes.set_xticks(np.arange(len(source_words) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(target_words) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#dddddd", linewidth=0.5, clip_on=False)
    axes.tick_params(which="minor", length=0)


def _outline(axes: Axes, gold: Links, cell: float, font: FontProperties) -> None:
    """Gold links as frames in their cells, and below the matrix what the two kinds of frame mean."""
    from matplotlib.patches import Rectangle

    def frame(source: float, target: float, sure: bool) -> Rectangle:
        style = "-" if sure else (0, (2.5, 2))
        corner = (source - 0.43, target - 0.43)
        return Rectangle(corner, 0.86, 0.86, fill=False, edgecolor=_GOLD, linewidth=4.5 * cell, linestyle=style)

    for source, target in sorted(gold.possible):
        axes.add_patch(frame(source, target, (source, target) in gold.sure))
    axes.legend(
        [frame(0, 0, True), frame(0, 0, False)],
        ["gold link, sure", "possible"],
        loc="upper left",
        bbox_to_anchor=(0, 0),
        borderaxespad=0.3,
        ncols=2,
        frameon=False,
        prop=font,
        handlelength=0.9,
        handleheight=0.9,
    )
