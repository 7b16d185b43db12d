"""Pictures of attention: which source words each target word was made from.

Shapes: T target words, S source words.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.links import Links
from nmt.text import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    from matplotlib.font_manager import FontProperties

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: a picture's name must end in {', '.join(SUFFIXES)}")
    if weight_TS.shape != (len(target_words), len(source_words)) or not weight_TS.size:
        words = f"{len(target_words)} target and {len(source_words)} source words"
        raise ValueError(f"attention of shape {weight_TS.shape} for {words}")

    source_words, target_words = [_visible(word) for word in source_words], [_visible(word) for word in target_words]
    title = _visible(title)
    cell = min(_CELL, _LARGEST / max(weight_TS.shape))
    size = max(4.0, 26 * cell)  # points
    font = FontProperties(family=font_families([*source_words, *target_words, title]), size=size)
    # The cells fill the figure; labels, colour bar and legend stand outside, and the tight box takes them in.
    figure = Figure(figsize=(cell * len(source_words), cell * len(target_words)))
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(weight_TS, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    _label(axes, source_words, target_words, font)
    if title:
        axes.set_title(title, fontproperties=font, loc="left", pad=8, parse_math=False)
    if gold is not None:
        _outline(axes, gold, cell, font)
    wide, tall = 1 / len(source_words), max(3, min(6, len(target_words))) / len(target_words)
    bar = axes.inset_axes((1 + 0.5 * wide, 1 - tall, 0.35 * wide, tall))
    figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1]).outline.set_visible(False)
    bar.tick_params(labelsize=0.8 * size, length=2)
    bar.set_ylabel("attention", size=0.8 * size)

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
