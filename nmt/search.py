"""Beam search (greedy is a beam of 1) and forced decoding, over any :class:`~nmt.model.Model`.

Shapes: N sentences still searched, K beam size, B = N × K hypotheses, the beams of a sentence next to each other,
T target positions so far, S source positions, V target vocabulary size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.model import Model
from nmt.settings import Settings
from nmt.tree import repeat, select
from nmt.vocabulary import BOS, EOS, PAD, UNK


class SearchSettings(Settings):
    """How to search for a translation."""

    beam: Annotated[int, Field(ge=1)] = 5
    n_best: Annotated[int, Field(ge=1)] = 1
    normalise: Literal["none", "average", "gnmt"] = "average"  # of the log-probability, by length
    alpha: Annotated[float, Field(ge=0)] = 1.0  # the strength of the normalisation
    minimum_length: Annotated[int, Field(ge=0)] = 0  # tokens before the end of the sentence
    maximum_length: Annotated[int, Field(ge=1)] | None = None  # null: twice the source's plus 10, or the minimum
    unknown: bool = True  # whether a translation may hold the unknown word
    batch_tokens: Annotated[int, Field(ge=1)] = 4000  # source tokens searched at once

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.n_best > self.beam:
            raise ValueError(f"n_best {self.n_best} needs a beam at least as wide, not {self.beam}")
        if self.maximum_length is not None and self.minimum_length > self.maximum_length:
            raise ValueError(f"minimum_length {self.minimum_length} is above maximum_length {self.maximum_length}")
        return self


class Hypothesis(NamedTuple):
    """A complete translation, in the vocabulary's ids."""

    tokens: list[int]  # without EOS
    log_prob: float  # natural logarithm, EOS counted
    score: float  # what hypotheses are ranked by: the log-probability, normalised as the settings say
    weight_TS: Tensor  # attention, on the CPU: a row a token and one for EOS, a column a source token and one for EOS


def rank_none(log_prob: float, length: int, alpha: float) -> float:
    """log P(Y | X), as it is."""
    return log_prob


def rank_average(log_prob: float, length: int, alpha: float) -> float:
    """log P(Y | X) / |Y|^α."""
    return log_prob / float(length**alpha)


def rank_gnmt(log_prob: float, length: int, alpha: float) -> float:
    """log P(Y | X) / lp(Y), lp = ((5 + |Y|) / 6)^α (Wu et al. 2016, equation 14)."""
    return log_prob / float(((5 + length) / 6) ** alpha)


# From log-probability, length |Y| with EOS, and α to the score of a hypothesis; higher is better.
RANKINGS: dict[str, Callable[[float, int, float], float]] = {
    "none": rank_none,
    "average": rank_average,
    "gnmt": rank_gnmt,
}


@torch.no_grad()
def beam_search(model: Model, source_BS: Tensor, valid_BS: Tensor, settings: SearchSettings) -> list[list[Hypothesis]]:
    """For every source sentence (with EOS) its ``n_best`` translations, best first.

    Hypotheses of one length compete by log-probability; those that end are ranked by the normalised score. A sentence
    is done when as many hypotheses as the beam is wide have ended, and leaves the batch; at the maximum length every
    hypothesis must end, so each translation is complete and its score is its forced score.
    """
    device, beam = source_BS.device, settings.beam
    rank = RANKINGS[settings.normalise]
    source_length_N = valid_BS.sum(dim=1)
    limit_N = (2 * (source_length_N - 1) + 10).clamp(min=settings.minimum_length)  # tokens before EOS
    if settings.maximum_length is not None:
        limit_N = torch.full_like(limit_N, settings.maximum_length)
    sentence_N = torch.arange(len(source_BS), device=device)
    memory = model.encode(source_BS, valid_BS)
    memory, state = repeat(memory, beam), repeat(model.start(memory), beam)
    total_NK = torch.full((len(source_BS), beam), -torch.inf, device=device)
    total_NK[:, 0] = 0.0  # the beams of a sentence start alike: all but one must not win
    token_B1 = torch.full((len(source_BS) * beam, 1), BOS, device=device)
    said_BT = token_B1[:, :0]
    weight_BTS = torch.empty(len(token_B1), 0, source_BS.shape[1], device=device)
    found: list[list[Hypothesis]] = [[] for _ in source_BS]

    while len(sentence_N):
        trace, state = model.decode(token_B1, memory, state)
        weight_BTS = torch.cat([weight_BTS, trace.weight_BTS.to(weight_BTS.dtype)], dim=1)
        length = said_BT.shape[1]
        step_BV = torch.log_softmax(at_least_float32(trace.logit_BTV[:, 0]), dim=-1)
        allowed_BV = _allowed(step_BV, length, limit_N, settings)
        total_NKV = total_NK.unsqueeze(-1) + allowed_BV.reshape(*total_NK.shape, -1)
        # Each beam has one way to end, so among the best 2 K candidates at least K go on.
        words = total_NKV.shape[-1]
        total_NC, candidate_NC = total_NKV.flatten(1).topk(min(2 * beam, beam * words), dim=1)
        token_NC = candidate_NC % words
        row_NC = candidate_NC // words + beam * torch.arange(len(sentence_N), device=device).unsqueeze(1)
        end_NC = token_NC == EOS

        ended = end_NC[:, :beam] & total_NC[:, :beam].isfinite()
        for n, c in ended.nonzero().tolist():
            row, sentence = int(row_NC[n, c]), int(sentence_N[n])
            log_prob = float(total_NC[n, c])
            weight_TS = weight_BTS[row, :, valid_BS[sentence]].cpu()
            score = rank(log_prob, length + 1, settings.alpha)
            found[sentence].append(Hypothesis(said_BT[row].tolist(), log_prob, score, weight_TS))

        enough = torch.tensor([len(found[sentence]) >= beam for sentence in sentence_N.tolist()], device=device)
        order_NK = torch.argsort(end_NC.int(), dim=1, stable=True)[:, :beam]
        total_NK = total_NC.masked_fill(end_NC, -torch.inf).gather(1, order_NK)
        alive_N = ~enough & total_NK[:, 0].isfinite()
        row_B = row_NC.gather(1, order_NK)[alive_N].flatten()
        token_B1 = token_NC.gather(1, order_NK)[alive_N].reshape(-1, 1)
        said_BT = torch.cat([said_BT[row_B], token_B1], dim=1)
        weight_BTS, state = weight_BTS[row_B], select(state, row_B)
        if not bool(alive_N.all()):
            memory = select(memory, row_B)
        total_NK, limit_N, sentence_N = total_NK[alive_N], limit_N[alive_N], sentence_N[alive_N]

    return [sorted(ended, key=lambda one: -one.score)[: settings.n_best] for ended in found]


def _allowed(step_BV: Tensor, length: int, limit_N: Tensor, settings: SearchSettings) -> Tensor:
    """The same log-probabilities, −∞ for what may not come after ``length`` tokens."""
    forbidden = [PAD, BOS] + [UNK] * (not settings.unknown) + [EOS] * (length < settings.minimum_length)
    step_BV = step_BV.index_fill(1, torch.tensor(forbidden, device=step_BV.device), -torch.inf)
    full_B1 = (limit_N <= length).repeat_interleave(settings.beam).unsqueeze(1)
    is_end_V = torch.arange(step_BV.shape[1], device=step_BV.device) == EOS
    return step_BV.masked_fill(full_B1 & ~is_end_V, -torch.inf)


@torch.no_grad()
def force(model: Model, batch: Batch, settings: SearchSettings) -> list[Hypothesis]:
    """The given targets as hypotheses: their scores, and the attention with which the model says them."""
    rank = RANKINGS[settings.normalise]
    trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    word_BTV = torch.log_softmax(at_least_float32(trace.logit_BTV), dim=-1)
    word_BT = word_BTV.gather(-1, batch.target_BT.unsqueeze(-1)).squeeze(-1)
    log_prob_B = word_BT.masked_fill(~batch.target_valid_BT, 0.0).sum(dim=1)
    forced = []
    for row, log_prob in enumerate(log_prob_B.tolist()):
        real_T, real_S = batch.target_valid_BT[row], batch.source_valid_BS[row]
        tokens = batch.target_BT[row][real_T].tolist()
        score = rank(log_prob, len(tokens), settings.alpha)
        forced.append(Hypothesis(tokens[:-1], log_prob, score, trace.weight_BTS[row][real_T][:, real_S].float().cpu()))
    return forced
