"""The gates of GAtt as one operation each, with their gradients: what autograd would keep of every pair of a query and
a source position is computed again.

    exact:  p = U [r ⊙ h],  h' = (1 − z) ⊙ h + z ⊙ tanh(c + p)
    after:  h' = (1 − z) ⊙ h + z ⊙ tanh(qc + r ⊙ kc)

with z = σ(qz + kz), r = σ(qr + kr). What is named q comes from the query, k from the source; history h and the
candidate's addend c come from either. With ∂ for gradients and ∂' = ∂h' ⊙ z ⊙ (1 − tanh²), the candidate's:

    ∂c = ∂',  ∂h = ∂h' ⊙ (1 − z),  ∂(qz + kz) = ∂h' ⊙ (tanh − h) ⊙ z ⊙ (1 − z)
    exact:  ∂x = Uᵀ ∂',  ∂h += ∂x ⊙ r,  ∂(qr + kr) = ∂x ⊙ h ⊙ r ⊙ (1 − r),  ∂U = ∂'ᵀ [r ⊙ h]
    after:  ∂kc = ∂' ⊙ r,  ∂(qr + kr) = ∂' ⊙ kc ⊙ r ⊙ (1 − r)

Each is computed by :mod:`nmt.kernels` where that can be, else by torch. What a loop over target positions shares of the
source gets its gradient in one sum, in place (:mod:`nmt.loops`).

Shapes: B batch, T queries, S source positions, E size of the refined vectors, N = B T S; operands are (B, T, 1, E) or
(B, 1, S, E).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt import kernels
from nmt.loops import Left, applied, coarse, share


class Operand(NamedTuple):
    """What a gate reads, where the gradient of what is shared is left, and the axis that is not its own."""

    tensor: Tensor
    left: Left | None
    axis: int


def of_query(x_BTE: Tensor) -> Operand:
    """One vector for each query, for all source positions."""
    return Operand(x_BTE, None, 2)


def of_source(x_BSE: Tensor) -> Operand:
    """One vector for each source position, for all queries."""
    shared = share(x_BSE)
    return Operand(shared.tensor, shared.left, 1) if shared else Operand(x_BSE, None, 1)


def exact_gate(
    weight_EE: Tensor, *, qz: Operand, kz: Operand, qr: Operand, kr: Operand, h: Operand, c: Operand
) -> Tensor:
    """h' (B, T, S, E) with the reset before the product U; as precise as autocast asks of products."""
    shared = share(weight_EE, factor=True)
    operands = (qz, kz, qr, kr, h, c)
    return applied(
        _Exact,
        shared.tensor if shared else weight_EE.to(coarse(weight_EE)),
        shared and shared.left,
        places_of(operands),
        *(one.tensor for one in operands),
    )


def after_gate(*, qz: Operand, kz: Operand, qr: Operand, kr: Operand, qc: Operand, kc: Operand, h: Operand) -> Tensor:
    """h' (B, T, S, E) with the reset after the product, which ``kc`` is."""
    operands = (qz, kz, qr, kr, qc, kc, h)
    return applied(_After, coarse(kc.tensor), places_of(operands), *(one.tensor for one in operands))


Places = Sequence[tuple[Left | None, int]]


def places_of(operands: Sequence[Operand]) -> Places:
    """What an operation remembers of its operands beside the tensors."""
    return [(one.left, one.axis) for one in operands]


def aligned(places: Places, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The operands with four axes, in float32 at least, the numbers of a vector next to each other."""
    wide = torch.promote_types(tensors[1].dtype, torch.float32)
    dense = (one if one.stride(-1) == 1 else one.contiguous() for one in (one.to(wide) for one in tensors))
    return [one.unsqueeze(axis) for one, (_, axis) in zip(dense, places, strict=True)]


class Sums:
    """Gradients of operands, added up over what they do not have: of what is shared in its place, of the rest anew."""

    def __init__(self, places: Places, tensors: Sequence[Tensor]) -> None:
        wide = torch.promote_types(tensors[1].dtype, torch.float32)
        self.shared = [left is not None for left, _ in places]
        self.sums = [
            torch.zeros(one.shape, dtype=wide, device=one.device) if left is None else left.sum(one)
            for one, (left, _) in zip(tensors, places, strict=True)
        ]
        self.axes = [axis for _, axis in places]
        self.views = [one.unsqueeze(axis) for one, axis in zip(self.sums, self.axes, strict=True)]

    def add(self, number: int, grad_BTSE: Tensor) -> None:
        axis = self.axes[number]
        self.views[number] += grad_BTSE.sum(axis, keepdim=True) if grad_BTSE.shape[axis] > 1 else grad_BTSE

    def fresh(self) -> list[Tensor | None]:
        """The gradients that autograd is handed; the others stay where they were left."""
        return [None if shared else one for one, shared in zip(self.sums, self.shared, strict=True)]


def sizes_of(tensors: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """B, T, S, E of operands of which the first is a query's and the second a source's."""
    return (*tensors[0].shape[:2], *tensors[1].shape[1:])


class _Exact(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_EE: Tensor, left: Left | None, places: Places, *tensors: Tensor) -> Tensor:
        kind, sizes = weight_EE.dtype, sizes_of(tensors)
        qz, kz, qr, kr, h, c = wide = aligned(places, tensors)
        with torch.autocast(weight_EE.device.type, enabled=False):
            if kernels.usable(weight_EE, *wide):
                # Each in a memory of its own: who keeps h' would keep r ⊙ h with it.
                x_NE, out_NE = (weight_EE.new_empty(math.prod(sizes[:3]), sizes[3]) for _ in range(2))
                kernels.run("reset_forward", sizes, qr, kr, h, x_NE, wide=kind)
                p_NE = F.linear(x_NE, weight_EE)
                kernels.run("mix_forward", sizes, qz, kz, h, c, p_NE, out_NE, wide=kind)
            else:
                p_NE = F.linear(((qr + kr).sigmoid_() * h).to(kind), weight_EE)
                out_NE = torch.lerp(h, (c + p_NE.view(sizes)).tanh_(), (qz + kz).sigmoid_()).to(kind)
        ctx.save_for_backward(weight_EE, p_NE, *tensors)
        ctx.left, ctx.places = left, places
        return out_NE.view(sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTSE: Tensor) -> tuple[Tensor | None, ...]:
        weight_EE, p_NE, *tensors = ctx.saved_tensors
        kind, sizes = weight_EE.dtype, sizes_of(tensors)
        qz, kz, qr, kr, h, c = wide = aligned(ctx.places, tensors)
        sums = Sums(ctx.places, tensors)
        dqz, dkz, dqr, dkr, dh, dc = sums.views
        grad_NE = grad_BTSE.reshape(-1, sizes[3]).contiguous()
        if kernels.usable(weight_EE, *wide):
            inner_NE, x_NE = torch.empty_like(grad_NE), torch.empty_like(grad_NE)
            kernels.run("mix_backward", sizes, grad_NE, qz, kz, h, c, p_NE, dqz, dkz, dh, dc, inner_NE, wide=kind)
            dx_NE = inner_NE @ weight_EE
            kernels.run("reset_backward", sizes, dx_NE, qr, kr, h, dqr, dkr, dh, x_NE, wide=kind)
        else:
            grad_BTSE = grad_BTSE.to(h.dtype)
            z, candidate = (qz + kz).sigmoid_(), (c + p_NE.view(sizes)).tanh_()
            inner = grad_BTSE * z * (1 - candidate**2)
            gate = grad_BTSE * (candidate - h) * z * (1 - z)
            for number, part in ((0, gate), (1, gate), (4, grad_BTSE * (1 - z)), (5, inner)):
                sums.add(number, part)
            inner_NE = inner.view(-1, sizes[3]).to(kind)
            r, dx = (qr + kr).sigmoid_(), (inner_NE @ weight_EE).view(sizes).to(h.dtype)
            gate = dx * h * r * (1 - r)
            for number, part in ((2, gate), (3, gate), (4, dx * r)):
                sums.add(number, part)
            x_NE = (r * h).view(-1, sizes[3]).to(kind)
        dweight_EE = inner_NE.t() @ x_NE
        if ctx.left is not None:
            ctx.left.sum(weight_EE).add_(dweight_EE)  # in float32 at least: half precision would not notice one of many
        return None if ctx.left else dweight_EE, None, None, *sums.fresh()


class _After(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: torch.dtype, places: Places, *tensors: Tensor) -> Tensor:
        sizes = sizes_of(tensors)
        qz, kz, qr, kr, qc, kc, h = wide = aligned(places, tensors)
        if kernels.usable(*wide):
            out_NE = h.new_empty(sizes[0] * sizes[1] * sizes[2], sizes[3], dtype=kind)
            kernels.run("after_forward", sizes, *wide, out_NE, wide=kind)
        else:
            candidate = torch.addcmul(qc, (qr + kr).sigmoid_(), kc).tanh_()
            out_NE = torch.lerp(h, candidate, (qz + kz).sigmoid_()).to(kind)
        ctx.save_for_backward(*tensors)
        ctx.places = places
        return out_NE.view(sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTSE: Tensor) -> tuple[Tensor | None, ...]:
        tensors, places = ctx.saved_tensors, ctx.places
        sizes, wide = sizes_of(tensors), aligned(places, tensors)
        sums = Sums(places, tensors)
        if kernels.usable(*wide):
            grad_NE = grad_BTSE.reshape(-1, sizes[3]).contiguous()
            kernels.run("after_backward", sizes, grad_NE, *wide, *sums.views, wide=grad_NE.dtype)
        else:
            qz, kz, qr, kr, qc, kc, h = wide
            grad_BTSE = grad_BTSE.to(h.dtype)
            z, r = (qz + kz).sigmoid_(), (qr + kr).sigmoid_()
            candidate = torch.addcmul(qc, r, kc).tanh_()
            inner = grad_BTSE * z * (1 - candidate**2)
            update = grad_BTSE * (candidate - h) * z * (1 - z)
            reset = inner * kc * r * (1 - r)
            parts = (update, update, reset, reset, inner, inner * r, grad_BTSE * (1 - z))
            for number, part in enumerate(parts):
                sums.add(number, part)
        return None, None, *sums.fresh()
