"""Guided alignment: attention learns from word links that are given, by an aligner or by hand.

Shapes: see :mod:`nmt.losses.base`; L links of a sentence.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.losses.base import Loss
from nmt.model import Trace


class Guided(Loss):
    """−Σ_(t,s) log α_ts / n_t over the given links (Chen et al. 2016; Garg et al. 2019).

    n_t is the number of links of target position t, so that each position that has one weighs the same; one that has
    none, as the end of the sentence, adds nothing. ``links``: of all links, or of the ``sure`` ones alone. The weights
    are those that the trace tells: of several heads their mean, of hard attention the α that it samples from.

    The gradient is that of the equation wherever α is a normal number of its precision (above 1.2e-38 in float32); for
    a softmax, whose own gradient has the factor α, it then stays small. Below, α counts as that smallest number: such a
    link costs 87 and has no gradient, rather than an infinite one.
    """

    reads_links = True

    def __init__(self, *, links: Literal["all", "sure"] = "all") -> None:
        super().__init__()
        self.links = links

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        target_BL, source_BL, sure_BL = batch.link_BL3.unbind(dim=-1)
        given_BL = target_BL >= 0
        if self.links == "sure":
            given_BL = given_BL & (sure_BL == 1)
        # What is not given reads the first position, which is always real, and is left out of the sum.
        target_BL, source_BL = target_BL.clamp(min=0), source_BL.clamp(min=0)
        row_B1 = torch.arange(len(target_BL), device=target_BL.device).unsqueeze(1)
        weight_BL = at_least_float32(trace.weight_BTS[row_B1, target_BL, source_BL])
        loss_BL = -weight_BL.clamp(min=torch.finfo(weight_BL.dtype).tiny).log()
        count_BT = torch.zeros_like(batch.target_BT).scatter_add(1, target_BL, given_BL.long())
        share_BL = given_BL.to(loss_BL.dtype) / count_BT.gather(1, target_BL).clamp(min=1)
        return (loss_BL * share_BL).sum(dim=1)
