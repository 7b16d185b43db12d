"""GAtt and GAtt-Inv whose gate is any recurrent cell of one layer.

The gate of Zhang, Xiong and Su 2017, equation 6, is "one-stepped RNN": one step of a GRU from the history, given the
input. Here it is one step of the cell that is chosen: ``h' = cell(input, history)``. Their own gate, equation 7, is

* ``{kind: gru, reset: before}``, with the opposite sign of z and a bias more: :class:`~nmt.attention.gatt.GAtt`;
* ``gru``, the reset after the product: :class:`~nmt.attention.gatt.GAttResetAfter`.

These two are apart because they compute U_z h and U_r h once a sentence. A cell computes all of U h at each look: once
for all queries of a look, so it is the looks of recurrent decoders that pay, with as many E² a source position as the
cell has gates and candidates.

Whatever a cell keeps, the gate starts from the history alone: of an LSTM both h and c are the history. (Were c 0, as at
the start of a sentence, the forget gate would have nothing to forget, and no gate could hand the history on.)

Shapes: see :mod:`nmt.attention.base`; G size of a cell's input product.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from torch import Tensor

from nmt.attention.base import Keys, Memory
from nmt.attention.gatt import Gated
from nmt.cells import CELLS, Cell
from nmt.settings import Builder, Choice, choice
from nmt.tree import map_tensors

Gate = Annotated[Choice, choice(CELLS, "gru")]


class GAttCell(Gated):
    """GAtt (eq. 5 to 8) gated by a cell: h'_i = cell(s, h_i), the history being the source h_i, the input the query."""

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        cell: Gate = Choice("gru"),
        inner: Builder = Choice("bahdanau"),
        recompute: bool = False,
    ) -> None:
        super().__init__(inner(query_size, memory_size), recompute)
        self.cell: Cell = cell.build(CELLS, query_size, memory_size)

    def precompute(self, memory: Memory) -> Keys:
        return memory

    def refine(self, query_BTQ: Tensor, keys: Memory) -> Tensor:
        product_BT1G = self.cell.inputs(query_BTQ).unsqueeze(2)
        return one_step(self.cell, product_BT1G, keys.value_BSE.unsqueeze(1))


class GAttInvCellKeys(NamedTuple):
    """The cell's input products of the source, computed once a sentence."""

    valid_BS: Tensor
    product_BSG: Tensor


class GAttInvCell(Gated):
    """GAtt-Inv (eq. 9) gated by a cell: h'_i = cell(h_i, s), the history being the query s, the input the source."""

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        cell: Gate = Choice("gru"),
        inner: Builder = Choice("bahdanau"),
        recompute: bool = False,
    ) -> None:
        super().__init__(inner(query_size, query_size), recompute)
        self.cell: Cell = cell.build(CELLS, memory_size, query_size)

    def precompute(self, memory: Memory) -> GAttInvCellKeys:
        return GAttInvCellKeys(memory.valid_BS, self.cell.inputs(memory.value_BSE))

    def refine(self, query_BTQ: Tensor, keys: GAttInvCellKeys) -> Tensor:
        return one_step(self.cell, keys.product_BSG.unsqueeze(1), query_BTQ.unsqueeze(2))


def one_step(cell: Cell, product: Tensor, history: Tensor) -> Tensor:
    """The cell's h (B, T, S, R) one step after a state that is the history in all its parts; sizes broadcast."""
    state = map_tensors(lambda _: history, cell.start(history))
    refined_BTSR, _ = cell.advance(product, state)
    return refined_BTSR
