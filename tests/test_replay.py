"""A recorded batch, replayed on others of its shape, gives what these give: nothing but the shape decides what is done.

A recording of CUDA repeats the same operations, with the same numbers of the program in them, on the same memory. Here
that is done on a CPU, operation by operation; what only the driver of a GPU can show is skipped where there is none.
"""

from __future__ import annotations

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
from nmt.losses.reinforce import BASELINES
from nmt.replay import Figures, Replayed
from nmt.train import Trainer

SIZES = "model.encoder_hidden=4"  # of the memory as of the query, for the plain dot product
DROPPING = "model.dropout={embedding: 0.2, output: 0.2}"


class Tape(TorchDispatchMode):
    """Keeps all operations with the tensors that they read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # As they are now: some operations change the shape of a tensor in place.
        given = tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        self.done.append((func, *given, tree_leaves(tree_map_only(Tensor, Tensor.detach, result))))
        return result

    @torch.no_grad()
    def again(self) -> None:
        """The same operations on the same memory: what was a new tensor then is written over."""
        for func, args, kwargs, written in self.done:
            for place, found in zip(written, tree_leaves(func(*args, **kwargs)), strict=True):
                if not isinstance(place, Tensor):
                    assert place == found, f"{func} read a number back"
                elif place.untyped_storage().data_ptr() != found.untyped_storage().data_ptr():
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
    tokens = torch.tensor(float(batch.target_valid_BT.sum()))
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
            for name, gradient in wanted.items():
                torch.testing.assert_close(
                    found[name], gradient, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
                )
            for part, other in zip(told, figures, strict=True):
                assert part.keys() == other.keys()
                for name, value in part.items():
                    torch.testing.assert_close(other[name], value)
            before = plain.objective.state_dict()
            for name, value in replaying.objective.state_dict().items():
                torch.testing.assert_close(value, before[name])
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("attention", ["bahdanau", "gatt", "gatt-reset-after", "coverage-neural"])
def test_on_a_gpu(attention: str, project: Path, tmp_path: Path) -> None:
    """By CUDA's own recordings, without dropout: there a recording draws other numbers."""
    overrides = "training.device=cuda", "training.multiple=8", f"model.attention={attention}"
    losses = []
    for name in ("false", "true"):
        trainer = Trained(*prepared(project, *overrides, f"training.replay={name}"), tmp_path / name).run()
        losses.append(trainer.judge()["loss"])
        if trainer.replays:
            assert isinstance(trainer.gradient, Replayed)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
