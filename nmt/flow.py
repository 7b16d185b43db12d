"""What goes on inside recurrent cells: how gradients come back through time, and what the gates do.

Pure functions of a model and a batch; no weight, gradient or mode of the model is changed. A cell is named as in
``model.named_modules()``, such as ``encoder.layers.0.forth`` and ``decoder.wiring.cells.cells.0``; its steps are put in
the order of the sentence.

Shapes: B sentences, T steps of a cell (source or target positions), H hidden size, N real steps of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nmt.attention import Attention
from nmt.batching import Batch
from nmt.cells import Unit, Update
from nmt.encoder import Bidirectional
from nmt.losses.base import Loss
from nmt.losses.likelihood import CrossEntropy
from nmt.model import EncoderDecoder, Trace


class Flow(NamedTuple):
    """How much the loss of a sentence depends on each of a cell's states."""

    norm_BT: Tensor  # |∂ loss_b / ∂ h_bt|, 0 where nothing is real
    valid_BT: Tensor  # True on the real steps

    def mean_T(self) -> Tensor:
        """The mean norm (T,) of the sentences that are real at a step; not a number where none is."""
        return self.norm_BT.sum(dim=0) / self.valid_BT.sum(dim=0)


class GateStatistics(NamedTuple):
    """One gate of a cell over all units and real steps of a batch."""

    mean: float
    closed: float  # the share below 0.1
    open: float  # the share above 0.9


def gradient_flow(model: EncoderDecoder, batch: Batch, loss: Loss | None = None) -> dict[str, Flow]:
    """For every cell, the norm of ∂ loss / ∂ h_t by step, along all ways from h_t to the loss; ``loss`` is the cross
    entropy by default.

    Of an LSTM this is h alone: what comes back through c_t, and not through h_t, is not in it. The model runs in the
    mode it is in, so in training dropout acts.
    """
    with torch.enable_grad(), _heard(model) as steps:
        trace: Trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        total = (loss or CrossEntropy())(trace, batch).sum()  # sentences know nothing of each other
    h = {name: [cell.read(update.state) for update in updates] for name, (cell, updates) in steps.items()}
    gradients = iter(
        torch.autograd.grad(total, [one for states in h.values() for one in states], materialize_grads=True)
    )
    flows = {}
    for name, states in h.items():
        norm_BT = _in_order(name, model, [next(gradients).norm(dim=-1) for _ in states])
        flows[name] = Flow(norm_BT, _real(name, batch))
    return flows


def gate_statistics(model: EncoderDecoder, batch: Batch) -> dict[str, dict[str, GateStatistics]]:
    """For every cell, what each of its gates does over the real steps of a batch; {} for a cell without gates."""
    with torch.no_grad(), _heard(model) as steps:
        model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    found: dict[str, dict[str, GateStatistics]] = {}
    for name, (_, updates) in steps.items():
        valid_BT = _real(name, batch)
        found[name] = {}
        for gate in updates[0].gates:
            value_BTH = _in_order(name, model, [update.gates[gate] for update in updates])
            real_NH = value_BTH[valid_BT].double()
            shares = (real_NH.mean(), (real_NH < 0.1).double().mean(), (real_NH > 0.9).double().mean())
            found[name][gate] = GateStatistics(*map(float, shares))
    return found


Steps = dict[str, tuple[Unit, list[Update]]]


@contextmanager
def _heard(model: nn.Module) -> Iterator[Steps]:
    """Every step of every unit, in the order it is taken, as long as the block runs; not of an attention's gate, which
    takes one step alone."""
    gates = {part for one in model.modules() if isinstance(one, Attention) for part in one.modules()}
    units = {name: one for name, one in model.named_modules() if isinstance(one, Unit) and one not in gates}
    steps: Steps = {name: (one, []) for name, one in units.items()}

    def listen(unit: Unit, updates: list[Update]) -> RemovableHandle:
        return unit.register_forward_hook(lambda module, arguments, update: updates.append(update))

    handles = [listen(unit, updates) for unit, updates in steps.values()]
    try:
        yield steps
    finally:
        for handle in handles:
            handle.remove()


def _real(name: str, batch: Batch) -> Tensor:
    return batch.source_valid_BS if name.startswith("encoder.") else batch.target_valid_BT


def _in_order(name: str, model: nn.Module, steps: list[Tensor]) -> Tensor:
    """What belongs to a unit's steps, (B, T) or (B, T, H), from the first of the sentence to the last."""
    backs = [one.back for one in model.modules() if isinstance(one, Bidirectional)]
    from_the_right = any(model.get_submodule(name) is part for back in backs for part in back.modules())
    return torch.stack(steps[::-1] if from_the_right else steps, dim=1)
