"""One HTML file that needs nothing else: texts as data that no browser takes for markup, and a policy that lets the
page run its own script and style and fetch nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from nmt.page.base import Section
from nmt.page.data import add_weights, section_data
from nmt.page.numbers import Measuring, measure
from nmt.page.table import reading, table
from nmt.text import written_whole
from nmt.version import VERSION

FORMAT = 1  # of the data inside the page
# Bytes that the data of up to so many sentences may have, and their page; of more sentences, in proportion. Weights are
# rounded to fit.
ROOM, MOST, MANY = 4.6e6, 5e6, 2000
# One script, in the order in which its parts stand on each other.
SCRIPTS = ("text.js", "weights.js", "heat.js", "sentence.js", "list.js", "page.js")


def document(title: str, sections: Sequence[Section], how: Measuring) -> str:
    """The page as a text. Raises ``InputError`` where a metric that was asked for lacks what it reads; warns where
    even the coarsest weights do not make it small enough."""
    parts, data = [], []
    for number, section in enumerate(sections):
        numbers = measure(section, how)
        parts.append(
            _scores(number, section, table(numbers.comparisons, _caption(section)), reading(numbers.comparisons))
        )
        data.append(section_data(section, numbers))
    sentences = sum(section.sentences for section in sections)
    share = max(1.0, sentences / MANY)
    room = ROOM * share - len(as_data(data).encode("utf-8", "replace"))
    for section, one in zip(sections, data, strict=True):
        add_weights(one, section, room * section.sentences / sentences)
    style, script = _file("page.css"), "\n".join(_file(name) for name in SCRIPTS)
    page = Template(_file("page.html")).substitute(
        title=escape(title),
        policy=_policy(style, script),
        style=style,
        script=script,
        scores="\n".join(parts),
        version=escape(VERSION),
        data=as_data({"format": FORMAT, "title": title, "sections": data}),
    )
    if (size := len(page.encode("utf-8", "replace"))) > MOST * share:
        warnings.warn(
            f"the page has {size / 1e6:.1f} MB, should have {MOST * share / 1e6:.1f}; show fewer systems or sentences",
            stacklevel=2,
        )
    return page


def write_document(path: str | Path, text: str) -> int:
    """Write the page, whole or not at all; how many bytes it has."""
    # A lone half of a surrogate pair, which JSON can hold, has no bytes in UTF-8.
    content = text.encode("utf-8", "replace")
    with written_whole(path) as stream:
        stream.write(content)
    return len(content)


def as_data(value: Any) -> str:
    """JSON that may stand inside of a script element: no ``<``, so neither its end nor a comment can begin in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _policy(style: str, script: str) -> str:
    """Nothing may be fetched, and nothing run but this very script: its hash is the only one allowed."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (files("nmt.page") / name).read_text(encoding="utf-8").strip()


def _caption(section: Section) -> str:
    name = "" if section.name is None else f"{section.name}: "
    read = "" if section.reading is None else f"; attention is read where a word is {section.reading}"
    return f"{name}{section.sentences} sentence{'s' if section.sentences != 1 else ''}{read}"


def _scores(number: int, section: Section, rows: str, legend: str) -> str:
    label = escape(f"Scores{'' if section.name is None else ' of ' + section.name}")
    return (
        f'<section data-section="{number}" aria-label="{label}">'
        f'<div class="wide" role="region" tabindex="0" aria-label="{label}, table">{rows}</div>{legend}</section>'
    )
