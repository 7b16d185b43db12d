"""Beam search (greedy is a beam of 1), over any :class:`~nmt.model.Model`.

Shapes: N sentences still searched, K beam size, B = N × K hypotheses, the beams of a sentence next to each other,
T target positions so far, S source positions, V target vocabulary size; C candidates: the best continuations of a
sentence; M pieces of the vocabulary, each of W words; J hypotheses that have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.layers import at_least_float32
from nmt.model import Model
from nmt.search.base import Hypothesis, SearchSettings, score
from nmt.search.blocking import block_ngrams
from nmt.search.penalties import source_words
from nmt.tree import repeat, select
from nmt.vocabulary import BOS, EOS, PAD, UNK

_PIECE = 64  # words of the vocabulary whose best is looked for at once: 32 and 80 were slower at 8,000 words
_ROWS = 16  # hypotheses normalised at once, so that the passes over their logits stay in a CPU's cache


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
        handicap_NK = torch.zeros_like(total_NK)
        if settings.stepwise:
            covered_BS = covered_BS + weight_BS * word_BS
            handicap_NK = settings.divisor(length) * settings.penalty(covered_BS).reshape(total_NK.shape)
        place_NC, token_NC, total_NC = _continuations(
            trace.logit_BTV[:, 0], said_BT, total_NK, handicap_NK, limit_N, settings
        )
        row_NC = beam * torch.arange(len(sentence_N), device=device).unsqueeze(1) + place_NC

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


def _continuations(
    logit_BV: Tensor, said_BT: Tensor, total_NK: Tensor, handicap_NK: Tensor, limit_N: Tensor, settings: SearchSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """The best continuations of every sentence, best first: which of its hypotheses each continues, with which word,
    and its log-probability. Each beam has one way to end, so among the best 2 K at least K go on.

    They compete by log-probability less the handicap. The words that may not come are left out, not renormalised away:
    a log-probability remains what the model says.
    """
    logit_BV = at_least_float32(logit_BV)
    norm_NK = torch.cat([part.logsumexp(dim=1) for part in torch.split(logit_BV, _ROWS)]).reshape(total_NK.shape)
    length, most = said_BT.shape[1], 2 * settings.beam
    end_NK = total_NK + (logit_BV[:, EOS].reshape(total_NK.shape) - norm_NK)
    forbidden = [PAD, BOS] + [UNK] * (not settings.unknown) + [EOS] * (length < settings.minimum_length)
    if settings.block_ngrams is not None:
        logit_BV = block_ngrams(logit_BV, said_BT, settings.block_ngrams)
    logit_NKV = logit_BV.reshape(*total_NK.shape, -1)
    place_NX, token_NX, logit_NX = _best(
        logit_NKV,
        lambda logit_NK1: total_NK[..., None] + (logit_NK1 - norm_NK[..., None]) - handicap_NK[..., None],
        forbidden,
        most,
    )
    total_NX = total_NK.gather(1, place_NX) + (logit_NX - norm_NK.gather(1, place_NX))
    chosen_NC = (total_NX - handicap_NK.gather(1, place_NX)).topk(min(most, total_NX.shape[1]), dim=1).indices
    place_NC, token_NC, total_NC = (one.gather(1, chosen_NC) for one in (place_NX, token_NX, total_NX))

    only_end_N1 = ((limit_N <= length) | ~total_NC[:, 0].isfinite()).unsqueeze(1)
    if bool(only_end_N1.any()):
        order_NK = (end_NK - handicap_NK).argsort(dim=1, descending=True)
        none = total_NC.shape[1] - order_NK.shape[1]
        place_NC = torch.where(only_end_N1, F.pad(order_NK, (0, none)), place_NC)
        total_NC = torch.where(only_end_N1, F.pad(end_NK.gather(1, order_NK), (0, none), value=-torch.inf), total_NC)
        token_NC = token_NC.masked_fill(only_end_N1, EOS)
    return place_NC, token_NC, total_NC


def _best(
    logit_NKV: Tensor, worth: Callable[[Tensor], Tensor], forbidden: list[int], most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Few continuations of every sentence, the best ``most`` among them: hypothesis, word and logit of each, −∞ for
    words that are ``forbidden``.

    They are in the ``most`` pieces of the vocabulary, over all hypotheses, whose best words are worth most: to know
    those the logits are read once, where choosing among them by sorting costs as much as a third of making them.
    ``worth`` is of a hypothesis's logits (N, K, M) and rises with them.
    """
    _, beam, words = logit_NKV.shape
    device, whole = logit_NKV.device, words // _PIECE * _PIECE
    forbidden_F = torch.tensor(forbidden, device=device)
    first_NKW = logit_NKV[..., :_PIECE].index_fill(-1, forbidden_F, -torch.inf)  # the special words are all here
    best = [first_NKW.amax(dim=-1, keepdim=True)]
    if whole > _PIECE:
        best.append(torch.unflatten(logit_NKV[..., _PIECE:whole], -1, (-1, _PIECE)).amax(dim=-1))
    if words > max(whole, _PIECE):
        best.append(logit_NKV[..., max(whole, _PIECE) :].amax(dim=-1, keepdim=True))
    worth_NM = worth(torch.cat(best, dim=-1)).flatten(1)
    pieces = worth_NM.shape[1] // beam
    piece_NM1 = worth_NM.topk(min(most, worth_NM.shape[1]), dim=1).indices.unsqueeze(-1)
    word_NMW = piece_NM1 % pieces * _PIECE + torch.arange(_PIECE, device=device)
    place_NMW = (piece_NM1 // pieces).expand_as(word_NMW)
    no_word_NMW = (word_NMW >= words) | torch.isin(word_NMW, forbidden_F)
    word_NMW = word_NMW.clamp(max=words - 1)
    logit_NX = logit_NKV.flatten(1).gather(1, (place_NMW * words + word_NMW).flatten(1))
    return place_NMW.flatten(1), word_NMW.flatten(1), logit_NX.masked_fill(no_word_NMW.flatten(1), -torch.inf)


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
