"""What all steps of a loop read, and its gradient: computed once after the loop instead of summed up step by step.

Each step of a recurrent network multiplies by the same matrices and looks at the same source. By itself autograd makes
a gradient of the size of each matrix at every step and adds it to the last; here the steps leave what it is made of,
and one product makes it:

    y_t = x_t Wᵀ + b:      ∂W = Σ_t ∂y_tᵀ x_t = [∂y_1; …; ∂y_T]ᵀ [x_1; …; x_T]
    c_t = Σ_j α_tj h_j:    ∂h_j = Σ_t α_tj ∂c_t, one product of (S, T) by (T, E) a sentence

The block :func:`looping` says where the loop is. Outside of it, or where no gradient is wanted, the same functions are
the plain operations, and so is what they compute: *fast equals plain*, in values and gradients. Under autocast what is
shared is made coarse once, not once a step.

Shapes: B batch, T target positions (1 in most loops), S source positions, E memory size, K and G what a matrix reads
and gives; N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """An operation whose gradient is written by hand, on its arguments."""
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result


LONGEST = 16  # steps whose parts of a product are kept before they are multiplied: of a long sentence not all at once


Gradients = tuple[Tensor, ...]


class Left:
    """What the steps of a loop leave for the gradients of what they share: parts of a product, or a sum."""

    def __init__(self, gradients: Callable[[Sequence[Any]], Gradients] | None = None) -> None:
        self._gradients = gradients
        self._parts: list[Any] = []
        self._sums: Gradients | None = None
        self._walk = -1  # of autograd through the graph, in which all that is here was left

    def part(self, *part: Tensor) -> None:
        """Leave what ``gradients`` will be given in a list. Of a long loop not all is kept until its end."""
        self._begin()
        self._parts.append(part)
        if len(self._parts) == LONGEST:
            self._sums = self.taken()

    def sum(self, like: Tensor) -> Tensor:
        """The sum so far, at first 0, in float32 at least: for who adds to it in place."""
        self._begin()
        if self._sums is None:
            wide = torch.promote_types(like.dtype, torch.float32)
            self._sums = (torch.zeros(like.shape, dtype=wide, device=like.device),)
        return self._sums[0]

    def taken(self) -> Gradients | None:
        """The gradients of all that was left; nothing is left afterwards."""
        parts, sums = self._parts, self._sums
        self._parts, self._sums = [], None
        if not parts or self._gradients is None:
            return sums
        found = self._gradients(parts[::-1])
        return found if sums is None else tuple(one.add_(before) for one, before in zip(found, sums, strict=True))

    def _begin(self) -> None:
        """What a walk left that never came to the gate, for nobody asked for this gradient, is of no use to another."""
        walk = torch._C._current_graph_task_id()
        if walk != self._walk:
            self._parts, self._sums, self._walk = [], None, walk


class Shared(NamedTuple):
    """A tensor as the steps of a loop read it, and where they leave what its gradient is made of."""

    tensor: Tensor
    left: Left


class _Gate(torch.autograd.Function):
    """The identity, or a cast. Autograd comes here after all readers: then what they left becomes gradients."""

    @staticmethod
    def forward(ctx: Any, left: Left, dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.left = left
        ctx.set_materialize_grads(False)
        return tuple(one.view_as(one) if one.dtype == dtype else one.to(dtype) for one in tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *direct: Tensor | None) -> tuple[Tensor | None, ...]:
        taken = ctx.left.taken() or (None,) * len(direct)
        return None, None, *map(_added, direct, taken)


def _added(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one if other is None else other if one is None else one + other


# What the innermost loop shares, by way and identity of its tensor, which is kept alive with it; None out of loops.
_LOOP: ContextVar[dict[tuple[Hashable, int], tuple[Tensor, Any]] | None] = ContextVar("loop", default=None)


@contextmanager
def looping() -> Iterator[None]:
    """In the block what :func:`share` is given is shared by all steps; the gradient comes after the block."""
    token = _LOOP.set({})
    try:
        yield
    finally:
        _LOOP.reset(token)


@contextmanager
def step_by_step() -> Iterator[None]:
    """In the block nothing is shared: for what autograd computes a second time, outside of the loop."""
    token = _LOOP.set(None)
    try:
        yield
    finally:
        _LOOP.reset(token)


def share(
    tensor: Tensor, gradient: Callable[[Sequence[Any]], Tensor] | None = None, *, factor: bool = False
) -> Shared | None:
    """A tensor that this loop shares; None where there is no loop, or no gradient to be had.

    ``gradient`` makes it from the parts that steps leave, in the order of the steps; without one they add to a sum.
    A ``factor`` of products has the precision that autocast asks of these.
    """

    def opened() -> Shared:
        left = Left(None if gradient is None else lambda parts: (gradient(parts),))
        (seen,) = _through_gate(left, coarse(tensor) if factor else tensor.dtype, tensor)
        return Shared(seen, left)

    return _known((Shared, gradient, factor), tensor, opened)


Known = TypeVar("Known")


def _known(way: Hashable, tensor: Tensor, opened: Callable[[], Known]) -> Known | None:
    """What was ``opened`` for a tensor when this loop first met it so; None where there is nothing to share."""
    loop = _LOOP.get()
    if loop is None or not torch.is_grad_enabled() or not tensor.requires_grad:
        return None
    if (way, id(tensor)) not in loop:
        loop[way, id(tensor)] = tensor, opened()
    known: Known = loop[way, id(tensor)][1]
    return known


def _through_gate(left: Left, dtype: torch.dtype, *tensors: Tensor) -> Gradients:
    found: Gradients = _Gate.apply(left, dtype, *tensors)  # type: ignore[no-untyped-call]
    return found


def coarse(tensor: Tensor) -> torch.dtype:
    """What autocast would make of a factor of a product."""
    kind = tensor.device.type
    coarse = torch.is_autocast_enabled(kind) and tensor.dtype == torch.float32
    return torch.get_autocast_dtype(kind) if coarse else tensor.dtype


# ------------------------------------------------------------------------------------------------------ y = x Wᵀ + b


class SharedLinear(NamedTuple):
    """A layer that every step of a loop goes through: its tensors, in the precision that products have."""

    weight_GK: Tensor
    bias_G: Tensor | None
    left: Left

    def leave(self, x: Tensor, grad: Tensor) -> None:
        """What a step went in with, and the gradient of what came out."""
        self.left.part(x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1]))


def share_linear(linear: nn.Linear) -> SharedLinear | None:
    """A layer that this loop shares; None where there is no loop, no gradient to be had, or more than a product."""

    def opened() -> SharedLinear:
        if linear.bias is None or not linear.bias.requires_grad:
            left = Left(lambda parts: (_matrix_gradient(parts),))
            (weight_GK,) = _through_gate(left, coarse(linear.weight), linear.weight)
            return SharedLinear(weight_GK, linear.bias, left)
        left = Left(_layer_gradients)
        weight_GK, bias_G = _through_gate(left, coarse(linear.weight), linear.weight, linear.bias)
        return SharedLinear(weight_GK, bias_G, left)

    return _known((SharedLinear, id(linear.bias)), linear.weight, opened) if type(linear) is nn.Linear else None


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """``linear(x)``, x of shape (..., K), for a layer that every step of a loop goes through."""
    shared = share_linear(linear)
    if shared is None:
        y: Tensor = linear(x)
        return y
    return applied(_Project, x, shared.weight_GK, shared.bias_G, shared)


def project_back(linear: nn.Linear, y: Tensor) -> Tensor:
    """``y @ linear.weight``, y of shape (..., G): the other way through a layer that every step goes through."""
    shared = share(linear.weight, _turned_gradient, factor=True)
    if shared is None:
        return y @ linear.weight
    turned = SharedLinear(shared.tensor.t(), None, shared.left)
    return applied(_Project, y, turned.weight_GK, None, turned)


def _turned_gradient(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    return _matrix_gradient(parts).t()


def _matrix_gradient(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    x, grad = (torch.cat(one) for one in zip(*parts, strict=True))
    return grad.t() @ x


def _layer_gradients(parts: Sequence[tuple[Tensor, Tensor]]) -> Gradients:
    x, grad = (torch.cat(one) for one in zip(*parts, strict=True))
    # The bias's not in half precision, where a sum soon does not notice one more.
    return grad.t() @ x, grad.sum(dim=0, dtype=torch.promote_types(grad.dtype, torch.float32))


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_GK: Tensor, bias_G: Tensor | None, shared: SharedLinear) -> Tensor:
        x = x.to(weight_GK.dtype)
        ctx.save_for_backward(x, weight_GK)
        ctx.leave = shared.leave
        return F.linear(x, weight_GK, bias_G)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, None]:
        x, weight_GK = ctx.saved_tensors
        ctx.leave(x, grad)
        return (grad @ weight_GK if ctx.needs_input_grad[0] else None), None, None, None


# -------------------------------------------------------------------------------------------------- c_t = Σ_j α_tj h_j


def expectation(weight_BTS: Tensor, value_BSE: Tensor) -> Tensor:
    """``weight_BTS @ value_BSE``, for values that every step of a loop looks at."""
    shared = share(value_BSE, _value_gradient, factor=True)
    if shared is None:
        return weight_BTS @ value_BSE
    return applied(_Expectation, weight_BTS, shared.tensor, shared.left)


def _value_gradient(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    weight_BTS, grad_BTE = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    return weight_BTS.transpose(1, 2) @ grad_BTE


class _Expectation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_BTS: Tensor, value_BSE: Tensor, left: Left) -> Tensor:
        weight_BTS = weight_BTS.to(value_BSE.dtype)
        ctx.save_for_backward(weight_BTS, value_BSE)
        ctx.left = left
        return weight_BTS @ value_BSE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTE: Tensor) -> tuple[Tensor | None, None, None]:
        weight_BTS, value_BSE = ctx.saved_tensors
        ctx.left.part(weight_BTS, grad_BTE)
        return (grad_BTE @ value_BSE.transpose(1, 2) if ctx.needs_input_grad[0] else None), None, None
