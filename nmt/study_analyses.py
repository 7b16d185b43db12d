"""What a study tells beyond its table: one number along another, a curve for every cell.

An analysis is a class whose keyword-only settings a study may set; it reads finished runs and gives figures.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from nmt.batching import collate
from nmt.bitext import Bitext
from nmt.corpus import Corpus, load_corpus, prepare_corpus
from nmt.cost import cost_by_length
from nmt.flow import LastWord, gradient_flow, without_ends
from nmt.journal import LOG_FILE
from nmt.metrics import build
from nmt.metrics.base import Output
from nmt.metrics.reading import read_run
from nmt.metrics.tokens import choose
from nmt.model import EncoderDecoder
from nmt.preparation import prepare
from nmt.recipe import Recipe
from nmt.translator import Translator

Count = Annotated[int, Field(ge=1)]
MIB = 2**20


class Trained(NamedTuple):
    """A cell with finished runs: its name, the settings of one of them, and their directories, a seed each."""

    name: str
    settings: Any
    runs: tuple[Path, ...]


def corpus_at(path: Path) -> Corpus:
    """The corpus that a file names, made or fetched where it is not there yet."""
    return prepare_corpus(load_corpus(path), path.parent / "downloads", lambda sentence: None)


def tokeniser(recipe: Recipe, output: Output) -> str:
    """The tokeniser of metrics for outputs of a recipe's corpus, as its own report has it."""
    return "none" if corpus_at(recipe.corpus).tokenised else choose((output.references or [output.hypotheses or ()])[0])


class Curve(NamedTuple):
    """Points of one cell; ``deviation`` over the seeds where there are several."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    deviation: tuple[float, ...] | None = None


class Figure(NamedTuple):
    """Curves that are drawn together and make one table; ``logarithmic`` says which axes are.

    With ``names``, x counts them: 0, 1, 2 … are things side by side, of which no line leads to the next.
    """

    name: str  # of its files
    title: str
    x: str
    y: str
    curves: tuple[Curve, ...]
    logarithmic: Literal["none", "y", "both"] = "none"
    names: tuple[str, ...] = ()

    def told(self, x: float) -> str:
        """An x as it is shown."""
        return self.names[int(x)] if self.names else f"{x:g}"

    @property
    def head(self) -> list[str]:
        """Of its table: x, and a column a curve."""
        return [self.x, *(curve.name or self.y for curve in self.curves)]


class Analysis:
    """One of :data:`ANALYSES`."""

    reads = "translation"  # the kind of study

    def figures(self, systems: Sequence[Trained]) -> Iterator[Figure]:
        """What is to be drawn."""
        raise NotImplementedError


class MetricByLength(Analysis):
    """A metric over the sentences whose source has from one edge to less than the next words (at spaces), for every
    test set. Lengths at which a test set has fewer than ten sentences are left out, sentences of fewer words than the
    first edge or as many as the last, and a test set of a single length."""

    FEWEST = 10

    def __init__(self, *, metric: str = "bleu", edges: tuple[Count, ...] = (1, 10, 20, 30, 50, 1000)) -> None:
        if list(edges) != sorted(set(edges)) or len(edges) < 2:
            raise ValueError("edges: two or more lengths are needed, each larger than the one before")
        self.metric, self.edges = metric, edges

    def figures(self, systems: Sequence[Trained]) -> Iterator[Figure]:
        outputs = [[read_run(str(run)) for run in system.runs] for system in systems]
        shared = [test for test in outputs[0][0] if all(test in one for found in outputs for one in found)]
        for test in shared:
            curves = [
                self._curve(one, [out[test] for out in found]) for one, found in zip(systems, outputs, strict=True)
            ]
            title = f"{build(self.metric).columns[0]} by length, {test}"
            if any(len(curve.x) > 1 for curve in curves):
                yield Figure(f"{self.metric}-by-length-{test}", title, "source words", self.metric, tuple(curves))

    def _curve(self, system: Trained, outputs: Sequence[Output]) -> Curve:
        first = outputs[0]
        words_N = np.array([len(line.split()) for line in first.sources or ()])
        metric = build(self.metric, tokenize=tokeniser(system.settings, first))
        statistics_of = [metric.statistics(output) for output in outputs]
        x, y, deviation = [], [], []
        for low, high in pairwise(self.edges):
            chosen_N = (words_N >= low) & (words_N < high)
            if chosen_N.sum() < self.FEWEST:
                continue
            values = [float(metric.values(array[chosen_N].sum(axis=0))[0]) for array in statistics_of]
            x.append(round(float(words_N[chosen_N].mean()), 1))
            y.append(statistics.fmean(values))
            deviation.append(statistics.stdev(values) if len(values) > 1 else 0.0)
        return Curve(system.name, tuple(x), tuple(y), tuple(deviation) if len(outputs) > 1 else None)


class GradientByDistance(Analysis):
    """How much the last word of a translation depends on the decoder's states before: the norm of
    ∂ −log p(y_T) / ∂ h_{T−k} by k, relative to that at k = 0, of the first run of every cell, over the ``sentences``
    longest of the development set. y_T is the word before the end of the sentence; h is the state that the lowest layer
    of a recurrent decoder hands to the next step, or what the lowest layer of a Transformer gives."""

    def __init__(self, *, sentences: Count = 50) -> None:
        self.sentences = sentences

    def figures(self, systems: Sequence[Trained]) -> Iterator[Figure]:
        yield Figure(
            "gradient-by-distance",
            "Gradient of the last word by distance",
            "steps before the last",
            "norm, relative to that at the last",
            tuple(map(self._curve, systems)),
            "y",
        )

    def _curve(self, system: Trained) -> Curve:
        model = Translator.load(system.runs[0], system.settings.training.device).model.eval()
        assert isinstance(model, EncoderDecoder)
        dev = prepare(system.settings, lambda sentence: None).dev
        numbers = np.argsort(-dev.target_lengths, kind="stable")[: self.sentences]
        batch = without_ends(_gathered(dev, numbers)).to(next(model.parameters()).device)
        flows = gradient_flow(model, batch, LastWord())
        flow = next(one for name, one in flows.items() if name.startswith("decoder."))
        norm_K = flow.mean_by_distance_K().double().cpu()
        relative = (norm_K / norm_K[0]).tolist()
        return Curve(system.name, tuple(map(float, range(len(relative)))), tuple(relative))


def _gathered(bitext: Bitext, numbers: Any) -> Any:
    return collate([bitext.source(n) for n in numbers], [bitext.target(n) for n in numbers], numbers)


class CostByLength(Analysis):
    """Time and peak memory of an update by the length of its sentences, with the fitted exponent, of freshly drawn
    models (see :func:`nmt.cost.cost_by_length`)."""

    def __init__(self, *, lengths: tuple[Count, ...] = (16, 32, 64, 128, 256, 512), sentences: Count = 1) -> None:
        if len(set(lengths)) < 2:
            raise ValueError("lengths: an exponent needs two at least")
        self.lengths, self.sentences = lengths, sentences

    def figures(self, systems: Sequence[Trained]) -> Iterator[Figure]:
        costs = [cost_by_length(one.settings, self.lengths, sentences=self.sentences) for one in systems]
        x = tuple(map(float, self.lengths))
        parts = (("time", "seconds an update"), ("memory", "peak memory an update, MiB"))
        for number, (name, label) in enumerate(parts):
            curves = []
            for system, cost in zip(systems, costs, strict=True):
                values = tuple(float(one) / (MIB if name == "memory" else 1) for one in cost[number + 1])
                curves.append(Curve(f"{system.name} (length^{cost.exponents()[number]:.2f})", x, values))
            yield Figure(f"{name}-by-length", f"{name.capitalize()} by length", "words", label, tuple(curves), "both")


class TrainingCurve(Analysis):
    """What the log says of training along the updates: a ``value`` of its events ``event``, the mean over the seeds."""

    reads = "both"

    def __init__(self, *, event: str = "train", value: str = "loss") -> None:
        self.event, self.value = event, value

    def figures(self, systems: Sequence[Trained]) -> Iterator[Figure]:
        curves = tuple(self._curve(one) for one in systems)
        yield Figure(f"{self.event}-{self.value}", f"{self.value} ({self.event})", "updates", self.value, curves)

    def _curve(self, system: Trained) -> Curve:
        told: dict[int, list[float]] = {}
        for run in system.runs:
            lines = (run / LOG_FILE).read_text(encoding="utf-8").rstrip("\n").split("\n")
            # Of an update that was done again after a crash, the last one counts.
            last = {
                record["update"]: float(record[self.value])
                for record in map(json.loads, lines)
                if record["event"] == self.event and self.value in record
            }
            for update, value in last.items():
                told.setdefault(update, []).append(value)
        shared = {update: told[update] for update in sorted(told) if len(told[update]) == len(system.runs)}
        deviation = tuple(map(statistics.stdev, shared.values())) if len(system.runs) > 1 else None
        return Curve(system.name, tuple(map(float, shared)), tuple(map(statistics.fmean, shared.values())), deviation)


ANALYSES: dict[str, type[Analysis]] = {
    "metric-by-length": MetricByLength,
    "gradient-by-distance": GradientByDistance,
    "cost-by-length": CostByLength,
    "training-curve": TrainingCurve,
}
