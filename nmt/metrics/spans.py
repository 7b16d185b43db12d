"""Repeated spans of a sentence, and whether its source or a reference repeats them as well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from nmt.metrics.base import Marked, Marks, Output
from nmt.metrics.tokens import ngrams, tokenizer

Span = tuple[int, int]  # from and to, as in a slice


def repeated_spans(words: Sequence[str], shortest: int = 2) -> list[Span]:
    """Spans of at least ``shortest`` words that occur again elsewhere without touching, the longest from left to right.

    Every occurrence is a span; no two spans share a word.
    """
    starts = defaultdict(list)
    for start, gram in enumerate(ngrams(words, shortest)):
        starts[gram].append(start)
    spans: list[Span] = []
    start = 0
    while start + shortest <= len(words):
        others = starts[tuple(words[start : start + shortest])]
        length = max((_common(words, start, other) for other in others if other != start), default=0)
        if length >= shortest:
            spans.append((start, start + length))
            start += length
        else:
            start += 1
    return spans


def _common(words: Sequence[str], first: int, second: int) -> int:
    """How many words the spans from two places have in common before one runs into the other."""
    limit = min(abs(first - second), len(words) - max(first, second))
    length = 0
    while length < limit and words[first + length] == words[second + length]:
        length += 1
    return length


def occurrences(words: Sequence[str], span: Sequence[str]) -> int:
    """How often a span comes in a text without overlapping itself."""
    count = start = 0
    while start + len(span) <= len(words):
        here = tuple(words[start : start + len(span)]) == tuple(span)
        count += here
        start += len(span) if here else 1
    return count


def _repeated(words: Sequence[str], spans: Sequence[Span]) -> dict[tuple[str, ...], int]:
    """The different spans in order, and how often each occurs, also inside of longer ones."""
    texts = dict.fromkeys(tuple(words[start:end]) for start, end in spans)
    return {text: occurrences(words, text) for text in texts}


def repetition_marks(output: Output, sentence: int, tokenize: str, source_tokenize: str, lowercase: bool) -> Marks:
    """The repeated spans of a hypothesis (single words where no longer span is repeated) with source and references."""
    assert output.hypotheses is not None
    here, there = tokenizer(tokenize, lowercase), tokenizer(source_tokenize, lowercase)
    words = here(output.hypotheses[sentence])
    spans = repeated_spans(words) or repeated_spans(words, shortest=1)
    references = [here(lines[sentence]) for lines in output.references or ()]
    source = None if output.sources is None else there(output.sources[sentence])
    source_spans = [] if source is None else repeated_spans(source)
    notes = []
    for span, count in _repeated(words, spans).items():
        also = max((occurrences(reference, span) for reference in references), default=0)
        notes.append(f"“{' '.join(span)}” ×{count}" + (f", also in the reference ×{also}" if also > 1 else ""))
    if source is not None and source_spans:
        repeated = (f"“{' '.join(span)}” ×{count}" for span, count in _repeated(source, source_spans).items())
        notes.append(f"the source repeats {', '.join(repeated)}")
    return Marks(
        hypothesis=Marked(words, spans),
        source=None if source is None else Marked(source, source_spans),
        references=[Marked(reference, repeated_spans(reference)) for reference in references],
        notes=notes,
    )
