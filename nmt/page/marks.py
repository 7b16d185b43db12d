"""What is marked in a sentence: repeated spans of a text, by places of its characters, and uncovered source words.

A metric counts tokens, lower-cased and cut at punctuation; a page shows the text as it is. So spans of tokens are
looked up in the text again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from nmt.alignment import Alignment
from nmt.metrics.spans import Span, occurrences, repeated_spans
from nmt.metrics.tokens import Tokenize, tokenizer


class Repeat(NamedTuple):
    """Characters of a text, from ``start`` to before ``end``, and whether a reference repeats the same."""

    start: int
    end: int
    excused: bool


def repeats(text: str, references: Iterable[str], tokenize: str) -> list[Repeat]:
    """The spans of a text that are said more than once: two words or more that occur again, or a word twice in a row.

    Excused is what one of the references says more than once too. Case does not count.
    """
    words = tokenizer(tokenize, lowercase=True)
    tokens, places = _located(text, words)
    others = [words(reference) for reference in references]
    found = []
    for start, end in _spans(tokens):
        span = tokens[start:end]
        excused = any(_says_again(other, span) for other in others)
        found.append(Repeat(places[start][0], places[end - 1][1], excused))
    return found


def uncovered(alignment: Alignment) -> list[int]:
    """The source words that the translation leaves out, by their numbers: coverage below 0.2, or without a link."""
    return [place for span in alignment.dropped() for place in range(span.start, span.end)]


def _spans(tokens: Sequence[str]) -> list[Span]:
    """Repeated spans, and the runs of one word outside of them, in order."""
    spans = repeated_spans(tokens)
    taken = {place for start, end in spans for place in range(start, end)}
    start = 0
    while start < len(tokens):
        end = start + 1
        while end < len(tokens) and tokens[end] == tokens[start]:
            end += 1
        if end - start > 1 and any(map(str.isalnum, tokens[start])) and taken.isdisjoint(range(start, end)):
            spans.append((start, end))
        start = end
    return sorted(spans)


def _says_again(tokens: Sequence[str], span: Sequence[str]) -> bool:
    """Whether the span comes twice; a run of one word counts as that word said twice in a row."""
    if len(set(span)) == 1:
        return occurrences(tokens, [span[0]] * 2) > 0
    return occurrences(tokens, span) > 1


def _located(text: str, words: Tokenize) -> tuple[list[str], list[Span]]:
    """The tokens of a text and the characters of each.

    A tokeniser that writes other characters than the text has (&quot; becomes a quote) cannot be followed; the tokens
    are then what stands between spaces.
    """
    tokens = words(text)
    places = _places(text, tokens)
    if places is None:
        tokens = text.lower().split()
        places = _places(text, tokens)
    assert places is not None
    return tokens, places


def _places(text: str, tokens: Sequence[str]) -> list[Span] | None:
    """The characters of tokens that come in a text one after the other, with nothing but spaces between them."""
    # Lower case may be longer than upper case (İ), so every letter remembers where it came from.
    letters = [(letter, place) for place, character in enumerate(text) for letter in character.lower()]
    lower, origin = "".join(letter for letter, _ in letters), [place for _, place in letters]
    places, at = [], 0
    for token in tokens:
        while at < len(lower) and lower[at].isspace():
            at += 1
        if not lower.startswith(token, at):
            return None
        places.append((origin[at], origin[at + len(token) - 1] + 1))
        at += len(token)
    return places
