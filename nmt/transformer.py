"""The Transformer of Vaswani et al. 2017: an encoder, and a decoder that looks at the source by any
:class:`~nmt.attention.Attention` whose looks need not know of each other.

Shapes: B batch (or hypotheses), T target positions, S source positions, D embedding size and that of all that layers
read and give, H heads, P target positions so far, K size of a head, E memory or context size, L layers, V vocabulary
size; X is T or S.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from nmt.attention import Glance, Memory
from nmt.attention.base import Keys
from nmt.cells import Dropout
from nmt.positions import Positions
from nmt.sublayers import (
    FEED_FORWARDS,
    NORMS,
    CrossAttention,
    Layers,
    Past,
    SelfAttention,
    TransformerDecoderSettings,
    TransformerEncoderSettings,
)
from nmt.tree import State
from nmt.vocabulary import PAD


class Embedded(nn.Module):
    """√D E[w] with positions (Vaswani et al. 2017, sections 3.4 and 3.5), and dropout."""

    def __init__(self, settings: Layers) -> None:
        super().__init__()
        self.scale = settings.embedding**0.5
        self.positions, self.dropout = settings.make_positions(), Dropout(settings.dropout.embedding)

    def forward(self, embedding: nn.Embedding, word_BX: Tensor, place_BX: Tensor) -> Tensor:
        x_BXD: Tensor = self.dropout(self.positions.add(embedding(word_BX) * self.scale, place_BX))
        return x_BXD


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, settings: Layers) -> None:
        super().__init__()
        norm = NORMS[settings.norm]
        self.itself, self.around_itself = SelfAttention(settings), norm(settings)
        self.feed_forward, self.around_feed_forward = FEED_FORWARDS[settings.feed_forward](settings), norm(settings)

    def forward(self, x_BSD: Tensor, place_BS: Tensor, valid_BS: Tensor, positions: Positions) -> Tensor:
        seen_BSD = self.itself.among(self.around_itself.read(x_BSD), place_BS, valid_BS, positions)
        x_BSD = self.around_itself.add(x_BSD, seen_BSD)
        return self.around_feed_forward.add(x_BSD, self.feed_forward(self.around_feed_forward.read(x_BSD)))


class TransformerEncoder(nn.Module):
    """From source words to the memory. Padding has no place: the first word's is 0, wherever it stands."""

    def __init__(self, settings: TransformerEncoderSettings, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, settings.embedding, padding_idx=PAD)
        self.embedded = Embedded(settings)
        self.layers = nn.ModuleList(EncoderLayer(settings) for _ in range(settings.layers))
        self.last = NORMS[settings.norm].last(settings)
        self.memory_size = settings.embedding

    def forward(self, source_BS: Tensor, valid_BS: Tensor) -> Memory:
        place_BS = (valid_BS.cumsum(dim=1) - 1).clamp(min=0)
        x_BSD = self.embedded(self.embedding, source_BS, place_BS)
        for layer in self.layers:
            x_BSD = layer(x_BSD, place_BS, valid_BS, self.embedded.positions)
        return Memory(self.last(x_BSD), valid_BS)


class Look(NamedTuple):
    """A layer's look at the source: with what, and what it gave."""

    query_BTD: Tensor
    glance: Glance


class DecoderLayer(nn.Module):
    """Self-attention to the words before, attention to the source, then feed-forward."""

    def __init__(self, settings: TransformerDecoderSettings, memory_size: int) -> None:
        super().__init__()
        norm = NORMS[settings.norm]
        self.itself, self.around_itself = SelfAttention(settings), norm(settings)
        self.source = CrossAttention(settings.make_attention(memory_size), settings.embedding)
        self.around_source = norm(settings)
        self.feed_forward, self.around_feed_forward = FEED_FORWARDS[settings.feed_forward](settings), norm(settings)

    def forward(
        self,
        x_BTD: Tensor,
        place_BT: Tensor,
        past: Past,
        keys: Keys,
        attended: State,
        positions: Positions,
        whole_BT: Tensor | None,
    ) -> tuple[Tensor, Look, Past]:
        """Of the words before, or, where it is told which words there are, of the ``whole`` target."""
        read_BTD = self.around_itself.read(x_BTD)
        if whole_BT is None:
            seen_BTD, past = self.itself.after(read_BTD, place_BT, past, positions)
        else:
            seen_BTD = self.itself.among(read_BTD, place_BT, whole_BT, positions)
        x_BTD = self.around_itself.add(x_BTD, seen_BTD)
        query_BTD = self.around_source.read(x_BTD)
        seen_BTD, glance = self.source(query_BTD, keys, attended)
        x_BTD = self.around_source.add(x_BTD, seen_BTD)
        x_BTD = self.around_feed_forward.add(x_BTD, self.feed_forward(self.around_feed_forward.read(x_BTD)))
        return x_BTD, Look(query_BTD, glance), past


class TransformerState(NamedTuple):
    """Everything that a hypothesis remembers."""

    place_B: Tensor  # the place of the word that comes next
    past: tuple[Past, ...]  # of every layer
    attended: tuple[State, ...]  # the attention's, of every layer


class TransformerDecoder(nn.Module):
    """Embeddings, layers and output layer. ``forward`` runs any number of target positions from any state."""

    expects: Literal["nothing"] = "nothing"  # what expects a fertility is sequential

    def __init__(self, settings: TransformerDecoderSettings, memory_size: int, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, settings.embedding, padding_idx=PAD)
        self.embedded = Embedded(settings)
        self.layers = nn.ModuleList(DecoderLayer(settings, memory_size) for _ in range(settings.layers))
        self.last = NORMS[settings.norm].last(settings)
        self.output = nn.Linear(settings.embedding, words)
        self.heads, self.head_size = settings.heads, settings.embedding // settings.heads
        layer, head = settings.shown.layer, settings.shown.head
        self.shows_whole = settings.shown.context == "whole"
        numbers = range(settings.layers)
        self.shown_layers = numbers if layer == "mean" else numbers[-1:] if layer == "last" else [layer - 1]
        self.shown_head = None if head == "mean" else head - 1

    def precompute(self, memory: Memory) -> tuple[Keys, ...]:
        """What every layer's attention computes once a sentence."""
        return tuple(layer.source.attention.precompute(memory) for layer in self._layers())

    def fertilities(self, keys: tuple[Keys, ...], valid_BS: Tensor) -> Tensor:
        """1 (B, S): no attention expects anything here."""
        return torch.ones(valid_BS.shape, device=valid_BS.device)

    def start(self, memory: Memory) -> TransformerState:
        """The state before the first target word."""
        value_BSE, valid_BS = memory
        nothing_BHPK = value_BSE.new_zeros(len(value_BSE), self.heads, 0, self.head_size)
        return TransformerState(
            torch.zeros(len(value_BSE), dtype=torch.long, device=value_BSE.device),
            tuple(Past(nothing_BHPK, nothing_BHPK) for _ in self.layers),
            tuple(layer.source.attention.start(valid_BS) for layer in self._layers()),
        )

    def forward(
        self, token_BT: Tensor, memory: Memory, keys: tuple[Keys, ...], state: TransformerState
    ) -> tuple[Tensor, Glance, TransformerState]:
        """Logits (B, T, V) of the words after ``token_BT``, what was seen at each, and the state after the last.

        What was seen is that of the layer, or the mean of the layers, that the settings show; what was chosen is of all
        of them.
        """
        x_BTD, looks, after = self._run(token_BT, keys, state)
        seen = Glance(
            _mean([looks[number].glance.context_BTE for number in self.shown_layers]),
            self._shown_weights(looks, keys, state),
            torch.stack([look.glance.choice_BT for look in looks]).sum(dim=0),
        )
        return self.output(self.last(x_BTD)), seen, after

    def whole_weights(self, token_BT: Tensor, keys: tuple[Keys, ...], state: TransformerState) -> Tensor:
        """Where the layer and head that are shown look, (B, T, S), when all words of the target are known to them."""
        _, looks, _ = self._run(token_BT, keys, state, token_BT != PAD)
        return self._shown_weights(looks, keys, state)

    def _shown_weights(self, looks: list[Look], keys: tuple[Keys, ...], state: TransformerState) -> Tensor:
        shown = [looks[number] for number in self.shown_layers]
        if self.shown_head is None:
            return _mean([look.glance.weight_BTS for look in shown])
        return _mean(
            [
                self._layers()[number].source.head_weights(look.query_BTD, keys[number], state.attended[number])[
                    :, self.shown_head
                ]
                for number, look in zip(self.shown_layers, shown, strict=True)
            ]
        )

    def weights(self, token_BT: Tensor, keys: tuple[Keys, ...], state: TransformerState) -> Tensor:
        """Where every head of every layer looks, (B, L, H, T, S): all that could be shown, in the same context."""
        _, looks, _ = self._run(token_BT, keys, state, token_BT != PAD if self.shows_whole else None)
        parts = zip(self._layers(), looks, keys, state.attended, strict=True)
        return torch.stack([layer.source.head_weights(look.query_BTD, *rest) for layer, look, *rest in parts], dim=1)

    def _layers(self) -> list[DecoderLayer]:
        return cast(list[DecoderLayer], list(self.layers))

    def _run(
        self, token_BT: Tensor, keys: tuple[Keys, ...], state: TransformerState, whole_BT: Tensor | None = None
    ) -> tuple[Tensor, list[Look], TransformerState]:
        length = token_BT.shape[1]
        place_BT = state.place_B.unsqueeze(1) + torch.arange(length, device=token_BT.device)
        x_BTD = self.embedded(self.embedding, token_BT, place_BT)
        looks, pasts = [], []
        for layer, *rest in zip(self._layers(), state.past, keys, state.attended, strict=True):
            x_BTD, look, past = layer(x_BTD, place_BT, *rest, self.embedded.positions, whole_BT)
            looks.append(look)
            pasts.append(past)
        return x_BTD, looks, TransformerState(state.place_B + length, tuple(pasts), state.attended)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(parts)).mean(dim=0) if len(parts) > 1 else parts[0]
