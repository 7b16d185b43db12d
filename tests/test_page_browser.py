"""The page in a real browser: what is sorted, filtered, hovered and pressed, in dark, on a phone, without a network.

Playwright drives Chromium, its own or the system's; where there is none all of this is skipped, and says so.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pages import ARABIC, CHINESE, SCRIPT, SENTENCES, section

from nmt.page import Measuring, document, write_document
from nmt.page.numbers import measure

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

QUICK = Measuring(resamples=20, trials=20)
PATIENCE = 60_000  # milliseconds: a machine may have other things to do
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install '.[test]')"
    )
    with playwright.sync_playwright() as driver:
        # The system's comes first: where a package manager installed one, its libraries are there too.
        names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        system = [path for path in map(shutil.which, names) if path]
        refused = []
        for path in [*system, None]:
            try:
                # Chromium's sandbox does not start for the superuser, as which CI often runs.
                sandbox = hasattr(os, "geteuid") and os.geteuid() != 0
                found = driver.chromium.launch(executable_path=path, chromium_sandbox=sandbox, timeout=PATIENCE)
            except playwright.Error as error:
                refused.append(str(error).split("\n")[0])
                continue
            yield found
            found.close()
            return
    pytest.skip(f"no browser can be started: {'; '.join(refused)}; apt-get install chromium, or playwright install")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of :mod:`pages`."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_document(path, document("Two systems", [section()], QUICK))
    return path


@pytest.fixture
def opened(browser: Browser, file: Path) -> Iterator[Open]:
    """Opens the page; at the end nothing may have been asked of the network, and nothing complained of."""
    contexts, asked, said = [], [], []

    def open_page(where: str = "", **settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri() + where)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert {address.partition("#")[0] for address in asked} == {file.as_uri()}


def listed(page: Page) -> list[int]:
    """Numbers of the sentences on the present page of the list."""
    found: list[int] = page.eval_on_selector_all("#list > li", "all => all.map(one => Number(one.dataset.number))")
    return found


def wait_for(page: Page, sentences: int) -> None:
    """Until so many sentences are listed: what is looked for is looked for a moment after the last letter."""
    from playwright.sync_api import expect  # waits without evaluating text, which the page's policy forbids

    expect(page.locator("#list > li")).to_have_count(sentences, timeout=PATIENCE)


def column(key: str, system: int) -> list[float]:
    found = {one.key: one for one in measure(section(), QUICK).columns}[key].values[system]
    assert found is not None
    return [float(value) for value in found.round(1)]


def current(page: Page) -> int:
    """The number of the sentence that has the focus."""
    found: int = page.evaluate("Number(document.activeElement.closest('#list li')?.dataset.number ?? -1)")
    return found


# --------------------------------------------------------------------------------------------------- sort and filter


def test_sentences_are_sorted(opened: Open) -> None:
    page = opened()
    page.select_option("#sort", "ignored")
    page.select_option("#of", label="B <i>")
    values = column("ignored", 1)
    wanted = sorted(range(SENTENCES), key=lambda n: (-values[n], n))
    assert listed(page) == wanted[:50]
    page.click("#order")
    assert listed(page) == sorted(range(SENTENCES), key=lambda n: (values[n], n))[:50]
    page.select_option("#sort", "bleu")  # higher is better, so the worst are the lowest
    bleu = column("bleu", 1)
    assert listed(page) == sorted(range(SENTENCES), key=lambda n: (bleu[n], n))[:50]
    page.select_option("#of", label="B <i> − A")
    less = [round(b - a, 6) for a, b in zip(column("bleu", 0), bleu, strict=True)]
    assert [less[n] for n in listed(page)] == sorted(less)[:50]
    page.select_option("#sort", "place")
    assert listed(page) == list(range(50))
    page.select_option("#sort", "length")
    page.select_option("#of", "worst")
    assert max(column("length", 1)) == column("length", 1)[listed(page)[0]]


def test_sentences_are_filtered(opened: Open) -> None:
    page = opened()
    page.select_option("#sort", "place")
    page.fill("#find", "T54W1  s54")  # two words, whatever their case, in whichever text
    wait_for(page, 1)
    assert listed(page) == [54]
    assert page.inner_text("#count") == "1 of 120 sentences"
    page.fill("#find", "")
    wait_for(page, 50)
    page.fill("#find", "苹果")
    wait_for(page, 1)
    assert listed(page) == [2]
    page.fill("#find", "nowhere")
    wait_for(page, 0)
    assert page.inner_text("#count") == "None of 120 sentences is like that."
    page.fill("#find", "")
    wait_for(page, 50)
    page.select_option("#of", label="B <i>")
    page.click("#filters summary")
    page.get_by_label("least omission").fill("20")
    page.get_by_label("most omission").fill("25")
    left = column("ignored", 1)
    assert listed(page) == [n for n in range(SENTENCES) if 20 <= left[n] <= 25][:50]
    assert page.inner_text("#active") == "(1)"
    page.get_by_label("least omission").fill("")
    page.get_by_label("most omission").fill("")
    page.get_by_label("says something again").check()
    again = [n for n in range(3, SENTENCES) if n % 5 == 0 and n % 7]  # one word alone cannot be a pair
    single = [n for n in range(3, SENTENCES) if n % 35 == 0]  # … but it is said twice in a row
    assert listed(page) == sorted(again + single)


def test_pages_of_the_list(opened: Open) -> None:
    page = opened()
    page.select_option("#sort", "place")
    assert listed(page) == list(range(50))
    page.get_by_role("button", name="Next").click()
    assert (listed(page), current(page)) == (list(range(50, 100)), 50)
    page.keyboard.press("]")
    assert listed(page) == list(range(100, 120))
    page.keyboard.press("]")  # there is no more
    assert listed(page) == list(range(100, 120))
    page.keyboard.press("[")
    page.keyboard.press("[")
    page.keyboard.press("End")
    assert current(page) == 49
    page.keyboard.press("j")
    assert (listed(page), current(page)) == (list(range(50, 100)), 50)
    page.keyboard.press("k")
    assert (listed(page), current(page)) == (list(range(50)), 49)


# -------------------------------------------------------------------------------------------------- an open sentence


def test_words_are_linked_on_hover(opened: Open) -> None:
    page = opened("#1/5")  # sentence 4: five words, the last of which B leaves out
    first, second = page.locator(".card").all()
    first.locator(".heat").wait_for()
    second.locator(".heat").wait_for()
    first.locator(".source .word").nth(1).hover()
    assert first.locator(".target .word.lit").all_inner_texts() == ["t4w1"]
    assert first.locator(".status").inner_text() == "s4w1 → t4w1 0.75 (covered 0.75×)"
    first.locator(".target .word").nth(3).hover()
    assert first.locator(".source .word.lit").all_inner_texts() == ["s4w3"]
    assert first.locator(".heat .labels .on").all_text_contents() == ["t4w3"]
    page.locator("#sentences-head").hover()
    assert first.locator(".lit").count() == 0
    assert first.locator(".status").inner_text() == "Every source word is covered."
    assert second.locator(".status").inner_text() == "Left out: s4w4"
    assert second.locator(".source .uncovered").all_inner_texts() == ["s4w4"]
    assert second.locator(".bars rect.low").count() == 1
    second.locator(".cells rect").nth(2).scroll_into_view_if_needed()
    place = second.evaluate(  # the middle of the cell of target word 2 and source word 2
        "card => { const box = card.querySelector('.cells rect:nth-child(3)').getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2] }"
    )
    page.mouse.move(*place)
    assert second.locator(".status").inner_text() == "t4w2 ← s4w2 0.75"
    assert second.locator(".lit").all_inner_texts() == ["s4w2", "t4w2"]


def test_heat_map_and_bars_are_the_weights(opened: Open) -> None:
    page = opened("#1/5")
    page.locator(".card .heat").nth(1).wait_for()
    cells = page.locator(".card").nth(1).locator(".cells rect")
    assert [cells.nth(n).get_attribute("fill-opacity") for n in range(cells.count())] == ["0.75"] * 4
    found = page.evaluate(
        "Promise.all(section.systems[1].own.matrices.sources.map(async (_, n) => {"
        "const grid = await section.systems[1].own.matrices.matrix(n);"
        "return [grid.rows, grid.columns, [...grid.cells], grid.coverage] }))"
    )
    for one, (rows, columns, cells_, coverage) in zip(section().entries[1].own or (), found, strict=True):
        weight_TS = one.between_words()
        assert (rows, columns) == weight_TS.shape
        assert [value / 255 for value in cells_] == pytest.approx(weight_TS.ravel().tolist(), abs=1 / 255)
        assert coverage == pytest.approx(weight_TS.sum(axis=0).tolist(), abs=1 / 255)


def test_gold_is_outlined_in_the_forced_reference(opened: Open) -> None:
    page = opened("#1/2")
    page.locator(".card .heat").first.wait_for()
    assert page.locator(".gold rect").count() == 0
    page.keyboard.press("f")
    page.locator(".gold rect").first.wait_for()
    one = page.locator(".card").first
    assert [one.locator(f".gold .{kind}").count() for kind in ("sure", "possible")] == [1, 1]
    assert page.get_by_role("button", name="forced reference").get_attribute("aria-pressed") == "true"


def test_rows_are_target_words_and_columns_source_words(opened: Open) -> None:
    page = opened("#1/3")
    page.locator(".card .heat").first.wait_for()
    page.keyboard.press("f")
    card = page.locator(".card").first
    card.locator(".gold rect").wait_for()
    column, row = (card.locator(".labels text", has_text=re.compile(f"^{word}$")) for word in ("苹果", "i"))
    for part in (".cells rect", ".gold rect"):
        x, y, width, height = (
            float(card.locator(part).get_attribute(name) or "") for name in ("x", "y", "width", "height")
        )
        assert x < float(column.get_attribute("x") or "") < x + width
        assert y < float(row.get_attribute("y") or "") < y + height
    card.locator(".cells rect").hover(force=True)  # below what the pointer is caught by
    assert card.locator(".status").inner_text() == "i ← 苹果 0.75"
    assert card.locator(".lit").all_inner_texts() == ["苹果", "i"]


def test_repetition_is_marked(opened: Open) -> None:
    page = opened("#1/6")  # sentence 5 of B: t5w4 t5w5 twice
    page.locator(".card .heat").first.wait_for()
    assert page.locator(".card").nth(1).locator("mark.repeat").all_inner_texts().count("t5w4") == 2
    assert page.locator(".card").nth(0).locator("mark").count() == 0


def test_systems_are_chosen(opened: Open) -> None:
    page = opened("#1/6")
    assert page.locator(".card").count() == 2
    page.get_by_role("checkbox", name="A", exact=True).uncheck()
    assert page.locator(".card h4").all_inner_texts() == ["B <i>"]
    assert page.locator(".row .hypothesis .name").first.inner_text() == "B <i>"


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["run-gatt-1", "run-gatt-after-1"], ["…1", "…after-1"]),
        (["zh-en-gatt", "zh-en-gatt-inv"], ["…gatt", "…gatt-inv"]),
        (["gatt", "gatt-inv"], ["gatt", "gatt-inv"]),
        (["same-run", "same-run"], ["…run", "…run"]),
        (["one-run"], ["one-run"]),
    ],
)
def test_what_all_names_begin_with_makes_room_in_the_list(opened: Open, names: list[str], wanted: list[str]) -> None:
    assert opened("").evaluate("names => shortNames(names)", names) == wanted


# ----------------------------------------------------------------------------------------------------------- the keys


def test_everything_by_the_keyboard(opened: Open) -> None:
    page = opened()
    page.select_option("#sort", "place")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    assert current(page) == 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    assert current(page) == 4
    assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    row = page.locator(".row[data-number='4']")
    assert row.get_attribute("aria-expanded") == "true"
    assert page.locator(f"#{row.get_attribute('aria-controls')} .card").count() == 2
    page.locator(".card .heat").first.wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    status = page.locator(".card .status").first
    assert status.inner_text() == "s4w1 → t4w1 0.75 (covered 0.75×)"
    page.keyboard.press("ArrowLeft")
    assert status.inner_text() == "s4w0 → t4w0 0.75 (covered 0.75×)"
    page.keyboard.press("t")  # the translation
    page.keyboard.press("ArrowRight")
    assert status.inner_text() == "t4w0 ← s4w0 0.75"
    page.keyboard.press("j")  # reading on: the next one opens
    assert page.locator(".row[aria-expanded='true']").get_attribute("data-number") == "5"
    assert page.locator(".card").count() == 2
    assert page.evaluate("location.hash") == "#1/6"
    page.keyboard.press("Enter")
    assert page.locator(".card").count() == 0
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator(".card").count() == 0
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.type("t40w0 jk?")  # letters, not commands
    wait_for(page, 0)
    page.keyboard.press("Escape")
    wait_for(page, 50)
    page.keyboard.press("?")
    assert page.locator("dialog[open]").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("s")
    assert page.evaluate("document.activeElement.id") == "sort"


def test_every_key_of_the_help_does_something(opened: Open) -> None:
    page = opened()
    known = set(page.evaluate("Object.keys(KEYS)"))
    names = {"↓": "ArrowDown", "↑": "ArrowUp", "←": "ArrowLeft", "→": "ArrowRight", "Esc": "Escape"}
    told = {names.get(key, key) for key in page.locator("dialog kbd").all_text_contents()}
    assert told == known


def test_names_for_those_who_do_not_see(opened: Open) -> None:
    page = opened("#1/5")
    page.locator(".card .heat").first.wait_for()
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, select, input, [tabindex=\"0\"], [role=region], svg[role=img]')]"
        ".filter(one => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length))"
        ".map(one => one.outerHTML)"
    )
    assert nameless == []
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))
    assert page.get_by_role("searchbox", name=re.compile("Find")).count() == 1
    assert page.get_by_role("list", name="Sentences").count() == 1
    assert page.get_by_role("status").first.inner_text() == "120 sentences"
    assert page.get_by_role("img", name=re.compile("Attention of A: 5 target by 5 source words")).count() == 1
    # One row takes part in the order of Tab, for the arrows go from row to row.
    assert page.locator(".row[tabindex='0']").count() == 1


# ------------------------------------------------------------------------------------------------ how and where it is


def luminance(page: Page, what: str) -> float:
    colour = page.evaluate("property => getComputedStyle(document.body)[property]", what)
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 765


def test_dark_and_light(opened: Open) -> None:
    for scheme, dark in (("dark", True), ("light", False)):
        page = opened(color_scheme=scheme)
        assert (luminance(page, "backgroundColor") < 0.2) == dark
        assert (luminance(page, "color") > 0.8) == dark
        page.keyboard.press("d")  # as the system, dark, light
        assert luminance(page, "backgroundColor") < 0.2
        page.click("#theme")
        assert luminance(page, "backgroundColor") > 0.8
        page.reload()
        assert luminance(page, "backgroundColor") > 0.8  # as it was left


@pytest.mark.parametrize("sentence", [1, 2, 7])
def test_a_phone_needs_no_sideways_scrolling(opened: Open, sentence: int) -> None:
    page = opened(f"#1/{sentence}", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.locator(".card .heat").first.wait_for()
    page.click("#filters summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, summary')].filter(one => one.checkVisibility())"
        ".filter(one => one.getBoundingClientRect().height < 20).map(one => one.outerHTML)"
    )
    assert small == []
    word = page.locator(".card .source .word").first
    word.tap()
    assert "lit" in (word.get_attribute("class") or "")
    page.keyboard.press("?")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_script_in_a_sentence_is_a_text(opened: Open) -> None:
    page = opened("#1/1")
    page.locator(".card .heat").first.wait_for()
    for text in (".card .source", ".card .target", ".row[data-number='0'] .source .text"):
        assert page.locator(text).first.text_content() == SCRIPT
    page.fill("#find", "<script>window.harmed")
    wait_for(page, 1)
    assert page.evaluate("window.harmed") is None
    assert page.evaluate("[document.scripts.length, document.images.length]") == [2, 0]
    assert page.locator("thead th").all_inner_texts()[1:3] == ["A", "B <i>"]


def test_from_right_to_left_and_chinese(opened: Open) -> None:
    page = opened("#1/2")
    page.locator(".card .heat").first.wait_for()
    line = page.locator(".card .text.source").first
    assert line.text_content() == ARABIC
    assert line.evaluate("one => getComputedStyle(one).direction") == "rtl"
    first, last = line.locator(".word").first.bounding_box(), line.locator(".word").last.bounding_box()
    assert first is not None
    assert last is not None
    assert first["x"] > last["x"]
    assert page.locator(".card .text.target").first.evaluate("one => getComputedStyle(one).direction") == "ltr"
    line.locator(".word").first.click()  # our own sentence runs from left to right around it
    status = page.locator(".card .status").first
    assert status.text_content() == f"{ARABIC.split()[0]} → the 0.75 (covered 0.75×)"
    assert status.evaluate("one => getComputedStyle(one).direction") == "ltr"
    assert status.locator("bdi").all_text_contents() == [ARABIC.split()[0], "the"]
    page.keyboard.press("j")
    page.locator(".card .heat").first.wait_for()
    assert page.locator(".card .text.source").first.text_content() == CHINESE


def test_without_a_script_the_table_can_be_read(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator("table.scores").is_visible()
    assert "BLEU" in page.inner_text("table.scores")
    assert "need JavaScript" in page.inner_text("main")
    assert not page.locator("#sentences").is_visible()


def test_words_are_cut_as_python_cuts_them(opened: Open) -> None:
    page = opened()
    line = "".join(f"a{chr(point)}" for point in [*range(0x21), *range(0x7F, 0xA2), *range(0x1FFE, 0x2070)])
    line += "b\u1680c\u180ed\u3000e\ufefff𠮷g"
    assert page.evaluate("wordsOf", line) == line.split()
