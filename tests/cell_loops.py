"""Every cell, and some of its settings, beside one step of it in plain loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from references import (
    Products,
    Vector,
    elman,
    gru_reset_after,
    gru_reset_before,
    gru_without_reset,
    janet,
    lstm,
    minimal_gated_unit,
)

from nmt.cells import CELLS, GRU, JANET, Unit

UNITS: dict[str, Callable[..., Unit]] = {
    **CELLS,
    "gru, reset before": partial(GRU, reset="before"),
    "janet, beta 0": partial(JANET, beta=0.0),
    "janet, beta 0.5": partial(JANET, beta=0.5),
}

# A new h from x and h. What else a cell keeps is apart: see STEPS.
EQUATIONS: dict[str, Callable[[Products, Vector, Vector], Vector]] = {
    "rnn": elman,
    "gru": gru_reset_after,
    "gru, reset before": gru_reset_before,
    "gru-without-reset": gru_without_reset,
    "janet": lambda p, x, h: janet(p, 1.0, x, h),
    "janet, beta 0": lambda p, x, h: janet(p, 0.0, x, h),
    "janet, beta 0.5": lambda p, x, h: janet(p, 0.5, x, h),
    "minimal": minimal_gated_unit,
}

Kept = tuple[Vector, Vector]  # h and c; where a cell has no c it is left as it is
STEPS: dict[str, Callable[[Products, Vector, Kept], Kept]] = {
    **{name: lambda p, x, kept, h=h: (h(p, x, kept[0]), kept[1]) for name, h in EQUATIONS.items()},
    "lstm": lambda p, x, kept: lstm(p, x, *kept),
}


def products(unit: Unit) -> Products:
    """The matrices and biases of a unit."""
    bias = unit.hidden.bias.tolist() if unit.hidden.bias is not None else [0.0] * unit.product_size
    return Products(unit.input.weight.tolist(), unit.input.bias.tolist(), unit.hidden.weight.tolist(), bias)
