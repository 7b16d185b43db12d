"""The parts of a Transformer's layers, and its settings: attention to itself and to the source, feed-forward, norms.

Shapes: B batch (or hypotheses), T target positions, S source positions, P target positions so far, D embedding size and
that of all that layers read and give, H heads, K size of a head, E context size, F size within feed-forward layers;
X is T or S.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from nmt.attention import ATTENTIONS, Attention, Glance
from nmt.attention.base import Keys, Rate, Size
from nmt.cells import Dropout
from nmt.initialisation import Initialisation
from nmt.positions import POSITIONS, Positions
from nmt.settings import Choice, Settings, choice
from nmt.tree import State, map_tensors, rows


class TransformerDropout(Settings):
    """Where dropout acts, and how much; Vaswani et al. have 0.1 on embeddings and layers."""

    embedding: Rate = 0.0  # on the embeddings of both sides, positions added
    layer: Rate = 0.0  # on what each part of a layer adds
    attention: Rate = 0.0  # on the weights of self-attention; attention to the source has a setting of its own
    feed_forward: Rate = 0.0  # within the feed-forward layers


class Shown(Settings):
    """Which of the decoder's looks at the source a trace tells of; layers and heads count from 1, the first.

    With ``context`` whole the trace of a given target tells where the layer looks when it knows all words of the
    target, the later ones too, which takes a second pass of the decoder; words are predicted from those before all the
    same (Garg et al. 2019; fairseq's ``--full-context-alignment``). Search knows no later words, and tells the other.
    """

    layer: Size | Literal["last", "mean"] = "last"
    head: Size | Literal["mean"] = "mean"
    context: Literal["before", "whole"] = "before"


class Layers(Settings):
    """What both sides of a Transformer have."""

    kind: Literal["transformer"] = "transformer"
    embedding: Size = 256  # of words, and of all that layers read and give
    hidden: Size | None = None  # within the feed-forward layers; null: four times the embedding
    heads: Size = 4  # of self-attention
    norm: Literal["pre", "post"] = "pre"  # of what a part reads, or of what it has added to
    positions: Annotated[Choice, choice(POSITIONS, "sinusoidal")] = Choice("sinusoidal")
    feed_forward: Literal["relu", "gelu", "swiglu"] = "relu"
    dropout: TransformerDropout = TransformerDropout()

    @field_validator("heads")
    @classmethod
    def _heads_share(cls, heads: int, info: ValidationInfo) -> int:
        if (size := info.data.get("embedding")) and size % heads:
            raise ValueError(f"{heads} heads cannot share the embedding's size {size} evenly; choose a divisor of it")
        return heads

    @field_validator("positions")
    @classmethod
    def _positions_can_be_made(cls, positions: Choice, info: ValidationInfo) -> Choice:
        """Made once without weights: its own ``ValueError`` tells sizes that cannot be."""
        if "heads" in info.data and "embedding" in info.data:
            with torch.device("meta"):
                positions.build(POSITIONS, info.data["embedding"], info.data["embedding"] // info.data["heads"])
        return positions

    def make_positions(self) -> Positions:
        """What tells one side's words their places."""
        made: Positions = self.positions.build(POSITIONS, self.embedding, self.embedding // self.heads)
        return made

    @property
    def inner(self) -> int:
        """The size within the feed-forward layers."""
        return self.hidden or 4 * self.embedding


class TransformerEncoderSettings(Layers):
    """A Transformer's encoder (see :mod:`nmt.transformer`)."""

    layers: Size = 3

    @property
    def memory_size(self) -> int:
        """The size of what it tells of each source position."""
        return self.embedding


class TransformerDecoderSettings(Layers):
    """A Transformer's decoder (see :mod:`nmt.transformer`)."""

    layers: Size = 3
    attention: Annotated[Choice, choice(ATTENTIONS, "multi-head")] | None = None  # null: multi-head, as many heads
    shown: Shown = Shown()

    def make_attention(self, memory_size: int) -> Attention:
        """The attention of one layer to a memory of this size."""
        default = {"kind": "multi-head", "heads": self.heads, "size": self.embedding}
        chosen = self.attention or choice(ATTENTIONS).validate(default)
        made: Attention = chosen.build(ATTENTIONS, self.embedding, memory_size)
        return made

    def check(self, memory_size: int) -> None:
        """Raises ``ValueError`` where attention cannot be as it is chosen, or what is to be shown does not exist."""
        with torch.device("meta"):
            heads = CrossAttention(self.make_attention(memory_size), self.embedding).attention.heads
        for part, shown, last in (("layer", self.shown.layer, self.layers), ("head", self.shown.head, heads)):
            if isinstance(shown, int) and shown > last:
                raise ValueError(f"shown.{part} is {shown}, but the decoder's attention has {last}; count from 1")

    def check_tie(self, tie: str) -> None:
        """The output layer always has the size of the embedding."""


class TransformerSettings(Layers):
    """A Transformer (see :mod:`nmt.transformer`)."""

    encoder_layers: Size = 3
    decoder_layers: Size = 3
    attention: Annotated[Choice, choice(ATTENTIONS, "multi-head")] | None = None  # null: multi-head, as many heads
    shown: Shown = Shown()
    tie: Literal["none", "target", "all"] = "none"  # target: output layer = target embedding; all: = source's too
    initialisation: Initialisation = "default"

    @field_validator("attention")
    @classmethod
    def _attention_can_be_made(cls, attention: Choice | None, info: ValidationInfo) -> Choice | None:
        if attention and (size := info.data.get("embedding")):
            with torch.device("meta"):
                CrossAttention(attention.build(ATTENTIONS, size, size), size)
        return attention

    @model_validator(mode="after")
    def _what_is_shown_exists(self) -> Self:
        self.decoder.check(self.encoder.memory_size)
        return self

    @property
    def encoder(self) -> TransformerEncoderSettings:
        """The encoder's part."""
        return TransformerEncoderSettings(**self._of_both(), layers=self.encoder_layers)

    @property
    def decoder(self) -> TransformerDecoderSettings:
        """The decoder's part."""
        return TransformerDecoderSettings(
            **self._of_both(), layers=self.decoder_layers, attention=self.attention, shown=self.shown
        )

    def _of_both(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in Layers.model_fields}


# ----------------------------------------------------------------------------------------------- parts of a layer


class FeedForward(nn.Module):
    """W_2 max(0, W_1 x + b_1) + b_2 (Vaswani et al. 2017, equation 2)."""

    def __init__(self, settings: Layers) -> None:
        super().__init__()
        self.widen = nn.Linear(settings.embedding, settings.inner)  # W_1
        self.narrow = nn.Linear(settings.inner, settings.embedding)  # W_2
        self.dropout = Dropout(settings.dropout.feed_forward)

    def activate(self, x_BXD: Tensor) -> Tensor:
        """What stands within the layer, (B, X, F)."""
        return torch.relu(self.widen(x_BXD))

    def forward(self, x_BXD: Tensor) -> Tensor:
        change_BXD: Tensor = self.narrow(self.dropout(self.activate(x_BXD)))
        return change_BXD


class GeluFeedForward(FeedForward):
    """W_2 GELU(W_1 x + b_1) + b_2, GELU(x) = x Φ(x), Φ the normal distribution's (Hendrycks and Gimpel 2016)."""

    def activate(self, x_BXD: Tensor) -> Tensor:
        return F.gelu(self.widen(x_BXD))


class SwigluFeedForward(FeedForward):
    """W_2 (SiLU(W_g x + b_g) ⊙ (W_1 x + b_1)) + b_2, SiLU(x) = x σ(x) (Shazeer 2020, who has no biases; not verified
    against the paper). Half as many weights again as the others of this size."""

    def __init__(self, settings: Layers) -> None:
        super().__init__(settings)
        self.gate = nn.Linear(settings.embedding, settings.inner)  # W_g

    def activate(self, x_BXD: Tensor) -> Tensor:
        activated_BXF: Tensor = F.silu(self.gate(x_BXD)) * self.widen(x_BXD)
        return activated_BXF


FEED_FORWARDS = {"relu": FeedForward, "gelu": GeluFeedForward, "swiglu": SwigluFeedForward}


class PostNorm(nn.Module):
    """x becomes LayerNorm(x + part(x)) (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, settings: Layers) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(settings.embedding), Dropout(settings.dropout.layer)

    def read(self, x_BXD: Tensor) -> Tensor:
        """What the part reads."""
        return x_BXD

    def add(self, x_BXD: Tensor, change_BXD: Tensor) -> Tensor:
        """x with what the part gave."""
        added_BXD: Tensor = self.norm(x_BXD + self.dropout(change_BXD))
        return added_BXD

    @staticmethod
    def last(settings: Layers) -> nn.Module:
        """What comes after the last layer."""
        return nn.Identity()


class PreNorm(PostNorm):
    """x becomes x + part(LayerNorm(x)), and the last x is normed once more (Xiong et al. 2020; not verified against the
    paper). Learns without a long warm-up."""

    def read(self, x_BXD: Tensor) -> Tensor:
        normed_BXD: Tensor = self.norm(x_BXD)
        return normed_BXD

    def add(self, x_BXD: Tensor, change_BXD: Tensor) -> Tensor:
        added_BXD: Tensor = x_BXD + self.dropout(change_BXD)
        return added_BXD

    @staticmethod
    def last(settings: Layers) -> nn.Module:
        return nn.LayerNorm(settings.embedding)


NORMS = {"pre": PreNorm, "post": PostNorm}


class Past(NamedTuple):
    """Keys and values of the target positions so far, in one layer."""

    key_BHPK: Tensor
    value_BHPK: Tensor


class SelfAttention(nn.Module):
    """Multi-head attention of a sentence to itself (Vaswani et al. 2017, section 3.2.2), without biases, as
    :class:`~nmt.attention.MultiHead`; by torch's fused kernel, for nobody reads its weights; on a CPU torch
    has none with dropout."""

    def __init__(self, settings: Layers) -> None:
        super().__init__()
        size = settings.embedding
        self.heads, self.dropout = settings.heads, settings.dropout.attention
        self.query = nn.Linear(size, size, bias=False)  # W_q
        self.key = nn.Linear(size, size, bias=False)  # W_k
        self.value = nn.Linear(size, size, bias=False)  # W_v
        self.output = nn.Linear(size, size, bias=False)  # W_o

    def among(self, x_BSD: Tensor, place_BS: Tensor, valid_BS: Tensor, positions: Positions) -> Tensor:
        """Every position sees all valid ones."""
        return self._attend(*self._projected(x_BSD, place_BS, positions), valid_BS[:, None, None, :])

    def after(self, x_BTD: Tensor, place_BT: Tensor, past: Past, positions: Positions) -> tuple[Tensor, Past]:
        """Every position sees itself and those before; the past with them in it."""
        query_BHTK, key_BHTK, value_BHTK = self._projected(x_BTD, place_BT, positions)
        past = Past(
            torch.cat([past.key_BHPK.to(key_BHTK.dtype), key_BHTK], dim=2),
            torch.cat([past.value_BHPK.to(value_BHTK.dtype), value_BHTK], dim=2),
        )
        new, known = query_BHTK.shape[2], past.key_BHPK.shape[2]
        seen_TP = torch.ones(new, known, dtype=torch.bool, device=x_BTD.device).tril(known - new)
        return self._attend(query_BHTK, *past, seen_TP), past

    def _projected(self, x_BXD: Tensor, place_BX: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (
            torch.unflatten(product(x_BXD), -1, (self.heads, -1)).transpose(1, 2)
            for product in (self.query, self.key, self.value)
        )
        return positions.turn(query, place_BX), positions.turn(key, place_BX), value

    def _attend(self, query_BHXK: Tensor, key_BHPK: Tensor, value_BHPK: Tensor, seen: Tensor) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        head_BHXK = F.scaled_dot_product_attention(query_BHXK, key_BHPK, value_BHPK, attn_mask=seen, dropout_p=dropout)
        change_BXD: Tensor = self.output(head_BHXK.transpose(1, 2).flatten(2))
        return change_BXD


class CrossAttention(nn.Module):
    """A layer's look at the source. What is seen is added as it is where it has the size for that, else projected.

    Raises ``ValueError`` for an attention that is sequential.
    """

    def __init__(self, attention: Attention, size: int) -> None:
        super().__init__()
        if attention.sequential:
            raise ValueError(
                f"{type(attention).__name__} needs the outcome of the look before, but a Transformer decodes all "
                'positions of a layer at once; choose an attention without coverage, such as "multi-head" or "gatt", '
                "or a recurrent model"
            )
        self.attention = attention
        same = attention.context_size == size
        self.project = nn.Identity() if same else nn.Linear(attention.context_size, size, bias=False)

    def forward(self, query_BTD: Tensor, keys: Keys, attended: State) -> tuple[Tensor, Glance]:
        """What is added to x (B, T, D), and what was seen. In search the hypotheses of a sentence, next to each other,
        share its keys: their queries are those of one look."""
        hypotheses = len(query_BTD) // rows(keys)
        shared = map_tensors(lambda one: one[::hypotheses], attended)
        glance, _ = self.attention.step(_gathered(query_BTD, hypotheses), keys, shared)
        glance = Glance(*(torch.unflatten(part, 1, (hypotheses, -1)).flatten(0, 1) for part in glance))
        return self.project(glance.context_BTE), glance

    def head_weights(self, query_BTD: Tensor, keys: Keys, attended: State) -> Tensor:
        """Where each head looks for these queries, (B, H, T, S)."""
        hypotheses = len(query_BTD) // rows(keys)
        shared = map_tensors(lambda one: one[::hypotheses], attended)
        weight_BHTS = self.attention.head_weights(_gathered(query_BTD, hypotheses), keys, shared)
        return torch.unflatten(weight_BHTS, 2, (hypotheses, -1)).transpose(1, 2).flatten(0, 1)


def _gathered(query_BTD: Tensor, hypotheses: int) -> Tensor:
    """The queries of a sentence's hypotheses in one row, those of the first hypothesis first."""
    return torch.unflatten(query_BTD, 0, (-1, hypotheses)).flatten(1, 2)
