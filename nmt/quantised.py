"""Linear layers in eight-bit integers: the weights once, what they read as it comes (dynamic quantisation).

Shapes: N rows, I what a layer reads, O what it gives; * anything.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from torch import Tensor, nn

# A layer that gives fewer numbers, a scorer's v, takes longer to quantise its input for than to multiply; and torch
# 2.13 multiplies wrongly where there is one to read.
SMALLEST = 32
_LARGEST = 127

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Int8Linear(nn.Linear):
    """y = W x + b with W = diag(s) Q and x ≈ t q, Q and q integers of −127 to 127: y ≈ t s ⊙ (Q q) + b.

    Each row of W has a scale s of its own, from its largest number, and so has each x: nothing depends on what else is
    in a batch. The integers are multiplied exactly. Who reads ``weight`` finds it as it was.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        number_OI, scale_O1 = integers(linear.weight.detach())
        self.number_IO, self.scale_O = number_OI.t().contiguous(), scale_O1.squeeze(1)

    def forward(self, input: Tensor) -> Tensor:
        number_NI, scale_N1 = integers(input.reshape(-1, self.in_features).to(self.scale_O.dtype))
        product_NO = torch._int_mm(number_NI, self.number_IO).to(scale_N1.dtype).mul_(scale_N1).mul_(self.scale_O)
        if self.bias is not None:
            product_NO.add_(self.bias)
        return product_NO.reshape(*input.shape[:-1], self.out_features)


def integers(row_NI: Tensor) -> tuple[Tensor, Tensor]:
    """Integers (N, I) and scales (N, 1) with row ≈ scale × integers, to half a scale."""
    largest_N1 = row_NI.abs().amax(dim=1, keepdim=True)
    scale_N1 = largest_N1.clamp(min=torch.finfo(row_NI.dtype).tiny * _LARGEST) / _LARGEST
    return (row_NI / scale_N1).round_().to(torch.int8), scale_N1


def quantised(model: AnyModule) -> AnyModule:
    """A model of the same weights whose linear layers multiply in eight-bit integers, for inference on a CPU.

    Those stay as they are that a model does not call, because it multiplies by a part of their weights or hands them
    to a kernel, and those that read or give fewer than ``SMALLEST`` numbers."""
    shared = {id(one): one for one in (*model.parameters(), *model.buffers())}  # what deepcopy is not to copy
    copy = deepcopy(model, shared)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Linear and min(child.in_features, child.out_features) >= SMALLEST:
                setattr(parent, name, Int8Linear(child))
    return copy
