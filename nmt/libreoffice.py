"""LibreOffice's help as parallel text: its pages hold paragraphs whose ids are the same in every language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from nmt.errors import InputError

FORMAT = 1  # of what is taken from the pages: one more when the same pages would give other pairs
_PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6"])
_PARAGRAPH = re.compile(r'<(p|h[1-6])\b[^>]*?\sid="[^"]*"[^>]*>.*?</\1>', re.DOTALL)
_OPEN_ONLY = frozenset(["br", "img", "input", "meta", "link", "hr", "base", "col", "wbr", "area", "source"])


def help_pairs(source: Path, target: Path) -> list[tuple[str, str]]:
    """The translated paragraphs of two unpacked help packages, every distinct pair once, in the order of the pages.

    Paragraphs are paired by page and id. Untranslated ones (the same text on both sides) are left out.
    Raises ``InputError`` when a folder holds no help pages.
    """
    source_pages, target_pages = _pages(source), _pages(target)
    pairs: dict[tuple[str, str], None] = {}
    for name in sorted(source_pages.keys() & target_pages.keys()):
        originals, translations = (_texts_of_id(pages[name]) for pages in (source_pages, target_pages))
        for number, texts in originals.items():
            others = translations.get(number, [])
            if len(texts) != len(others):  # an id given to several paragraphs, which cannot be told apart
                continue
            for text, translation in zip(texts, others, strict=True):
                if text and translation and text != translation:
                    pairs[text, translation] = None
    return list(pairs)


def paragraphs(page: str) -> Iterator[tuple[str, str]]:
    """Id and text of the paragraphs of a page, markup stripped and whitespace made single spaces."""
    parser = _Paragraphs()
    parser.feed("".join(match[0] for match in _PARAGRAPH.finditer(page)))  # half of a page is elsewhere
    parser.close()
    yield from ((number, " ".join("".join(text).split())) for number, text in parser.found)


def _texts_of_id(page: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for number, text in paragraphs(page.read_text(encoding="utf-8")):
        texts.setdefault(number, []).append(text)
    return texts


def _pages(package: Path) -> dict[str, Path]:
    texts = sorted(package.glob("usr/*/libreoffice/help/*/text"))
    if len(texts) != 1:
        raise InputError(f"{package}: not the help of LibreOffice in one language; {len(texts)} folders of pages in it")
    return {path.relative_to(texts[0]).as_posix(): path for path in texts[0].rglob("*.html")}


class _Paragraphs(HTMLParser):
    """Collects the text inside paragraphs that have an id.

    Some words differ by system (Ctrl or Command): alternatives in hidden spans, of which the default one is taken.
    """

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, list[str]]] = []
        self._inside: list[str] = []  # the elements open since the paragraph's own
        self._skipped_from: int | None = None  # how many were open outside the alternative being skipped

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in _PARAGRAPHS:
            self._inside, self._skipped_from = [], None
            if number := values.get("id"):
                self._inside = [tag]
                self.found.append((number, []))
        elif self._inside and tag not in _OPEN_ONLY:
            self._inside.append(tag)
            hidden = tag == "span" and "hidden" in values and not (values.get("id") or "").startswith("default")
            if (hidden or tag == "script") and self._skipped_from is None:
                self._skipped_from = len(self._inside) - 1
        elif self._inside and tag == "br":
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self._inside:
            return
        while self._inside and self._inside.pop() != tag:
            pass
        if self._skipped_from is not None and len(self._inside) <= self._skipped_from:
            self._skipped_from = None

    def handle_data(self, data: str) -> None:
        if self._inside and self._skipped_from is None:
            self.found[-1][1].append(data)
