"""The recurrent decoder: its first state, the ways to wire cell and attention, and its output layer.

Shapes: B batch (or hypotheses), T target positions, S source positions, D embedding size, H hidden size,
E memory or context size, G size of a cell's input product, O output size of a wiring, V vocabulary size;
N real target positions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nmt.attention import Attention, Glance, Memory
from nmt.attention.base import Keys
from nmt.cells import Dropout, Stacked
from nmt.layers import Readout, at_least_float32
from nmt.loops import looping, project
from nmt.tree import State, map_tensors, rows
from nmt.vocabulary import PAD


class MeanStart(nn.Module):
    """s_0 = tanh(W mean(h)), the mean over the valid source positions (dl4mt)."""

    def __init__(self, memory_size: int, hidden_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(memory_size, hidden_size)

    def forward(self, memory: Memory) -> Tensor:
        valid_BS1 = memory.valid_BS.unsqueeze(-1)
        mean_BE = (memory.value_BSE * valid_BS1).sum(1) / valid_BS1.sum(1).clamp(min=1)
        # Autocast makes products coarse; the state they start keeps the precision of the memory.
        return torch.tanh(self.project(mean_BE)).to(memory.value_BSE.dtype)


class BackwardStart(nn.Module):
    """s_0 = tanh(W ←h_1), from the backward state of the first source word (Bahdanau et al. 2015, appendix A.2.2)."""

    def __init__(self, memory_size: int, hidden_size: int) -> None:
        super().__init__()
        self.project = nn.Linear(memory_size // 2, hidden_size)

    def forward(self, memory: Memory) -> Tensor:
        first_B = memory.valid_BS.int().argmax(dim=1)
        row_B = torch.arange(len(first_B), device=first_B.device)
        backward_BH = memory.value_BSE[row_B, first_B, memory.value_BSE.shape[-1] // 2 :]
        return torch.tanh(self.project(backward_BH)).to(memory.value_BSE.dtype)


STARTS: dict[str, type[MeanStart] | type[BackwardStart]] = {"mean": MeanStart, "backward": BackwardStart}


# Output (B, O), what was seen (T = 1), the cells' new state and the attention's.
Step = tuple[Tensor, Glance, State, State]
# Makes layers of cells: (input_size, layers) -> Stacked.
MakeStack = Callable[[int, int], Stacked]


class Wiring(nn.Module):
    """How a target position runs: when the cell steps, when the attention looks, and with which query.

    ``make_stack(input_size, layers)`` makes cells, ``layers`` is how many the decoder has, ``attention`` what it looks
    with. As in a cell, what needs no state (:meth:`inputs`) is apart from the step.
    """

    feeds: bool = True  # the state reads what was seen
    output_size: int

    def __init__(self, make_stack: MakeStack, layers: int, input_size: int, attention: Attention) -> None:
        super().__init__()
        self.cells, self.attention = make_stack(input_size, layers), attention
        self.output_size = self.cells.hidden_size

    @property
    def gate_size(self) -> int:
        """Rows of one gate's matrix in what a wiring adds to its cells' products."""
        return self.cells.gate_size

    def start(self, hidden_BH: Tensor) -> State:
        """The state whose hidden vectors are ``hidden_BH``."""
        return self.cells.start(hidden_BH)

    def inputs(self, embedded_BTD: Tensor) -> Tensor:
        """The part of the first product that the previous target words decide, for all T at once: (B, T, G)."""
        return self.cells.inputs(embedded_BTD)

    def step(self, product_BG: Tensor, keys: Keys, state: State, attended: State) -> Step:
        """One target position, from the product of :meth:`inputs` at that position."""
        raise NotImplementedError

    def look(self, query_BQ: Tensor, keys: Keys, attended: State) -> tuple[Glance, State]:
        """One look with one query a hypothesis. In search those of a sentence, next to each other, share its keys: they
        are several queries of one look."""
        hypotheses = len(query_BQ) // rows(keys)
        if hypotheses == 1:
            return self.attention.look(query_BQ.unsqueeze(1), keys, attended)
        query_NKQ = query_BQ.reshape(-1, hypotheses, query_BQ.shape[-1])
        if self.attention.sequential:
            glance, attended = self.attention.look(query_NKQ, keys, attended)
        else:  # all have the same state, which stays as it is
            glance, _ = self.attention.look(query_NKQ, keys, map_tensors(lambda one: one[::hypotheses], attended))
        return Glance(*(part.flatten(0, 1).unsqueeze(1) for part in glance)), attended


class LookThenUpdate(Wiring):
    """c_j = att(H, s_{j−1}); s_j = cell([E[y_{j−1}]; c_j], s_{j−1}) (Bahdanau et al. 2015, appendix A.2.2).

    With several layers, the query is the state of the top one."""

    def __init__(self, make_stack: MakeStack, layers: int, embedding_size: int, attention: Attention) -> None:
        super().__init__(make_stack, layers, embedding_size, attention)
        self.context = nn.Linear(attention.context_size, self.cells.product_size, bias=False)  # W's columns for c

    def step(self, product_BG: Tensor, keys: Keys, state: State, attended: State) -> Step:
        glance, attended = self.look(self.cells.read(state), keys, attended)
        output_BO, state = self.cells.advance(product_BG + project(self.context, glance.context_BTE[:, 0]), state)
        return output_BO, glance, state, attended


class Conditional(Wiring):
    """s' = cell1(E[y_{j−1}], s_{j−1}); c_j = att(H, s'); s_j = cell2(c_j, s') (dl4mt, session 3; the GAtt paper's).

    cell1 and cell2 hand one state to each other; further layers stand on cell2.
    """

    def __init__(self, make_stack: MakeStack, layers: int, embedding_size: int, attention: Attention) -> None:
        super().__init__(make_stack, layers, attention.context_size, attention)
        self.first = make_stack(embedding_size, 1)

    def inputs(self, embedded_BTD: Tensor) -> Tensor:
        return self.first.inputs(embedded_BTD)

    def step(self, product_BG: Tensor, keys: Keys, state: State, attended: State) -> Step:
        query_BQ, between = self.first.advance(product_BG, state[:1])
        glance, attended = self.look(query_BQ, keys, attended)
        output_BO, state = self.cells.step(glance.context_BTE[:, 0], (*between, *state[1:]))
        return output_BO, glance, state, attended


class UpdateThenLook(Wiring):
    """s_j = cell([E[y_{j−1}]; h̃_{j−1}], s_{j−1}); c_j = att(H, s_j); h̃_j = tanh(W_c [c_j; s_j]), h̃_0 = 0.

    The output h̃ is fed back: input feeding (Luong et al. 2015, equation 5 and section 3.3)."""

    def __init__(self, make_stack: MakeStack, layers: int, embedding_size: int, attention: Attention) -> None:
        super().__init__(make_stack, layers, embedding_size, attention)
        self.feed = nn.Linear(self.output_size, self.cells.product_size, bias=False)  # W's columns for h̃
        self.combine = nn.Linear(attention.context_size + self.output_size, self.output_size)  # W_c

    def start(self, hidden_BH: Tensor) -> State:
        return self.cells.start(hidden_BH), torch.zeros_like(hidden_BH)

    def step(self, product_BG: Tensor, keys: Keys, state: State, attended: State) -> Step:
        below, fed_BO = state
        hidden_BH, below = self.cells.advance(product_BG + project(self.feed, fed_BO), below)
        glance, attended = self.look(hidden_BH, keys, attended)
        output_BO = torch.tanh(project(self.combine, torch.cat([glance.context_BTE[:, 0], hidden_BH], dim=-1)))
        return output_BO, glance, (below, output_BO), attended


class Unfed(Wiring):
    """s_j = cell(E[y_{j−1}], s_{j−1}); c_j = att(H, s_j): update, then look, without input feeding.

    The context reaches the readout alone, so that no state depends on what was seen before: given the target words, the
    looks know nothing of each other (Wu, Shapiro and Cotterell 2018)."""

    feeds = False

    def step(self, product_BG: Tensor, keys: Keys, state: State, attended: State) -> Step:
        output_BO, state = self.cells.advance(product_BG, state)
        glance, attended = self.look(output_BO, keys, attended)
        return output_BO, glance, state, attended


WIRINGS: dict[str, type[Wiring]] = {
    "look-then-update": LookThenUpdate,
    "conditional": Conditional,
    "update-then-look": UpdateThenLook,
    "unfed": Unfed,
}


class DecoderState(NamedTuple):
    """Everything that a hypothesis remembers."""

    recurrent: State
    attended: State
    mask: State  # on the embeddings: drawn once a sentence, or ()


class RecurrentDecoder(nn.Module):
    """Embedding, wiring, readout and output layer. ``forward`` runs any number of target positions from any state."""

    def __init__(
        self,
        embedding: nn.Embedding,
        start: nn.Module,
        wiring: Wiring,
        readout: Readout,
        output: nn.Linear,
        *,
        dropout: type[Dropout] = Dropout,
        embedding_dropout: float = 0.0,
        output_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding, self.initial, self.wiring, self.readout, self.output = embedding, start, wiring, readout, output
        self.embedding_dropout, self.output_dropout = dropout(embedding_dropout), Dropout(output_dropout)

    @property
    def expects(self) -> Literal["nothing", "once", "anew"]:
        """What its attention expects of a source position."""
        return self.wiring.attention.expects

    def precompute(self, memory: Memory) -> Keys:
        """What the attention computes once a sentence."""
        return self.wiring.attention.precompute(memory)

    def fertilities(self, keys: Keys, valid_BS: Tensor) -> Tensor:
        """What the attention expects each source position to make, (B, S)."""
        return self.wiring.attention.fertilities(keys, valid_BS)

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first target word."""
        recurrent = self.wiring.start(self.initial(memory))
        mask = self.embedding_dropout.start(memory.value_BSE, self.embedding.embedding_dim)
        return DecoderState(recurrent, self.wiring.attention.start(memory.valid_BS), mask)

    def forward(
        self, token_BT: Tensor, memory: Memory, keys: Keys, state: DecoderState, product_BTG: Tensor | None = None
    ) -> tuple[Tensor, Glance, DecoderState]:
        """Logits (B, T, V) of the words after ``token_BT``, what was seen at each, and the state after the last.

        ``product_BTG`` is what the wiring's :meth:`~Wiring.inputs` makes of the words, where it is known already."""
        recurrent, attended, mask = state
        embedded_BTD = self.embedding_dropout(self.embedding(token_BT), mask)
        if product_BTG is None:
            product_BTG = self.wiring.inputs(embedded_BTD)
        outputs, glances = [], []
        with looping():
            for product_BG in product_BTG.unbind(dim=1):
                output_BO, glance, recurrent, attended = self.wiring.step(product_BG, keys, recurrent, attended)
                outputs.append(output_BO)
                glances.append(glance)
        seen = Glance(*(torch.cat(parts, dim=1) for parts in zip(*glances, strict=True)))
        logit_BTV = self.logits(token_BT, torch.stack(outputs, dim=1), embedded_BTD, seen, memory)
        return logit_BTV, seen, DecoderState(recurrent, attended, mask)

    def logits(
        self, token_BT: Tensor, output_BTO: Tensor, embedded_BTD: Tensor, seen: Glance, memory: Memory
    ) -> Tensor:
        """From the decoder's output, the words before and what was seen: logits (B, T, V) of the words that follow."""
        logit_BTV: Tensor = self.output(self.output_dropout(self.readout(output_BTO, embedded_BTD, seen.context_BTE)))
        return logit_BTV


class MarginalDecoder(RecurrentDecoder):
    """log p(y_t | y_<t, x) = log Σ_i α_ti p(y_t | s_t, E[y_{t−1}], h_i), the exact marginal over where to look.

    The likelihood of which hard attention maximises a bound, where the state does not depend on what was seen (Wu,
    Shapiro and Cotterell 2018; Deng et al. 2018, section 3.1). The logits are these log-probabilities, 0 after padding.
    A softmax over the vocabulary for every source position costs S times that of one context.
    """

    CHUNK = 2**24  # numbers of (N, S, V) held at once; more are computed in pieces, again when the gradient is

    def logits(
        self, token_BT: Tensor, output_BTO: Tensor, embedded_BTD: Tensor, seen: Glance, memory: Memory
    ) -> Tensor:
        # Hypotheses of a sentence, next to each other, share its memory: they are more positions of one target.
        positions = token_BT.numel() // len(memory.valid_BS)
        output_BTO, embedded_BTD = (one.reshape(-1, positions, one.shape[-1]) for one in (output_BTO, embedded_BTD))
        readout_BTSR = self.output_dropout(self.readout.everywhere(output_BTO, embedded_BTD, memory.value_BSE))
        real_N = (token_BT != PAD).flatten().nonzero().squeeze(1)  # nothing follows padding; a GPU is waited for once
        readout_NSR, weight_NS = (
            one.flatten(0, 1).index_select(0, real_N) for one in (readout_BTSR, at_least_float32(seen.weight_BTS))
        )
        tiny = torch.finfo(weight_NS.dtype).tiny
        impossible_NS = ~memory.valid_BS.index_select(0, real_N // positions)
        log_weight_NS = weight_NS.clamp(min=tiny).log().masked_fill(impossible_NS, -torch.inf)
        rows = max(1, self.CHUNK // (readout_NSR.shape[1] * self.output.out_features))
        pieces = list(zip(torch.split(readout_NSR, rows), torch.split(log_weight_NS, rows), strict=True))
        if len(pieces) == 1:
            log_NV = self.mixture(*pieces[0])
        else:
            log_NV = torch.cat([checkpoint(self.mixture, *piece, use_reentrant=False) for piece in pieces])
        all_NV = log_NV.new_zeros(token_BT.numel(), log_NV.shape[-1]).index_copy(0, real_N, log_NV)
        return all_NV.view(*token_BT.shape, -1)

    def mixture(self, readout_NSR: Tensor, log_weight_NS: Tensor) -> Tensor:
        """log Σ_i α_i softmax(W t_i + b), (N, V)."""
        logit_NSV = at_least_float32(self.output(readout_NSR))
        log_weight_NS = log_weight_NS - logit_NSV.logsumexp(dim=-1)
        return (logit_NSV + log_weight_NS.unsqueeze(-1)).logsumexp(dim=1)


OUTPUTS: dict[str, type[RecurrentDecoder]] = {"expectation": RecurrentDecoder, "marginal": MarginalDecoder}
