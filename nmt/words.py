"""Pieces and the words they make up: by the marks of the pieces, or by the letters of words that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmt.errors import InputError
from nmt.links import Matrix

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


def pieces_to_words(
    weight_TS: NDArray[np.floating[Any]],
    target_word_T: Sequence[int],
    source_word_S: Sequence[int],
    words: tuple[int, int] = (0, 0),
) -> Matrix:
    """Weights between words from weights between subword pieces.

    ``target_word_T`` and ``source_word_S`` give the word of every piece, counted from 0 (see :func:`words_of_pieces`).
    A source word gets the *sum* of its pieces' weights, a target word the *mean* of its pieces' rows, so a row that
    sums to 1 still does. ``words`` are the target and source words there are at least: one without a piece gets 0.
    """
    target_T, source_S = np.asarray(target_word_T, dtype=np.intp), np.asarray(source_word_S, dtype=np.intp)
    if weight_TS.shape != (len(target_T), len(source_S)):
        raise ValueError(f"weights of shape {weight_TS.shape} for {len(target_T)} target and {len(source_S)} pieces")
    targets, sources = int(target_T.max(initial=words[0] - 1)) + 1, int(source_S.max(initial=words[1] - 1)) + 1
    summed = np.zeros((targets, sources))
    np.add.at(summed, (target_T[:, None], source_S[None, :]), weight_TS)
    pieces = np.bincount(target_T, minlength=targets)
    return summed / np.maximum(pieces, 1)[:, None]


def words_of_pieces(pieces: Sequence[str], style: str) -> list[int]:
    """The word, counted from 0, to which each piece belongs.

    ``style``: ``sentencepiece`` (``▁`` begins a word), ``@@`` (at the end of a piece: the word goes on) or ``##`` (at
    the head of a piece: it continues a word). Raises ``ValueError`` for another style.
    """
    if style == "sentencepiece":
        return _sentencepiece_words(pieces)
    if style == "@@":
        begins = [number == 0 or not pieces[number - 1].endswith("@@") for number in range(len(pieces))]
    elif style == "##":
        begins = [number == 0 or not piece.startswith("##") for number, piece in enumerate(pieces)]
    else:
        raise ValueError(f"unknown style of pieces {style!r}; known are sentencepiece, @@ and ##")
    return [word - 1 for word in np.cumsum(begins, dtype=int).tolist()]


def _sentencepiece_words(pieces: Sequence[str]) -> list[int]:
    """A piece belongs to the word of its first character that is not ``▁``; a piece of ``▁`` alone to the next word."""
    index, word, between = [], -1, True
    for piece in pieces:
        first = None
        for character in piece:
            if character == "▁":
                between = True
                continue
            if between:
                word, between = word + 1, False
            if first is None:
                first = word
        index.append(word + 1 if first is None else first)
    return [min(number, max(word, 0)) for number in index]
