"""A recorded batch, replayed on others of its shape, gives what these give: nothing but the shape decides what is done.

A recording of CUDA repeats the same operations, with the same numbers of the program in them, on the same memory. Here
that is done on a CPU, operation by operation; what only the driver of a GPU can show is skipped where there is none.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import SAMPLING, Trained, assert_same_end, end_of, prepared, write_project
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import nmt.cells.sequence
import nmt.replay
from nmt.attention import ATTENTIONS
from nmt.batching import Batch
from nmt.cells import CELLS, DROPOUTS
from nmt.decoder import WIRINGS
from nmt.errors import InputError
from nmt.losses import LOSSES
from nmt.losses.likelihood import CrossEntropy
from nmt.losses.reinforce import BASELINES
from nmt.positions import POSITIONS
from nmt.replay import CudaGraphs, Figures, Replayed
from nmt.train import Trainer

SIZES = "model.encoder_hidden=4"  # of the memory as of the query, for the plain dot product
NONSENSE = {torch.int64: 10**9, torch.int32: 10**8}
DROPPING = "model.dropout={embedding: 0.2, output: 0.2}"


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


class Tape(TorchDispatchMode):
    """Keeps all operations with the tensors that they read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Any]]] = []
        self.given: set[int] = set()  # what was there before
        self.made: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # As they are now: some operations change the shape of a tensor in place.
        given = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        written = tree_leaves(tree_map_only(Tensor, Tensor.detach, result))
        self.done.append((func, *given, written))
        self.given |= {memory(one) for one in tree_leaves(given) if isinstance(one, Tensor)} - self.made.keys()
        self.made |= {memory(one): one for one in written if isinstance(one, Tensor) and memory(one) not in self.given}
        return result

    @torch.no_grad()
    def again(self) -> None:
        """The same operations on the same memory: what was a new tensor then is written over.

        Whatever stood there is gone by then, for other recordings compute in the same memory.
        """
        for one in self.made.values():
            everything = torch.empty(0, dtype=one.dtype).set_(one.untyped_storage())
            everything.fill_(math.nan if one.is_floating_point() else NONSENSE.get(one.dtype, True))
        for func, args, kwargs, written in self.done:
            for place, found in zip(written, tree_leaves(func(*args, **kwargs)), strict=True):
                if not isinstance(place, Tensor):
                    assert place == found, f"{func} read a number back"
                elif memory(place) != memory(found):
                    place.copy_(found)


class OnTape:
    """What stands for CUDA's graphs, in a trainer's training."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.warmed, self.recorded = 0, 0

    def warm(self, work: Callable[[], Figures]) -> Figures:
        self.warmed += 1
        return work()

    def record(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]:
        self.recorded += 1
        trainer = self.trainer
        kept = [one.grad for one in trainer.model.parameters() if one.grad is not None] + [*trainer.objective.buffers()]
        before, states = [one.clone() for one in kept], torch.get_rng_state()
        with Tape() as tape:
            figures = work()
        # CUDA records without doing anything.
        for place, value in zip(kept, before, strict=True):
            place.copy_(value)
        torch.set_rng_state(states)
        return figures, tape.again


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = write_project(tmp_path_factory.mktemp("project"))
    corpus = recipe.with_name("corpus.yaml")
    corpus.write_text(corpus.read_text().replace("target: train.trg}", "target: train.trg, gold: train.gold}"))
    return recipe


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loops in C, which no tape sees, the steps of every cell, and no look at how long the sentences are."""
    monkeypatch.setattr(nmt.cells.sequence, "FASTER", set())
    monkeypatch.setattr("nmt.native.usable", lambda *tensors: False)
    monkeypatch.setattr(nmt.cells.sequence, "_whole", lambda valid_BT: [False] * valid_BT.shape[1])


def of_one_shape(trainer: Trainer) -> list[Batch]:
    """Batches of one shape and of sentences of different lengths: the second, which is recorded, has longer ones."""
    ranked = np.argsort(-trainer.data.train.target_lengths, kind="stable")
    return [trainer.batch(numbers) for numbers in ranked.reshape(-1, 6)[::3]]


def gradients(trainer: Trainer, compute: Any, batch: Batch, update: int) -> tuple[dict[str, Tensor], Figures]:
    trainer.model.train()
    trainer.objective.train()
    trainer.optimiser.zero_grad(set_to_none=False)
    torch.manual_seed(update)
    tokens = batch.target_valid_BT.sum().float()
    figures = compute(batch, tokens, trainer.objective.started(update))
    found = {name: one.grad.clone() for name, one in trainer.model.named_parameters() if one.grad is not None}
    return found, figures


@pytest.fixture
def same(project: Path, tmp_path: Path, as_on_a_gpu: None) -> Callable[..., None]:
    """Asserts that a recipe's batches give the same gradients and figures, computed and replayed."""

    def assert_same(*overrides: str) -> None:
        recipe, data = prepared(project, "training.multiple=8", *overrides)
        plain, replaying = (Trained(recipe, data, tmp_path / name).trainer() for name in ("plain", "replaying"))
        recorder = OnTape(replaying)
        replayed = Replayed(replaying.compute, replaying.model.parameters(), recorder)
        batches = of_one_shape(plain)
        assert len(batches) == 4
        assert len({batch.target_BT.shape for batch in batches}) == 1
        shortest = [int(batch.target_valid_BT.sum(dim=1).min()) for batch in batches]
        assert shortest[1] > shortest[-1]
        for update, batch in enumerate(batches, 1):
            (wanted, told), (found, figures) = (
                gradients(trainer, compute, batch, update)
                for trainer, compute in ((plain, plain.compute), (replaying, replayed))
            )
            assert sum(float(one.abs().sum()) for one in wanted.values()) > 0
            assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
            for part, other in zip(told, figures, strict=True):
                assert part.keys() == other.keys()
                assert [name for name in part if not torch.equal(part[name], other[name])] == []
            before = plain.objective.state_dict()
            assert all(torch.equal(one, before[name]) for name, one in replaying.objective.state_dict().items())
        assert (recorder.warmed, recorder.recorded) == (1, 1)

    return assert_same


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_each_attention(attention: str, same: Callable[..., None]) -> None:
    same(f"model.attention={attention}", SIZES, DROPPING)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_each_wiring(wiring: str, same: Callable[..., None]) -> None:
    same(f"model.wiring={wiring}")


@pytest.mark.parametrize("cell", CELLS)
def test_each_cell(cell: str, same: Callable[..., None]) -> None:
    same(f"model.cell={cell}", "model.encoder_layers=2", "model.decoder_layers=2", DROPPING)


@pytest.mark.parametrize("kind", DROPOUTS)
def test_each_dropout(kind: str, same: Callable[..., None]) -> None:
    same(f"model.dropout={{mask: {kind}, embedding: 0.2, layer: 0.2}}", "model.encoder_layers=2")


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "cross-entropy"])
def test_each_loss(loss: str, same: Callable[..., None]) -> None:
    same("model.attention=hard", f"training.objective=[{{loss: cross-entropy}}, {{loss: {loss}}}]")


@pytest.mark.parametrize("baseline", BASELINES)
def test_each_baseline(baseline: str, same: Callable[..., None]) -> None:
    objective = f"[{{loss: cross-entropy}}, {{loss: {{kind: reinforce, baseline: {baseline}}}}}]"
    samples = 2 if baseline == "other-samples" else 1
    same("model.attention=hard", f"training.objective={objective}", f"training.samples={samples}")


def test_a_transformer(same: Callable[..., None]) -> None:
    same("model={kind: transformer, embedding: 8, hidden: 16, heads: 2, encoder_layers: 2, decoder_layers: 2}")


def test_a_mixed_model(same: Callable[..., None]) -> None:
    encoder = "{kind: transformer, embedding: 8, hidden: 16, heads: 2}"
    same(f"model={{kind: mixed, encoder: {encoder}, decoder: {{kind: recurrent, embedding: 8, hidden: 8}}}}")


def test_in_bfloat16(same: Callable[..., None]) -> None:
    same("training.precision=bfloat16")


def test_what_the_words_decide_is_seen(same: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tape finds what the test is for: a branch on the contents of a batch."""
    monkeypatch.setattr(nmt.cells.sequence, "_whole", lambda valid_BT: valid_BT.all(dim=0).tolist())
    with pytest.raises(AssertionError):
        same()


# ------------------------------------------------------------------------------------------------------- training


def test_a_training_ends_the_same(project: Path, tmp_path: Path, as_on_a_gpu: None) -> None:
    """With dropout, with an objective that remembers and a part that starts late; to the last bit."""
    starting = SAMPLING[-1].replace("{loss: entropy}", "{loss: entropy, start: 4}")
    recipe, data = prepared(project, *SAMPLING[:-1], starting, "training.multiple=8")
    assert [part.start for part in recipe.training.objective] == [0, 0, 4]
    plain = Trained(recipe, data, tmp_path / "plain").run()
    trainer = Trained(recipe, data, tmp_path / "replayed").trainer()
    recorder = OnTape(trainer)
    trainer.replays, trainer.gradient = True, Replayed(trainer.compute, trainer.model.parameters(), recorder)
    with trainer.journal:
        trainer.run()
    assert_same_end(end_of(trainer), end_of(plain))
    assert recorder.recorded > 1
    updates = trainer.progress.update * recipe.training.accumulate
    assert recorder.warmed < updates / 2


def test_no_more_shapes_are_recorded_than_asked_for(
    project: Path, tmp_path: Path, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nmt.replay, "MOST", 1)
    trainer = Trained(*prepared(project), tmp_path / "run").trainer()
    recorder = OnTape(trainer)
    replayed = Replayed(trainer.compute, trainer.model.parameters(), recorder)
    one, other = (trainer.batch(numbers) for numbers in (range(3), range(4)))
    for batch in [one, one, other, other, one]:
        replayed(batch, torch.tensor(1.0), (True,))
    assert (recorder.warmed, recorder.recorded) == (3, 1)


def test_a_gradient_that_was_replaced_is_noticed(project: Path, tmp_path: Path) -> None:
    trainer = Trained(*prepared(project), tmp_path / "run").trainer()
    replayed = Replayed(trainer.compute, trainer.model.parameters(), OnTape(trainer))
    trainer.optimiser.zero_grad(set_to_none=True)
    with pytest.raises(RuntimeError, match="a gradient has been replaced"):
        replayed(trainer.batch(range(3)), torch.tensor(1.0), (True,))


def test_on_a_cpu_nothing_is_recorded(project: Path, tmp_path: Path) -> None:
    trainer = Trained(*prepared(project, "training.replay=true"), tmp_path / "run").trainer()
    assert not trainer.replays
    assert not isinstance(trainer.gradient, Replayed)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model={wiring: unfed, output: marginal}", 'model.output "marginal"'),
        ("model.attention={kind: gatt, recompute: true}", "recompute: true"),
        ("model.attention={kind: hard, inner: {kind: coverage-neural}}", None),
    ],
)
def test_what_cannot_be_replayed_is_refused(project: Path, override: str, told: str | None) -> None:
    if told is None:
        assert prepared(project, override, "training.replay=true")
        return
    with pytest.raises(InputError, match=f"training.replay .*{re.escape(told)}"):
        prepared(project, override, "training.replay=true")


# ---------------------------------------------------------------------------------------------- what a GPU allows


class Elsewhere(TorchDispatchMode):
    """Finds the operations that touch a tensor of the CPU while everything is on another device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(one, Tensor) and one.device.type == "cpu" for one in tree_leaves((args, kwargs, result))):
            self.found.append(str(func))
        return result


@pytest.fixture
def from_the_cpu(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The operations of a recipe's update that need a tensor of the CPU: CUDA records no such copy."""
    autocast, enabled = torch.autocast, torch.is_autocast_enabled

    def known(kind: str, *rest: Any, **more: Any) -> Any:
        return contextlib.nullcontext() if kind == "meta" else autocast(kind, *rest, **more)

    monkeypatch.setattr(torch, "autocast", known)  # torch's has no tensors of the device without contents
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": kind != "meta" and enabled(kind))

    def found(*overrides: str) -> list[str]:
        trainer = Trained(*prepared(project, "training.multiple=8", *overrides), tmp_path / "run").trainer()
        batch, trainer.device = trainer.batch(range(6)).to("meta"), torch.device("meta")
        for module in (trainer.model, trainer.objective):
            module.to("meta").train()
        with Elsewhere() as elsewhere:
            trainer.compute(batch, torch.ones((), device="meta"), trainer.objective.started(1))
        return elsewhere.found

    return found


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_no_attention_needs_the_cpu(attention: str, from_the_cpu: Callable[..., list[str]]) -> None:
    assert from_the_cpu(f"model.attention={attention}", SIZES, DROPPING) == []


@pytest.mark.parametrize("wiring", WIRINGS)
def test_no_wiring_needs_the_cpu(wiring: str, from_the_cpu: Callable[..., list[str]]) -> None:
    assert from_the_cpu(f"model.wiring={wiring}", "model.start=backward", "model.readout=maxout") == []


@pytest.mark.parametrize("cell", CELLS)
def test_no_cell_needs_the_cpu(cell: str, from_the_cpu: Callable[..., list[str]]) -> None:
    assert from_the_cpu(f"model.cell={cell}", "model.encoder_layers=2", DROPPING) == []


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "cross-entropy"])
def test_no_loss_needs_the_cpu(loss: str, from_the_cpu: Callable[..., list[str]]) -> None:
    assert from_the_cpu("model.attention=hard", f"training.objective=[{{loss: cross-entropy}}, {{loss: {loss}}}]") == []


@pytest.mark.parametrize("baseline", BASELINES)
def test_no_baseline_needs_the_cpu(baseline: str, from_the_cpu: Callable[..., list[str]]) -> None:
    objective = f"[{{loss: cross-entropy}}, {{loss: {{kind: reinforce, baseline: {baseline}}}}}]"
    assert from_the_cpu("model.attention=hard", f"training.objective={objective}", "training.samples=2") == []


@pytest.mark.parametrize("positions", POSITIONS)
def test_no_transformer_needs_the_cpu(positions: str, from_the_cpu: Callable[..., list[str]]) -> None:
    sizes = "embedding: 8, hidden: 16, heads: 2, shown: {context: whole, layer: mean}"
    objective = "training.objective=[{loss: cross-entropy}, {loss: guided}]"
    assert from_the_cpu(f"model={{kind: transformer, {sizes}, positions: {positions}}}", objective) == []


def test_a_number_of_the_program_is_found(
    from_the_cpu: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = CrossEntropy.forward
    monkeypatch.setattr(CrossEntropy, "forward", lambda self, *given: plain(self, *given) * torch.tensor(2.0))
    assert from_the_cpu()


HARD = (
    "model.attention=hard",
    "training.objective=[{loss: cross-entropy}, {loss: {kind: reinforce, baseline: moving-average}}, {loss: guided}]",
)
ON_A_GPU = {
    "bahdanau": ("model.attention=bahdanau",),
    "gatt": ("model.attention=gatt",),
    "gatt-reset-after": ("model.attention=gatt-reset-after",),
    "coverage": ("model.attention=coverage-neural",),
    "bfloat16": ("model.attention=gatt", "training.precision=bfloat16"),
    "hard": HARD,
    "transformer": ("model={kind: transformer, embedding: 8, hidden: 16, heads: 2}",),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("name", ON_A_GPU)
def test_on_a_gpu(name: str, project: Path, tmp_path: Path) -> None:
    """By CUDA's own recordings, of several shapes in turns, with other work between them; dropout draws the same."""
    dropping = [] if name == "transformer" else [DROPPING]
    recipe, data = prepared(project, "training.device=cuda", "training.multiple=2", *dropping, *ON_A_GPU[name])
    plain, replaying = (Trained(recipe, data, tmp_path / one).trainer() for one in ("plain", "replaying"))
    recorder = Counting()
    replayed = Replayed(replaying.compute, replaying.model.parameters(), recorder)
    numbers = np.arange(len(data.train)).reshape(-1, 6)
    for update, chosen in enumerate([*numbers, *numbers[::-1], *numbers], 1):
        batch = plain.batch(chosen).to("cuda")
        wanted, told = gradients(plain, plain.compute, batch, update)
        found, figures = gradients(replaying, replayed, batch, update)
        for key, gradient in wanted.items():
            torch.testing.assert_close(found[key], gradient, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
        torch.testing.assert_close(figures.parts, told.parts, rtol=1e-4, atol=1e-5)
    assert recorder.recorded > 1


class Counting(CudaGraphs):
    recorded = 0

    def record(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]:
        self.recorded += 1
        return super().record(work)
