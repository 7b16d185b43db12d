"""Recurrent cells: one step of a recurrent network, h_t from x_t and the state of step t - 1."""

from __future__ import annotations

from collections.abc import Callable

from nmt.cells.base import Cell, Unit, Update
from nmt.cells.dropout import DROPOUTS, Dropout, SentenceDropout, StateDropout
from nmt.cells.elman import Elman
from nmt.cells.gru import GRU, GRUWithoutReset, MinimalGatedUnit
from nmt.cells.janet import JANET
from nmt.cells.lstm import LSTM
from nmt.cells.sequence import fused, run, unroll
from nmt.cells.stacked import Residual, Stacked

# The table of choices: a cell is added by writing its class in a file of this package and its line here.
CELLS: dict[str, Callable[..., Unit]] = {
    "gru": GRU,
    "lstm": LSTM,
    "rnn": Elman,
    "gru-without-reset": GRUWithoutReset,
    "janet": JANET,
    "minimal": MinimalGatedUnit,
}

__all__ = [
    "CELLS",
    "DROPOUTS",
    "GRU",
    "JANET",
    "LSTM",
    "Cell",
    "Dropout",
    "Elman",
    "GRUWithoutReset",
    "MinimalGatedUnit",
    "Residual",
    "SentenceDropout",
    "Stacked",
    "StateDropout",
    "Unit",
    "Update",
    "fused",
    "run",
    "unroll",
]
