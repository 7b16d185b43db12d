"""The gradient of what cannot be differentiated: which source position a hard attention sampled (REINFORCE).

Everything is read from the trace: ``choice_BT`` is the log-probability of what was sampled and 0 where nothing was, so
for soft attention both losses are 0 and have no gradient.

Shapes: see :mod:`nmt.losses.base`. ``word_BT`` holds log p(y_t | y_<t, s̃), 0 at padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.losses.base import Loss, real_weights, word_log_probs
from nmt.model import Trace
from nmt.settings import Choice, choice

# ------------------------------------------------------------------------------------------------------- rewards

# From T to the share (T, T) of word t' (row) in the reward of the sample at step t (column).
Reward = Callable[[Tensor], Tensor]


def sentence() -> Reward:
    """R_t = Σ_t' log p(y_t'): every sample is answerable for the whole sentence (Xu et al. 2015, equation 11)."""
    return lambda place_T: torch.ones_like(place_T[:, None] - place_T)


def to_go(*, discount: Annotated[float, Field(ge=0, le=1)] = 1.0) -> Reward:
    """R_t = Σ_{t'≥t} γ^{t'−t} log p(y_t'), γ the ``discount``: a sample is not answerable for what was said before it.

    Ours, not the paper's. With γ = 1 the gradient's expectation is that of the whole sentence, its variance lower. With
    γ < 1 later words count less: biased where the decoder's state reads the context; with the wiring "unfed" a sample
    bears on its own word alone, so that γ = 0 is exact and has the least variance.
    """

    def share(place_T: Tensor) -> Tensor:
        ahead_TT = place_T[:, None] - place_T
        return torch.where(ahead_TT >= 0, discount ** ahead_TT.clamp(min=0), 0.0)

    return share


REWARDS: dict[str, Callable[..., Reward]] = {"sentence": sentence, "to-go": to_go}


# ----------------------------------------------------------------------------------------------------- baselines


class Baseline(nn.Module):
    """What log p(y_t) is expected to be, whatever is sampled: it changes the gradient's variance, not its expectation.

    A baseline that ``compares`` is given the trace of the same targets as the model predicts them.
    """

    compares = False

    def forward(self, word_BT: Tensor, sampled_B: Tensor, batch: Batch, predicted: Trace | None) -> Tensor:
        """The log-probability (B, T) that is expected of each word; ``sampled_B``: where something was sampled."""
        raise NotImplementedError


class Nothing(Baseline):
    """b = 0."""

    def forward(self, word_BT: Tensor, sampled_B: Tensor, batch: Batch, predicted: Trace | None) -> Tensor:
        return torch.zeros_like(word_BT)


class MovingAverage(Baseline):
    """b_k = decay b_{k−1} + (1 − decay) log p(y | s̃_k), b_0 = 0 (Xu et al. 2015, section 4.1, decay 0.9).

    The mean is over a batch's sentences that sampled; where none did, b stays. The rewards of a batch are compared with
    the b of those before it, so that no sample bears on its own baseline. ``per`` "sentence" is the paper's: b is a
    sentence's log-probability, here spread evenly over its words; a long sentence then always does worse than expected
    and a short one better. ``per`` "word" is ours: b is the log-probability of a word.
    """

    average: Tensor

    def __init__(
        self, *, decay: Annotated[float, Field(ge=0, lt=1)] = 0.9, per: Literal["sentence", "word"] = "sentence"
    ) -> None:
        super().__init__()
        self.decay, self.per = decay, per
        self.register_buffer("average", torch.zeros(()))

    def forward(self, word_BT: Tensor, sampled_B: Tensor, batch: Batch, predicted: Trace | None) -> Tensor:
        length_B = batch.target_valid_BT.sum(dim=1)
        unit_B = length_B if self.per == "word" else torch.ones_like(length_B)
        expected_BT = (self.average * unit_B / length_B).unsqueeze(1) * batch.target_valid_BT
        if self.training:
            units = (unit_B * sampled_B).sum()
            mean = (word_BT.sum(dim=1) * sampled_B).sum() / units.clamp(min=1)
            moved = self.decay * self.average + (1 - self.decay) * mean
            self.average.copy_(torch.where(units > 0, moved, self.average))
        return expected_BT


class SelfCritical(Baseline):
    """b = log p(y | what the attention predicts), for hard attention its mode (after Rennie et al. 2017).

    It costs another decoding of the same encoded source. With hard attention's ``prediction: expectation`` it is the
    soft baseline of Deng et al. 2018. The decoder runs as it predicts, without dropout, on the source as it was encoded
    for the samples, dropout and all: that bears on the variance alone.
    """

    compares = True

    def forward(self, word_BT: Tensor, sampled_B: Tensor, batch: Batch, predicted: Trace | None) -> Tensor:
        assert predicted is not None
        return word_log_probs(predicted, batch)


class OtherSamples(Baseline):
    """b = the mean of the other samples of the same pair (Kool, van Hoof and Welling 2019): needs two at least."""

    def forward(self, word_BT: Tensor, sampled_B: Tensor, batch: Batch, predicted: Trace | None) -> Tensor:
        other_BB = (batch.number_B[:, None] == batch.number_B).fill_diagonal_(False).to(word_BT.dtype)
        return other_BB @ word_BT / other_BB.sum(dim=1, keepdim=True).clamp(min=1)


BASELINES: dict[str, Callable[..., Baseline]] = {
    "moving-average": MovingAverage,
    "self-critical": SelfCritical,
    "other-samples": OtherSamples,
    "none": Nothing,
}


# -------------------------------------------------------------------------------------------------------- losses


class Reinforce(Loss):
    """−Σ_t (R_t − b_t) log p(s̃_t), R and b without a gradient (Xu et al. 2015, section 4.1; Williams 1992).

    With −log p(y | s̃) beside it, its gradient is an unbiased estimate of that of −E_s̃ log p(y | s̃), a bound on
    −log p(y) (equation 10). Their λ_r is the weight of this part. Theirs are the reward "sentence" and the baseline
    "moving-average"; the defaults are ours, of the same expectation and of far less variance (docs/hard-attention.md).
    """

    def __init__(
        self,
        *,
        reward: Annotated[Choice, choice(REWARDS, "to-go")] = Choice("to-go"),
        baseline: Annotated[Choice, choice(BASELINES, "self-critical")] = Choice("self-critical"),
    ) -> None:
        super().__init__()
        self.reward: Reward = reward.build(REWARDS)
        self.baseline: Baseline = baseline.build(BASELINES)
        self.compares = self.baseline.compares

    def forward(self, trace: Trace, batch: Batch, predicted: Trace | None = None) -> Tensor:
        sampled_BT = sampled(trace, batch)
        with torch.no_grad():
            word_BT = word_log_probs(trace, batch)
            expected_BT = self.baseline(word_BT, sampled_BT.any(dim=1), batch, predicted)
            share_TT = self.reward(torch.arange(word_BT.shape[1], device=word_BT.device)).to(word_BT.dtype)
            advantage_BT = (word_BT - expected_BT) @ share_TT
        choice_BT = at_least_float32(trace.choice_BT).masked_fill(~sampled_BT, 0.0)
        loss_B: Tensor = -(advantage_BT * choice_BT).sum(dim=1)
        return loss_B


class Entropy(Loss):
    """−Σ_t H(α_t) over the steps that sampled: keeps attention from settling early (Xu et al. 2015, section 4.1).

    Their λ_e is the weight of this part."""

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        return -entropies(trace, batch).masked_fill(~sampled(trace, batch), 0.0).sum(dim=1)


def sampled(trace: Trace, batch: Batch) -> Tensor:
    """True (B, T) at the real target positions where the attention sampled."""
    return batch.target_valid_BT & (trace.choice_BT != 0)


def entropies(trace: Trace, batch: Batch) -> Tensor:
    """H(α_t) = −Σ_i α_ti log α_ti (B, T), in nats, 0 at padding."""
    weight_BTS = real_weights(trace, batch)
    return -(weight_BTS * weight_BTS.clamp(min=torch.finfo(weight_BTS.dtype).tiny).log()).sum(dim=-1)


@torch.no_grad()
def sampling_figures(trace: Trace, batch: Batch) -> dict[str, Any]:
    """Sums over the steps that sampled: their number, H(α), and how many have ``collapsed`` (an α_i above 0.99)."""
    sampled_BT = sampled(trace, batch)
    largest_BT = real_weights(trace, batch).amax(dim=-1)
    return {
        "sampled": sampled_BT.sum(),
        "entropy": entropies(trace, batch).masked_fill(~sampled_BT, 0.0).sum(),
        "collapsed": (sampled_BT & (largest_BT > 0.99)).sum(),
    }
