"""A decoder that looks up what it would compute of the word before: embedding times input matrix, a row a word.

Shapes: B hypotheses, T target positions, G size of a cell's input product, V target vocabulary size.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from nmt.attention import Glance, Memory
from nmt.attention.base import Keys
from nmt.decoder import DecoderState, RecurrentDecoder


class Tabulated(nn.Module):
    """A recurrent decoder out of training, of the weights that it has now: W E[y] + b of every word y, made once.

    A step then reads a row where it multiplied. The table costs as much as reading V words, and V × G numbers.
    """

    def __init__(self, decoder: RecurrentDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.product_VG = decoder.wiring.inputs(decoder.embedding.weight).detach()

    @property
    def expects(self) -> Literal["nothing", "once", "anew"]:
        """As :attr:`RecurrentDecoder.expects`, and so are all that follow."""
        return self.decoder.expects

    def precompute(self, memory: Memory) -> Keys:
        """What the attention computes once a sentence."""
        return self.decoder.precompute(memory)

    def fertilities(self, keys: Keys, valid_BS: Tensor) -> Tensor:
        """What the attention expects each source position to make, (B, S)."""
        return self.decoder.fertilities(keys, valid_BS)

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first target word."""
        return self.decoder.start(memory)

    def forward(
        self, token_BT: Tensor, memory: Memory, keys: Keys, state: DecoderState
    ) -> tuple[Tensor, Glance, DecoderState]:
        """As :meth:`RecurrentDecoder.forward`; in training, where dropout changes what is read, without the table."""
        product_BTG = None if self.decoder.training else F.embedding(token_BT, self.product_VG)
        result: tuple[Tensor, Glance, DecoderState] = self.decoder(token_BT, memory, keys, state, product_BTG)
        return result
