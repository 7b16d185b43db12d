"""What attentions share, the additive one against its equation, and gradients of the whole table."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from looks import DOUBLE, VALID, A, B, E, Q, a_memory, check, queries, spread, weights
from references import bahdanau
from torch import Tensor

from nmt.attention import ATTENTIONS, Attention, Bahdanau, GAtt, Glance, Memory
from nmt.attention.base import attend, distribute
from nmt.settings import choice


@pytest.mark.parametrize("size", [None, A])
def test_bahdanau_equals_its_equation(size: int | None) -> None:
    attention = spread(Bahdanau(Q, E, size=size))
    assert attention.context_size == E
    assert attention.energy.weight.shape == (1, size or E)
    w, u, [v] = weights(attention.query, attention.memory, attention.energy)
    check(attention, lambda s, h, valid: bahdanau(w, u, v, s, h, valid))


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    heads = {"heads": Q} if kind == "multi-head" else {}
    chosen = choice(ATTENTIONS).validate({"kind": kind, **heads})
    query_size = E if kind == "dot" else Q
    attention = chosen.build(ATTENTIONS, query_size, E).double().eval()

    def looked(query_BTQ: Tensor, value_BSE: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        keys = attention.precompute(Memory(value_BSE, VALID))
        glance, _ = attention.step(query_BTQ, keys, attention.start(VALID))
        return glance.context_BTE, glance.weight_BTS

    # The parameters are listed too: gradcheck changes them, entry by entry, where they stand.
    inputs = (queries(query_size).requires_grad_(), a_memory().value_BSE.requires_grad_(), *attention.parameters())
    assert torch.autograd.gradcheck(looked, inputs)


# ------------------------------------------------------------------------------------------------- what they share


def test_softmax_over_the_valid_positions_by_hand() -> None:
    energy_BTS = torch.tensor([[[math.log(2), math.log(6), 50.0]], [[math.log(5), 1e4, 3.0]]], dtype=DOUBLE)
    valid_BS = torch.tensor([[True, True, False], [True, False, False]])
    weight_BTS = distribute(energy_BTS, valid_BS)
    assert weight_BTS.flatten().tolist() == pytest.approx([0.25, 0.75, 0, 1, 0, 0], abs=1e-15)
    assert weight_BTS[0, 0, 2] == weight_BTS[1, 0, 1] == weight_BTS[1, 0, 2] == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_energies_at_the_edge_of_a_type_stay_finite(dtype: torch.dtype) -> None:
    edge = torch.finfo(dtype)
    energy_BTS = torch.tensor([[[edge.min, 0.0, edge.max]]], dtype=dtype)
    weight_BTS = distribute(energy_BTS, torch.tensor([[True, True, False]]))
    assert weight_BTS.flatten().tolist() == [0.0, 1.0, 0.0]


def test_the_context_is_the_expectation_by_hand() -> None:
    glance = attend(torch.tensor([[[0.25, 0.75, 0.0]]]), torch.tensor([[[4.0, 8.0], [0.0, 4.0], [100.0, 100.0]]]))
    assert glance.context_BTE.flatten().tolist() == [1.0, 5.0]
    assert glance.choice_BT.tolist() == [[0.0]]


class Recorder(Attention):
    """A sequential attention: it looks at the place after the one it looked at last, and counts its looks."""

    sequential = True

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.context_size = memory_size

    def precompute(self, memory: Memory) -> Memory:
        return memory

    def start(self, valid_BS: Tensor) -> Tensor:
        return torch.zeros(len(valid_BS), dtype=torch.int64)

    def look(self, query_BTQ: Tensor, keys: Memory, state: Tensor) -> tuple[Glance, Tensor]:
        assert query_BTQ.shape[1] == 1
        weight_BTS = torch.nn.functional.one_hot(state, keys.value_BSE.shape[1])[:, None].to(query_BTQ.dtype)
        return attend(weight_BTS, keys.value_BSE), state + 1


@pytest.mark.parametrize("wrap", [lambda inner: inner(Q, E), lambda inner: GAtt(Q, E, inner=inner).double()])
def test_a_sequential_attention_looks_once_after_another(wrap: Callable[..., Attention]) -> None:
    attention, memory = wrap(Recorder), a_memory()
    assert attention.sequential
    glance, state = attention.step(queries(), attention.precompute(memory), attention.start(VALID))
    assert glance.weight_BTS.argmax(dim=-1).tolist() == [[0, 1, 2]] * B
    assert state.tolist() == [3] * B
