"""Encoders: from source tokens to a memory that attention looks at.

Shapes: B batch, S source positions, D embedding size, H hidden size, E = 2 H memory size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nmt.attention import Memory
from nmt.cells import Cell, unroll


class Bidirectional(nn.Module):
    """One cell reads the source from left to right, another from right to left; h_i is both states side by side
    (Bahdanau et al. 2015, section 3.2)."""

    def __init__(self, forth: Cell, back: Cell) -> None:
        super().__init__()
        self.forth, self.back = forth, back

    def forward(self, x_BSX: Tensor, valid_BS: Tensor) -> Tensor:
        start_BH = x_BSX.new_zeros(x_BSX.shape[0], self.forth.hidden_size)
        return torch.cat(
            [
                unroll(self.forth, x_BSX, valid_BS, self.forth.start(start_BH)),
                unroll(self.back, x_BSX, valid_BS, self.back.start(start_BH), backward=True),
            ],
            dim=-1,
        )


class RecurrentEncoder(nn.Module):
    """Embeddings and layers of bidirectional cells, with dropout on the embeddings and between the layers."""

    def __init__(
        self,
        embedding: nn.Embedding,
        make_cell: Callable[[int, int], Cell],
        hidden_size: int,
        layers: int,
        *,
        embedding_dropout: float = 0.0,
        layer_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.embedding_dropout, self.layer_dropout = nn.Dropout(embedding_dropout), nn.Dropout(layer_dropout)
        sizes = [embedding.embedding_dim] + [2 * hidden_size] * (layers - 1)
        self.layers = nn.ModuleList(Bidirectional(make_cell(s, hidden_size), make_cell(s, hidden_size)) for s in sizes)
        self.memory_size = 2 * hidden_size

    def forward(self, source_BS: Tensor, valid_BS: Tensor) -> Memory:
        x_BSX = self.embedding_dropout(self.embedding(source_BS))
        for number, layer in enumerate(self.layers):
            x_BSX = layer(self.layer_dropout(x_BSX) if number else x_BSX, valid_BS)
        return Memory(x_BSX, valid_BS)
