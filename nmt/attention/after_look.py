"""One look at a source that GAtt's gate with the reset after its product refines, scored by products, in one operation:

    h'_j = (1 − z_j) ⊙ h_j + z_j ⊙ tanh(qc + r_j ⊙ kc_j),  e_j = a · h'_j,  α = softmax(e),  c = Σ_j α_j h'_j

z_j = σ(qz + kz_j), r_j = σ(qr + kr_j), as in :mod:`nmt.attention.gates`. No refined vector is kept, neither for the
softmax, of which the sums are scaled down when a larger e comes, nor for the gradient, which computes it again:

    D = ∂c · c + Σ_j ∂α_j α_j,  ∂e_j = α_j (∂c · h'_j + ∂α_j − D),  ∂h'_j = α_j ∂c + ∂e_j a,  ∂a = Σ_j ∂e_j h'_j

By :mod:`nmt.native`, where that is usable; elsewhere the gate, the score and the sum are operations of their own.

Shapes: B batch, T queries, S source positions, E size of the refined vectors.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nmt import native
from nmt.attention.gates import Operand, Places, Sums, aligned, places_of, sizes_of


def look(
    a_BTE: Tensor,
    valid_BS: Tensor,
    *,
    qz: Operand,
    kz: Operand,
    qr: Operand,
    kr: Operand,
    qc: Operand,
    kc: Operand,
    h: Operand,
) -> tuple[Tensor, Tensor]:
    """The context c (B, T, E) and the weights α (B, T, S), 0 where the source is padding; both in float32."""
    operands = (qz, kz, qr, kr, qc, kc, h)
    context_BTE, weight_BTS = _AfterLook.apply(  # type: ignore[no-untyped-call]
        a_BTE, valid_BS, places_of(operands), *(one.tensor for one in operands)
    )
    return context_BTE, weight_BTS


class _AfterLook(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a_BTE: Tensor, valid_BS: Tensor, places: Places, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        sizes = sizes_of(tensors)
        a_BTE = a_BTE.float().contiguous()
        context_BTE, weight_BTS = a_BTE.new_empty(a_BTE.shape), a_BTE.new_empty(sizes[:3])
        given = valid_BS.contiguous(), a_BTE, *aligned(places, tensors)
        native.run("after_look_forward", sizes, *given, weight_BTS, context_BTE)
        ctx.save_for_backward(weight_BTS, context_BTE, a_BTE, *tensors)
        ctx.places = places
        return context_BTE, weight_BTS

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dcontext_BTE: Tensor, dweight_BTS: Tensor) -> tuple[Tensor | None, ...]:
        weight_BTS, context_BTE, a_BTE, *tensors = ctx.saved_tensors
        sums, da_BTE = Sums(ctx.places, tensors), torch.zeros_like(a_BTE)
        given = dweight_BTS.contiguous(), dcontext_BTE.contiguous(), weight_BTS, context_BTE, a_BTE, da_BTE
        native.run("after_look_backward", sizes_of(tensors), *given, *aligned(ctx.places, tensors), *sums.views)
        return da_BTE, None, None, *sums.fresh()
