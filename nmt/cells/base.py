"""What every recurrent cell is: one step of a recurrent network, h_t from x_t and the state of step t - 1.

Shapes: B batch, T steps, X input size, H hidden size, G size of the input product (a multiple of H). B may be any
number of leading sizes, and those of product and state need only broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from nmt.loops import project
from nmt.tree import State


class Cell(nn.Module):
    """One recurrent cell, or several that act as one. Its state is a value that is passed in and handed back.

    What depends on the input alone, :meth:`inputs`, is apart from what waits for the state, :meth:`advance`, so that
    a caller who knows all inputs of a sentence multiplies them by the weights in one product.
    """

    input_size: int
    hidden_size: int
    product_size: int

    @property
    def gate_size(self) -> int:
        """Rows of one gate's matrix; those of several gates stand on one another in one product."""
        return self.hidden_size

    def initialise(self) -> None:
        """Draws what the cell asks of its first weights, after those of the whole model were drawn."""

    def start(self, hidden_BH: Tensor) -> State:
        """The state whose hidden vector is ``hidden_BH``."""
        return hidden_BH

    def read(self, state: State) -> Tensor:
        """The hidden vector h (B, H) of a state."""
        assert isinstance(state, Tensor)
        return state

    def inputs(self, x: Tensor) -> Tensor:
        """The input product W x + b, for x of shape (..., X); the result is (..., G)."""
        raise NotImplementedError

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        """One step, given the input product: the new h (B, H) and the new state."""
        raise NotImplementedError

    def step(self, x_BX: Tensor, state: State) -> tuple[Tensor, State]:
        """One step, given the input: the new h (B, H) and the new state."""
        return self.advance(self.inputs(x_BX), state)


class Update(NamedTuple):
    """What one step of a unit gives: its new state, and the gates (B, H) that were at work, by name."""

    state: State
    gates: Mapping[str, Tensor]


class Unit(Cell):
    """A cell of one layer. It has ``parts`` products, the gates' and the candidate's, on one another in one matrix: W
    with its bias is ``input``, U is ``hidden``.

    A class gives its equations, :meth:`forward`. Every step of every unit is one call of the module, so a forward hook
    sees all states and gates (:mod:`nmt.flow`).
    """

    def __init__(self, input_size: int, hidden_size: int, parts: int, *, hidden_bias: bool) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.product_size = input_size, hidden_size, parts * hidden_size
        self.input = nn.Linear(input_size, self.product_size)
        self.hidden = nn.Linear(hidden_size, self.product_size, bias=hidden_bias)

    @property
    def kernel(self) -> Callable[..., Any] | None:
        """torch's own loop over whole sequences with the equations of this cell, where there is one."""
        return None

    def forward(self, product_BG: Tensor, seen_BH: Tensor, state: State) -> Update:
        """The equations: one step from ``state``. ``seen_BH`` is its h as U sees it, whole or with some dropped."""
        raise NotImplementedError

    def inputs(self, x: Tensor) -> Tensor:
        return project(self.input, x)

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        new: Update = self(product_BG, self.read(state), state)
        return self.read(new.state), new.state
