"""What the attention of a model does while it is forced to say a given text: the diagnostics of the GAtt paper.

Two families of looks at one sentence pair. *Steps* are those of the decoder, a row a target token, the end of the
source among the columns, so each row of weights is a distribution. *Words* are those of the text: pieces summed over a
source word and averaged over a target word, without the end of the source, as :mod:`nmt.metrics.diagnostics` has them.
The step that says the end of the sentence is left out of both.

Every measure is a sum and what to divide it by, from every sentence; the value is the ratio of the totals. So a text of
any length streams through, and neither padding nor the other sentences of a batch change anything.

Shapes: T target tokens, S source tokens and the end, E context size, J target words, I source words; B pairs of a
batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nmt.batching import collate, plan_sorted
from nmt.links import argmax_links
from nmt.metrics.base import Array, Output
from nmt.metrics.diagnostics import Coverage, Entropy, Ignored, Nothing, coverage_per_word
from nmt.translator import Translator
from nmt.words import pieces_to_words

CHUNK = 1000  # pairs that are read, put in order of length and cut into batches at a time
OVERLOADED = 2.0
COLLAPSED = 0.99

Pair = tuple[str, ...]  # source and target


class Sight(NamedTuple):
    """What a model saw while it said one sentence; T ≥ 1."""

    context_TE: Array
    weight_TS: Array
    word_JI: Array


def variance_over_steps(seen: Sight) -> tuple[float, float]:
    """How much the context vector changes while a sentence is said: for every dimension the variance of c_t over the
    steps t, averaged over dimensions, then over sentences of two steps or more.

    Zhang, Xiong and Su 2017 report 0.0088 for RNNSearch and 0.0465 for GAtt without a formula. Chosen here: variances
    divide by their number (not one less), every sentence counts the same.
    """
    if len(seen.context_TE) < 2:
        return 0.0, 0.0
    return float(seen.context_TE.var(axis=0).mean()), 1.0


def variance_over_dimensions(seen: Sight) -> tuple[float, float]:
    """How much the numbers of one context vector differ: for every step the variance of c_t over its dimensions,
    averaged over the steps of a sentence, then over sentences.

    Zhang, Xiong and Su 2017 report 0.0057 for RNNSearch and 0.0365 for GAtt; chosen as in :func:`variance_over_steps`.
    """
    return float(seen.context_TE.var(axis=1).mean()), 1.0


def entropy(seen: Sight) -> tuple[float, float]:
    """Mean entropy of a step's attention in nats, the end of the source counted."""
    bits, steps = _first(Entropy().statistics(Output(weights=[seen.weight_TS])))
    return bits * math.log(2), steps


def to_end(seen: Sight) -> tuple[float, float]:
    """Mean weight of the end of the source at a step, which says a word all the same."""
    return _first(Nothing().statistics(Output(weights=[seen.weight_TS[:, :-1]])))


def collapsed(seen: Sight) -> tuple[float, float]:
    """Share of steps that look at one place alone, the end of the source counted: largest weight above 0.99."""
    return float((seen.weight_TS.max(axis=1) > COLLAPSED).sum()), float(len(seen.weight_TS))


def coverage(seen: Sight) -> tuple[float, float]:
    """Mean attention that a source word receives in all, c_i = Σ_j a_ji."""
    return _first(Coverage().statistics(Output(weights=[seen.word_JI])))


def ignored(seen: Sight) -> tuple[float, float]:
    """Share of source words that receive less than 0.2 in all (the threshold of Berard et al. 2019)."""
    return _first(Ignored().statistics(Output(weights=[seen.word_JI])))


def overloaded(seen: Sight) -> tuple[float, float]:
    """Share of source words that receive more than 2 in all, the fertility that Tu et al. 2016 allow at most."""
    return float((coverage_per_word(seen.word_JI) > OVERLOADED).sum()), float(seen.word_JI.shape[1])


def monotone(seen: Sight) -> tuple[float, float]:
    """Share of neighbouring target words that do not go back in the source: each word is where its largest weight is,
    the first of equals; words without any weight are passed over."""
    place_of = {j: i for i, j in argmax_links(seen.word_JI).sure}
    steps = list(pairwise(place_of[j] for j in sorted(place_of)))
    return float(sum(before <= after for before, after in steps)), float(len(steps))


# A measure is added by writing its function above and its line here.
MEASURES: dict[str, Callable[[Sight], tuple[float, float]]] = {
    "variance_over_steps": variance_over_steps,
    "variance_over_dimensions": variance_over_dimensions,
    "entropy": entropy,
    "to_end": to_end,
    "collapsed": collapsed,
    "coverage": coverage,
    "ignored": ignored,
    "overloaded": overloaded,
    "monotone": monotone,
}


class Diagnosis(NamedTuple):
    """The measures of a text by name, each None where nothing could be measured, and what they were measured on."""

    measures: dict[str, float | None]
    sentences: int
    left_out: int  # pairs with an empty side


def diagnose(translator: Translator, pairs: Iterable[Pair]) -> Diagnosis:
    """All of :data:`MEASURES` of a model that is forced to say the target of every (source, target) pair.

    Pairs are read as they come, a thousand at a time.
    """
    totals = np.zeros((len(MEASURES), 2))
    read = measured = 0

    def counted() -> Iterator[Pair]:
        nonlocal read
        for pair in pairs:
            read += 1
            yield pair

    for seen in sights(translator, counted()):
        totals += [measure(seen) for measure in MEASURES.values()]
        measured += 1
    values = [float(total / count) if count else None for total, count in totals]
    return Diagnosis(dict(zip(MEASURES, values, strict=True)), measured, read - measured)


def sights(translator: Translator, pairs: Iterable[Pair]) -> Iterator[Sight]:
    """What the model saw at every pair that has a token on both sides, in no order that means anything."""
    stream = iter(pairs)
    source, target = translator.vocabularies
    while chunk := list(islice(stream, CHUNK)):
        encoded = [(source.encode(before), target.encode(after)) for before, after in chunk]
        real = [number for number, sides in enumerate(encoded) if all(sides)]
        lengths = np.array([max(map(len, encoded[number])) for number in real], np.int64)
        for places in plan_sorted(lengths, tokens=translator.search.batch_tokens) if real else []:
            numbers = [real[place] for place in places]
            steps = _steps(translator, [encoded[number] for number in numbers])
            for number, (context_TE, weight_TS) in zip(numbers, steps, strict=True):
                before, after = chunk[number]
                word_JI = pieces_to_words(
                    weight_TS[:, :-1],
                    target.word_of_piece(after),
                    source.word_of_piece(before),
                    (len(target.words(after)), len(source.words(before))),
                )
                yield Sight(context_TE, weight_TS, word_JI)


def _steps(translator: Translator, pairs: list[tuple[list[int], list[int]]]) -> Iterator[tuple[Array, Array]]:
    """Contexts (T, E) and weights (T, S) of every pair of a batch, without its padding."""
    sources, targets = zip(*pairs, strict=True)
    batch = collate(sources, targets, range(len(pairs))).to(translator.device)
    translator.model.eval()
    with torch.inference_mode():
        trace = translator.model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    context_BTE, weight_BTS = (_numbers(one) for one in (trace.context_BTE, trace.weight_BTS))
    for row, (ids, said) in enumerate(pairs):
        yield context_BTE[row, : len(said)], weight_BTS[row, : len(said), : len(ids) + 1]


def _numbers(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.cpu().double().numpy()


def _first(statistics: Array) -> tuple[float, float]:
    total, count = statistics[0].tolist()
    return total, count
