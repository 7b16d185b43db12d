"""Sockeye 1 and 2, and Nematus: matrices as text and as JSON.

Text: ``number ||| target ||| score ||| source ||| source tokens ||| target tokens`` (Nematus: the two numbers between
one pair of bars), the matrix in lines, an empty line. The two differ in what they leave unsaid:

* Nematus writes a row a target token and counts both ends among the tokens, though it does not print them.
* Sockeye writes a row a *source* token, whatever its documentation says; the end of the source is dropped, that of the
  target is printed as ``</s>`` where the translation reached it.

Sockeye's ``translation_with_alignments`` is ``translation TAB 0-0 1-2``: links above a threshold, counting from 0,
which may name the end of the target. Attention is that of the step that produced the token. Sockeye 3 writes none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, beside, hard_with_ends, required, soft, with_texts
from nmt.links import Matrix
from nmt.text import read_lines

HINT = "the file is damaged, of another tool, or of another text than the one given"
END = "</s>"
Matrices = Iterator[tuple[str, list[str], list[str], Any]]  # where each stands, its tokens, and its rows


def read_sockeye(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Matrices of Sockeye's ``translation_with_alignment_matrix``; the file holds the tokens."""
    return _of_tokens(path, _sockeye(path), source, target)


def read_nematus(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Matrices of ``nematus/translate.py --output_alignment``, text or (``--json_alignment``) JSON; the file holds the
    tokens."""
    first = next((line for line in read_lines(path) if line.strip()), "")
    yield from _of_tokens(path, _json(path) if first.startswith("{") else _nematus(path), source, target)


def read_sockeye_links(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Links of Sockeye's ``translation_with_alignments``. The source is needed."""
    source = required(path, "source", source)
    for number, line, before, after in with_texts(path, source, target):
        text, tab, links = line.rpartition("\t")
        if not tab:
            raise InputError(
                f"{path}, line {number}: no tab before the links; --output-type translation_with_alignments"
            )
        yield hard_with_ends(before or [], text.split() if after is None else after, links, path, number)


def _of_tokens(path: File, matrices: Matrices, source: File | None, target: File | None) -> Iterator[Alignment]:
    """Alignments of the tokens in the file, or of those in the texts that are given."""
    for (where, *held, weights), before, after in beside(path, matrices, source, target):
        yield soft(held[0] if before is None else before, held[1] if after is None else after, weights, where, HINT)


def _sockeye(path: File) -> Matrices:
    for number, fields, weights in _blocks(path):
        where = f"{path}, line {number}"
        if len(fields) != 6:
            raise InputError(f"{where}: {len(fields)} fields between |||, expected 6; Nematus writes 5 (`nematus`)")
        after, before = fields[1].split(), fields[3].split()
        rows = [] if not before or not after else weights  # an empty sentence has a zero where its matrix would be
        matrix = _matrix(rows, (len(before), len(after)), where).T
        yield where, before, after[:-1] if after[-1:] == [END] else after, matrix


def _nematus(path: File) -> Matrices:
    for number, fields, weights in _blocks(path):
        where = f"{path}, line {number}"
        counts = fields[-1].split()
        if len(fields) != 5 or len(counts) != 2 or not all(one.isdecimal() for one in counts):
            raise InputError(f"{where}: expected number ||| target ||| score ||| source ||| two numbers of tokens")
        shape = int(counts[1]), int(counts[0])
        yield where, fields[3].split(), fields[1].split(), _matrix(weights, shape, where)


def _json(path: File) -> Matrices:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
            yield where, value["source_sent"].split(), value["target_sent"].split(), value["matrix"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InputError(f"{where}: no JSON object with source_sent, target_sent and matrix") from None


def _blocks(path: File) -> Iterator[tuple[int, list[str], list[list[float]]]]:
    """The line of every head, its fields and the numbers below it."""
    lines = zip(count(1), read_lines(path), strict=False)
    for number, line in lines:
        if not line.strip():
            continue
        if "|||" not in line:
            raise InputError(f"{path}, line {number}: expected the fields of a sentence between |||")
        rows: list[list[float]] = []
        for place, row in lines:
            if not row.strip():
                break
            try:
                rows.append([float(weight) for weight in row.split()])
            except ValueError:
                raise InputError(f"{path}, line {place}: not a row of weights; is the empty line missing?") from None
        yield number, [field.strip() for field in line.split("|||")], rows


def _matrix(rows: list[list[float]], shape: tuple[int, int], where: str) -> Matrix:
    if 0 in shape:
        return np.zeros(shape)
    if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
        raise InputError(f"{where}: the sentence has a matrix of {shape[0]} lines of {shape[1]} weights; {HINT}")
    return np.array(rows, dtype=np.float64)
