"""Two directions as one: the published pseudo-code in plain loops, and what holds of every way of combining."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.links import Link, Links
from nmt.symmetrise import SYMMETRISATIONS, grow_diag, soft_product

SIZE = 6
LINK = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1))
LINKS = st.builds(Links, st.frozensets(LINK, max_size=14), st.frozensets(LINK, max_size=4))


def plain(forward: set[Link], backward: set[Link], method: str) -> set[Link]:
    """The pseudo-code of Moses' manual, e the target and f the source, over every cell of the matrix."""
    neighbouring = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]
    e2f, f2e = ([[(f, e) in links for f in range(SIZE)] for e in range(SIZE)] for links in (forward, backward))
    on = [[e2f[e][f] and f2e[e][f] for f in range(SIZE)] for e in range(SIZE)]

    def e_aligned(e: int) -> bool:
        return any(on[e])

    def f_aligned(f: int) -> bool:
        return any(row[f] for row in on)

    new_points = True
    while new_points:
        new_points = False
        for e in range(SIZE):
            for f in range(SIZE):
                if on[e][f]:
                    for de, df in neighbouring:
                        e_new, f_new = e + de, f + df
                        if not (0 <= e_new < SIZE and 0 <= f_new < SIZE) or on[e_new][f_new]:
                            continue
                        in_union = e2f[e_new][f_new] or f2e[e_new][f_new]
                        if (not e_aligned(e_new) or not f_aligned(f_new)) and in_union:
                            on[e_new][f_new] = new_points = True
    for direction in (e2f, f2e) if "final" in method else ():
        for e_new in range(SIZE):
            for f_new in range(SIZE):
                e_free, f_free = not e_aligned(e_new), not f_aligned(f_new)
                free = (e_free and f_free) if method.endswith("and") else (e_free or f_free)
                if free and direction[e_new][f_new]:
                    on[e_new][f_new] = True
    return {(f, e) for e in range(SIZE) for f in range(SIZE) if on[e][f]}


@pytest.mark.parametrize("method", ["grow-diag", "grow-diag-final", "grow-diag-final-and"])
@given(forward=LINKS, backward=LINKS)
def test_the_published_pseudo_code(method: str, forward: Links, backward: Links) -> None:
    found = SYMMETRISATIONS[method](forward, backward)
    assert found.sure == found.possible == plain(set(forward.possible), set(backward.possible), method)


@given(LINKS, LINKS)
def test_each_holds_what_the_stricter_holds(forward: Links, backward: Links) -> None:
    found = {name: one(forward, backward).sure for name, one in SYMMETRISATIONS.items()}
    for final in ("grow-diag-final-and", "grow-diag-final"):
        for smaller, larger in pairwise(["intersection", "grow-diag", final, "union"]):
            assert found[smaller] <= found[larger]
    assert found["intersection"] == forward.possible & backward.possible
    assert found["union"] == forward.possible | backward.possible


@pytest.mark.parametrize("method", SYMMETRISATIONS)
@given(links=LINKS)
def test_two_directions_that_agree_are_left_alone(method: str, links: Links) -> None:
    assert SYMMETRISATIONS[method](links, links).sure == links.possible


def test_a_worked_example() -> None:
    """1-1 grows from 0-0, for both its words are free; 3-3 is nobody's neighbour, so only `final` takes it."""
    forward, backward = Links([(0, 0), (1, 1)]), Links([(0, 0), (3, 3), (4, 0)])
    assert grow_diag(forward, backward) == Links([(0, 0), (1, 1)])
    assert SYMMETRISATIONS["grow-diag-final-and"](forward, backward) == Links([(0, 0), (1, 1), (3, 3)])
    assert SYMMETRISATIONS["grow-diag-final"](forward, backward) == Links([(0, 0), (1, 1), (3, 3), (4, 0)])


def test_the_soft_product_needs_weight_in_both() -> None:
    forward_TS, backward_ST = (
        np.array([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9]]),
        np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]),
    )
    np.testing.assert_allclose(soft_product(forward_TS, backward_ST), [[0.5, 0.0, 0.0], [0.0, 0.1, 0.45]])
    with pytest.raises(ValueError, match="shape"):
        soft_product(forward_TS, forward_TS)
