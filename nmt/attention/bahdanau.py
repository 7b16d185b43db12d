"""Additive attention of Bahdanau, Cho and Bengio 2015, section 3.1 and appendix A.1.2.

Shapes: see :mod:`nmt.attention.base`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nmt import kernels
from nmt.attention.base import Memory, Scored, Size
from nmt.layers import at_least_float32
from nmt.loops import Left, applied, project, share


class BahdanauKeys(NamedTuple):
    """The memory with its products U h, computed once a sentence."""

    value_BSE: Tensor
    valid_BS: Tensor
    product_BSA: Tensor


class Bahdanau(Scored):
    """e_ij = v · tanh(W s_i + U h_j), α_i = softmax(e_i), c_i = Σ_j α_ij h_j, without biases.

    ``size`` is the number of hidden units A of the scorer; by default that of the memory.
    """

    def __init__(self, query_size: int, memory_size: int, *, size: Size | None = None) -> None:
        super().__init__()
        size = size or memory_size
        self.context_size, self.size = memory_size, size
        self.query = nn.Linear(query_size, size, bias=False)  # W
        self.memory = nn.Linear(memory_size, size, bias=False)  # U
        self.energy = nn.Linear(size, 1, bias=False)  # v

    def precompute(self, memory: Memory) -> BahdanauKeys:
        return BahdanauKeys(memory.value_BSE, memory.valid_BS, at_least_float32(self.memory(memory.value_BSE)))

    def energies(self, query_BTQ: Tensor, keys: BahdanauKeys) -> Tensor:
        return additive(project(self.query, query_BTQ), keys.product_BSA, self.energy.weight[0])


def additive(query_BTA: Tensor, product_BSA: Tensor, v_A: Tensor) -> Tensor:
    """v · tanh(q_i + p_j), (B, T, S)."""
    product = share(product_BSA)
    return applied(_Additive, query_BTA, *(product or (product_BSA, None)), v_A)


class _Additive(torch.autograd.Function):
    """Remembers none of the (B, T, S, A) of tanh, which it computes again. Its gradient is that of p, q and v in

        ∂(q_i + p_j) = ∂e_ij v (1 − tanh²),  ∂v = Σ_ij ∂e_ij tanh

    by :mod:`nmt.kernels` where that can be; what a loop shares is added up in place.
    """

    @staticmethod
    def forward(ctx: Any, query_BTA: Tensor, product_BSA: Tensor, left: Left | None, v_A: Tensor) -> Tensor:
        query_BTA, product_BSA = query_BTA.to(product_BSA.dtype).contiguous(), product_BSA.contiguous()
        ctx.save_for_backward(query_BTA, product_BSA, v_A)
        ctx.left = left
        if kernels.usable(query_BTA, v_A):
            energy_BTS = query_BTA.new_empty(*query_BTA.shape[:2], product_BSA.shape[1])
            kernels.run("additive_forward", _sizes(query_BTA, product_BSA), query_BTA, product_BSA, v_A, energy_BTS)
            return energy_BTS
        with torch.autocast(query_BTA.device.type, enabled=False):
            return _scores(query_BTA, product_BSA, v_A)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTS: Tensor) -> tuple[Tensor, Tensor | None, None, Tensor]:
        query_BTA, product_BSA, v_A = ctx.saved_tensors
        total_BSA = torch.zeros_like(product_BSA) if ctx.left is None else ctx.left.sum(product_BSA)
        if kernels.usable(query_BTA, v_A):
            grad_BTA, grad_BA = torch.zeros_like(query_BTA), query_BTA.new_zeros(len(query_BTA), len(v_A))
            given = grad_BTS.contiguous(), query_BTA, product_BSA, v_A, grad_BTA, total_BSA, grad_BA
            kernels.run("additive_backward", _sizes(query_BTA, product_BSA), *given)
            grad_A = grad_BA.sum(dim=0)
        else:
            hidden_BTSA = (query_BTA.unsqueeze(2) + product_BSA.unsqueeze(1)).tanh_()
            grad_A = grad_BTS.reshape(-1) @ hidden_BTSA.flatten(0, 2)
            inner_BTSA = grad_BTS.unsqueeze(-1) * v_A * (1 - hidden_BTSA**2)
            total_BSA += inner_BTSA.sum(dim=1)
            grad_BTA = inner_BTSA.sum(dim=2)
        return grad_BTA, total_BSA if ctx.left is None else None, None, grad_A


_CACHED = 2**18  # numbers that additive scores hold at once on a CPU: more than its cache has took half as long again


def _scores(query_BTA: Tensor, product_BSA: Tensor, v_A: Tensor) -> Tensor:
    """v · tanh(q_t + p_s) for every t and s, (B, T, S), without a gradient: a few sentences at a time."""
    numbers = query_BTA.shape[1] * product_BSA.shape[1] * product_BSA.shape[2]
    rows = max(1, _CACHED // max(1, numbers)) if query_BTA.device.type == "cpu" else len(query_BTA)
    parts = zip(torch.split(query_BTA.unsqueeze(2), rows), torch.split(product_BSA.unsqueeze(1), rows), strict=True)
    return torch.cat([torch.tanh_(query + product) @ v_A for query, product in parts])


def _sizes(query_BTA: Tensor, product_BSA: Tensor) -> tuple[int, int, int, int]:
    """B, T, S and A."""
    return query_BTA.shape[0], query_BTA.shape[1], product_BSA.shape[1], query_BTA.shape[2]
