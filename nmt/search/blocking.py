"""Words that would say an n-gram again.

Shapes: B hypotheses, T words so far, V vocabulary size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def block_ngrams(logit_BV: Tensor, said_BT: Tensor, order: int) -> Tensor:
    """The logits, −∞ for every word that would complete an n-gram of this order that stands in ``said_BT`` already."""
    before = order - 1  # words of an n-gram before its last
    if said_BT.shape[1] <= before:
        return logit_BV
    ngram_BTN = said_BT.unfold(1, before, 1)  # the beginnings of all n-grams; the last is that of the one to come
    again_BT = (ngram_BTN[:, :-1] == ngram_BTN[:, -1:]).all(dim=-1)
    row_M, place_M = again_BT.nonzero(as_tuple=True)
    blocked = torch.tensor(-torch.inf, dtype=logit_BV.dtype, device=logit_BV.device)
    return logit_BV.index_put((row_M, said_BT[row_M, place_M + before]), blocked)
