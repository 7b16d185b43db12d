"""What goes on inside a model: how gradients come back through time, and what the gates of recurrent cells do.

Pure functions of a model and a batch; no weight, gradient or mode of the model is changed. A cell is named as in
``model.named_modules()``, such as ``encoder.layers.0.forth`` and ``decoder.wiring.cells.cells.0``; its steps are put in
the order of the sentence. So is a layer of a Transformer, ``encoder.layers.0``: its h_t is what it gives at position t.

Shapes: B sentences, T steps of a cell or positions of a layer (of the source or the target), H hidden size, N real
steps of a batch, K steps of distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nmt.attention import Attention
from nmt.batching import Batch
from nmt.cells import Unit, Update
from nmt.encoder import Bidirectional
from nmt.losses.base import Loss, word_log_probs
from nmt.losses.likelihood import CrossEntropy
from nmt.model import EncoderDecoder, Trace
from nmt.transformer import DecoderLayer, EncoderLayer


class Flow(NamedTuple):
    """How much the loss of a sentence depends on each of a cell's states, or a layer's."""

    norm_BT: Tensor  # |∂ loss_b / ∂ h_bt|, 0 where nothing is real
    valid_BT: Tensor  # True on the real steps

    def mean_T(self) -> Tensor:
        """The mean norm (T,) of the sentences that are real at a step; not a number where none is."""
        return self.norm_BT.sum(dim=0) / self.valid_BT.sum(dim=0)

    def mean_by_distance_K(self) -> Tensor:
        """The mean norm (K,) at so many steps before the last real one (0: that itself) of the sentences that are so
        long. Valid steps are next to each other."""
        count_B = self.valid_BT.sum(dim=1)
        first_B = self.valid_BT.int().argmax(dim=1)
        means = []
        for distance in range(int(count_B.max())):
            long = count_B > distance
            step_N = (first_B + count_B - 1 - distance)[long]
            means.append(self.norm_BT[long].gather(1, step_N.unsqueeze(1)).mean())
        return torch.stack(means)


def without_ends(batch: Batch) -> Batch:
    """The batch with the ends of its target sentences taken for padding: what is real is words."""
    return batch._replace(target_valid_BT=F.pad(batch.target_valid_BT[:, 1:], (0, 1)))


class LastWord(Loss):
    """−log p of the last real target position alone, which is the end of the sentence, or with :func:`without_ends` the
    last word: what it owes to each step before is a gradient by distance."""

    def forward(self, trace: Trace, batch: Batch) -> Tensor:
        last_B1 = batch.target_valid_BT.cumsum(dim=1).argmax(dim=1, keepdim=True)
        return -word_log_probs(trace, batch).gather(1, last_B1).squeeze(1)


class GateStatistics(NamedTuple):
    """One gate of a cell over all units and real steps of a batch."""

    mean: float
    closed: float  # the share below 0.1
    open: float  # the share above 0.9


def gradient_flow(model: EncoderDecoder, batch: Batch, loss: Loss | None = None) -> dict[str, Flow]:
    """For every cell and every layer of a Transformer, the norm of ∂ loss / ∂ h_t by step, along all ways from h_t to
    the loss; ``loss`` is the cross entropy by default.

    Of an LSTM this is h alone: what comes back through c_t, and not through h_t, is not in it. A Transformer's layer
    gives all positions at once, and those after t read h_t in the layers above. The model runs in the mode it is in, so
    in training dropout acts.
    """
    with torch.enable_grad(), _heard(model) as steps, _layers_heard(model) as layers:
        trace: Trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        total = (loss or CrossEntropy())(trace, batch).sum()  # sentences know nothing of each other
    h = {name: [cell.read(update.state) for update in updates] for name, (cell, updates) in steps.items()}
    read = [one for states in h.values() for one in states] + list(layers.values())
    gradients = iter(torch.autograd.grad(total, read, materialize_grads=True))
    flows = {}
    for name, states in h.items():
        norm_BT = _in_order(name, model, [next(gradients).norm(dim=-1) for _ in states])
        flows[name] = Flow(norm_BT, _real(name, batch))
    for name in layers:
        valid_BT = _real(name, batch)
        flows[name] = Flow(next(gradients).norm(dim=-1).masked_fill(~valid_BT, 0.0), valid_BT)
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


@contextmanager
def _layers_heard(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What every layer of a Transformer gave when it ran first, (B, T, D), as long as the block runs: what words depend
    on, where a second time tells of attention alone."""
    given: dict[str, Tensor] = {}

    def listen(name: str, layer: nn.Module) -> RemovableHandle:
        def note(module: nn.Module, arguments: Any, output: Any) -> None:
            given.setdefault(name, output if isinstance(output, Tensor) else output[0])

        return layer.register_forward_hook(note)

    layers = [(name, one) for name, one in model.named_modules() if isinstance(one, EncoderLayer | DecoderLayer)]
    handles = [listen(*one) for one in layers]
    try:
        yield given
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
