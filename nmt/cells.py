"""Recurrent cells: one step of a recurrent network, h_t from x_t and the state of step t - 1.

Shapes: B batch, T steps, X input size, H hidden size, G size of the input product (a multiple of H).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nmt.tree import State, map_tensors


class Cell(nn.Module):
    """One recurrent cell. Its state is a value that is passed in and handed back, never kept here.

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


class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014), with torch's sign of z: z keeps the old state.

    z = σ(W_z x + U_z h), r = σ(W_r x + U_r h), h' = z ⊙ h + (1 − z) ⊙ h̄, and the candidate h̄ is

    * ``reset="after"`` the product: tanh(W x + r ⊙ (U h)), as in dl4mt, cuDNN and ``torch.nn.GRU``, whose results this
      reproduces given its weights (all products have a bias);
    * ``reset="before"`` the product: tanh(W x + U [r ⊙ h]), as in Cho et al. and Bahdanau et al. 2015.
    """

    def __init__(self, input_size: int, hidden_size: int, *, reset: Literal["before", "after"] = "after") -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.product_size = input_size, hidden_size, 3 * hidden_size
        self.reset = reset
        self.input = nn.Linear(input_size, 3 * hidden_size)  # r, z, candidate: torch's order
        self.hidden = nn.Linear(hidden_size, 3 * hidden_size)

    def inputs(self, x: Tensor) -> Tensor:
        product: Tensor = self.input(x)
        return product

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, size = self.read(state), self.hidden_size
        gates_BG, candidate_BH = torch.split(product_BG, [2 * size, size], dim=-1)
        if self.reset == "after":
            recurrent_BG = self.hidden(h_BH)
            recurrent_gates_BG, recurrent_BH = torch.split(recurrent_BG, [2 * size, size], dim=-1)
            r_BH, z_BH = torch.sigmoid(gates_BG + recurrent_gates_BG).chunk(2, dim=-1)
            candidate_BH = torch.tanh(candidate_BH + r_BH * recurrent_BH)
        else:
            weight, bias = self.hidden.weight, self.hidden.bias
            r_BH, z_BH = torch.sigmoid(gates_BG + F.linear(h_BH, weight[: 2 * size], bias[: 2 * size])).chunk(2, dim=-1)
            candidate_BH = torch.tanh(candidate_BH + F.linear(r_BH * h_BH, weight[2 * size :], bias[2 * size :]))
        h_BH = candidate_BH + z_BH * (h_BH - candidate_BH)  # z h + (1 - z) candidate
        return h_BH, h_BH


class LSTM(Cell):
    """Long short-term memory, as ``torch.nn.LSTM``: i, f, o = σ(W x + U h), g = tanh(W x + U h),
    c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'). The state is (h, c); it starts with c = 0.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.product_size = input_size, hidden_size, 4 * hidden_size
        self.input = nn.Linear(input_size, 4 * hidden_size)  # i, f, g, o: torch's order
        self.hidden = nn.Linear(hidden_size, 4 * hidden_size)

    def start(self, hidden_BH: Tensor) -> State:
        return hidden_BH, torch.zeros_like(hidden_BH)

    def read(self, state: State) -> Tensor:
        h_BH: Tensor = state[0]
        return h_BH

    def inputs(self, x: Tensor) -> Tensor:
        product: Tensor = self.input(x)
        return product

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, c_BH = state
        i_BH, f_BH, g_BH, o_BH = (product_BG + self.hidden(h_BH)).chunk(4, dim=-1)
        c_BH = torch.sigmoid(f_BH) * c_BH + torch.sigmoid(i_BH) * torch.tanh(g_BH)
        h_BH = torch.sigmoid(o_BH) * torch.tanh(c_BH)
        return h_BH, (h_BH, c_BH)


class Stacked(Cell):
    """Layers of cells, each reading the hidden vector of the one below, with dropout between them.

    Its state is the tuple of its layers' states, its hidden vector that of the top layer; every layer starts from the
    same vector.
    """

    def __init__(self, cells: Iterable[Cell], dropout: float = 0.0) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.dropout = nn.Dropout(dropout)
        self.input_size, self.hidden_size = self.layer(0).input_size, self.layer(0).hidden_size
        self.product_size = self.layer(0).product_size

    def layer(self, number: int) -> Cell:
        """The cell of a layer, 0 at the bottom."""
        cell = self.cells[number]
        assert isinstance(cell, Cell)
        return cell

    def start(self, hidden_BH: Tensor) -> State:
        return tuple(self.layer(number).start(hidden_BH) for number in range(len(self.cells)))

    def read(self, state: State) -> Tensor:
        return self.layer(-1).read(state[-1])

    def inputs(self, x: Tensor) -> Tensor:
        return self.layer(0).inputs(x)

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, bottom = self.layer(0).advance(product_BG, state[0])
        states = [bottom]
        for number in range(1, len(self.cells)):
            h_BH, above = self.layer(number).step(self.dropout(h_BH), state[number])
            states.append(above)
        return h_BH, tuple(states)


def unroll(cell: Cell, x_BTX: Tensor, valid_BT: Tensor, state: State, *, backward: bool = False) -> Tensor:
    """h (B, T, H) of every step, read from the first to the last or ``backward`` from the last to the first.

    A step that is not valid leaves the state as it was, so padding, on whichever side, changes nothing.
    """
    product_TBG = cell.inputs(x_BTX).unbind(dim=1)
    steps = range(x_BTX.shape[1])
    h_TBH: list[Tensor] = [x_BTX] * len(steps)
    for t in reversed(steps) if backward else steps:
        _, new = cell.advance(product_TBG[t], state)
        real_B1 = valid_BT[:, t, None]
        state = map_tensors(lambda after, before: torch.where(real_B1, after, before), new, state)  # noqa: B023
        h_TBH[t] = cell.read(state)
    return torch.stack(h_TBH, dim=1)


# The table of choices: a cell is added by writing its class above and its line here.
CELLS: dict[str, Callable[..., Cell]] = {"gru": GRU, "lstm": LSTM}
