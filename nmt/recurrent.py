"""Recurrent encoders and decoders from their settings: those of each side, and those of a model of both.

A model's settings are written flat, as most recipes have them (:class:`RecurrentSettings`); what builds an encoder or
a decoder reads the settings of its side, which is also how a mixed model (:mod:`nmt.mixed`) has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

import torch
from pydantic import ValidationInfo, field_validator, model_validator
from torch import nn

from nmt.attention import ATTENTIONS, Attention
from nmt.attention.base import Rate, Size
from nmt.cells import CELLS, DROPOUTS, Cell, Residual, Stacked, StateDropout, Unit
from nmt.decoder import OUTPUTS, STARTS, WIRINGS, RecurrentDecoder
from nmt.encoder import RecurrentEncoder
from nmt.initialisation import Initialisation
from nmt.layers import READOUTS
from nmt.settings import Choice, Settings, choice
from nmt.vocabulary import PAD


class EncoderDropout(Settings):
    """Where dropout acts in a side, and how much."""

    embedding: Rate = 0.0  # on the embeddings
    layer: Rate = 0.0  # between the layers
    state: Rate = 0.0  # on h where a cell's matrices read it: one mask for all positions of a sentence
    mask: Literal["position", "sentence"] = "position"  # for which embedding and layer draw one


class Dropout(EncoderDropout):
    """The same of a decoder, or of both sides."""

    output: Rate = 0.0  # before the output layer


class Cells(Settings):
    """What both sides have."""

    kind: Literal["recurrent"] = "recurrent"
    embedding: Size = 256
    hidden: Size = 256
    cell: Annotated[Choice, choice(CELLS, "gru")] = Choice("gru")
    residual: bool = False  # whether each layer but the first adds to what it reads

    def make_cell(self, input_size: int, hidden_size: int, dropped: float) -> Cell:
        """A cell of one layer, with dropout on its state."""
        unit: Unit = self.cell.build(CELLS, input_size, hidden_size)
        return StateDropout(unit, dropped) if dropped else unit


class RecurrentEncoderSettings(Cells):
    """An encoder of recurrent cells (see :mod:`nmt.encoder`); ``hidden`` is of each direction."""

    layers: Size = 1
    dropout: EncoderDropout = EncoderDropout()

    @property
    def memory_size(self) -> int:
        """The size of what it tells of each source position."""
        return 2 * self.hidden


class Decoding(Cells):
    """What a decoder has beside cells, but its attention."""

    wiring: Literal["look-then-update", "conditional", "update-then-look", "unfed"] = "conditional"
    start: Literal["mean", "backward"] = "mean"
    readout: Literal["tanh", "maxout", "direct"] = "tanh"
    readout_size: Size | None = None  # null: the embedding's; for a direct readout, the hidden size
    output: Literal["expectation", "marginal"] = "expectation"  # words from the context, or from each source position
    dropout: Dropout = Dropout()

    @property
    def readout_width(self) -> int:
        """The size of what the output layer reads."""
        return self.readout_size or (self.hidden if self.readout == "direct" else self.embedding)


class RecurrentDecoderSettings(Decoding):
    """A decoder of recurrent cells (see :mod:`nmt.decoder`)."""

    layers: Size = 1
    attention: Annotated[Choice, choice(ATTENTIONS, "bahdanau")] = Choice("bahdanau")

    def check(self, memory_size: int) -> None:
        """Raises ``ValueError`` where the parts do not fit each other, or a memory of this size."""
        if self.readout == "direct":
            if self.wiring != "update-then-look":
                raise ValueError(
                    f'readout "direct" would hide the context from the output with the wiring "{self.wiring}"; '
                    'choose "tanh" or "maxout", or the wiring "update-then-look"'
                )
            if self.readout_size not in (None, self.hidden):
                raise ValueError(
                    f"readout_size {self.readout_size} must be the hidden size {self.hidden} for a direct readout"
                )
        attention = without_weights(self.attention, self.hidden, memory_size)
        if self.output == "marginal":
            if WIRINGS[self.wiring].feeds:
                raise ValueError(
                    f'output "marginal" is exact only where no state reads the context, as the wiring "{self.wiring}" '
                    'does; choose the wiring "unfed"'
                )
            if not attention.sums_memory:
                raise ValueError(
                    'output "marginal" needs an attention whose context is a weighted sum of the memory, which '
                    f'"{self.attention.kind}" is not; choose another attention, or the output "expectation"'
                )

    def check_tie(self, tie: str) -> None:
        """Raises ``ValueError`` where the output layer cannot be the target's embedding."""
        if tie != "none" and self.readout_width != self.embedding:
            raise ValueError(
                f'tie "{tie}" needs a readout as wide as the embedding: {self.readout_width} is not {self.embedding}'
            )


class RecurrentSettings(Decoding):
    """An encoder-decoder of recurrent cells (see :mod:`nmt.encoder`, :mod:`nmt.decoder`)."""

    encoder_hidden: Size | None = None  # of each direction of the encoder, whose memory is twice that; null: as hidden
    encoder_layers: Size = 1
    decoder_layers: Size = 1
    attention: Annotated[Choice, choice(ATTENTIONS, "bahdanau")] = Choice("bahdanau")
    tie: Literal["none", "target", "all"] = "none"  # target: output layer = target embedding; all: = source's too
    initialisation: Initialisation = "default"

    @field_validator("attention")
    @classmethod
    def _attention_can_be_made(cls, attention: Choice, info: ValidationInfo) -> Choice:
        """Made once without weights: its own ``ValueError`` tells a nest or sizes that cannot be."""
        if (hidden := info.data.get("hidden")) and "encoder_hidden" in info.data:
            without_weights(attention, hidden, 2 * (info.data["encoder_hidden"] or hidden))
        return attention

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.decoder.check(self.encoder.memory_size)
        self.decoder.check_tie(self.tie)
        return self

    @property
    def encoder(self) -> RecurrentEncoderSettings:
        """The encoder's part."""
        return RecurrentEncoderSettings(
            embedding=self.embedding,
            hidden=self.encoder_hidden or self.hidden,
            cell=self.cell,
            residual=self.residual,
            layers=self.encoder_layers,
            dropout=EncoderDropout(**{name: getattr(self.dropout, name) for name in EncoderDropout.model_fields}),
        )

    @property
    def decoder(self) -> RecurrentDecoderSettings:
        """The decoder's part."""
        shared = {name: getattr(self, name) for name in Decoding.model_fields}
        return RecurrentDecoderSettings(**shared, layers=self.decoder_layers, attention=self.attention)


def without_weights(attention: Choice, query_size: int, memory_size: int) -> Attention:
    """The attention as it would be made; raises its ``ValueError`` where it cannot be."""
    with torch.device("meta"):
        made: Attention = attention.build(ATTENTIONS, query_size, memory_size)
    return made


def recurrent_encoder(settings: RecurrentEncoderSettings, words: int) -> RecurrentEncoder:
    """An encoder for a vocabulary of this size."""
    return RecurrentEncoder(
        nn.Embedding(words, settings.embedding, padding_idx=PAD),
        lambda input_size, hidden_size: settings.make_cell(input_size, hidden_size, settings.dropout.state),
        settings.hidden,
        settings.layers,
        residual=settings.residual,
        dropout=DROPOUTS[settings.dropout.mask],
        embedding_dropout=settings.dropout.embedding,
        layer_dropout=settings.dropout.layer,
    )


def recurrent_decoder(settings: RecurrentDecoderSettings, memory_size: int, words: int) -> RecurrentDecoder:
    """A decoder that looks at a memory of this size, for a vocabulary of this size."""
    dropout = DROPOUTS[settings.dropout.mask]
    make: Callable[..., Stacked] = Residual if settings.residual else Stacked

    def make_stack(input_size: int, layers: int) -> Stacked:
        sizes = [input_size] + [settings.hidden] * (layers - 1)
        cells = (settings.make_cell(size, settings.hidden, settings.dropout.state) for size in sizes)
        return make(cells, dropout(settings.dropout.layer))

    attention: Attention = settings.attention.build(ATTENTIONS, settings.hidden, memory_size)
    wiring = WIRINGS[settings.wiring](make_stack, settings.layers, settings.embedding, attention)
    readout = READOUTS[settings.readout](
        wiring.output_size, settings.embedding, attention.context_size, settings.readout_width
    )
    embedding = nn.Embedding(words, settings.embedding, padding_idx=PAD)
    output = nn.Linear(settings.readout_width, words)
    return OUTPUTS[settings.output](
        embedding,
        STARTS[settings.start](memory_size, settings.hidden),
        wiring,
        readout,
        output,
        dropout=dropout,
        embedding_dropout=settings.dropout.embedding,
        output_dropout=settings.dropout.output,
    )
