"""Training: an interruption changes nothing, and each setting does what it says."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import DEMANDING, SAMPLING, Killed, Trained, assert_same_end, end_of, prepared, write_project
from torch import Tensor, nn

from nmt.batching import collate
from nmt.checkpoint import read_state
from nmt.errors import InputError
from nmt.optim import Plateau
from nmt.recipe import load_recipe
from nmt.train import Interrupted, Tally, Trainer, gather, plan_epoch

# Saves after every update; a checkpoint in between must not be told from one at a validation by what comes of it.
OFTEN = "training.save_minutes=1e-9"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def begin(project: Path, tmp_path: Path) -> Callable[..., Trained]:
    """A run of the small recipe with overrides, not yet begun."""

    def make(*overrides: str, name: str = "run") -> Trained:
        return Trained(*prepared(project, *overrides), tmp_path / name)

    return make


def records(run: Trained, event: str) -> list[dict[str, Any]]:
    lines = (run.directory / "log.jsonl").read_text(encoding="utf-8").split("\n")
    return [record for record in map(json.loads, filter(None, lines)) if record["event"] == event]


# -------------------------------------------------------------------------------------------------- interruptions


@pytest.fixture(scope="module")
def uninterrupted(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Tensor]]:
    """The number of updates of the demanding recipe, and what it ends with."""
    trainer = Trained(*prepared(project, *DEMANDING), tmp_path_factory.mktemp("runs") / "whole").run()
    assert isinstance(trainer.schedule, Plateau)
    assert trainer.schedule.reductions > 1  # or the schedule would have had nothing to remember
    return trainer.progress.update, end_of(trainer)


def after(trainer: Trainer, update: int, act: Callable[[], None]) -> None:
    """Let ``act`` happen when that update's weights have changed and nothing has been kept yet."""
    train_step = trainer.train_step

    def step(*args: Any) -> None:
        train_step(*args)
        if trainer.progress.update + 1 == update:
            act()

    trainer.train_step = step  # type: ignore[method-assign]


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_signal_at_any_update_changes_nothing(
    begin: Callable[..., Trained],
    uninterrupted: tuple[int, dict[str, Tensor]],
    signal_number: signal.Signals,
    share: float,
) -> None:
    updates, wanted = uninterrupted
    run = begin(*DEMANDING)
    trainer = run.trainer()
    after(trainer, max(1, round(share * updates)), lambda: os.kill(os.getpid(), signal_number))
    with pytest.raises(Interrupted):
        trainer.run()
    assert_same_end(end_of(run.run()), wanted)


def test_a_signal_at_every_update_changes_nothing(
    begin: Callable[..., Trained], uninterrupted: tuple[int, dict[str, Tensor]]
) -> None:
    updates, wanted = uninterrupted
    run = begin(*DEMANDING)
    for update in range(1, updates + 1):
        trainer = run.trainer()
        after(trainer, update, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            trainer.run()
        assert trainer.progress.update == update
    assert_same_end(end_of(run.run()), wanted)


@pytest.mark.parametrize("saving", ["training.save_minutes=10.0", OFTEN])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_losing_all_that_is_not_on_disk_changes_nothing(
    begin: Callable[..., Trained], uninterrupted: tuple[int, dict[str, Tensor]], share: float, saving: str
) -> None:
    updates, wanted = uninterrupted
    run = begin(*DEMANDING, saving)
    trainer = run.trainer()
    after(trainer, max(1, round(share * updates)), kill)
    with pytest.raises(Killed):
        trainer.run()
    assert_same_end(end_of(run.run()), wanted)


def test_kill_9_at_random_moments_changes_nothing(
    begin: Callable[..., Trained], uninterrupted: tuple[int, dict[str, Tensor]]
) -> None:
    run, moments = begin(*DEMANDING, OFTEN), random.Random(1)
    killed = 0
    for _ in range(16):
        process = multiprocessing.get_context("fork").Process(target=run.run, daemon=True)
        process.start()
        time.sleep(moments.uniform(0.0, 0.2))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed >= 2
    assert_same_end(end_of(run.run()), uninterrupted[1])


def test_the_second_signal_does_what_it_always_did(begin: Callable[..., Trained]) -> None:
    trainer = (run := begin(*DEMANDING)).trainer()
    before = signal.getsignal(signal.SIGINT)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert "ask again" in run.said[-1]
        os.kill(os.getpid(), signal.SIGINT)

    after(trainer, 2, twice)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert signal.getsignal(signal.SIGINT) == before


@pytest.fixture(scope="module")
def sampled(project: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Tensor]]:
    """The same for a recipe with hard attention, whose log says nothing yet."""
    run = Trained(*prepared(project, *SAMPLING, "training.log_every=1000"), tmp_path_factory.mktemp("runs") / "hard")
    trainer = run.run()
    (average,) = trainer.objective.buffers()
    assert average < 0
    return trainer.progress.update, end_of(trainer)


@pytest.mark.parametrize("every", [1, 3])
def test_a_sampling_run_is_the_same_however_often_it_is_stopped_and_looked_at(
    begin: Callable[..., Trained], sampled: tuple[int, dict[str, Tensor]], every: int
) -> None:
    """Neither the baseline nor the random stream is lost, nor touched by the variance that the log tells."""
    updates, wanted = sampled
    run = begin(*SAMPLING, f"training.log_every={every}")
    for update in range(1, updates + 1, every):
        trainer = run.trainer()
        after(trainer, update, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            trainer.run()
    assert_same_end(end_of(run.run()), wanted)


def test_a_sampling_run_that_loses_what_is_not_on_disk_is_the_same(
    begin: Callable[..., Trained], sampled: tuple[int, dict[str, Tensor]]
) -> None:
    updates, wanted = sampled
    run = begin(*SAMPLING)
    trainer = run.trainer()
    after(trainer, updates // 2, kill)
    with pytest.raises(Killed):
        trainer.run()
    assert_same_end(end_of(run.run()), wanted)


def test_a_finished_run_is_not_trained_again(begin: Callable[..., Trained]) -> None:
    run = begin(*DEMANDING)
    first = run.run()
    again = run.run()
    assert again.progress == first.progress
    assert_same_end(end_of(again), end_of(first))


def test_a_run_can_be_prolonged(begin: Callable[..., Trained]) -> None:
    """More epochs may be asked for later; the average is then of the new last checkpoints."""
    run, longer = begin(*DEMANDING, "training.epochs=1"), begin(*DEMANDING)
    run.run()
    before = [one.name for one in run.trainer().checkpoints.all("average")]
    trainer = longer.run()
    assert trainer.progress.epoch == 4
    assert [one.name for one in trainer.checkpoints.all("average")] != before
    assert len(trainer.checkpoints.all("average")) == 1
    begin(*DEMANDING, "training.average=1").run()
    assert trainer.checkpoints.all("average") == []


def test_another_training_text_is_refused_and_the_run_stays_as_it_was(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    run = Trained(*prepared(path), tmp_path / "run")
    run.run()
    vocabulary = (run.directory / "vocabularies" / "source.vocab.json").read_bytes()
    text = tmp_path / "train.src"
    text.write_text(text.read_text().replace("a", "ä").replace("b c", "b x c"), encoding="utf-8")
    with pytest.raises(InputError, match=r"the training text has changed since this run began.*--run"):
        Trained(*prepared(path, "training.epochs=3"), run.directory).run()
    assert (run.directory / "vocabularies" / "source.vocab.json").read_bytes() == vocabulary


# ------------------------------------------------------------------------------------------------------- batches


def test_the_order_is_of_seed_and_epoch_alone(project: Path) -> None:
    recipe, data = prepared(project)

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [one.tolist() for one in plan_epoch(data.train, recipe.model_copy(update={"seed": seed}), epoch)]

    np.random.default_rng(7).random(3)
    torch.rand(3)
    assert order(1, 2) == order(1, 2)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4
    assert sorted(number for batch in order(1, 1) for number in batch) == list(range(len(data.train)))


def test_another_seed_gives_other_weights(begin: Callable[..., Trained]) -> None:
    ends = [end_of(begin(f"seed={seed}", name=str(seed)).run()) for seed in (1, 2)]
    assert all(not torch.equal(ends[0][name], ends[1][name]) for name in ends[0] if name.startswith("weight"))


def doubled(trainer: Trainer) -> Trainer:
    """The same in double precision."""
    trainer.model.double()
    return trainer


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    return {name: one.grad.clone() for name, one in trainer.model.named_parameters() if one.grad is not None}


def test_two_accumulated_batches_are_one_batch_of_both(begin: Callable[..., Trained]) -> None:
    ends = []
    for split in (True, False):
        trainer = doubled(begin("training.clip=null").trainer())
        train = trainer.data.train
        lengths = np.argsort(train.target_lengths, kind="stable")
        short, long = lengths[:5], lengths[-9:]  # of other numbers of tokens, so a mean of means would be another one
        groups = [short, long] if split else [np.concatenate([short, long])]
        trainer.train_step([gather(train, numbers) for numbers in groups], Tally(0.0))
        ends.append((gradients(trainer), dict(trainer.model.named_parameters())))
    for together, apart in zip(*ends, strict=True):
        assert together.keys() == apart.keys()
        for name, tensor in together.items():
            torch.testing.assert_close(apart[name], tensor, rtol=0, atol=1e-10)


def test_samples_of_one_pair_weigh_as_much_as_the_pair(begin: Callable[..., Trained]) -> None:
    """Where nothing is sampled they are all alike: the same parts and the same gradient as one."""
    ends = []
    for samples in (1, 3):
        trainer, tally = (
            doubled(begin("training.clip=null", f"training.samples={samples}", name=str(samples)).trainer()),
            Tally(0.0),
        )
        trainer.train_step([gather(trainer.data.train, np.arange(7))], tally)
        ends.append((tally, gradients(trainer)))
    (one, found), (other, wanted) = ends
    assert one.tokens == other.tokens
    assert one.values()["cross-entropy"] == pytest.approx(other.values()["cross-entropy"], abs=1e-12)
    assert all(torch.allclose(found[name], wanted[name], rtol=0, atol=1e-12) for name in wanted)


def test_each_sample_is_drawn_anew(begin: Callable[..., Trained]) -> None:
    hard = "model.attention={kind: hard, expectation: 0.0}"
    trainer = begin(hard, "training.samples=16").trainer()
    drawn: list[Tensor] = []
    decode = trainer.model.decode

    def listen(*args: Any) -> Any:
        trace, state = decode(*args)
        drawn.append(trace.choice_BT.detach())
        return trace, state

    trainer.model.decode = listen  # type: ignore[method-assign]
    losses = trainer.losses(trainer.batch(np.arange(3)), trainer.objective.started(1))
    assert losses.total_B.shape == losses.parts["cross-entropy"].shape == (3,)
    (choice_NT,) = drawn
    assert len(choice_NT) == 3 * 16
    assert all(len(torch.unique(rows, dim=0)) > 4 for rows in choice_NT.split(16))


def test_the_loss_told_is_that_of_a_token(begin: Callable[..., Trained]) -> None:
    trainer = begin().trainer()
    train, tally = trainer.data.train, Tally(time.monotonic())
    batches = [gather(train, np.array(numbers)) for numbers in ([0, 1, 2], [3])]
    wanted = []
    for batch in batches:
        for row in range(len(batch.number_B)):
            alone = collate([train.source(int(batch.number_B[row]))], [train.target(int(batch.number_B[row]))], [0])
            memory = trainer.model.encode(alone.source_BS, alone.source_valid_BS)
            trace, _ = trainer.model.decode(alone.input_BT, memory, trainer.model.start(memory))
            probability = torch.softmax(trace.logit_BTV[0].detach(), -1)
            wanted += [-math.log(probability[t, word]) for t, word in enumerate(alone.target_BT[0].tolist())]
    trainer.train_step(batches, tally)
    assert tally.values()["cross-entropy"] == pytest.approx(np.mean(wanted), rel=1e-5)
    assert tally.tokens == len(wanted)


# ------------------------------------------------------------------------------------------------------ settings


def test_the_gradient_is_clipped(begin: Callable[..., Trained]) -> None:
    whole, clipped = (begin(f"training.clip={clip}", name=clip).trainer() for clip in ("null", "0.01"))
    tallies = [Tally(0.0), Tally(0.0)]
    for trainer, tally in zip((whole, clipped), tallies, strict=True):
        trainer.train_step([gather(trainer.data.train, np.arange(4))], tally)
    norm = math.sqrt(sum(float(one.square().sum()) for one in gradients(whole).values()))
    assert norm > 0.01
    assert [float(tally.norm) for tally in tallies] == pytest.approx([norm, norm], rel=1e-4)  # as it was, in both
    for name, gradient in gradients(clipped).items():
        torch.testing.assert_close(gradient, gradients(whole)[name] * 0.01 / norm, rtol=1e-3, atol=1e-9)


def test_the_schedule_is_applied(begin: Callable[..., Trained]) -> None:
    run = begin("training.schedule={kind: inverse-square-root, warmup: 4}", "training.log_every=1")
    run.run()
    rates = [record["rate"] for record in records(run, "train")]
    assert len(rates) > 8
    assert rates == pytest.approx([0.01 * min(n / 4, (4 / n) ** 0.5) for n in range(1, len(rates) + 1)])


class Judged:
    """Development scores given beforehand, in place of real translations."""

    def __init__(self, trainer: Trainer, scores: list[float]) -> None:
        self.scores = iter(scores)
        trainer.judge = lambda: {"loss": 0.0, "bleu": next(self.scores)}  # type: ignore[method-assign]


def test_patience_ends_training_and_the_best_weights_are_kept(begin: Callable[..., Trained]) -> None:
    run = begin("training.epochs=100", "training.validation={every: 2, patience: 3}", "training.log_every=1")
    trainer = run.trainer()
    Judged(trainer, [1.0, 5.0, 4.0, 5.0, 4.9, 99.0])  # an equal score is no better
    trainer.run()
    assert trainer.progress.update == 10
    assert [place.name for place in trainer.checkpoints.all("best")] == ["best-00000004"]
    assert [record["best"] for record in records(run, "validation")] == [True, True, False, False, False]
    assert run.run().progress.update == 10  # and it stays ended


def test_patience_goes_on_counting_after_an_interruption(begin: Callable[..., Trained]) -> None:
    run = begin("training.epochs=100", "training.validation={every: 2, patience: 3}")
    trainer = run.trainer()
    Judged(trainer, [5.0, 4.0, 4.0])
    after(trainer, 7, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted):
        trainer.run()
    trainer = run.trainer()
    Judged(trainer, [4.0, 99.0])
    trainer.run()
    assert trainer.progress.update == 8


def test_a_plateau_lowers_the_rate(begin: Callable[..., Trained]) -> None:
    run = begin(
        "training.updates=12",
        "training.validation.every=2",
        "training.schedule={kind: plateau, decay: 0.5, patience: 2}",
        "training.log_every=1",
        "training.epochs=100",
    )
    trainer = run.trainer()
    Judged(trainer, [3.0, 2.0, 2.0, 4.0, 1.0, 1.0])
    trainer.run()
    assert isinstance(trainer.schedule, Plateau)
    assert [record["rate"] for record in records(run, "train")] == pytest.approx([0.01] * 6 + [0.005] * 6)


def test_by_loss_the_lowest_is_the_best(begin: Callable[..., Trained]) -> None:
    run = begin("training.validation={every: 2, by: loss}", "training.updates=6", "training.epochs=null")
    trainer = run.trainer()
    losses = iter([{"loss": 2.0, "bleu": 1.0}, {"loss": 1.0, "bleu": 0.0}, {"loss": 3.0, "bleu": 9.0}])
    trainer.judge = lambda: next(losses)  # type: ignore[method-assign]
    trainer.run()
    assert [place.name for place in trainer.checkpoints.all("best")] == ["best-00000004"]


@pytest.mark.parametrize(
    ("overrides", "updates", "epoch"),
    [(["training.epochs=2"], None, 3), (["training.epochs=null", "training.updates=5"], 5, 1)],
)
def test_training_ends_where_it_is_told(
    begin: Callable[..., Trained], overrides: list[str], updates: int | None, epoch: int
) -> None:
    trainer = begin(*overrides).run()
    batches = len(plan_epoch(trainer.data.train, trainer.recipe, 1))
    assert trainer.progress.update == (
        updates or sum(len(plan_epoch(trainer.data.train, trainer.recipe, e)) for e in (1, 2))
    )
    assert trainer.progress.epoch == epoch
    assert batches > 5
    assert trainer.progress.validated == trainer.progress.update  # the last update is always judged
    assert read_state(trainer.checkpoints.all()[-1])["progress"]["update"] == trainer.progress.update


def test_the_first_end_that_comes_counts(begin: Callable[..., Trained]) -> None:
    assert begin("training.epochs=50", "training.updates=3").run().progress.update == 3


def test_validation_judges_real_translations(begin: Callable[..., Trained]) -> None:
    """The loss against torch's own; BLEU of what the search finds."""
    trainer = begin().run()
    values, (source, target) = trainer.judge(), trainer.data.vocabularies
    assert trainer.model.training is False
    total, count = 0.0, 0
    files = trainer.data.corpus.dev
    lines = [path.read_text().split("\n")[:-1] for path in (files.source, files.target)]
    for pair in zip(*lines, strict=True):
        batch = collate([source.encode(pair[0])], [target.encode(pair[1])], [0])
        memory = trainer.model.encode(batch.source_BS, batch.source_valid_BS)
        trace, _ = trainer.model.decode(batch.input_BT, memory, trainer.model.start(memory))
        total += nn.functional.cross_entropy(trace.logit_BTV[0], batch.target_BT[0], reduction="sum").item()
        count += batch.target_BT.shape[1]
    assert values["loss"] == pytest.approx(total / count, rel=1e-5)
    assert 0 <= values["bleu"] <= 100


def test_bfloat16_trains_and_keeps_float32_weights(begin: Callable[..., Trained]) -> None:
    trainer = begin("training.precision=bfloat16", "training.updates=2").run()
    assert {one.dtype for one in trainer.model.parameters()} == {torch.float32}


# ---------------------------------------------------------------------------------------------------- divergence


@pytest.mark.parametrize("log_every", [1, 1000])
def test_divergence_is_told_in_a_sentence_and_its_weights_are_not_kept(
    begin: Callable[..., Trained], log_every: int
) -> None:
    run = begin("training.validation.every=2", f"training.log_every={log_every}", "training.epochs=9")
    trainer = run.trainer()

    def spoil() -> None:
        with torch.no_grad():
            trainer.model.decoder.output.bias.fill_(math.nan)

    after(trainer, 5, spoil)
    with pytest.raises(InputError, match=r"training diverged: at update 6 .*training\.optimiser\.rate") as told:
        trainer.run()
    assert "\n" not in str(told.value)
    place = run.trainer().checkpoints.latest()
    assert place is not None
    assert place.name == "update-00000004"


def test_signs_of_divergence_are_looked_for_in_the_gradient_too(begin: Callable[..., Trained]) -> None:
    tally = Tally(time.monotonic() - 1)
    tally.add({"cross-entropy": torch.ones(2)})
    tally.tokens, tally.norm = 4, torch.tensor(math.inf)
    with pytest.raises(InputError, match="gradient is no longer a finite number"):
        begin().trainer().check(tally)


# -------------------------------------------------------------------------------------------------------- journal


def test_the_log_is_a_line_of_json_a_record(begin: Callable[..., Trained]) -> None:
    run = begin("training.log_every=3", "training.epochs=1")
    trainer = run.run()
    told = records(run, "train")
    assert [record["update"] for record in told] == list(range(3, trainer.progress.update + 1, 3))
    assert {"cross-entropy", "gradient", "tokens/s", "rate", "epoch", "time"} <= told[0].keys()
    assert sum(line.startswith("epoch 1  update ") for line in run.said) == len(told)
    assert records(run, "validation")[-1]["update"] == trainer.progress.update


SAMPLED = {"entropy of choice", "collapsed", "gradient variance", "relative variance"}


def test_what_is_sampled_is_told_where_something_is(begin: Callable[..., Trained]) -> None:
    run, soft = begin(*SAMPLING, "training.log_every=2"), begin("training.log_every=2", name="soft")
    run.run()
    soft.run()
    told = records(run, "train")
    assert len(told) > 4
    for record in told:
        assert record.keys() >= SAMPLED
        assert 0 < record["entropy of choice"] < math.log(6)
        assert 0 <= record["collapsed"] <= 1
        assert record["gradient variance"] > 0
        assert 0 < record["relative variance"] <= 4
    assert "entropy of choice" in run.said[0]
    assert not any(record.keys() & SAMPLED for record in records(soft, "train"))


def test_a_run_holds_the_recipe_it_was_made_by(begin: Callable[..., Trained]) -> None:
    run = begin(*DEMANDING)
    run.run()
    assert load_recipe(run.directory / "recipe.yaml") == run.recipe
