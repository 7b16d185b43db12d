"""Pieces and the words they make up: by the marks of the pieces, or by the letters of words that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nmt.errors import InputError
from nmt.links import words_of_pieces

STYLES = ("sentencepiece", "@@", "##")


class Words(NamedTuple):
    """The words of a sentence, and the word, counted from 0, of each of its pieces.

    A piece of white space alone, where there is no word at all, has the number of words.
    """

    words: tuple[str, ...]
    word_of_piece: list[int]


def joined(pieces: Sequence[str], style: str) -> Words:
    """The words that marked pieces make up: ``sentencepiece`` (``▁the ca t``: the cat), ``@@`` (``the c@@ at``),
    ``##`` (``the c ##at``) or ``words``, each piece a word. Raises ``ValueError`` for another style.
    """
    if style == "words":
        return Words(tuple(pieces), list(range(len(pieces))))
    word_of_piece = words_of_pieces(pieces, style)
    if style == "sentencepiece":
        return Words(tuple(filter(None, "".join(pieces).replace("▁", " ").split(" "))), word_of_piece)
    parts: list[list[str]] = [[] for _ in range(max(word_of_piece, default=-1) + 1)]
    for piece, word in zip(pieces, word_of_piece, strict=True):
        bare = piece.removesuffix("@@") if style == "@@" else piece.removeprefix("##") if parts[word] else piece
        parts[word].append(bare)
    return Words(tuple(map("".join, parts)), word_of_piece)


def spelled(pieces: Sequence[str], words: Sequence[str]) -> Words:
    """The given words, and the word of each piece by its letters: for Chinese characters that spell Chinese words.

    A piece that runs over the end of a word belongs to the word of its first letter. White space and ``▁`` do not
    count. Raises ``InputError`` when the pieces do not spell the words.
    """
    letters = [_letters(piece) for piece in pieces]
    wanted = "".join(map(_letters, words))
    found = "".join(letters)
    if found != wanted:
        same = next(
            (n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), min(map(len, (found, wanted)))
        )
        raise InputError(
            f"the pieces do not spell the words: after {wanted[max(0, same - 10) : same]!r} comes "
            f"{found[same : same + 10]!r} where the words have {wanted[same : same + 10]!r}"
        )
    owner = [number for number, word in enumerate(words) for _ in _letters(word)]
    word_of_piece, place = [], 0
    for piece in letters:
        word_of_piece.append(owner[place] if place < len(owner) else len(words))
        place += len(piece)
    return Words(tuple(words), word_of_piece)


def _letters(text: str) -> str:
    return "".join(text.replace("▁", " ").split())
