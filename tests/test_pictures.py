"""Pictures of attention: every character has a glyph, every weight the right place, every kind of file its content."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.image import imread

from nmt import pictures
from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.links import Links
from nmt.pictures import draw_attention, draw_coverage, draw_systems, font_families

# matplotlib only warns when it draws an empty box for a character.
pytestmark = pytest.mark.filterwarnings("error")

CHINESE = ["昨天", "晚上", "他", "在", "图书馆", "里", "安安静静地", "看", "了", "那本", "書", "。"]
ENGLISH = ["last", "night", "he", "quietly", "read", "that_book", "for", "$5", "or", "$6", "."]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without any font of the system."""
    pictures._families_at_hand.cache_clear()
    monkeypatch.setattr(pictures, "_OF_THE_SYSTEM", ())
    yield
    pictures._families_at_hand.cache_clear()


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")])
def test_every_kind_of_file_has_all_glyphs(bare: None, tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"attention{suffix}"
    weight_TS = np.random.default_rng(1).dirichlet(np.full(len(CHINESE), 0.2), size=len(ENGLISH))
    draw_attention(path, weight_TS, CHINESE, ENGLISH, gold=Links({(0, 0)}, {(3, 4)}), title="图 1: $x_1$ and an é")
    assert path.read_bytes().startswith(start)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    first = path.read_bytes()
    draw_attention(path, weight_TS, CHINESE, ENGLISH, gold=Links({(0, 0)}, {(3, 4)}), title="图 1: $x_1$ and an é")
    if suffix != ".svg":  # whose identifiers are random
        assert path.read_bytes() == first


def test_a_long_sentence_and_a_single_word(tmp_path: Path) -> None:
    draw_attention(
        tmp_path / "long.png", np.full((150, 90), 1 / 90), CHINESE * 7 + CHINESE[:6], ENGLISH * 13 + ["x"] * 7
    )
    draw_attention(tmp_path / "word.png", np.ones((1, 1)), ["看"], ["see"])
    height, width, _ = imread(tmp_path / "long.png").shape
    assert 1500 < width < height < 3500


def test_a_weight_is_drawn_at_its_words(tmp_path: Path) -> None:
    """The darkest cell stands in the source word's column and the target word's row, and has the scale's own colour;
    the frame of a gold link stands around its cell."""
    weight_TS = np.zeros((3, 4))
    weight_TS[2, 1] = 0.75
    draw_attention(tmp_path / "one.png", weight_TS, list("abcd"), list("xyz"), gold=Links({(3, 0)}))
    pixels = imread(tmp_path / "one.png")[..., :3]
    wanted = np.array(colormaps["Blues"](0.75)[:3])
    rows, columns = np.nonzero(np.abs(pixels - wanted).max(axis=-1) < 0.01)
    faint = np.abs(pixels - np.array(colormaps["Blues"](0.0)[:3])).max(axis=-1) < 0.005
    # The cells: where the scale's zero is, which is not the white around them; the colour bar stands to the right.
    top, bottom = np.flatnonzero(faint.sum(axis=1) > 20)[[0, -1]]
    left = np.flatnonzero(faint.sum(axis=0) > 20)[0]
    side = (bottom - top) / 3
    inside = columns < left + 4 * side
    assert np.median((rows[inside] - top) / side) == pytest.approx(2.5, abs=0.1)
    assert np.median((columns[inside] - left) / side) == pytest.approx(1.5, abs=0.1)
    assert inside.sum() == pytest.approx(side**2, rel=0.1)
    red = np.abs(pixels - np.array([0xD1, 0x49, 0x5B]) / 255).max(axis=-1) < 0.05
    rows, columns = np.nonzero(red[:bottom])  # the legend is below
    assert (rows.mean() - top) / side == pytest.approx(0.5, abs=0.1)
    assert (columns.mean() - left) / side == pytest.approx(3.5, abs=0.1)


def test_gold_links_are_outlined(tmp_path: Path) -> None:
    """Red pixels: as many frames as links, a dashed one with fewer pixels than a solid one."""
    red = []
    for number, gold in enumerate([None, Links(), Links({(0, 0)}), Links((), {(0, 0)}), Links({(0, 0), (1, 1)})]):
        path = tmp_path / f"{number}.png"
        draw_attention(path, np.zeros((2, 2)), ["a", "b"], ["c", "d"], gold=gold)
        pixels = imread(path)[..., :3]
        red.append(int((np.abs(pixels - np.array([0xD1, 0x49, 0x5B]) / 255).max(axis=-1) < 0.05).sum()))
    without, legend, solid, dashed, two = red
    assert without == 0 < legend
    assert 0.4 * (solid - legend) < dashed - legend < 0.8 * (solid - legend)
    assert two - legend == pytest.approx(2 * (solid - legend), rel=0.05)


def test_a_character_without_a_font_is_warned_of_with_what_to_install(
    bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="no font at hand has 看; .*`pip install zhplot`"):
        assert font_families(["ab看"]) == ["DejaVu Sans"]


def test_fonts_only_as_needed(bare: None) -> None:
    assert font_families(["plain é"]) == ["DejaVu Sans"]
    assert font_families(["看 ok"]) == ["DejaVu Sans", "Noto Sans SC"]


def test_the_font_is_used_without_its_package_being_run() -> None:
    import sys

    font_families(["看"])
    assert "zhplot" not in sys.modules


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt: a picture's name must end in"):
        draw_attention(tmp_path / "a.txt", np.ones((1, 1)), ["a"], ["b"])
    with pytest.raises(ValueError, match=r"\(1, 2\) for 1 target and 1 source words"):
        draw_attention(tmp_path / "a.png", np.ones((1, 2)), ["a"], ["b"])
    assert not list(tmp_path.iterdir())
    with warnings.catch_warnings(record=True) as told:
        draw_attention(tmp_path / "a.png", np.ones((1, 1)), ["a\t\u3000\u200b\ufeffb"], [""])
    assert not told


def test_systems_stand_side_by_side(tmp_path: Path) -> None:
    """Two panels of the same source: the darkest cell of each is in its own half, and both outline the gold link."""
    soft = Alignment(CHINESE, ENGLISH, weight_TS=np.eye(len(ENGLISH), len(CHINESE) + 1))
    hard = Alignment(CHINESE, ENGLISH[:4], Links({(1, 2)}))
    dark = np.array(colormaps["Blues"](1.0)[:3])
    counts = []
    for number, systems in enumerate([{"one 看": soft, "two": hard}, {"one 看": soft, "two": soft}]):
        path = tmp_path / f"{number}.png"
        draw_systems(path, systems, gold=Links({(11, 0)}))
        pixels = imread(path)[..., :3]
        columns = np.nonzero(np.abs(pixels - dark).max(axis=-1) < 0.01)[1]
        counts.append([int((columns < pixels.shape[1] / 2).sum()), int((columns > pixels.shape[1] / 2).sum())])
    (left, one_cell), (_, all_cells) = counts
    assert left == pytest.approx(all_cells, rel=0.05)
    assert left / len(ENGLISH) == pytest.approx(one_cell, rel=0.3)  # the scale's dark end counts too
    draw_systems(tmp_path / "a.svg", {"one": soft, "two": hard})
    draw_systems(tmp_path / "a.pdf", {"one": soft, "two": hard})


def red_bars(path: Path) -> int:
    pixels = imread(path)[..., :3]
    return int((np.abs(pixels - np.array([0xD1, 0x49, 0x5B]) / 255).max(axis=-1) < 0.05).sum())


def test_coverage_as_bars_red_where_it_is_wrong(tmp_path: Path) -> None:
    fine = Alignment("abc", "xyz", Links({(0, 0), (1, 1), (2, 2)}))
    many = Alignment("abc", "xyz", Links({(0, 0), (0, 1), (0, 2), (1, 1), (2, 2)}))
    none = Alignment("abc", "xyz", Links({(0, 0), (1, 1)}))
    for name, alignment in {"fine": fine, "many": many, "none": none}.items():
        draw_coverage(tmp_path / f"{name}.png", {name: alignment})
    assert red_bars(tmp_path / "fine.png") == 0
    assert red_bars(tmp_path / "many.png") > 50 * red_bars(tmp_path / "none.png") / 10 > 0
    draw_coverage(tmp_path / "both.pdf", {"fine": fine, "many": many}, above=3)


def test_systems_of_different_sources_are_not_drawn_together(tmp_path: Path) -> None:
    one, other = Alignment("ab", "x", Links()), Alignment("ac", "x", Links())
    for draw in (draw_systems, draw_coverage):
        for systems in ({"one": one, "other": other}, {}, {"one": Alignment("", "x", Links())}):
            with pytest.raises(ValueError, match="one source, which has words"):
                draw(tmp_path / "a.png", systems)
        with pytest.raises(InputError, match="must end in"):
            draw(tmp_path / "a.txt", {"one": one})
    with pytest.raises(ValueError, match="without words"):
        draw_systems(tmp_path / "a.png", {"one": Alignment("ab", "", Links())})


ARABIC = ["السلام", "عليكم", "،", "المكتبة", "2024"]


def test_arabic_is_joined_and_from_right_to_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter joined to its neighbours has another shape than alone; where matplotlib cannot, it is told."""
    from matplotlib import ft2font
    from matplotlib.textpath import TextPath

    for suffix in pictures.SUFFIXES:
        if hasattr(ft2font, "__libraqm_version__"):
            draw_attention(tmp_path / f"a{suffix}", np.eye(5), ARABIC, ARABIC, title=" ".join(ARABIC))
    if hasattr(ft2font, "__libraqm_version__"):
        joined = TextPath((0, 0), "\u0628\u0628", size=20).get_extents().width
        apart = TextPath((0, 0), "\u0628\u200c\u0628", size=20).get_extents().width
        assert joined < 0.95 * apart
        monkeypatch.delattr(ft2font, "__libraqm_version__")
    with pytest.warns(UserWarning, match=r"install 3\.11 or newer"):
        draw_attention(tmp_path / "old.png", np.eye(5), ARABIC, ARABIC)
