"""Links that aligners write: fast_align, eflomal, awesome-align and SimAlign, and gold files.

All write (source, target), eflomal and fast_align for their reverse direction too, and no NULL. The tokens are those
that the aligner was given, so both texts are needed. A target's words are what they were linked to; nothing here is an
end of a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, hard, required, with_texts
from nmt.links import naacl_links
from nmt.text import read_lines

_WEIGHT = re.compile(r"([0-9]+-[0-9]+)-[0-9]*\.?[0-9]*(?:e-?[0-9]+)?")


def read_pharaoh(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """``0-0 1p2``, a line a sentence, counting from 0."""
    return _read(path, source, target, 0)


def read_talp(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """``1-1 2p3``, the same counting from 1."""
    return _read(path, source, target, 1)


def _read(path: File, source: File | None, target: File | None, base: int) -> Iterator[Alignment]:
    source, target = required(path, "source", source), required(path, "target", target)
    for number, line, before, after in with_texts(path, source, target):
        yield hard(before or (), after or (), line, path, number, base)


def read_naacl(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """``sentence source target [S|P] [confidence]``, a line a link, all counting from 1; the lines may be in any order,
    so the file is read at once."""
    source, target = required(path, "source", source), required(path, "target", target)
    texts = [[line.split() for line in read_lines(text)] for text in (source, target)]
    if len(texts[0]) != len(texts[1]):
        raise InputError(f"{source} has {len(texts[0])} lines but {target} has {len(texts[1])}")
    lengths = [(len(before), len(after)) for before, after in zip(*texts, strict=True)]
    links = naacl_links(list(read_lines(path)), str(path), lengths)
    for before, after, one in zip(*texts, links, strict=True):
        yield Alignment(before, after, one)


def read_simalign(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """SimAlign's ``align_files.py``: ``identifier TAB 0-0 1-2``, counting from 0; with ``--add-probs`` each link ends
    in its similarity (``0-0-.93``), which is left out. The sentences must be in the order of the texts, which are those
    SimAlign was given without their identifiers."""
    source, target = required(path, "source", source), required(path, "target", target)
    for number, line, before, after in with_texts(path, source, target):
        _, tab, links = line.partition("\t")
        if not tab:
            raise InputError(f"{path}, line {number}: no tab after the identifier; plain Pharaoh lines are `pharaoh`")
        links = " ".join(_WEIGHT.sub(r"\1", link) for link in links.split())
        yield hard(before or (), after or (), links, path, number)
