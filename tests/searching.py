"""A toy language whose probabilities plain Python computes too, and the plainest search over any model: the oracles."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from references import log_softmax
from torch import Tensor

from nmt.batching import Batch, collate
from nmt.model import EncoderDecoder, Model, RecurrentSettings, Trace, build_model
from nmt.search import Hypothesis, SearchSettings, beam_search
from nmt.settings import Choice
from nmt.tree import repeat
from nmt.vocabulary import BOS, EOS, PAD, UNK

V = 6
WORDS = [UNK, 4, 5]
WORDY = [-3, 0, -3, -2, 0, 0]  # ends after some words rather than at once
SOURCE = [4, 5, 5]
SOURCES = [[4], [5, 5, 4], [4, 5] * 6, [5, 4, 4, 5, 5], [4, 4, 4] * 5, [5]]


class Toy(Model):
    """A language in which the next word depends on the source, on the two words before and on all words so far.

    The state is the record of a hypothesis, so a state that search mixes up says other words and looks elsewhere.
    """

    def __init__(self, bias: Sequence[float] = (0.0,) * V) -> None:
        super().__init__()
        self.bias = list(bias)

    def table(self, source: Sequence[int]) -> list:
        """table[word before last][last word][next word] of a sentence."""
        draw = random.Random(str(list(source)))
        return [[[draw.gauss(self.bias[n], 1) for n in range(V)] for _ in range(V)] for _ in range(V)]

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> Any:
        rows = zip(source_BS, valid_BS, strict=True)
        table_BVVV = torch.tensor([self.table(row[real].tolist()) for row, real in rows], dtype=torch.float64)
        return table_BVVV, (valid_BS,)

    def start(self, memory: Any) -> Any:
        return (torch.full((len(memory[0]), 1), BOS),)

    def decode(self, token_BT: Tensor, memory: Any, state: Any) -> Any:
        table_BVVV, (valid_BS,) = repeat(memory, len(token_BT) // len(memory[0]))  # hypotheses share their sentence's
        (record_BT,) = state
        logits, weights = [], []
        for token_B in token_BT.unbind(dim=1):
            record_BT = torch.cat([record_BT, token_B[:, None]], dim=1)
            history_B = (record_BT * torch.arange(record_BT.shape[1])).sum(dim=1)
            of_pair_BV = table_BVVV[torch.arange(len(token_B)), record_BT[:, -2], record_BT[:, -1]]
            logits.append(of_pair_BV + torch.sin(history_B[:, None] * torch.arange(1.0, V + 1, dtype=torch.float64)))
            place_B = history_B % valid_BS.sum(dim=1)
            looked_BS = (valid_BS.cumsum(dim=1) - 1 == place_B[:, None]) & valid_BS
            weights.append(looked_BS.double())
        nothing_BT, weight_BTS = torch.zeros(token_BT.shape), torch.stack(weights, dim=1)
        trace = Trace(torch.stack(logits, dim=1), weight_BTS, nothing_BT, weight_BTS, torch.ones(valid_BS.shape))
        return trace, (record_BT,)

    def log_prob(self, source: Sequence[int], prefix: Sequence[int]) -> list[float]:
        """What follows a prefix, in plain Python."""
        record = [BOS, BOS, *prefix]
        history = sum(place * word for place, word in enumerate(record))
        row = self.table(source)[record[-2]][record[-1]]
        return log_softmax([row[n] + math.sin(history * (n + 1)) for n in range(V)])

    def place(self, source: Sequence[int], prefix: Sequence[int]) -> int:
        """The source position that it looks at for the word after a prefix."""
        return sum(place * word for place, word in enumerate([BOS, BOS, *prefix])) % len(source)


def a_model(dtype: torch.dtype = torch.float64, words: int = V, **changes: Any) -> EncoderDecoder:
    settings = RecurrentSettings(**{"embedding": 3, "hidden": 4, "attention": Choice("gatt"), **changes})
    model = build_model(settings, words, words).to(dtype).eval()
    for one in model.parameters():
        one.uniform_(-1.5, 1.5)
    return model


def batch_of(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]] | None = None) -> Batch:
    return collate(sources, targets or [[] for _ in sources], range(len(sources)))


def searched(model: Model, sources: Sequence[Sequence[int]], **settings: Any) -> list[list[Hypothesis]]:
    batch = batch_of(sources)
    return beam_search(model, batch.source_BS, batch.source_valid_BS, SearchSettings(**settings))


def ranked(log_prob: float, words: int, normalise: str, alpha: float) -> float:
    """The score by its definition; |Y| counts the end of the sentence."""
    length = words + 1
    if normalise == "average":
        return log_prob / length**alpha
    if normalise == "gnmt":
        return log_prob / (((5 + length) ** alpha) / ((5 + 1) ** alpha))
    assert normalise == "none"
    return log_prob


def paid(coverage: str | dict, weight_TS: Sequence[Sequence[float]]) -> float:
    """What a translation pays by the definitions, a row a target word and one for EOS, the last column that of EOS."""
    values = {"kind": coverage} if isinstance(coverage, str) else coverage
    cost = 0.0
    for i in range(len(weight_TS[0]) - 1):
        covered = sum(row[i] for row in weight_TS)
        if values["kind"] == "gnmt":
            cost -= values.get("beta", 0.2) * math.log(min(max(covered, values.get("floor", 1e-6)), 1.0))
        elif values["kind"] == "summary":
            cost += values.get("beta", 0.2) * max(0.0, covered - 1.0)
    return cost


def valued(log_prob: float, weight_TS: Sequence[Sequence[float]], settings: dict[str, Any]) -> float:
    """The score by its definition."""
    worth = ranked(log_prob, len(weight_TS) - 1, settings.get("normalise", "average"), settings.get("alpha", 1.0))
    return worth - paid(settings.get("coverage", "none"), weight_TS)


class Said(NamedTuple):
    """A hypothesis of the plain search."""

    tokens: list[int]
    log_prob: float
    weight_TS: list[list[float]]
    state: Any


def repeats(tokens: Sequence[int], order: int | None) -> bool:
    """Whether an n-gram of this order stands twice in the tokens."""
    if order is None:
        return False
    ngrams = [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]
    return len(set(ngrams)) < len(ngrams)


def plain_search(model: Model, source: Sequence[int], **settings: Any) -> list[Hypothesis]:
    """Beam search of one sentence as one would write it down: no batch, no padding, one hypothesis at a time.

    All that ended, best first.
    """
    beam, longest = settings.get("beam", 5), settings.get("maximum_length")
    shortest, unknown = settings.get("minimum_length", 0), settings.get("unknown", True)
    limit = longest if longest is not None else max(2 * len(source) + 10, shortest)
    batch = batch_of([source])
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    alive, ended = [Said([], 0.0, [], model.start(memory))], []
    while alive and len(ended) < beam:
        candidates, ends = [], []
        for one in alive:
            last = torch.tensor([[one.tokens[-1] if one.tokens else BOS]])
            trace, state = model.decode(last, memory, one.state)
            logit = trace.logit_BTV[0, 0]
            after = torch.log_softmax(logit.to(torch.promote_types(logit.dtype, torch.float32)), dim=-1).tolist()
            weight_TS = [*one.weight_TS, trace.weight_BTS[0, 0].tolist()]
            for word, log_prob in enumerate(after):
                if word in (PAD, BOS) or (word == UNK and not unknown) or not math.isfinite(log_prob):
                    continue
                said = Said([*one.tokens, word], one.log_prob + log_prob, weight_TS, state)
                if word == EOS:
                    ends.append(said)
                if (word == EOS and len(one.tokens) >= shortest) or (
                    word != EOS and len(one.tokens) < limit and not repeats(said.tokens, settings.get("block_ngrams"))
                ):
                    candidates.append(said)
        stepwise = settings.get("stepwise", False)
        candidates = sorted(
            candidates or ends,
            key=lambda one: -(valued(one.log_prob, one.weight_TS, settings) if stepwise else one.log_prob),
        )[: 2 * beam]
        ended += [one for one in candidates[:beam] if one.tokens[-1] == EOS]
        alive = [one for one in candidates if one.tokens[-1] != EOS][:beam]
    found = [
        Hypothesis(
            one.tokens[:-1], one.log_prob, valued(one.log_prob, one.weight_TS, settings), torch.tensor(one.weight_TS)
        )
        for one in ended
    ]
    return sorted(found, key=lambda one: -one.score)
