"""Cells on top of each other.

Shapes: see :mod:`nmt.cells.base`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nmt.cells.base import Cell
from nmt.cells.dropout import Dropout
from nmt.tree import State


class Layer(NamedTuple):
    """The state of one layer: its cell's, and the mask on what it reads from below (() where none is kept)."""

    state: State
    mask: State


class Stacked(Cell):
    """Layers of cells, each reading the hidden vector of the one below, with dropout between them.

    Its state is the tuple of its layers' states, its hidden vector that of the top layer; every layer starts from the
    same vector.
    """

    def __init__(self, cells: Iterable[Cell], dropout: Dropout | None = None) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.dropout = dropout or Dropout()
        self.input_size, self.hidden_size = self.layer(0).input_size, self.layer(0).hidden_size
        self.product_size = self.layer(0).product_size

    def layer(self, number: int) -> Cell:
        """The cell of a layer, 0 at the bottom."""
        cell = self.cells[number]
        assert isinstance(cell, Cell)
        return cell

    def start(self, hidden_BH: Tensor) -> State:
        masks = [()] + [self.dropout.start(hidden_BH, self.hidden_size) for _ in range(1, len(self.cells))]
        return tuple(Layer(self.layer(number).start(hidden_BH), mask) for number, mask in enumerate(masks))

    def read(self, state: State) -> Tensor:
        return self.layer(-1).read(state[-1].state)

    def inputs(self, x: Tensor) -> Tensor:
        return self.layer(0).inputs(x)

    def advance(self, product_BG: Tensor, state: State) -> tuple[Tensor, State]:
        h_BH, bottom = self.layer(0).advance(product_BG, state[0].state)
        layers = [Layer(bottom, state[0].mask)]
        for number in range(1, len(self.cells)):
            below, mask = state[number]
            above_BH, new = self.layer(number).step(self.dropout(h_BH, mask), below)
            h_BH = self.join(above_BH, h_BH)
            layers.append(Layer(new, mask))
        return h_BH, tuple(layers)

    def join(self, above_BH: Tensor, below_BH: Tensor) -> Tensor:
        """What a layer hands up, from its own hidden vector and what it was handed."""
        return above_BH


class Residual(Stacked):
    """Layers that each add their hidden vector to what the one below hands up (Wu et al. 2016), so the hidden vector of
    all is the sum. The bottom layer alone starts from the given vector, the others from 0.
    """

    def start(self, hidden_BH: Tensor) -> State:
        bottom, *above = super().start(hidden_BH)
        zero_BH = torch.zeros_like(hidden_BH)
        started = (one._replace(state=self.layer(n).start(zero_BH)) for n, one in enumerate(above, start=1))
        return (bottom, *started)

    def read(self, state: State) -> Tensor:
        h_BH = self.layer(0).read(state[0].state)
        for number in range(1, len(self.cells)):
            h_BH = self.layer(number).read(state[number].state) + h_BH
        return h_BH

    def join(self, above_BH: Tensor, below_BH: Tensor) -> Tensor:
        return above_BH + below_BH
