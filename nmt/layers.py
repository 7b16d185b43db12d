"""Small layers that several parts share.

Shapes: B batch, T target positions, O decoder output size, D embedding size, E context size, R readout size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same numbers, in float32 unless they are finer: a softmax over a vocabulary is not for half precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class TanhReadout(nn.Module):
    """t = tanh(U_o s + V_o E[y] + C_o c): what the output layer sees of state, previous word and context."""

    def __init__(self, output_size: int, embedding_size: int, context_size: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.combine = nn.Linear(output_size + embedding_size + context_size, size)

    def forward(self, output_BTO: Tensor, embedded_BTD: Tensor, context_BTE: Tensor) -> Tensor:
        return torch.tanh(self.combine(torch.cat([output_BTO, embedded_BTD, context_BTE], dim=-1)))


class MaxoutReadout(nn.Module):
    """t_k = max(t̃_{2k−1}, t̃_{2k}), t̃ = U_o s + V_o E[y] + C_o c (Bahdanau et al. 2015, appendix A.2.2).

    They read s_{j−1} here; this reads s_j, as Zhang et al. 2017, equation 1."""

    def __init__(self, output_size: int, embedding_size: int, context_size: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.combine = nn.Linear(output_size + embedding_size + context_size, 2 * size)

    def forward(self, output_BTO: Tensor, embedded_BTD: Tensor, context_BTE: Tensor) -> Tensor:
        pairs: Tensor = self.combine(torch.cat([output_BTO, embedded_BTD, context_BTE], dim=-1))
        return torch.unflatten(pairs, -1, (self.size, 2)).amax(dim=-1)


class DirectReadout(nn.Module):
    """The decoder's output as it is: for Luong et al. 2015, whose h̃ = tanh(W_c [c; h]) has already met the context."""

    def __init__(self, output_size: int, embedding_size: int, context_size: int, size: int) -> None:
        super().__init__()
        if size != output_size:
            raise ValueError(f"a direct readout has the decoder's output size {output_size}, not {size}")
        self.size = size

    def forward(self, output_BTO: Tensor, embedded_BTD: Tensor, context_BTE: Tensor) -> Tensor:
        return output_BTO


READOUTS: dict[str, type[TanhReadout] | type[MaxoutReadout] | type[DirectReadout]] = {
    "tanh": TanhReadout,
    "maxout": MaxoutReadout,
    "direct": DirectReadout,
}
