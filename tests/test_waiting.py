"""An update asks the device for no number: a GPU would have to finish everything before it could answer.

On a CPU that is seen in the operations: of those here each has a result, or a shape, that the program must know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import Trained, prepared, write_project
from torch.utils._python_dispatch import TorchDispatchMode

from nmt.attention import ATTENTIONS
from nmt.batching import Batch
from nmt.losses import LOSSES
from nmt.losses.reinforce import BASELINES
from nmt.optim import OPTIMISERS
from nmt.train import Tally, gather, plan_epoch

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense,  # item(), float(), int(), bool() of a tensor
    aten.nonzero,
    aten.nonzero_static,
    aten.masked_select,
    aten.equal,
    aten.multinomial,  # asks whether these are weights
    aten._unique2,
    aten.unique_consecutive,
    aten.unique_dim,
    aten.bincount,
    aten.repeat_interleave,  # by a tensor of counts
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}  # by a mask


class Watching(TorchDispatchMode):
    """Counts the operations that a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        masks = packet in INDEXING and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1]
        )
        if packet in WAITING or masks:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def update(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a recipe's second update waits for, from when its batch is on the device to the new weights."""

    def make(*overrides: str) -> list[str]:
        trainer = Trained(*prepared(project, *overrides), tmp_path / "run").trainer()
        losses, watching = trainer.losses, Watching()
        numbers = plan_epoch(trainer.data.train, trainer.recipe, 1)[0]
        batches = [gather(trainer.data.train, numbers)]
        with trainer.journal, ExitStack() as stack:
            trainer.train_step(batches, Tally(0.0))

            def watched(batch: Batch, number: int) -> Any:
                stack.enter_context(watching)
                return losses(batch, number)

            monkeypatch.setattr(trainer, "losses", watched)
            trainer.train_step(batches, Tally(0.0))
        return watching.found

    return make


def test_it_is_seen_when_a_number_is_asked_for() -> None:
    one, mask = torch.ones(3), torch.tensor([True, False, True])
    asked: list[Callable[[], Any]] = [
        lambda: float(one.sum()),
        lambda: one[mask],
        lambda: mask.nonzero(),
        lambda: bool(mask.any()),
        lambda: torch.multinomial(one, 1),
        lambda: one.repeat_interleave(mask.long()),
    ]
    for ask in asked:
        with Watching() as watching:
            ask()
        assert watching.found
    with Watching() as watching:
        (one * 2).masked_fill(mask, 0.0)[torch.tensor([2, 0])].sum()
    assert not watching.found


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_update_with_each_attention(attention: str, update: Callable[..., list[str]]) -> None:
    sizes = "model.encoder_hidden=4"  # of the memory as of the query, for the plain dot product
    assert update(f"model.attention={attention}", sizes, "model.dropout={embedding: 0.2, output: 0.2}") == []


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_an_update_with_each_optimiser(optimiser: str, update: Callable[..., list[str]]) -> None:
    assert update(f"training.optimiser={optimiser}", "training.clip=1.0") == []


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss not in {"cross-entropy", "guided"}])
def test_an_update_with_each_loss(loss: str, update: Callable[..., list[str]]) -> None:
    assert update("model.attention=hard", f"training.objective=[{{loss: cross-entropy}}, {{loss: {loss}}}]") == []


@pytest.mark.parametrize("baseline", BASELINES)
def test_an_update_with_each_baseline(baseline: str, update: Callable[..., list[str]]) -> None:
    objective = f"[{{loss: cross-entropy}}, {{loss: {{kind: reinforce, baseline: {baseline}}}}}]"
    samples = 2 if baseline == "other-samples" else 1
    found = update("model.attention=hard", f"training.objective={objective}", f"training.samples={samples}")
    assert found == []


def test_the_exact_marginal_asks_once_how_many_words_are_real(update: Callable[..., list[str]]) -> None:
    """It costs a softmax for every source position, so that padding is worth a question."""
    assert update("model.wiring=unfed", "model.output=marginal") == ["aten.nonzero.default"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_is_not_waited_for(project: Path, tmp_path: Path) -> None:
    """As the driver sees it, the way of the batch to the device among it."""
    trainer = Trained(*prepared(project, "training.device=cuda"), tmp_path / "run").trainer()
    batches = [gather(trainer.data.train, plan_epoch(trainer.data.train, trainer.recipe, 1)[0])]
    with trainer.journal:
        trainer.train_step(batches, Tally(0.0))
        torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.train_step(batches, Tally(0.0))
        finally:
            torch.cuda.set_sync_debug_mode("default")
