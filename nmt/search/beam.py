"""Beam search (greedy is a beam of 1), over any :class:`~nmt.model.Model`.

Shapes: N sentences still searched, K beam size, B = N × K hypotheses, the beams of a sentence next to each other,
T target positions so far, S source positions, V target vocabulary size; C candidates: the best words of a hypothesis,
or the best continuations of a sentence; J hypotheses that have ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.layers import at_least_float32
from nmt.model import Model
from nmt.search.base import Hypothesis, SearchSettings, score
from nmt.search.blocking import block_ngrams
from nmt.search.penalties import source_words
from nmt.tree import repeat, select
from nmt.vocabulary import BOS, EOS, PAD, UNK


class _Step(NamedTuple):
    """What a step leaves behind: where each hypothesis looked, which one of the step before it continues, and those
    that ended here."""

    weight_BS: Tensor
    parent_B: Tensor
    ended_J: Tensor  # their rows of B
    sentence_J: Tensor
    log_prob_J: Tensor
    said_JT: Tensor


@torch.no_grad()
def beam_search(model: Model, source_BS: Tensor, valid_BS: Tensor, settings: SearchSettings) -> list[list[Hypothesis]]:
    """For every source sentence (with EOS) its ``n_best`` translations, best first.

    Hypotheses of one length compete by log-probability, with ``stepwise`` by the score that they would have if they
    ended there; those that end are ranked by their score. A sentence is done when as many hypotheses as the beam is
    wide have ended, and leaves the batch; at the maximum length every hypothesis must end, so each translation is
    complete and its score is its forced score. Where no hypothesis of a sentence has a word left that it may say, they
    end, even below the minimum length.
    """
    device, beam, sentences = source_BS.device, settings.beam, len(source_BS)
    limit_N = (2 * (valid_BS.sum(dim=1) - 1) + 10).clamp(min=settings.minimum_length)  # tokens before EOS
    if settings.maximum_length is not None:
        limit_N = torch.full_like(limit_N, settings.maximum_length)
    memory = model.encode(source_BS, valid_BS)
    state = repeat(model.start(memory), beam)
    sentence_N = torch.arange(sentences, device=device)
    ended_N = torch.zeros_like(sentence_N)  # how many hypotheses have ended
    total_NK = torch.full((sentences, beam), -torch.inf, device=device)
    total_NK[:, 0] = 0.0  # the beams of a sentence start alike: all but one must not win
    parent_B = torch.arange(sentences * beam, device=device)
    token_B1 = torch.full((len(parent_B), 1), BOS, device=device)
    said_BT = token_B1[:, :0]
    word_BS = source_words(valid_BS).repeat_interleave(beam, dim=0)
    covered_BS = (~word_BS).to(torch.get_default_dtype())  # what is no word counts as covered once
    steps: list[_Step] = []

    while len(sentence_N):
        trace, state = model.decode(token_B1, memory, state)
        weight_BS, length = trace.weight_BTS[:, 0], said_BT.shape[1] + 1
        token_NKC, total_NKC = _words(trace.logit_BTV[:, 0], said_BT, total_NK, limit_N, settings)
        handicap_NK = torch.zeros_like(total_NK)
        if settings.stepwise:
            covered_BS = covered_BS + weight_BS * word_BS
            handicap_NK = settings.divisor(length) * settings.penalty(covered_BS).reshape(total_NK.shape)
        # Each beam has one way to end, so among the best 2 K candidates at least K go on.
        competing_NC = (total_NKC - handicap_NK.unsqueeze(-1)).flatten(1)
        place_NC = competing_NC.topk(min(2 * beam, competing_NC.shape[1]), dim=1).indices
        total_NC, token_NC = total_NKC.flatten(1).gather(1, place_NC), token_NKC.flatten(1).gather(1, place_NC)
        first_N1 = beam * torch.arange(len(sentence_N), device=device).unsqueeze(1)
        row_NC = first_N1 + place_NC // token_NKC.shape[-1]

        is_end_NC = token_NC == EOS
        end_NK = is_end_NC[:, :beam] & total_NC[:, :beam].isfinite()
        row_J = row_NC[:, :beam][end_NK]
        sentence_J = sentence_N.unsqueeze(1).expand_as(end_NK)[end_NK]
        steps.append(_Step(weight_BS, parent_B, row_J, sentence_J, total_NC[:, :beam][end_NK], said_BT[row_J]))
        ended_N = ended_N + end_NK.sum(dim=1)

        order_NK = torch.argsort(is_end_NC.int(), dim=1, stable=True)[:, :beam]
        total_NK = total_NC.masked_fill(is_end_NC, -torch.inf).gather(1, order_NK)
        alive_N = (ended_N < beam) & total_NK.isfinite().any(dim=1)
        parent_B = row_NC.gather(1, order_NK)[alive_N].flatten()
        token_B1 = token_NC.gather(1, order_NK)[alive_N].reshape(-1, 1)
        said_BT = torch.cat([said_BT[parent_B], token_B1], dim=1)
        state, covered_BS, word_BS = select((state, covered_BS, word_BS), parent_B)
        if not bool(alive_N.all()):
            memory = select(memory, alive_N.nonzero().flatten())
            total_NK, limit_N, sentence_N, ended_N = (one[alive_N] for one in (total_NK, limit_N, sentence_N, ended_N))

    found: list[list[Hypothesis]] = [[] for _ in source_BS]
    for sentence, one in _hypotheses(steps, valid_BS.cpu(), settings):
        found[sentence].append(one)
    return [sorted(ended, key=lambda one: -one.score)[: settings.n_best] for ended in found]


def _words(
    logit_BV: Tensor, said_BT: Tensor, total_NK: Tensor, limit_N: Tensor, settings: SearchSettings
) -> tuple[Tensor, Tensor]:
    """The best words of every hypothesis, more than twice the beam being of no use, and its log-probability with each.

    The words that may not come are left out, not renormalised away: a log-probability remains what the model says.
    """
    logit_BV = at_least_float32(logit_BV)
    norm_B1 = logit_BV.logsumexp(dim=1, keepdim=True)
    end_B1 = logit_BV[:, EOS, None]
    length = said_BT.shape[1]
    forbidden = [PAD, BOS] + [UNK] * (not settings.unknown) + [EOS] * (length < settings.minimum_length)
    logit_BV = logit_BV.index_fill(1, torch.tensor(forbidden, device=logit_BV.device), -torch.inf)
    if settings.block_ngrams is not None:
        logit_BV = block_ngrams(logit_BV, said_BT, settings.block_ngrams)
    logit_BC, token_BC = logit_BV.topk(min(2 * settings.beam, logit_BV.shape[1]), dim=1)
    total_NKC = total_NK.unsqueeze(-1) + (logit_BC - norm_B1).reshape(*total_NK.shape, -1)
    token_NKC = token_BC.reshape(*total_NK.shape, -1)

    only_end_N = (limit_N <= length) | ~total_NKC[..., 0].isfinite().any(dim=1)
    if bool(only_end_N.any()):
        only_end_N11 = only_end_N.reshape(-1, 1, 1)
        end_NK1 = total_NK.unsqueeze(-1) + (end_B1 - norm_B1).reshape(*total_NK.shape, -1)
        nothing_NKC = torch.full_like(total_NKC[..., 1:], -torch.inf)
        total_NKC = torch.where(only_end_N11, torch.cat([end_NK1, nothing_NKC], dim=-1), total_NKC)
        token_NKC = token_NKC.masked_fill(only_end_N11, EOS)
    return token_NKC, total_NKC


def _hypotheses(steps: list[_Step], valid_BS: Tensor, settings: SearchSettings) -> Iterator[tuple[int, Hypothesis]]:
    """All that ended, in the order in which they did, with their sentences: their attention is gathered from the last
    step back to the first."""
    weight_JTS = steps[0].weight_BS.new_zeros(sum(len(step.ended_J) for step in steps), len(steps), valid_BS.shape[1])
    row_J = steps[-1].ended_J[:0]
    for t in reversed(range(len(steps))):
        row_J = torch.cat([row_J, steps[t].ended_J])  # the last to end are first
        weight_JTS[: len(row_J), t] = steps[t].weight_BS[row_J]
        row_J = steps[t].parent_B[row_J]
    weight_JTS, first = weight_JTS.cpu(), len(weight_JTS)
    for step in steps:
        first -= len(step.ended_J)
        ended = zip(step.sentence_J.tolist(), step.log_prob_J.tolist(), step.said_JT.tolist(), strict=True)
        for place, (sentence, log_prob, said) in enumerate(ended, start=first):
            weight_TS = weight_JTS[place, : len(said) + 1, valid_BS[sentence]]
            worth = score(log_prob, weight_TS, settings)
            yield sentence, Hypothesis(said, log_prob, worth, weight_TS.float())
