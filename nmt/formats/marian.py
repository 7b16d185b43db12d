"""Marian: ``marian-decoder --alignment`` and ``marian-scorer --alignment``, ``soft`` or ``hard``.

A line is ``translation ||| alignment`` (of the scorer ``score ||| alignment``). A soft alignment has a group for each
target token and one for the end of the sentence, with a weight for each source token and its end. A hard one counts the
ends as tokens, so a word may be linked to the end of the source: here it has no link. Both count from 0, and attention
is that of the step that produced the token.
"""

from __future__ import annotations

from collections.abc import Iterator

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, hard_with_ends, is_hard, required, soft, soft_matrix, with_texts

HINT = (
    "give the very tokens Marian saw; where it cuts words into sentencepieces itself, the pieces of both texts "
    "(spm_encode) as source and target"
)


def read_marian(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Alignments of tokens. The source is needed; the target too for what the scorer wrote, and where Marian joined
    its pieces."""
    source = required(path, "source", source)
    for number, line, before, after in with_texts(path, source, target):
        where = f"{path}, line {number}"
        fields = [field.strip() for field in line.split("|||")]
        if fields[-1].startswith("WordScores="):
            fields.pop()
        if len(fields) < 2:
            raise InputError(f"{where}: no ` ||| ` before an alignment; run Marian with --alignment")
        if len(fields) > 2 and fields[0].isdecimal() and any(field.startswith("F0=") for field in fields):
            raise InputError(f"{where}: an n-best list; run Marian without --n-best")
        tokens = after if after is not None else " ||| ".join(fields[:-1]).split()
        if is_hard(fields[-1]):
            yield _hard(before or [], tokens, fields[-1], path, number)
        else:
            yield soft(before or (), tokens, soft_matrix(fields[-1], where), where, HINT)


def _hard(source: list[str], target: list[str], text: str, path: File, number: int) -> Alignment:
    try:
        return hard_with_ends(source, target, text, path, number)
    except InputError as error:
        raise InputError(f"{error}; {HINT}") from None
