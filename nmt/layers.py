"""Small layers that several parts share.

Shapes: B batch, T target positions, S source positions, O decoder output size, D embedding size, E context size,
R readout size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same numbers, in float32 unless they are finer: a softmax over a vocabulary is not for half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """After the block each part of these modules is in training, or not, as it was before."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class Readout(nn.Module):
    """What the output layer sees of the decoder's output, the previous word and a context: (B, T, R)."""

    size: int

    def __init__(self, output_size: int, embedding_size: int, context_size: int, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, output_BTO: Tensor, embedded_BTD: Tensor, context_BTE: Tensor) -> Tensor:
        """With one context for every target position."""
        raise NotImplementedError

    def everywhere(self, output_BTO: Tensor, embedded_BTD: Tensor, value_BSE: Tensor) -> Tensor:
        """With every source vector for every target position: (B, T, S, R)."""
        raise NotImplementedError


class CombinedReadout(Readout):
    """An activation of U_o s + V_o E[y] + C_o c, with a bias."""

    width = 1  # rows of the matrices for one number of the readout

    def __init__(self, output_size: int, embedding_size: int, context_size: int, size: int) -> None:
        super().__init__(output_size, embedding_size, context_size, size)
        self.context_size = context_size
        self.combine = nn.Linear(output_size + embedding_size + context_size, self.width * size)

    def activate(self, combined: Tensor) -> Tensor:
        """The activation, over the last axis."""
        raise NotImplementedError

    def forward(self, output_BTO: Tensor, embedded_BTD: Tensor, context_BTE: Tensor) -> Tensor:
        return self.activate(self.combine(torch.cat([output_BTO, embedded_BTD, context_BTE], dim=-1)))

    def everywhere(self, output_BTO: Tensor, embedded_BTD: Tensor, value_BSE: Tensor) -> Tensor:
        # The products are made apart and added for every pair, so that none is made twice.
        others = self.combine.in_features - self.context_size
        inner, outer = torch.split(self.combine.weight, [others, self.context_size], dim=1)
        inner_BTR = F.linear(torch.cat([output_BTO, embedded_BTD], dim=-1), inner, self.combine.bias)
        return self.activate(inner_BTR.unsqueeze(2) + F.linear(value_BSE, outer).unsqueeze(1))


class TanhReadout(CombinedReadout):
    """t = tanh(U_o s + V_o E[y] + C_o c): what the output layer sees of state, previous word and context."""

    def activate(self, combined: Tensor) -> Tensor:
        return torch.tanh(combined)


class MaxoutReadout(CombinedReadout):
    """t_k = max(t̃_{2k−1}, t̃_{2k}), t̃ = U_o s + V_o E[y] + C_o c (Bahdanau et al. 2015, appendix A.2.2).

    They read s_{j−1} here; this reads s_j, as Zhang et al. 2017, equation 1."""

    width = 2

    def activate(self, combined: Tensor) -> Tensor:
        return torch.unflatten(combined, -1, (self.size, 2)).amax(dim=-1)


class DirectReadout(Readout):
    """The decoder's output as it is: for Luong et al. 2015, whose h̃ = tanh(W_c [c; h]) has already met the context."""

    def __init__(self, output_size: int, embedding_size: int, context_size: int, size: int) -> None:
        super().__init__(output_size, embedding_size, context_size, size)
        if size != output_size:
            raise ValueError(f"a direct readout has the decoder's output size {output_size}, not {size}")

    def forward(self, output_BTO: Tensor, embedded_BTD: Tensor, context_BTE: Tensor) -> Tensor:
        return output_BTO


READOUTS: dict[str, type[Readout]] = {
    "tanh": TanhReadout,
    "maxout": MaxoutReadout,
    "direct": DirectReadout,
}
