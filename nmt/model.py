"""The model: what training, search and analysis know of a translation system.

Shapes: B batch (or hypotheses), T target positions, S source positions, E context size, V target vocabulary size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

import torch
from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from nmt.attention import ATTENTIONS, Attention, Memory
from nmt.attention.base import Keys
from nmt.cells import CELLS, DROPOUTS, Cell, Residual, Stacked, StateDropout, Unit
from nmt.decoder import OUTPUTS, STARTS, WIRINGS, RecurrentDecoder
from nmt.encoder import RecurrentEncoder
from nmt.layers import READOUTS, modes_kept
from nmt.settings import Choice, Settings, choice
from nmt.sublayers import TransformerSettings
from nmt.transformer import TransformerDecoder, TransformerEncoder
from nmt.tree import State
from nmt.vocabulary import PAD

Size = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


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

    def forward(self, source_BS: Tensor, valid_BS: Tensor, input_BT: Tensor) -> Trace:
        """The trace of whole given targets: what training, scoring and forced alignment read."""
        memory = self.encode(source_BS, valid_BS)
        trace, _ = self.decode(input_BT, memory, self.start(memory))
        return trace

    @torch.no_grad()
    def predict(self, input_BT: Tensor, memory: State) -> Trace:
        """The trace of whole given targets as it is out of training, even in it: no dropout, no sampling, no gradient.

        What is encoded already stays as it is."""
        with modes_kept(self):
            self.eval()
            trace, _ = self.decode(input_BT, memory, self.start(memory))
        return trace


class Encoded(NamedTuple):
    """The encoder's memory with what the attention computed from it."""

    memory: Memory
    keys: Keys


class EncoderDecoder(Model):
    """A model of an encoder and a decoder with attention."""

    def __init__(
        self, encoder: RecurrentEncoder | TransformerEncoder, decoder: RecurrentDecoder | TransformerDecoder
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


class Dropout(Settings):
    """Where dropout acts, and how much."""

    embedding: Rate = 0.0  # on the embeddings of both sides
    layer: Rate = 0.0  # between the layers of encoder and decoder
    output: Rate = 0.0  # before the output layer
    state: Rate = 0.0  # on h where a cell's matrices read it: one mask for all positions of a sentence
    mask: Literal["position", "sentence"] = "position"  # for which embedding and layer draw one


class RecurrentSettings(Settings):
    """An encoder-decoder of recurrent cells (see :mod:`nmt.encoder`, :mod:`nmt.decoder`)."""

    kind: Literal["recurrent"] = "recurrent"
    embedding: Size = 256
    hidden: Size = 256
    encoder_hidden: Size | None = None  # of each direction of the encoder, whose memory is twice that; null: as hidden
    cell: Annotated[Choice, choice(CELLS, "gru")] = Choice("gru")
    encoder_layers: Size = 1
    decoder_layers: Size = 1
    residual: bool = False  # whether each layer but the first adds to what it reads
    attention: Annotated[Choice, choice(ATTENTIONS, "bahdanau")] = Choice("bahdanau")
    wiring: Literal["look-then-update", "conditional", "update-then-look", "unfed"] = "conditional"
    start: Literal["mean", "backward"] = "mean"
    readout: Literal["tanh", "maxout", "direct"] = "tanh"
    readout_size: Size | None = None  # null: the embedding's; for a direct readout, the hidden size
    output: Literal["expectation", "marginal"] = "expectation"  # words from the context, or from each source position
    tie: Literal["none", "target", "all"] = "none"  # target: output layer = target embedding; all: = source's too
    dropout: Dropout = Dropout()
    initialisation: Literal["default", "normal"] = "default"  # normal: N(0, 0.01²), square matrices orthogonal

    @field_validator("attention")
    @classmethod
    def _attention_can_be_made(cls, attention: Choice, info: ValidationInfo) -> Choice:
        """Made once without weights: its own ``ValueError`` tells a nest or sizes that cannot be."""
        if (hidden := info.data.get("hidden")) and "encoder_hidden" in info.data:
            with torch.device("meta"):
                attention.build(ATTENTIONS, hidden, 2 * (info.data["encoder_hidden"] or hidden))
        return attention

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
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
        if self.output == "marginal":
            if WIRINGS[self.wiring].feeds:
                raise ValueError(
                    f'output "marginal" is exact only where no state reads the context, as the wiring "{self.wiring}" '
                    'does; choose the wiring "unfed"'
                )
            if not self._attention_without_weights().sums_memory:
                raise ValueError(
                    'output "marginal" needs an attention whose context is a weighted sum of the memory, which '
                    f'"{self.attention.kind}" is not; choose another attention, or the output "expectation"'
                )
        if self.tie != "none" and self.readout_width != self.embedding:
            raise ValueError(
                f'tie "{self.tie}" needs a readout as wide as the embedding: '
                f"{self.readout_width} is not {self.embedding}"
            )
        return self

    def _attention_without_weights(self) -> Attention:
        with torch.device("meta"):
            made: Attention = self.attention.build(ATTENTIONS, self.hidden, 2 * (self.encoder_hidden or self.hidden))
        return made

    @property
    def readout_width(self) -> int:
        """The size of what the output layer reads."""
        return self.readout_size or (self.hidden if self.readout == "direct" else self.embedding)


def _kind(settings: Any) -> str:
    """A recipe that names no kind means recurrent cells, or the kind of the settings it is made with."""
    kind = (
        settings.get("kind", "recurrent") if isinstance(settings, Mapping) else getattr(settings, "kind", "recurrent")
    )
    return str(kind)


ModelSettings = Annotated[
    Annotated[RecurrentSettings, Tag("recurrent")] | Annotated[TransformerSettings, Tag("transformer")],
    Discriminator(
        _kind,
        custom_error_type="unknown_model",
        custom_error_message='unknown kind of model; choose "recurrent" or "transformer"',
    ),
]


def build_model(
    settings: RecurrentSettings | TransformerSettings, source_words: int, target_words: int
) -> EncoderDecoder:
    """A model with freshly drawn weights (from torch's random generator) for vocabularies of these sizes.

    Raises ``ValueError`` when one embedding is to serve vocabularies of two sizes.
    """
    if settings.tie == "all" and source_words != target_words:
        raise ValueError(
            f'tie "all" needs one vocabulary for both sides: {source_words} source words, {target_words} target words'
        )
    if isinstance(settings, TransformerSettings):
        encoder = TransformerEncoder(settings, source_words)
        model = EncoderDecoder(encoder, TransformerDecoder(settings, encoder.memory_size, target_words))
    else:
        model = _recurrent(settings, source_words, target_words)
    INITIALISATIONS[settings.initialisation](model)
    for module in model.modules():
        if isinstance(module, Cell):
            module.initialise()
    if settings.tie != "none":
        model.decoder.output.weight = model.decoder.embedding.weight
    if settings.tie == "all":
        model.encoder.embedding.weight = model.decoder.embedding.weight
    return model


def _recurrent(settings: RecurrentSettings, source_words: int, target_words: int) -> EncoderDecoder:
    dropout = DROPOUTS[settings.dropout.mask]

    def make_cell(input_size: int, hidden_size: int) -> Cell:
        unit: Unit = settings.cell.build(CELLS, input_size, hidden_size)
        return StateDropout(unit, settings.dropout.state) if settings.dropout.state else unit

    def make_stack(input_size: int, layers: int) -> Stacked:
        sizes = [input_size] + [settings.hidden] * (layers - 1)
        make = Residual if settings.residual else Stacked
        return make((make_cell(size, settings.hidden) for size in sizes), dropout(settings.dropout.layer))

    source_embedding = nn.Embedding(source_words, settings.embedding, padding_idx=PAD)
    encoder = RecurrentEncoder(
        source_embedding,
        make_cell,
        settings.encoder_hidden or settings.hidden,
        settings.encoder_layers,
        residual=settings.residual,
        dropout=dropout,
        embedding_dropout=settings.dropout.embedding,
        layer_dropout=settings.dropout.layer,
    )
    attention: Attention = settings.attention.build(ATTENTIONS, settings.hidden, encoder.memory_size)
    wiring = WIRINGS[settings.wiring](make_stack, settings.decoder_layers, settings.embedding, attention)
    readout = READOUTS[settings.readout](
        wiring.output_size, settings.embedding, attention.context_size, settings.readout_width
    )
    target_embedding = nn.Embedding(target_words, settings.embedding, padding_idx=PAD)
    output = nn.Linear(settings.readout_width, target_words)
    decoder = OUTPUTS[settings.output](
        target_embedding,
        STARTS[settings.start](encoder.memory_size, settings.hidden),
        wiring,
        readout,
        output,
        dropout=dropout,
        embedding_dropout=settings.dropout.embedding,
        output_dropout=settings.dropout.output,
    )
    return EncoderDecoder(encoder, decoder)


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


INITIALISATIONS = {"default": initialise_default, "normal": initialise_normal}
