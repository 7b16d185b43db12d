"""The model: what training, search and analysis know of a translation system.

Shapes: B batch (or hypotheses), T target positions, S source positions, E context size, V target vocabulary size,
L layers, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Discriminator, Tag
from torch import Tensor, nn

from nmt.attention import Memory
from nmt.attention.base import Keys
from nmt.cells import Cell
from nmt.decoder import RecurrentDecoder
from nmt.encoder import RecurrentEncoder
from nmt.initialisation import INITIALISATIONS
from nmt.layers import modes_kept
from nmt.mixed import MixedSettings
from nmt.recurrent import RecurrentSettings, recurrent_decoder, recurrent_encoder
from nmt.sublayers import Shown, TransformerDecoderSettings, TransformerSettings
from nmt.tabulated import Tabulated
from nmt.transformer import TransformerDecoder, TransformerEncoder
from nmt.tree import State


class Trace(NamedTuple):
    """All that a loss or an analysis may read of a decoding."""

    logit_BTV: Tensor
    weight_BTS: Tensor
    choice_BT: Tensor  # log-probability of what the attention sampled; 0 where it samples nothing
    context_BTE: Tensor  # what was seen
    fertility_BS: Tensor  # Φ, the target words a source position is expected to make; 1 where nobody expects anything


class Model(nn.Module):
    """Encode a source once, start a hypothesis, decode any number of target positions from any state.

    Memory and state are nested tuples of batch-first tensors: search repeats, drops and reorders them without knowing
    what is inside. Decoding T tokens at once equals decoding them in pieces.
    """

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> State:
        """The memory of a source: all that is computed once a sentence."""
        raise NotImplementedError

    def start(self, memory: State) -> State:
        """The state before the first target word."""
        raise NotImplementedError

    def decode(self, token_BT: Tensor, memory: State, state: State) -> tuple[Trace, State]:
        """The trace of the words that follow ``token_BT`` (its first is the beginning of the sentence).

        The memory of N sentences serves N × K hypotheses, those of a sentence next to each other; what the trace tells
        of a source stands there once a sentence.
        """
        raise NotImplementedError

    def tabulated(self, words: int) -> Model:
        """The same model, with its present weights and out of training, prepared to decode this many target words one
        by one; itself where nothing is worth preparing."""
        return self

    def forward(self, source_BS: Tensor, valid_BS: Tensor, input_BT: Tensor) -> Trace:
        """The trace of whole given targets: what scoring and forced alignment read."""
        return self.say(input_BT, self.encode(source_BS, valid_BS))

    def say(self, input_BT: Tensor, memory: State) -> Trace:
        """The same of what is encoded already: what training reads. Its attention may know more than a search's."""
        trace, _ = self.decode(input_BT, memory, self.start(memory))
        return trace

    def head_weights(self, source_BS: Tensor, valid_BS: Tensor, input_BT: Tensor) -> Tensor:
        """Where every head of every layer looks while whole given targets are said, (B, L, H, T, S): what a trace could
        tell. Of a model that has no such choice it is what the trace does tell, L and H being 1."""
        trace: Trace = self(source_BS, valid_BS, input_BT)
        return trace.weight_BTS[:, None, None]

    @torch.no_grad()
    def predict(self, input_BT: Tensor, memory: State) -> Trace:
        """The trace of whole given targets as it is out of training, even in it: no dropout, no sampling, no gradient.

        What is encoded already stays as it is."""
        with modes_kept(self):
            self.eval()
            return self.say(input_BT, memory)


class Encoded(NamedTuple):
    """The encoder's memory with what the attention computed from it."""

    memory: Memory
    keys: Keys


class EncoderDecoder(Model):
    """A model of an encoder and a decoder with attention."""

    def __init__(
        self,
        encoder: RecurrentEncoder | TransformerEncoder,
        decoder: RecurrentDecoder | TransformerDecoder | Tabulated,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> State:
        memory: Memory = self.encoder(source_BS, valid_BS)
        return Encoded(memory, self.decoder.precompute(memory))

    def start(self, memory: State) -> State:
        return self.decoder.start(memory.memory)

    def decode(self, token_BT: Tensor, memory: State, state: State) -> tuple[Trace, State]:
        logit_BTV, seen, state = self.decoder(token_BT, memory.memory, memory.keys, state)
        fertility_BS = self.decoder.fertilities(memory.keys, memory.memory.valid_BS)
        fertility_BS = fertility_BS.to(memory.memory.value_BSE.dtype)
        return Trace(logit_BTV, seen.weight_BTS, seen.choice_BT, seen.context_BTE, fertility_BS), state

    def tabulated(self, words: int) -> Model:
        # A table is as many products as the vocabulary has words; a Transformer has none to make.
        if not isinstance(self.decoder, RecurrentDecoder) or words < self.decoder.embedding.num_embeddings:
            return self
        return EncoderDecoder(self.encoder, Tabulated(self.decoder))

    def say(self, input_BT: Tensor, memory: State) -> Trace:
        trace = super().say(input_BT, memory)
        if not isinstance(self.decoder, TransformerDecoder) or not self.decoder.shows_whole:
            return trace
        return trace._replace(
            weight_BTS=self.decoder.whole_weights(input_BT, memory.keys, self.decoder.start(memory.memory))
        )

    def head_weights(self, source_BS: Tensor, valid_BS: Tensor, input_BT: Tensor) -> Tensor:
        if not isinstance(self.decoder, TransformerDecoder):
            return super().head_weights(source_BS, valid_BS, input_BT)
        memory = self.encode(source_BS, valid_BS)
        return self.decoder.weights(input_BT, memory.keys, self.start(memory))


def _kind(settings: Any) -> str:
    """A recipe that names no kind means recurrent cells, or the kind of the settings it is made with."""
    kind = (
        settings.get("kind", "recurrent") if isinstance(settings, Mapping) else getattr(settings, "kind", "recurrent")
    )
    return str(kind)


ModelSettings = Annotated[
    Annotated[RecurrentSettings, Tag("recurrent")]
    | Annotated[TransformerSettings, Tag("transformer")]
    | Annotated[MixedSettings, Tag("mixed")],
    Discriminator(
        _kind,
        custom_error_type="unknown_model",
        custom_error_message='unknown kind of model; choose "recurrent", "transformer" or "mixed"',
    ),
]

BuiltFrom = RecurrentSettings | TransformerSettings | MixedSettings

# What makes each side, from its settings; a decoder is also told the size of the memory.
ENCODERS: dict[str, Callable[..., RecurrentEncoder | TransformerEncoder]] = {
    "recurrent": recurrent_encoder,
    "transformer": TransformerEncoder,
}
DECODERS: dict[str, Callable[..., RecurrentDecoder | TransformerDecoder]] = {
    "recurrent": recurrent_decoder,
    "transformer": TransformerDecoder,
}


def build_model(settings: BuiltFrom, source_words: int, target_words: int) -> EncoderDecoder:
    """A model with freshly drawn weights (from torch's random generator) for vocabularies of these sizes.

    Raises ``ValueError`` when one embedding is to serve vocabularies of two sizes.
    """
    if settings.tie == "all" and source_words != target_words:
        raise ValueError(
            f'tie "all" needs one vocabulary for both sides: {source_words} source words, {target_words} target words'
        )
    encoder = ENCODERS[settings.encoder.kind](settings.encoder, source_words)
    decoder = DECODERS[settings.decoder.kind](settings.decoder, encoder.memory_size, target_words)
    model = EncoderDecoder(encoder, decoder)
    INITIALISATIONS[settings.initialisation](model)
    for module in model.modules():
        if isinstance(module, Cell):
            module.initialise()
    if settings.tie != "none":
        decoder.output.weight = decoder.embedding.weight
    if settings.tie == "all":
        encoder.embedding.weight = decoder.embedding.weight
    return model


def with_shown(settings: BuiltFrom, shown: Shown) -> BuiltFrom:
    """The settings of the same model, with the same weights, whose trace tells of another layer or head.

    Raises ``ValueError`` where the decoder has no layers of attention to choose from, or not these.
    """
    if not isinstance(settings.decoder, TransformerDecoderSettings):
        raise ValueError("which layer and head is shown can be chosen where the decoder is a Transformer's alone")
    if isinstance(settings, MixedSettings):
        decoder = settings.decoder.model_copy(update={"shown": shown})
        return MixedSettings.model_validate({**dict(settings), "decoder": decoder})
    return TransformerSettings.model_validate({**dict(settings), "shown": shown})
