"""fairseq: the output of ``fairseq-generate --print-alignment`` (``hard`` or ``soft``) and ``fairseq-interactive``.

The lines of a sentence begin with ``S-``, ``H-`` and ``A-`` and its number; ``generate`` writes sentences in order of
length, so the file is read at once and given back in order of the numbers. Links are of the tokens of the binarised
text and count from 0; the ends have none. A soft alignment holds the ends of both sentences as last row and column.
Attention is that of the step that produced the token; a model trained with ``--full-context-alignment`` saw the whole
target as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, beside, hard, is_hard, soft, soft_matrix
from nmt.text import read_lines

HINT = "run fairseq without --post-process (--remove-bpe), so that it prints the tokens that it aligned"

_LINE = re.compile(r"([SHA])-([0-9]+)\t(.*)")


def read_fairseq(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Alignments of tokens, of each sentence's first hypothesis, in order of the sentences' numbers. The file holds
    the tokens; texts that are given replace them, line n being sentence n - 1."""
    found: dict[int, dict[str, tuple[int, str]]] = {}
    for number, line in enumerate(read_lines(path), start=1):
        match = _LINE.fullmatch(line)
        if match is not None:
            found.setdefault(int(match[2]), {}).setdefault(match[1], (number, match[3]))
    if not found:
        raise InputError(
            f"{path}: no line begins with S-, H- or A- and a number; is it the output of fairseq-generate?"
        )
    for place, (sentence, before, after) in enumerate(beside(path, sorted(found), source, target)):
        if sentence != place and (source, target) != (None, None):
            line = f"line {place + 1} of {source or target}"
            raise InputError(f"{path} has no sentence {place}, which is {line}; let fairseq translate every line")
        lines = found[sentence]
        missing = [kind for kind in "SHA" if kind not in lines]
        if missing:
            advice = "; run fairseq with --print-alignment" if "A" in missing else ""
            raise InputError(f"{path}: sentence {sentence} has no line {missing[0]}-{sentence}{advice}")
        held = lines["S"][1].split(), lines["H"][1].partition("\t")[2].split()
        number, text_of_links = lines["A"]
        one, two = held[0] if before is None else before, held[1] if after is None else after
        yield _alignment(one, two, text_of_links, path, number)


def _alignment(source: list[str], target: list[str], text: str, path: File, number: int) -> Alignment:
    where = f"{path}, line {number}"
    if not is_hard(text):
        return soft(source, target, soft_matrix(text, where), where, HINT)
    try:
        return hard(source, target, text, path, number)
    except InputError as error:
        raise InputError(f"{error}; {HINT}") from None
