"""Coverage in the loss: what the attention left out or looked at again is penalised.

Shapes: see :mod:`nmt.losses.base`.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.losses.base import Loss, real_weights
from nmt.model import Trace


class Coverage(Loss):
    """Σ_t Σ_i min(a_ti, c_ti), c_t = Σ_{t'<t} a_t' (See, Liu and Manning 2017, equations 8 and 10).

    What is looked at again is penalised: c leaves out the present step, c_0 = 0. Their weight is 1, switched on when
    the model has converged (``start``).
    """

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        weight_BTS = real_weights(trace, batch)
        covered_BTS = weight_BTS.cumsum(dim=1) - weight_BTS
        return torch.minimum(weight_BTS, covered_BTS).sum(dim=(1, 2))


class DoublyStochastic(Loss):
    """Σ_i (τ − Σ_t α_ti)² (Xu et al. 2015, equation 14, where τ = 1): each source position is to get its share.

    ``share`` is τ; by default T_y / T_x, the target positions there are for each source position, since a translation
    is not as long as its source.
    """

    def __init__(self, *, share: Annotated[float, Field(gt=0)] | None = None) -> None:
        super().__init__()
        self.share = share

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        source_BS = batch.source_valid_BS
        covered_BS = real_weights(trace, batch).sum(dim=1)
        share_B = batch.target_valid_BT.sum(dim=1).to(covered_BS.dtype) / source_BS.sum(dim=1)
        if self.share is not None:
            share_B = torch.full_like(share_B, self.share)
        missing_BS = (share_B.unsqueeze(1) - covered_BS).masked_fill(~source_BS, 0.0)
        return missing_BS.square().sum(dim=1)


class Fertility(Loss):
    """Σ_j (Φ_j − Σ_i α_ij)² (Tu et al. 2016, equation 13): each source word is to get what it is expected to make.

    Φ_j is the fertility that the attention itself expects of source position j, and learns by this too; where it
    expects nothing Φ = 1, which is :class:`DoublyStochastic` with the share 1. A bound by fertility is no expectation:
    there Φ = 1 as well. An attention that expects something else at every step, as coverage in a gate does, has no Φ
    to compare with, and is refused when the recipe is read.

    Tu et al. found that this "consistently worsens" BLEU while alignments get slightly better.
    """

    reads_fertility = True

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        covered_BS = real_weights(trace, batch).sum(dim=1)
        missing_BS = at_least_float32(trace.fertility_BS) - covered_BS
        return missing_BS.masked_fill(~batch.source_valid_BS, 0.0).square().sum(dim=1)
