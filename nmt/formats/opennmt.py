"""OpenNMT-py and eole: ``--report_align`` and the matrices that ``--attn_debug`` and ``--align_debug`` print.

``--report_align`` writes ``translation ||| 0-0 1-2``, counting from 0, each target token linked to the source token
with the highest weight; the end of the target has no row. The debugging options print a table a sentence: the source
tokens above, cut to 7 letters, and a row a target token, cut to 10, with 7 decimals; ``--attn_debug`` has a row for the
end, neither has a column for it. Attention is that of the step that produced the token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, beside, hard, required, soft, with_texts
from nmt.text import read_lines

HINT = "give the very tokens that the model saw, after its transforms"
END = "</s>"

_WEIGHT = re.compile(r"\b[01]\.[0-9]{7}\b")
_ROW = re.compile(r"\s*(\S+)((?:\s+[01]\.[0-9]{7})+)\s*")


def read_report_align(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Links of ``--report_align``. The source is needed; the target only where the transforms joined its pieces."""
    source = required(path, "source", source)
    for number, line, before, after in with_texts(path, source, target):
        text, bars, links = line.rpartition(" ||| ")
        if not bars:
            raise InputError(f"{path}, line {number}: no ` ||| ` before the links; run with --report_align")
        links = links.partition("\t")[0]  # --with_score
        try:
            yield hard(before or (), text.split() if after is None else after, links, path, number)
        except InputError as error:
            raise InputError(f"{error}; {HINT}") from None


def read_debug(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Matrices in the log of ``--attn_debug`` or ``--align_debug``, which may hold other lines. Tokens are cut short in
    it, so both texts are better given; the table has the tokens where they are not."""
    tables = beside(path, _tables(path), source, target)
    for count, ((number, header, rows), before, after) in enumerate(tables, start=1):
        where = f"{path}, table {count} at line {number}"
        labels = [label for label, _ in rows]
        if labels[-1] == END:
            labels.pop()
        if _WEIGHT.search(header):
            raise InputError(f"{where}: weights where the source tokens should be; a row above the table is damaged")
        # The line above may begin with the time and the level of the log.
        columns = header.split()[-len(rows[0][1]) :]
        weights = [one for _, one in rows]
        yield soft(columns if before is None else before, labels if after is None else after, weights, where, HINT)


def _tables(path: File) -> Iterator[tuple[int, str, list[tuple[str, list[float]]]]]:
    """The line number of each table's head, its head and its rows."""
    above, rows, start = "", [], 0
    for number, line in enumerate(read_lines(path), start=1):
        match = _ROW.fullmatch(line)
        if match is not None:
            rows.append((match[1], [float(weight) for weight in match[2].split()]))
            continue
        if rows:
            yield start, above, rows
        above, rows, start = line, [], number
    if rows:
        yield start, above, rows
