"""How the weights of a model begin. What a cell wants of its own biases it sets afterwards.

Shapes: V vocabulary size, D embedding size.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from nmt.cells import Cell
from nmt.vocabulary import PAD

Initialisation = Literal["default", "glorot", "normal"]  # glorot: embeddings too; normal: N(0, 0.01²), see below


def initialise_default(model: nn.Module) -> None:
    """Matrices Glorot-uniform, those of a cell's state orthogonal gate by gate, embeddings N(0, 1/D), biases 0.

    The gates of a cell that read its input are one matrix here, the size of all of them.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
            nn.init.zeros_(module.weight[PAD].detach())
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Cell) and isinstance(hidden := getattr(module, "hidden", None), nn.Linear):
            for gate in torch.split(hidden.weight.detach(), module.gate_size):
                nn.init.orthogonal_(gate)


def initialise_glorot(model: nn.Module) -> None:
    """As the default, but embeddings Glorot-uniform too, up to √(6 / (V + D)): of thousands of words far smaller.

    So JoeyNMT draws them for a Transformer, which sees places the better beside words at first; measured in
    benchmarks/results/quality-transformer.md.
    """
    initialise_default(model)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.weight[PAD].detach())


def initialise_normal(model: nn.Module) -> None:
    """Weights N(0, 0.01²), square matrices (of every gate) orthogonal, biases 0 (Zhang et al. 2017, section 4.1)."""
    for owner in model.modules():
        for module in owner.children():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.weight[PAD].detach())
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                # Whether a matrix is square must not hang on how many of them share a product.
                for gate in torch.split(module.weight.detach(), getattr(owner, "gate_size", module.out_features)):
                    if gate.shape[0] == gate.shape[1]:
                        nn.init.orthogonal_(gate)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


INITIALISATIONS = {"default": initialise_default, "glorot": initialise_glorot, "normal": initialise_normal}
