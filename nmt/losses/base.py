"""What every loss is: one number a sentence, read from the trace of a decoding and the batch it was given.

Shapes: B sentences, T target positions, S source positions, V target vocabulary size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.model import Trace


class Loss(nn.Module):
    """``loss(trace, batch)``: one number for every sentence, the sum over its real target positions: (B,).

    One that ``compares`` is given a third argument: the trace of the same targets as the model would predict them, that
    is, decoded as out of training, without a gradient, from the same encoded source.
    """

    compares: bool = False
    reads_fertility: bool = False  # the trace's Φ: no attention may expect another one at every step
    reads_links: bool = False  # the batch's: the training text must have word links

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        """The loss of every sentence."""
        raise NotImplementedError


def word_log_probs(trace: Trace, batch: Batch) -> Tensor:
    """log p(y_t) of every word of the target (B, T), 0 at padding."""
    real_BT = batch.target_valid_BT
    # What stands at padding may be any number. It is computed all the same: a GPU would wait to know how many are real.
    logit_BTV = at_least_float32(trace.logit_BTV).masked_fill(~real_BT.unsqueeze(-1), 0.0)
    log_BTV = torch.log_softmax(logit_BTV, dim=-1)
    return log_BTV.gather(2, batch.target_BT.unsqueeze(2)).squeeze(2).masked_fill(~real_BT, 0.0)


def real_weights(trace: Trace, batch: Batch) -> Tensor:
    """The attention (B, T, S) of real target positions to real source positions, 0 elsewhere."""
    real_BTS = batch.target_valid_BT.unsqueeze(2) & batch.source_valid_BS.unsqueeze(1)
    return at_least_float32(trace.weight_BTS).masked_fill(~real_BTS, 0.0)
