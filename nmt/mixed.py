"""Mixed models: an encoder of one kind, a decoder of another, each with the settings of its own side.

    model:
      kind: mixed
      encoder: {kind: recurrent, hidden: 128, cell: lstm}
      decoder: {kind: transformer, embedding: 256, layers: 2}

A recurrent encoder reads word after word, so its memory knows the order of the source without positions; a Transformer
decoder then trains on all target positions at once. The other way round the source is read at once, and a sequential
attention, such as one with coverage, has a decoder that can use it. Two recurrent sides may have different cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Tag, ValidationInfo, field_validator, model_validator

from nmt.initialisation import Initialisation
from nmt.recurrent import RecurrentDecoderSettings, RecurrentEncoderSettings
from nmt.settings import Choice, Settings
from nmt.sublayers import TransformerDecoderSettings, TransformerEncoderSettings


def _kind(side: Any) -> str | None:
    return side.get("kind") if isinstance(side, Mapping) else getattr(side, "kind", None)


_CHOSEN = Discriminator(
    _kind,
    custom_error_type="unknown_side",
    custom_error_message='each side of a mixed model says its kind; choose "recurrent" or "transformer"',
)
EncoderSettings = Annotated[
    Annotated[RecurrentEncoderSettings, Tag("recurrent")] | Annotated[TransformerEncoderSettings, Tag("transformer")],
    _CHOSEN,
]
DecoderSettings = Annotated[
    Annotated[RecurrentDecoderSettings, Tag("recurrent")] | Annotated[TransformerDecoderSettings, Tag("transformer")],
    _CHOSEN,
]


class MixedSettings(Settings):
    """An encoder and a decoder, each of any kind."""

    kind: Literal["mixed"] = "mixed"
    encoder: EncoderSettings
    decoder: DecoderSettings
    tie: Literal["none", "target", "all"] = "none"  # target: output layer = target embedding; all: = source's too
    initialisation: Initialisation = "default"

    @field_validator("decoder")
    @classmethod
    def _sides_fit(cls, decoder: DecoderSettings, info: ValidationInfo) -> DecoderSettings:
        if (encoder := info.data.get("encoder")) is None:
            return decoder
        reads_backward = isinstance(decoder, RecurrentDecoderSettings) and decoder.start == "backward"
        if reads_backward and encoder.kind != "recurrent":
            raise ValueError(
                'start "backward" is the state of a recurrent encoder that has read from the right, which a '
                'Transformer has not; choose the start "mean"'
            )
        decoder.check(encoder.memory_size)
        return decoder

    @model_validator(mode="after")
    def _tie_fits(self) -> Self:
        self.decoder.check_tie(self.tie)
        if self.tie == "all" and self.encoder.embedding != self.decoder.embedding:
            raise ValueError(
                f'tie "all" needs embeddings of one size: {self.encoder.embedding} in the encoder is not '
                f"{self.decoder.embedding} in the decoder"
            )
        return self

    @property
    def attention(self) -> Choice | None:
        """What the decoder looks with, where it is chosen."""
        return self.decoder.attention
