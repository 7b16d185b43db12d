"""Operations on state: nested tuples of batch-first tensors, of whose inside nobody needs to know.

Shapes: B batch (or hypotheses), * anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

# A state is a tensor, or a (named) tuple of states; () is the state of what keeps none.
State = Any


def map_tensors(function: Callable[..., Tensor], state: State, *others: State) -> State:
    """The same tree with ``function`` applied to every tensor in it, and those in the same place of ``others``.

    Raises ``TypeError`` for a leaf that is not a tensor: state that search could not reorder.
    """
    if isinstance(state, Tensor):
        return function(state, *others)
    if isinstance(state, tuple):
        parts = [map_tensors(function, *column) for column in zip(state, *others, strict=True)]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    raise TypeError(f"state must be tensors in nested tuples, found {type(state).__name__}")


def rows(state: State) -> int:
    """How many rows the tensors of a state have. Raises ``ValueError`` for a state without any."""
    if isinstance(state, Tensor):
        return len(state)
    for part in state:
        if isinstance(part, Tensor) or part != ():
            return rows(part)
    raise ValueError("a state without tensors has no rows")


def select(state: State, index_B: Tensor) -> State:
    """Rows ``index_B`` of every tensor, in that order: reorders, drops or copies hypotheses."""
    return map_tensors(lambda tensor: tensor.index_select(0, index_B), state)


def repeat(state: State, times: int) -> State:
    """Every row ``times`` times, copies next to each other: (B, *) becomes (B * times, *)."""
    return map_tensors(lambda tensor: tensor.repeat_interleave(times, dim=0), state)
