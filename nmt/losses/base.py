"""What every loss is: one number a sentence, read from the trace of a decoding and the batch it was given.

Shapes: B sentences, T target positions, S source positions, V target vocabulary size.
"""

from __future__ import annotations

from torch import Tensor, nn

from nmt.batching import Batch
from nmt.layers import at_least_float32
from nmt.model import Trace


class Loss(nn.Module):
    """``loss(trace, batch)``: one number for every sentence, the sum over its real target positions: (B,)."""

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        """The loss of every sentence."""
        raise NotImplementedError


def real_weights(trace: Trace, batch: Batch) -> Tensor:
    """The attention (B, T, S) of real target positions to real source positions, 0 elsewhere."""
    real_BTS = batch.target_valid_BT.unsqueeze(2) & batch.source_valid_BS.unsqueeze(1)
    return at_least_float32(trace.weight_BTS).masked_fill(~real_BTS, 0.0)
