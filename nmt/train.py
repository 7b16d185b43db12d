"""Training: one loop, on any device, that an interruption does not harm.

Shapes: B sentences of a batch.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nmt.batching import Batch, Rows, collate_rows, plan, plan_sorted
from nmt.bitext import Bitext
from nmt.checkpoint import Checkpoints, current_weights, read_state
from nmt.errors import InputError
from nmt.journal import Journal
from nmt.losses import Objective, Started
from nmt.losses.likelihood import CrossEntropy, last_reading
from nmt.losses.reinforce import sampling_figures
from nmt.metrics import bleu
from nmt.model import EncoderDecoder, Trace, build_model
from nmt.optim import OPTIMISERS, SCHEDULES, Schedule
from nmt.preparation import VOCABULARIES, Data, save_vocabularies
from nmt.recipe import Recipe
from nmt.replay import Compute, CudaGraphs, Figures, Replayed
from nmt.search import refuse_precision
from nmt.text import read_lines
from nmt.translator import CHECKPOINTS, Translator, choose_device
from nmt.tree import repeat
from nmt.variance import gradient_variance, only_sampling

# Gradients of one batch from whose spread their variance is measured, at every line of the log.
PASSES = 4


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """Training was asked to stop, and has kept everything it needs to go on."""


@dataclass
class Progress:
    """How far a training is: with a checkpoint's tensors, all that is needed to go on."""

    update: int = 0
    epoch: int = 1
    batch: int = 0  # batches of this epoch that are done
    best: float | None = None  # of the validations so far, higher is better
    validated: int = 0  # the update of the last validation
    waited: int = 0  # validations since the best
    seconds: float = 0.0  # spent training
    schedule: dict[str, Any] = field(default_factory=dict)


class Losses(NamedTuple):
    """What a batch gives: the objective of every sentence, its parts by name, and sums over what attention sampled."""

    total_B: Tensor
    parts: dict[str, Tensor]
    sampling: dict[str, Tensor]


class Trainer:
    """A model in training: :meth:`run` goes from wherever the run stands to its end."""

    def __init__(self, recipe: Recipe, data: Data, run: Path, journal: Journal) -> None:
        self.recipe, self.settings, self.data, self.journal = recipe, recipe.training, data, journal
        self.directory = run
        self.device = choose_device(self.settings.device)
        refuse_precision(recipe.search, self.device)  # now, not at the first validation
        if self.settings.threads:
            torch.set_num_threads(self.settings.threads)
        torch.manual_seed(recipe.seed)
        self.model: EncoderDecoder = build_model(recipe.model, *map(len, data.vocabularies)).to(self.device)
        self.optimiser = self.settings.optimiser.build(OPTIMISERS, self.model.parameters())
        self.schedule: Schedule = self.settings.schedule.build(SCHEDULES)
        self.objective = Objective(self.settings.objective).to(self.device)
        self.replays = self.settings.replay and self.device.type == "cuda"
        self.gradient: Compute = self.compute
        if self.replays:
            self.gradient = Replayed(self.compute, self.model.parameters(), CudaGraphs())
        self.rates = [group["lr"] for group in self.optimiser.param_groups]
        self.progress = Progress()
        self.checkpoints = Checkpoints(run / CHECKPOINTS, journal.say)
        self.saved_at = time.monotonic()

    def run(self) -> None:
        """Train to the end.

        Raises :class:`Interrupted` after Ctrl-C or SIGTERM, when a checkpoint has been kept, and ``InputError`` when
        the loss is no longer a number.
        """
        self.resume()
        save_vocabularies(self.data.vocabularies, self.directory / VOCABULARIES)
        with asked_to_stop(self.journal.say) as asked:
            while not self.ended():
                self.run_epoch(asked)
            self.keep_final()
            if asked:
                raise Interrupted

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, where there is one.

        Raises ``InputError`` when it was trained on another text.
        """
        place = self.checkpoints.latest()
        if place is None:
            if self.checkpoints.all():
                self.journal.say("no checkpoint is whole: training begins anew")
            return
        if read_state(place)["data"] != self.data.train.key:
            raise InputError(
                f"{place}: the training text has changed since this run began; choose another directory with --run"
            )
        state = self.checkpoints.resume(place, self.model, self.optimiser, self.objective)
        self.progress = Progress(**state["progress"])
        self.schedule.restore(self.progress.schedule)
        self.journal.say(f"going on from update {self.progress.update} (epoch {self.progress.epoch})")
        self.journal.record("resume", self.progress.update, {})

    def ended(self) -> bool:
        """Whether an end that the recipe names has come."""
        settings, progress = self.settings, self.progress
        patience = settings.validation.patience
        return (
            (settings.epochs is not None and progress.epoch > settings.epochs)
            or (settings.updates is not None and progress.update >= settings.updates)
            or (patience is not None and progress.waited >= patience)
        )

    def run_epoch(self, asked: list[int]) -> None:
        """The rest of the present epoch, or less when the end comes before."""
        progress, settings = self.progress, self.settings
        batches = plan_epoch(self.data.train, self.recipe, progress.epoch)
        self.journal.begin_epoch(progress.epoch, len(batches), progress.batch)
        tally = Tally(time.monotonic())
        rest = iter(batches[progress.batch :])
        while group := list(islice(rest, settings.accumulate)):
            started = time.monotonic()
            batches_of_update = [self.batch(numbers) for numbers in group]
            self.train_step(batches_of_update, tally)
            progress.update += 1
            progress.batch += len(group)
            progress.seconds += time.monotonic() - started
            self.journal.advance(len(group))
            if progress.update % settings.log_every == 0:
                self.log(tally, batches_of_update[-1])
                tally = Tally(time.monotonic())
            if progress.batch == len(batches):
                self.journal.end_epoch()
                progress.epoch, progress.batch = progress.epoch + 1, 0
            every = settings.validation.every
            if progress.update % every == 0 if every else progress.batch == 0:
                self.check(tally)
                self.validate()
                tally = Tally(time.monotonic())
            if self.ended():  # the last update is kept when it has been validated
                self.check(tally)
                break
            if asked or time.monotonic() - self.saved_at > 60 * settings.save_minutes:
                self.check(tally)
                self.save()
            if asked:
                raise Interrupted

    def train_step(self, batches: Sequence[Batch], tally: Tally) -> None:
        """One update from the gradient of one or several batches, each token of them weighing the same."""
        self.model.train()
        self.objective.train()
        update, settings = self.progress.update + 1, self.settings
        tokens = sum(int(batch.target_valid_BT.sum()) for batch in batches)
        all_tokens = torch.full((), float(tokens), device=self.device)
        self.optimiser.zero_grad(set_to_none=not self.replays)
        for batch in batches:
            figures = self.gradient(batch.to(self.device), all_tokens, self.objective.started(update))
            tally.add(figures.parts, figures.sampling)
        clip = math.inf if settings.clip is None else settings.clip
        tally.norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        tally.tokens += tokens
        factor = self.schedule.factor(update)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.optimiser.step()

    def compute(self, batch: Batch, tokens: Tensor, started: Started) -> Figures:
        """Add the gradient of a batch, each token of its update's ``tokens`` weighing the same."""
        with last_reading():
            losses = self.losses(batch, started)
        torch.autograd.backward(losses.total_B.sum() / tokens)
        return Figures({name: part.detach() for name, part in losses.parts.items()}, losses.sampling)

    def batch(self, numbers: Any) -> Batch:
        """Certain pairs of the training text, as an update takes them."""
        return gather(self.data.train, numbers, self.settings.multiple)

    def losses(self, batch: Batch, started: Started) -> Losses:
        """The objective of every sentence of a batch, encoded once and decoded as often as the samples ask for."""
        samples, model = self.settings.samples, self.model
        coarse = torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")
        with coarse:
            memory = repeat(model.encode(batch.source_BS, batch.source_valid_BS), samples)
            many: Batch = repeat(batch, samples)
            trace = model.say(many.input_BT, memory)

        def predict() -> Trace:
            with coarse:
                return model.predict(many.input_BT, memory)

        total, parts = self.objective(trace, many, started, predict)
        mean = {name: one.unflatten(0, (-1, samples)).mean(dim=1) for name, one in {**parts, "": total}.items()}
        return Losses(mean.pop(""), mean, sampling_figures(trace, many))

    def check(self, tally: Tally) -> None:
        """Raises ``InputError`` when the loss or the gradient is no longer a number: such weights are never kept."""
        if bad := [name for name, value in tally.values().items() if not math.isfinite(value)]:
            raise InputError(
                f"training diverged: at update {self.progress.update} {' and '.join(bad)} "
                f"{'is' if len(bad) == 1 else 'are'} no longer a finite number; begin another run with a lower "
                "training.optimiser.rate or training.clip"
            )

    def log(self, tally: Tally, batch: Batch) -> None:
        """A line for people and one for programs, with the variance of the gradient of a batch where something sampled.

        Raises ``InputError`` when the loss is no longer a number.
        """
        self.check(tally)
        update, progress = self.progress.update, self.progress
        values = tally.values()
        if "entropy of choice" in values:
            values |= self.vary(batch)
        rate = self.optimiser.param_groups[0]["lr"]
        self.journal.record("train", update, {**values, "rate": rate, "epoch": progress.epoch})
        told = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.journal.say(f"epoch {progress.epoch}  update {update}  {told}  rate {rate:.3g}")

    def vary(self, batch: Batch) -> dict[str, float]:
        """The variance of the gradient that a batch gives, in itself and relative to its squared norm.

        Over :data:`PASSES` passes that differ in what they sample and in nothing else; it changes nothing."""
        started, tokens = self.objective.started(self.progress.update), int(batch.target_valid_BT.sum())
        batch = batch.to(self.device)
        with only_sampling(self.model, self.objective):
            variance, relative = gradient_variance(
                lambda: self.losses(batch, started).total_B.sum() / tokens, list(self.model.parameters()), PASSES
            )
        return {"gradient variance": variance, "relative variance": relative}

    def validate(self) -> None:
        """Judge the model on the development set, keep the weights when they are the best so far, and a checkpoint."""
        settings, progress = self.settings.validation, self.progress
        values = self.judge()
        score = values["bleu"] if settings.by == "bleu" else -values["loss"]
        improved = progress.best is None or score > progress.best
        self.schedule.observe(improved)
        progress.waited = 0 if improved else progress.waited + 1
        progress.validated = progress.update
        if improved:
            progress.best = score
            self.checkpoints.save_weights("best", progress.update, current_weights(self.model), values)
        self.journal.record("validation", progress.update, {**values, "best": improved})
        told = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.journal.say(f"validation at update {progress.update}  {told}{'  (best so far)' if improved else ''}")
        self.save()

    def judge(self) -> dict[str, float]:
        """Development loss (cross-entropy a token, natural logarithm) and BLEU of real translations."""
        settings, dev, corpus = self.settings.validation, self.data.dev, self.data.corpus
        self.model.eval()
        loss, tokens = 0.0, 0
        with torch.inference_mode():
            for numbers in plan_sorted(dev.target_lengths, tokens=4000):
                batch = gather(dev, numbers).to(self.device)
                trace = self.model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
                loss += float(CrossEntropy()(trace, batch).sum())
                tokens += int(batch.target_valid_BT.sum())
        files = (corpus.dev.source, corpus.dev.target, *corpus.dev.references)
        sources, *references = (list(islice(read_lines(path), settings.sentences)) for path in files)
        search = self.recipe.search.model_copy(update={"beam": settings.beam, "n_best": 1})
        translator = Translator(self.model, self.data.vocabularies, search, self.device)
        hypotheses = [one.text for one in translator.translate(sources)]
        tokenize = "none" if corpus.tokenised else None
        return {"loss": loss / tokens, "bleu": bleu(hypotheses, *references, tokenize=tokenize).value}

    def save(self) -> None:
        """Keep a checkpoint of this update."""
        progress = self.progress
        progress.schedule = self.schedule.state()
        state = {"data": self.data.train.key, "progress": asdict(progress)}
        keep = self.settings.keep
        self.checkpoints.save(progress.update, self.model, self.optimiser, self.objective, state, keep)
        self.saved_at = time.monotonic()

    def keep_final(self) -> None:
        """Validate the last update if nothing has; keep the average of the last checkpoints where it is asked for."""
        if self.progress.validated < self.progress.update:
            self.validate()
        self.checkpoints.remove("average")  # of an earlier end
        if self.settings.average > 1:
            average = self.checkpoints.average(self.settings.average)
            self.checkpoints.save_weights("average", self.progress.update, average, {})


class Tally:
    """What happened since the last line of the log; read without waiting for the device in between."""

    def __init__(self, since: float) -> None:
        self.since, self.tokens, self.norm = since, 0, torch.zeros(())
        self._parts: dict[str, Tensor] = {}
        self._sampling: dict[str, Tensor] = {}

    def add(self, parts: dict[str, Tensor], sampling: dict[str, Tensor] | None = None) -> None:
        """The parts (B,) of one batch's objective, and what :func:`~nmt.losses.reinforce.sampling_figures` tells."""
        for sums, news in ((self._parts, parts), (self._sampling, sampling or {})):
            for name, one in news.items():
                sums[name] = sums.get(name, 0) + one.detach().sum()

    def values(self) -> dict[str, float]:
        """Each part a token, the norm of the last gradient before clipping, and target tokens a second; where attention
        sampled, the mean entropy (nats) of what it sampled from and the share of these steps that have collapsed.

        Nothing where nothing has happened yet."""
        if not self.tokens:
            return {}
        values = {name: float(total) / self.tokens for name, total in self._parts.items()}
        values["gradient"] = float(self.norm)
        if steps := float(self._sampling.get("sampled", 0)):
            values["entropy of choice"] = float(self._sampling["entropy"]) / steps
            values["collapsed"] = float(self._sampling["collapsed"]) / steps
        return {**values, "tokens/s": self.tokens / (time.monotonic() - self.since)}


def plan_epoch(train: Bitext, recipe: Recipe, epoch: int) -> list[Any]:
    """The batches of an epoch, as positions of pairs; the seed and the epoch alone decide."""
    return plan(
        train.source_lengths,
        train.target_lengths,
        tokens=recipe.training.batch_tokens,
        sentences=recipe.training.batch_sentences,
        seed=recipe.seed,
        epoch=epoch,
        multiple=recipe.training.multiple,
    )


def gather(bitext: Bitext, numbers: Any, multiple: int = 1) -> Batch:
    """The batch of certain pairs, filled up to multiples of ``multiple`` positions."""
    numbers = np.asarray(numbers)
    sources, targets, links = (Rows(*part(numbers)) for part in (bitext.sources, bitext.targets, bitext.all_links))
    return collate_rows(sources, targets, numbers, links, multiple=multiple)


@contextmanager
def asked_to_stop(say: Callable[[str], None]) -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C or SIGTERM; the second time, the signal does what it always did."""
    asked: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)
        say("stopping when this update or validation is done; ask again to stop at once")

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
