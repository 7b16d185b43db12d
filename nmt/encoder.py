"""Encoders: from source tokens to a memory that attention looks at.

Shapes: B batch, S source positions, D embedding size, X size of what a layer reads, H hidden size, E = 2 H memory size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.attention import Memory
from nmt.cells import Cell, Dropout, run


class Bidirectional(nn.Module):
    """One cell reads the source from left to right, another from right to left; h_i is both states side by side
    (Bahdanau et al. 2015, section 3.2)."""

    def __init__(self, forth: Cell, back: Cell) -> None:
        super().__init__()
        self.forth, self.back = forth, back

    def forward(self, x_BSX: Tensor, valid_BS: Tensor) -> Tensor:
        return torch.cat([run(self.forth, x_BSX, valid_BS), run(self.back, x_BSX, valid_BS, backward=True)], dim=-1)


class RecurrentEncoder(nn.Module):
    """Embeddings and layers of bidirectional cells, with dropout on the embeddings and between the layers.

    ``dropout`` is the kind of both. With ``residual`` connections every layer but the first adds its states to what it
    read (Wu et al. 2016).
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        make_cell: Callable[[int, int], Cell],
        hidden_size: int,
        layers: int,
        *,
        residual: bool = False,
        dropout: type[Dropout] = Dropout,
        embedding_dropout: float = 0.0,
        layer_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding, self.residual = embedding, residual
        self.embedding_dropout, self.layer_dropout = dropout(embedding_dropout), dropout(layer_dropout)
        sizes = [embedding.embedding_dim] + [2 * hidden_size] * (layers - 1)
        self.layers = nn.ModuleList(Bidirectional(make_cell(s, hidden_size), make_cell(s, hidden_size)) for s in sizes)
        self.memory_size = 2 * hidden_size

    def forward(self, source_BS: Tensor, valid_BS: Tensor) -> Memory:
        x_BSX = _dropped(self.embedding(source_BS), self.embedding_dropout)
        for number, layer in enumerate(self.layers):
            read_BSX = _dropped(x_BSX, self.layer_dropout) if number else x_BSX
            above_BSE = layer(read_BSX, valid_BS)
            x_BSX = x_BSX + above_BSE if self.residual and number else above_BSE
        return Memory(x_BSX, valid_BS)


def _dropped(x_BSX: Tensor, dropout: Dropout) -> Tensor:
    """The whole sentence is here at once, so what is drawn for it need not be kept."""
    dropped: Tensor = dropout(x_BSX, dropout.start(x_BSX, x_BSX.shape[-1]))
    return dropped
