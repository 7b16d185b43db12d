"""What a page is made of: marks, weights, numbers and escaping, against examples worked by hand."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pages import SCRIPT, section

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.links import Links
from nmt.metrics import aer, bleu, ngrr, otem
from nmt.page import Entry, Measuring, Section, document, write_document
from nmt.page.data import add_weights, section_data
from nmt.page.document import ROOM, SCRIPTS, as_data
from nmt.page.marks import repeats, uncovered
from nmt.page.numbers import measure
from nmt.page.weights import STEPS, fitted, packed, rounded, unpacked

QUICK = Measuring(resamples=20, trials=20)
PACKAGE = Path(__file__).resolve().parent.parent / "nmt" / "page"


# ------------------------------------------------------------------------------------------------------------ marks


@pytest.mark.parametrize(
    ("text", "references", "tokenize", "wanted"),
    [
        ("the cat, the cat.", [], "13a", [(0, 7, False), (9, 16, False)]),
        ("the cat, the cat.", ["A cat.", "The cat saw THE cat"], "13a", [(0, 7, True), (9, 16, True)]),
        ("the cat, the cat.", ["the cat and a cat"], "13a", [(0, 7, False), (9, 16, False)]),
        ("Yes yes  yes, no", [], "13a", [(0, 12, False)]),
        ("no no", ["no, no", "oh no no no"], "13a", [(0, 5, True)]),
        ("wait . . x", [], "13a", []),  # dots in a row are no word said twice
        ("İstanbul, İstanbul is", [], "none", []),  # another word: the comma is a part of it
        ("İstanbul İstanbul is", [], "none", [(0, 17, False)]),  # lower case is longer than upper case
        ("我喜欢苹果，我喜欢梨", [], "zh", [(0, 3, False), (6, 9, False)]),
        ("𠮷野 家 𠮷野 家", [], "none", [(0, 4, False), (5, 9, False)]),  # code points, not halves of a pair
        # 13a makes quotes of these, which the text has not; so words are what stands between spaces.
        ("say &quot;a b&quot; &quot;a b&quot; x", [], "13a", [(4, 19, False), (20, 35, False)]),
        ("", [], "13a", []),
        (" \u2028 ", [], "13a", []),
    ],
)
def test_repeated_spans_by_their_characters(
    text: str, references: list[str], tokenize: str, wanted: list[tuple[int, int, bool]]
) -> None:
    assert repeats(text, references, tokenize) == wanted


@given(st.text(alphabet="ab .,&;-İ中\u2028<"), st.sampled_from(["13a", "zh", "intl", "char", "none"]))
def test_marks_lie_in_the_text_in_order_and_apart(text: str, tokenize: str) -> None:
    places = [place for start, end, _ in repeats(text, [], tokenize) for place in (start, end)]
    assert places == sorted(places)
    assert all(0 <= place <= len(text) for place in places)
    for start, end, _ in repeats(text, [], tokenize):
        assert text[start:end] == text[start:end].strip() != ""


def test_uncovered_words() -> None:
    soft = Alignment("abc", "xy", weight_TS=[[0.7, 0.1, 0.15], [0.1, 0.6, 0.05]])  # coverage 0.8, 0.7, 0.2
    assert uncovered(soft) == []
    assert uncovered(Alignment("abc", "xy", weight_TS=[[0.7, 0.1, 0.1], [0.1, 0.6, 0.05]])) == [2]
    assert uncovered(Alignment("abcd", "xy", Links([(1, 0), (1, 1)]))) == [0, 2, 3]
    assert uncovered(Alignment("ab", "", weight_TS=np.zeros((0, 2)))) == [0, 1]


# ---------------------------------------------------------------------------------------------------------- weights


def test_rounding_by_hand() -> None:
    # 255 · 0.5 = 127.5, rounded up to 128; the second brings the sum to 255.
    assert rounded(np.array([[0.5, 1.0], [0.5, 0.0]])).tolist() == [[128, 255], [127, 0]]
    # Ten times 0.255 steps are 2.55 steps: three of the ten weights are one, though each by itself is nothing.
    assert rounded(np.full((10, 1), 0.001)).sum() == 3


@given(
    arrays(np.float64, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6), elements=st.floats(0, 1)),
    st.sampled_from(STEPS),
)
def test_weights_and_coverage_are_kept_to_a_step(weight_TS: np.ndarray, steps: int) -> None:
    (found,) = unpacked(packed([weight_TS], steps), [weight_TS.shape], steps)
    assert found.shape == weight_TS.shape
    assert (np.abs(found - weight_TS) <= 1 / steps + 1e-9).all()
    assert (np.abs(found.sum(axis=0) - weight_TS.sum(axis=0)) <= 0.5 / steps + 1e-9).all()


def test_weights_get_coarser_until_they_fit() -> None:
    matrices = [np.random.default_rng(n).dirichlet(np.ones(12), size=12) for n in range(20)]
    sizes = {steps: len(packed(matrices, steps)) for steps in STEPS}
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    assert fitted([matrices], sizes[63])[0] == 63
    assert fitted([matrices], sizes[63] - 1)[0] == 31
    assert fitted([matrices], sizes[15] - 1)[0] == 7
    assert fitted([matrices], 0) == (3, [packed(matrices, 3)])
    assert fitted([], 0) == (255, [])


# ---------------------------------------------------------------------------------------------------------- numbers


def test_numbers_are_the_metrics() -> None:
    shown = section()
    numbers = measure(shown, QUICK)
    columns = {column.key: column for column in numbers.columns}
    assert list(columns) == ["bleu", "ngrr", "otem", "utem", "ignored", "aer", "saer", "length", "source-length"]
    rows = {name: row for one in numbers.comparisons for row in one.rows for name in row.cells}
    assert rows.keys() >= {"BLEU", "1-GRR", "OTEM-2", "UTEM-4", "Ignored", "AER", "SAER"}
    for entry, place in zip(shown.entries, (0, 1), strict=True):
        cells = {name: cell for one in numbers.comparisons for name, cell in one.rows[place].cells.items()}
        assert numbers.comparisons[0].rows[place].name == entry.name
        assert cells["BLEU"].value == bleu(entry.hypotheses or [], *shown.references).value
        assert cells["2-GRR"].value == ngrr(entry.hypotheses or [], order=2).value
        assert cells["OTEM-2"].value == otem(entry.hypotheses or [], *shown.references).value
        links = [alignment.hard().links or Links() for alignment in entry.forced or ()]
        assert cells["AER"].value == aer(links, shown.gold or ()).value
        one = columns["aer"].values[place]
        assert one is not None
        assert one[1] == pytest.approx(aer(links[1:2], (shown.gold or ())[1:2]).value)
    # Sentence 4 of B lacks one of five words; sentence 5 says the last two again: 8 words, 6 of them different.
    left, again = columns["ignored"].values[1], columns["ngrr"].values[1]
    assert left is not None
    assert again is not None
    assert left[4] == pytest.approx(20)
    assert left[5] == 0
    assert again[5] == pytest.approx(100 * (2 / 8 + 1 / 7 + 0 + 0) / 4)
    lengths = columns["length"].values[1]
    assert lengths is not None
    assert lengths[[4, 5]].tolist() == [4, 8]


def test_a_metric_that_nothing_was_given_for() -> None:
    texts = Section(None, [Entry("A", ["a b"])])
    assert [column.key for column in measure(texts, QUICK).columns] == ["ngrr", "length"]
    with pytest.raises(InputError, match="BLEU needs references; none was given"):
        measure(texts, Measuring(["bleu"]))


def test_an_aligner_beside_a_system() -> None:
    forced = [Alignment("a", "x", Links([(0, 0)]))]
    entries = [Entry("S", ["x"], forced, forced), Entry("aligner", forced=forced)]
    numbers = measure(Section(None, entries, ["a"], [["x"]], [Links([(0, 0)])]), QUICK)
    aligned = next(one for one in numbers.comparisons if "AER" in one.columns)
    assert [row.name for row in aligned.rows] == ["S", "aligner"]
    assert [row.name for row in numbers.comparisons[0].rows if row.kind == "system"] == []
    assert "saer" not in {column.key for column in numbers.columns}  # links have no weights


# ------------------------------------------------------------------------------------------------------- the section


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Section(None, []), "a page needs at least one system"),
        (lambda: Section(None, [Entry("A", [])]), "A: there is no sentence to show"),
        (lambda: Section(None, [Entry("A", ["a"]), Entry("A", ["a"])]), "two systems are called A"),
        (lambda: Section(None, [Entry("A", ["a", "b"])], ["a"]), "the source: 1 sentences, but A: 2"),
        (
            lambda: Section(None, [Entry("A", ["x y"], [Alignment("a", "x")])], ["a"]),
            r"alignment of A, sentence 1: its target words “x” are not those of the text “x y”; likely pieces",
        ),
        (lambda: Section(None, [Entry("A", ["x"], [Alignment("a", "x")])]), "needs the source text"),
    ],
)
def test_parts_that_do_not_belong_together(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()  # type: ignore[operator]


# ------------------------------------------------------------------------------------------------------ the document


def data_of(page: str) -> dict[str, object]:
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    value: dict[str, object] = json.loads(found[0])
    return value


def test_texts_are_data_and_never_markup() -> None:
    page = document("A </title><script>", [section()], QUICK)
    data = data_of(page)
    sections: list[dict[str, dict[str, list[str]]]] = data["sections"]  # type: ignore[assignment]
    assert sections[0]["sources"]["lines"][0] == SCRIPT
    assert page.count("<script") == page.count("</script") == 2
    assert "<!--" not in page
    assert "B <i>" not in page
    assert "B &lt;i&gt;" in page
    assert "<title>A &lt;/title&gt;&lt;script&gt;</title>" in page
    assert json.loads(as_data(["</script>", "<!--", "\u2028"])) == ["</script>", "<!--", "\u2028"]
    assert "<" not in as_data("</script>")


def test_the_policy_allows_this_script_and_style_and_nothing_else() -> None:
    page = document("A", [section()], QUICK)
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    for name, text in (("style-src", style), ("script-src", script)):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert rules.keys() == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}
    outside = re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL)
    addresses = set(re.findall(r"[a-z]+://[^\s\"'<>)]+", outside))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody fetches


def test_the_table_needs_no_script() -> None:
    page = document("A", [section()], QUICK)
    table = page[page.index("<table") : page.index("</table>")]
    cells = measure(section(), QUICK).comparisons[0].rows[1].cells["BLEU"]
    words = html.unescape(re.sub(r"<[^>]*>", " ", table))
    assert "BLEU" in words
    assert f"{cells.value:.2f}" in words
    assert f"{cells.low:.2f}–{cells.high:.2f}" in words
    assert re.search(r"p \.\d{3} \.\d{3}", words)
    assert "(reference)" in words
    assert "tok:13a" in page


def test_a_page_is_the_same_every_time_and_whole_or_absent(tmp_path: Path) -> None:
    page = document("A", [section()], QUICK)
    assert page == document("A", [section()], QUICK)
    size = write_document(tmp_path / "page.html", page + "\ud800")  # half a pair, which JSON can hold, has no bytes
    assert (tmp_path / "page.html").stat().st_size == size
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_sentences_take_less_than_five_megabytes() -> None:
    """Two systems, each with its own and its forced matrices, of 25 to 35 words and attention that is noise."""
    draw = np.random.default_rng(1)

    def line(length: int) -> str:
        return " ".join("".join(map(chr, draw.integers(97, 123, size=5))) for _ in range(length))

    def aligned(sources: list[str], targets: list[str]) -> list[Alignment]:
        pairs = [(one.split(), two.split()) for one, two in zip(sources, targets, strict=True)]
        return [
            Alignment(one, two, weight_TS=draw.dirichlet(np.full(len(one), 0.3), size=len(two))) for one, two in pairs
        ]

    sources, reference, *said = ([line(int(n)) for n in draw.integers(25, 36, size=2000)] for _ in range(4))
    entries = [
        Entry(f"S{n}", lines, aligned(sources, lines), aligned(sources, reference)) for n, lines in enumerate(said)
    ]
    page = document("A", [Section(None, entries, sources, [reference])], Measuring(["ngrr"], resamples=0, trials=0))
    assert 0.9 * ROOM < len(page.encode()) < 5e6
    (found,) = data_of(page)["sections"]  # type: ignore[misc]
    assert found["steps"] in (31, 63)


def test_a_page_that_is_too_large_all_the_same_is_told_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOM", "MOST"):
        monkeypatch.setitem(document.__globals__, name, 1e4)
    with pytest.warns(UserWarning, match="show fewer systems") as told:
        page = document("A", [section()], QUICK)
    assert f"the page has {len(page.encode()) / 1e6:.1f} MB" in str(told[0].message)
    (found,) = data_of(page)["sections"]  # type: ignore[misc]
    assert found["steps"] == 3


def test_data_hold_each_weight_once() -> None:
    shown = section()
    data = section_data(shown, measure(shown, QUICK))
    add_weights(data, shown, 1e6)
    assert data["steps"] == 255
    entry = shown.entries[1]
    shapes = [(len(one.target), len(one.source)) for one in entry.own or ()]
    found = unpacked(data["systems"][1]["own"]["weights"], shapes)
    for one, weight_TS in zip(entry.own or (), found, strict=True):
        assert one.between_words() == pytest.approx(weight_TS, abs=1 / 255)
    assert data["systems"][1]["own"]["uncovered"][4] == [4]
    assert data["systems"][1]["hypotheses"]["repeats"][5] == [20, 29, 0, 30, 39, 0]
    assert data["gold"][1] == "0-0 1p1"


# ------------------------------------------------------------------------------------------------- files of the page


def test_files_of_the_page_are_short_and_hold_no_markup_of_scripts() -> None:
    for name in (*SCRIPTS, "page.css", "page.html"):
        text = (PACKAGE / name).read_text(encoding="utf-8")
        assert text.count("\n") < 400, name
        if name in SCRIPTS:
            assert not re.search(r"</script|<!--|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)
    assert {path.name for path in PACKAGE.glob("*.js")} == set(SCRIPTS)


@pytest.mark.slow
def test_a_wheel_contains_them(tmp_path: Path, repository: Path) -> None:
    build = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    for part in ("nmt", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / part).symlink_to(repository / part)
    done = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path / "dist")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"nmt/page/{name}" for name in (*SCRIPTS, "page.css", "page.html")} <= names
