"""Forced decoding: given translations as hypotheses.

Shapes: B sentences, T target positions, S source positions, V vocabulary size.
"""

from __future__ import annotations

import torch

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.model import Model
from nmt.search.base import Hypothesis, SearchSettings, score


@torch.no_grad()
def force(model: Model, batch: Batch, settings: SearchSettings) -> list[Hypothesis]:
    """The given targets as hypotheses: their scores, and the attention with which the model says them."""
    trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    logit_BT = trace.logit_BTV.gather(-1, batch.target_BT.unsqueeze(-1)).squeeze(-1)
    norm_BT = torch.stack([at_least_float32(logit_TV).logsumexp(dim=-1) for logit_TV in trace.logit_BTV])
    log_prob_B = (at_least_float32(logit_BT) - norm_BT).masked_fill(~batch.target_valid_BT, 0.0).sum(dim=1)
    forced = []
    for row, log_prob in enumerate(log_prob_B.tolist()):
        real_T, real_S = batch.target_valid_BT[row], batch.source_valid_BS[row]
        tokens = batch.target_BT[row][real_T].tolist()
        weight_TS = trace.weight_BTS[row][real_T][:, real_S].cpu()
        worth = score(log_prob, weight_TS, settings)
        forced.append(Hypothesis(tokens[:-1], log_prob, worth, weight_TS.float()))
    return forced
