"""A cell over a whole sentence, step by step or by torch's own loop.

Shapes: see :mod:`nmt.cells.base`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nmt.cells.base import Cell, Unit
from nmt.loops import looping
from nmt.tree import State, map_tensors

# Cells whose kernel was measured to be faster than our steps, and where. It was in process time on one thread of a CPU,
# with sizes 128 and 512: the kernels of GRU and simple RNN take as long as our steps. No GPU was measured.
FASTER = {("LSTM", "cpu")}


def run(cell: Cell, x_BTX: Tensor, valid_BT: Tensor, *, backward: bool = False) -> Tensor:
    """h (B, T, H) of every valid step from a state of 0, in the fastest way; what stands at the others is undefined."""
    start_BH = x_BTX.new_zeros(len(x_BTX), cell.hidden_size)
    way = fused if _fused_is_better(cell, x_BTX) else unroll
    return way(cell, x_BTX, valid_BT, cell.start(start_BH), backward=backward)


def _fused_is_better(cell: Cell, x_BTX: Tensor) -> bool:
    """Not under autocast, which would keep the state in half precision, and not if somebody listens to the steps."""
    device = x_BTX.device.type
    known = isinstance(cell, Unit) and cell.kernel is not None and (type(cell).__name__, device) in FASTER
    return known and not torch.is_autocast_enabled(device) and not cell._forward_hooks


def unroll(cell: Cell, x_BTX: Tensor, valid_BT: Tensor, state: State, *, backward: bool = False) -> Tensor:
    """h (B, T, H) of every step, read from the first to the last or ``backward`` from the last to the first.

    A step that is not valid leaves the state as it was, so padding, on whichever side, changes nothing.
    """
    product_TBG = cell.inputs(x_BTX).unbind(dim=1)
    steps = range(x_BTX.shape[1])
    whole_T = _whole(valid_BT)
    h_TBH: list[Tensor] = [x_BTX] * len(steps)
    with looping():
        for t in reversed(steps) if backward else steps:
            _, new = cell.advance(product_TBG[t], state)
            real_B1 = valid_BT[:, t, None]
            state = new if whole_T[t] else map_tensors(lambda a, b: torch.where(real_B1, a, b), new, state)  # noqa: B023
            h_TBH[t] = cell.read(state)
    return torch.stack(h_TBH, dim=1)


def _whole(valid_BT: Tensor) -> list[bool]:
    """Which steps are known to be valid in all sentences: none on a GPU, which would be waited for."""
    return valid_BT.all(dim=0).tolist() if valid_BT.device.type == "cpu" else [False] * valid_BT.shape[1]


def fused(cell: Cell, x_BTX: Tensor, valid_BT: Tensor, state: State, *, backward: bool = False) -> Tensor:
    """The same as :func:`unroll` at valid steps, 0 at the others, by the cell's kernel.

    Raises ``ValueError`` for a cell that has none.
    """
    if not isinstance(cell, Unit) or cell.kernel is None:
        raise ValueError(f"there is no kernel for {type(cell).__name__}")
    # The valid steps in the order they are read, then the others: the kernel knows neither padding nor directions.
    step_T = torch.arange(valid_BT.shape[1], device=valid_BT.device)
    rank_BT = torch.where(valid_BT, -step_T if backward else step_T, len(step_T))
    order_BT = rank_BT.argsort(dim=1, stable=True)
    read_BTX = _reordered(x_BTX, order_BT)
    first = map_tensors(lambda one: one.unsqueeze(0), state)
    weights = [cell.input.weight, cell.hidden.weight, cell.input.bias, cell.hidden.bias]
    # has biases, layers, dropout, keeps what a gradient needs, bidirectional, batch first
    settings = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
    h_BTH: Tensor = cell.kernel(read_BTX, first, weights, *settings)[0]
    return _reordered(h_BTH, order_BT.argsort(dim=1)).masked_fill(~valid_BT.unsqueeze(-1), 0.0)


def _reordered(x_BTX: Tensor, order_BT: Tensor) -> Tensor:
    return x_BTX.gather(1, order_BT.unsqueeze(-1).expand(-1, -1, x_BTX.shape[-1]))
