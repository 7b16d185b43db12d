"""GAtt and GAtt-Inv by any cell: one step of the cell in plain loops, and the papers' own gates as two of the cells."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cell_loops import STEPS, UNITS, products
from looks import VALID, E, Q, a_memory, check, queries, spread, weights
from references import Products, Vector, bahdanau

from nmt.attention import Attention, Bahdanau, GAtt, GAttCell, GAttInv, GAttInvCell, GAttResetAfter
from nmt.cells import CELLS
from nmt.settings import Choice, choice

SETTINGS: dict[str, Any] = {
    **{kind: kind for kind in CELLS},
    "gru, reset before": {"kind": "gru", "reset": "before"},
    "janet, beta 0": {"kind": "janet", "beta": 0.0},
    "janet, beta 0.5": {"kind": "janet", "beta": 0.5},
}


def cell(name: str) -> Choice:
    return choice(CELLS).validate(SETTINGS[name])


def gated(name: str, p: Products, history: Vector, given: Vector) -> Vector:
    """h after one step from a state that is the history, all of it."""
    return STEPS[name](p, given, (history, history))[0]


def test_every_cell_has_its_witness() -> None:
    assert set(SETTINGS) == set(UNITS) == set(STEPS)


@pytest.mark.parametrize("name", SETTINGS)
def test_gatt_by_a_cell_is_one_step_of_it_from_the_source(name: str) -> None:
    attention: Any = spread(GAttCell(Q, E, cell=cell(name), inner=Bahdanau))
    assert attention.context_size == E
    inner, p = attention.inner, products(attention.cell)
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    check(attention, lambda s, source, valid: bahdanau(w, u, v, s, [gated(name, p, h, s) for h in source], valid))


@pytest.mark.parametrize("name", SETTINGS)
def test_gatt_inv_by_a_cell_is_one_step_of_it_from_the_query(name: str) -> None:
    attention: Any = spread(GAttInvCell(Q, E, cell=cell(name), inner=Bahdanau))
    assert attention.context_size == Q
    inner, p = attention.inner, products(attention.cell)
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    check(attention, lambda s, source, valid: bahdanau(w, u, v, s, [gated(name, p, s, h) for h in source], valid))


def as_the_papers(theirs: Any, joined: str, ours: Any) -> Attention:
    """The weights of a gate that is written out, in a GRU: its order is r, z, candidate, and z keeps what is old."""
    with torch.no_grad():
        for name, product in (("weight", ours.cell.input.weight), ("bias", ours.cell.input.bias)):
            update, reset, candidate = getattr(getattr(theirs, joined), name).chunk(3)
            product.copy_(torch.cat([reset, -update, candidate]))
        update, reset = theirs.gates.weight.chunk(2)
        ours.cell.hidden.weight.copy_(torch.cat([reset, -update, theirs.candidate.weight]))
        ours.cell.hidden.bias.zero_()
    ours.inner.load_state_dict(theirs.inner.state_dict())
    return ours


@pytest.mark.parametrize(
    ("theirs", "joined", "ours", "name"),
    [
        (GAtt, "query", GAttCell, "gru, reset before"),
        (GAttResetAfter, "query", GAttCell, "gru"),
        (GAttInv, "memory", GAttInvCell, "gru, reset before"),
    ],
)
def test_the_papers_gate_is_a_gru(theirs: Any, joined: str, ours: Any, name: str) -> None:
    one = spread(theirs(Q, E, inner=Bahdanau))
    other = as_the_papers(one, joined, ours(Q, E, cell=cell(name), inner=Bahdanau).double())
    memory, query_BTQ = a_memory(), queries()
    looks = [both.step(query_BTQ, both.precompute(memory), both.start(VALID))[0] for both in (one, other)]
    torch.testing.assert_close(looks[0], looks[1], rtol=0, atol=1e-12)
