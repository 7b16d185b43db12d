"""Gated recurrent units, with a reset gate and without.

Shapes: see :mod:`nmt.cells.base`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt import native
from nmt.cells.base import Unit, Update
from nmt.loops import SharedLinear, project, share_linear
from nmt.tree import State


class GRU(Unit):
    """Gated recurrent unit (Cho et al. 2014), with torch's sign of z: z keeps the old state.

    z = σ(W_z x + U_z h), r = σ(W_r x + U_r h), h' = z ⊙ h + (1 − z) ⊙ h̄, and the candidate h̄ is

    * ``reset="after"`` the product: tanh(W x + r ⊙ (U h)), as in dl4mt, cuDNN and ``torch.nn.GRU``, whose results this
      reproduces given its weights (all products have a bias);
    * ``reset="before"`` the product: tanh(W x + U [r ⊙ h]), as in Cho et al. and Bahdanau et al. 2015.
    """

    def __init__(self, input_size: int, hidden_size: int, *, reset: Literal["before", "after"] = "after") -> None:
        super().__init__(input_size, hidden_size, 3, hidden_bias=True)  # r, z, candidate: torch's order
        self.reset = reset

    @property
    def kernel(self) -> Callable[..., Any] | None:
        return torch.gru if self.reset == "after" else None

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        h_BH, size = self.read(state), self.hidden_size
        if self.reset == "after":
            shared = share_linear(self.hidden) if seen_BH is h_BH and _native(h_BH, product_BG) else None
            if shared is not None:
                h_BH, r_BH, z_BH = _Step.apply(product_BG, h_BH, shared.weight_GK, shared.bias_G, shared)  # type: ignore[no-untyped-call]
            else:
                h_BH, r_BH, z_BH = reset_after(product_BG, project(self.hidden, seen_BH), h_BH)
            return Update(h_BH, {"reset": r_BH, "update": z_BH})
        gates_BG, candidate_BH = torch.split(product_BG, [2 * size, size], dim=-1)
        weight, bias = self.hidden.weight, self.hidden.bias
        recurrent_gates_BG = F.linear(seen_BH, weight[: 2 * size], bias[: 2 * size])
        r_BH, z_BH = torch.sigmoid(gates_BG + recurrent_gates_BG).chunk(2, dim=-1)
        candidate_BH = torch.tanh(candidate_BH + F.linear(r_BH * seen_BH, weight[2 * size :], bias[2 * size :]))
        h_BH = candidate_BH + z_BH * (h_BH - candidate_BH)  # z h + (1 - z) candidate
        return Update(h_BH, {"reset": r_BH, "update": z_BH})


def reset_after(product_BG: Tensor, recurrent_BG: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From p = W x and u = U h (with their biases) to h', r and z (B, H):

    r = σ(p_r + u_r), z = σ(p_z + u_z), h̄ = tanh(p_h̄ + r ⊙ u_h̄), h' = z ⊙ h + (1 − z) ⊙ h̄.
    """
    if _native(h_BH, product_BG, recurrent_BG):
        found: tuple[Tensor, Tensor, Tensor] = _ResetAfter.apply(product_BG, recurrent_BG, h_BH)  # type: ignore[no-untyped-call]
        return found
    sizes = [2 * h_BH.shape[-1], h_BH.shape[-1]]
    gates_BG, candidate_BH = torch.split(product_BG, sizes, dim=-1)
    recurrent_gates_BG, recurrent_BH = torch.split(recurrent_BG, sizes, dim=-1)
    r_BH, z_BH = torch.sigmoid(gates_BG + recurrent_gates_BG).chunk(2, dim=-1)
    candidate_BH = torch.tanh(candidate_BH + r_BH * recurrent_BH)
    return candidate_BH + z_BH * (h_BH - candidate_BH), r_BH, z_BH


def _native(h_BH: Tensor, *products_BG: Tensor) -> bool:
    """Whether one row of each is of one sentence, and :mod:`nmt.native` takes them."""
    shape = (len(h_BH), 3 * h_BH.shape[-1])
    return all(one.shape == shape for one in products_BG) and native.usable(h_BH, *products_BG)


def _forward(given: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """h', r and z from p, u and h, all in float32."""
    h_BH = given[2]
    # Each in a memory of its own: the next step keeps h', and would keep r and z with it.
    out_BH, r_BH, z_BH = (torch.empty_like(h_BH, memory_format=torch.contiguous_format) for _ in range(3))
    native.run("gru_forward", (len(h_BH), 1, 1, h_BH.shape[1]), *map(_row, given), out_BH, r_BH, z_BH)
    return out_BH, r_BH, z_BH


def _gradients(grad_BH: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Those of p, u and h. With g for the gradient of h', those within the activations are

        ∂h̄ = g ⊙ (1 − z) ⊙ (1 − h̄²),  ∂z = g ⊙ (h − h̄) ⊙ z ⊙ (1 − z),  ∂r = ∂h̄ ⊙ u_h̄ ⊙ r ⊙ (1 − r)

    of p; of u the first is ∂h̄ ⊙ r; and that of h is g ⊙ z.
    """
    grads = tuple(torch.empty_like(one, memory_format=torch.contiguous_format) for one in given)
    grad_product_BG, grad_recurrent_BG, grad_h_BH = grads
    sizes = len(grad_h_BH), 1, 1, grad_h_BH.shape[1]
    native.run("gru_backward", sizes, *map(_row, (grad_BH.float(), *given)), *grads)
    return grad_product_BG, grad_recurrent_BG, grad_h_BH


class _ResetAfter(torch.autograd.Function):
    """:func:`reset_after` as one operation of :mod:`nmt.native`."""

    @staticmethod
    def forward(ctx: Any, product_BG: Tensor, recurrent_BG: Tensor, h_BH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given = product_BG.float(), recurrent_BG.float(), h_BH.float()
        out_BH, r_BH, z_BH = _forward(given)
        ctx.save_for_backward(*given)
        ctx.mark_non_differentiable(r_BH, z_BH)
        ctx.set_materialize_grads(False)  # r and z have none
        return out_BH.to(h_BH.dtype), r_BH, z_BH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BH: Tensor, *rest: None) -> tuple[Tensor, ...]:
        return _gradients(grad_BH, ctx.saved_tensors)


class _Step(torch.autograd.Function):
    """:class:`_ResetAfter` with the product before it, u = U h + b, in a loop that shares U: h gets both its gradients,
    g ⊙ z + Uᵀ ∂u, from one product that adds to the first."""

    @staticmethod
    def forward(
        ctx: Any, product_BG: Tensor, h_BH: Tensor, weight_GH: Tensor, bias_G: Tensor | None, shared: SharedLinear
    ) -> tuple[Tensor, Tensor, Tensor]:
        recurrent_BG = F.linear(h_BH.to(weight_GH.dtype), weight_GH, bias_G)
        given = product_BG.float(), recurrent_BG.float(), h_BH.float()
        out_BH, r_BH, z_BH = _forward(given)
        ctx.save_for_backward(*given, weight_GH)
        ctx.mark_non_differentiable(r_BH, z_BH)
        ctx.set_materialize_grads(False)
        ctx.leave = shared.leave
        return out_BH.to(h_BH.dtype), r_BH, z_BH

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BH: Tensor, *rest: None) -> tuple[Tensor | None, ...]:
        *given, weight_GH = ctx.saved_tensors
        grad_product_BG, grad_recurrent_BG, grad_h_BH = _gradients(grad_BH, given)
        grad_recurrent_BG = grad_recurrent_BG.to(weight_GH.dtype)
        ctx.leave(given[2].to(weight_GH.dtype), grad_recurrent_BG)
        if weight_GH.dtype == grad_h_BH.dtype:
            grad_h_BH.addmm_(grad_recurrent_BG, weight_GH)
        else:
            grad_h_BH += grad_recurrent_BG @ weight_GH
        return grad_product_BG, grad_h_BH, None, None, None


def _row(x_BX: Tensor) -> Tensor:
    """One row a sentence."""
    return (x_BX if x_BX.stride(1) == 1 else x_BX.contiguous())[:, None, None]


class GRUWithoutReset(Unit):
    """A GRU whose r is 1, so that its state decides only what is kept, not what the candidate sees of it:

    z = σ(W_z x + U_z h + b_z), h̄ = tanh(W x + U h + b), h' = z ⊙ h + (1 − z) ⊙ h̄.

    The same as :class:`~nmt.cells.janet.JANET` with β = 0.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, 2, hidden_bias=False)  # z, candidate

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        h_BH = self.read(state)
        z_BH, candidate_BH = (product_BG + project(self.hidden, seen_BH)).chunk(2, dim=-1)
        z_BH, candidate_BH = torch.sigmoid(z_BH), torch.tanh(candidate_BH)
        h_BH = candidate_BH + z_BH * (h_BH - candidate_BH)  # z h + (1 - z) candidate
        return Update(h_BH, {"update": z_BH})


class MinimalGatedUnit(Unit):
    """Minimal gated unit (Zhou et al. 2016): one gate is both the reset and the update gate of a GRU.

    f = σ(W_f x + U_f h + b_f), h̄ = tanh(W x + U [f ⊙ h] + b), h' = (1 − f) ⊙ h + f ⊙ h̄.

    Unverified: these equations are from memory and have not been compared with the paper.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, 2, hidden_bias=False)  # f, candidate

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        h_BH, size, weight = self.read(state), self.hidden_size, self.hidden.weight
        gate_BH, candidate_BH = product_BG.chunk(2, dim=-1)
        f_BH = torch.sigmoid(gate_BH + F.linear(seen_BH, weight[:size]))
        candidate_BH = torch.tanh(candidate_BH + F.linear(f_BH * seen_BH, weight[size:]))
        h_BH = h_BH + f_BH * (candidate_BH - h_BH)  # (1 - f) h + f candidate
        return Update(h_BH, {"forget": f_BH})
