"""Several models that say one translation together.

Shapes: M models; B batch (or hypotheses), T target positions, S source positions, E context size, V vocabulary size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nmt.layers import at_least_float32
from nmt.model import Model, Trace
from nmt.tree import State


def mean_arithmetic(log_prob_MBTV: Tensor) -> Tensor:
    """log (1/M Σ_m p_m)."""
    return log_prob_MBTV.logsumexp(dim=0) - math.log(len(log_prob_MBTV))


def mean_geometric(log_prob_MBTV: Tensor) -> Tensor:
    """1/M Σ_m log p_m, as logits: a softmax makes them sum to 1."""
    return log_prob_MBTV.mean(dim=0)


# From the log-probabilities of every model to the logits of all.
MEANS: dict[str, Callable[[Tensor], Tensor]] = {"arithmetic": mean_arithmetic, "geometric": mean_geometric}


class Ensemble(Model):
    """Models of the same vocabularies as one, which predicts the mean of their probabilities and looks where they do on
    average (as the ensembles of Zhang et al. 2017, table 2; which mean they take is not said).

    Its memory and state are the tuples of theirs. Contexts stand side by side, for their sizes may differ.
    """

    def __init__(self, models: Sequence[Model], mean: str = "arithmetic") -> None:
        super().__init__()
        self.models, self.kind, self.mean = nn.ModuleList(models), mean, MEANS[mean]

    def tabulated(self, words: int) -> Model:
        return Ensemble([model.tabulated(words) for model in self._members()], self.kind)

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> State:
        return tuple(model.encode(source_BS, valid_BS) for model in self._members())

    def start(self, memory: State) -> State:
        return tuple(model.start(one) for model, one in zip(self._members(), memory, strict=True))

    def decode(self, token_BT: Tensor, memory: State, state: State) -> tuple[Trace, State]:
        members = zip(self._members(), memory, state, strict=True)
        traces, states = zip(*(model.decode(token_BT, *rest) for model, *rest in members), strict=True)
        return self._joined(traces), states

    def say(self, input_BT: Tensor, memory: State) -> Trace:
        return self._joined([model.say(input_BT, one) for model, one in zip(self._members(), memory, strict=True)])

    def _joined(self, traces: Sequence[Trace]) -> Trace:
        log_prob_MBTV = torch.stack([at_least_float32(one.logit_BTV).log_softmax(dim=-1) for one in traces])
        return Trace(
            self.mean(log_prob_MBTV),
            torch.stack([one.weight_BTS for one in traces]).mean(dim=0),
            torch.stack([one.choice_BT for one in traces]).mean(dim=0),
            torch.cat([one.context_BTE for one in traces], dim=-1),
            torch.stack([one.fertility_BS for one in traces]).mean(dim=0),
        )

    def _members(self) -> list[Model]:
        return cast(list[Model], list(self.models))
