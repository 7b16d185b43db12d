"""State: nested tuples of batch-first tensors, handled without knowing what is inside."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from nmt.tree import State, map_tensors, repeat, rows, select


class Named(NamedTuple):
    first: Tensor
    rest: State


def a_state() -> Named:
    return Named(torch.tensor([[0, 1], [2, 3], [4, 5]]), (torch.tensor([10, 20, 30]), (), Named(torch.arange(3.0), ())))


def test_map_keeps_the_tree_and_the_types_of_its_tuples() -> None:
    state = a_state()
    doubled = map_tensors(lambda one: 2 * one, state)
    assert type(doubled) is Named
    assert type(doubled.rest[2]) is Named
    assert doubled.first.tolist() == [[0, 2], [4, 6], [8, 10]]
    assert doubled.rest[0].tolist() == [20, 40, 60]
    assert doubled.rest[1] == doubled.rest[2].rest == ()
    assert doubled.rest[2].first.tolist() == [0, 2, 4]
    assert state.rest[0].tolist() == [10, 20, 30]  # the argument stays


def test_map_takes_tensors_in_the_same_place_together() -> None:
    state = a_state()
    total = map_tensors(lambda one, two, three: one + two + three, state, state, state)
    assert total.rest[0].tolist() == [30, 60, 90]


def test_map_of_a_single_tensor_and_of_nothing() -> None:
    assert map_tensors(torch.neg, torch.tensor([1])).tolist() == [-1]
    assert map_tensors(torch.neg, ()) == ()


@pytest.mark.parametrize("leaf", [[torch.zeros(1)], {"h": torch.zeros(1)}, None, 0.5])
def test_a_leaf_that_search_could_not_reorder_is_refused(leaf: object) -> None:
    with pytest.raises(TypeError, match=type(leaf).__name__):
        map_tensors(torch.neg, (torch.zeros(1), leaf))


def test_trees_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        map_tensors(torch.add, (torch.zeros(1), torch.zeros(1)), (torch.zeros(1),))


def test_select_reorders_drops_and_copies_rows() -> None:
    chosen = select(a_state(), torch.tensor([2, 0, 2, 2]))
    assert chosen.first.tolist() == [[4, 5], [0, 1], [4, 5], [4, 5]]
    assert chosen.rest[0].tolist() == [30, 10, 30, 30]
    assert chosen.rest[2].first.tolist() == [2, 0, 2, 2]
    assert select(a_state(), torch.tensor([], dtype=torch.int64)).first.shape == (0, 2)


def test_repeat_puts_copies_next_to_each_other() -> None:
    twice = repeat(a_state(), 2)
    assert twice.rest[0].tolist() == [10, 10, 20, 20, 30, 30]
    assert twice.first.tolist() == [[0, 1], [0, 1], [2, 3], [2, 3], [4, 5], [4, 5]]


def test_rows_are_those_of_any_tensor() -> None:
    assert rows(torch.zeros(3, 2)) == 3
    assert rows(((), (torch.zeros(4), torch.zeros(4, 1)))) == 4
    with pytest.raises(ValueError, match="has no rows"):
        rows(((),))
