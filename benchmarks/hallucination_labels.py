"""How well repetition metrics detect the sentences that people labelled as repetitions.

The area under the ROC curve (with a 95% interval by bootstrap over sentences) of each detector against the label
``repetitions`` of the 3,415 German-English translations of Guerreiro, Voita & Martins (2023)::

    python benchmarks/hallucination_labels.py hallucinations-deen.annotated_corpus.csv

A detector is a number a sentence, higher for more suspicious. For comparison, the same against ``--label`` others.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from nmt.metrics import Output, build
from nmt.metrics.significance import interval

Array = NDArray[np.float64]


def area(scores: Array, labels: Array) -> float:
    """The probability that a labelled sentence scores higher than another, ties counting one half (Mann & Whitney)."""
    values, place = np.unique(scores, return_inverse=True)
    yes = np.bincount(place, weights=labels, minlength=len(values))
    no = np.bincount(place, weights=1 - labels, minlength=len(values))
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (yes.sum() * no.sum()))


def detectors(sources: list[str], hypotheses: list[str], references: list[str]) -> dict[str, Array]:
    """For each name a number a sentence."""
    output = Output(hypotheses, [references], sources)
    repetition = build("ngrr")
    rates = repetition.values(repetition.statistics(output))
    there = repetition.values(repetition.statistics(Output(sources)))
    beside = repetition.values(repetition.statistics(Output(references)))
    found = {}
    for column, order in enumerate((1, 2, 3, 4)):
        found[f"{order}-GRR"] = rates[:, column]
        found[f"{order}-GRR − source"] = rates[:, column] - there[:, column]
        found[f"{order}-GRR − reference"] = rates[:, column] - beside[:, column]
    for order in (1, 2, 3, 4):
        metric = build("tng", order=order)
        found[f"tng, n = {order}"] = metric.sentence_values(metric.statistics(output))
    rep = build("rep")
    statistics = rep.statistics(output)
    found["rep (per reference word)"] = rep.sentence_values(statistics)
    found["rep (penalty alone)"] = statistics[:, 0]
    otem = build("otem")
    found["otem (share of excess n-grams)"] = otem.sentence_values(otem.statistics(output))
    return found


def read(path: Path) -> list[dict[str, str]]:
    """The rows by the names of the header. One source holds a comma that the file does not quote; it is put back."""
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    found = []
    for number, *texts in rows:
        *source, translation, reference = texts[:-5]
        found.append(dict(zip(header, [number, ",".join(source), translation, reference, *texts[-5:]], strict=True)))
    return found


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--label", default="repetitions", help="A column of the file (repetitions).")
@click.option("--resamples", default=1000, help="Bootstrap resamples (1000).")
def main(path: Path, label: str, resamples: int) -> None:
    rows = read(path)
    labels = np.array([float(row[label]) for row in rows])
    scores = detectors(*([row[side] for row in rows] for side in ("src", "mt", "ref")))
    click.echo(f"{len(rows)} sentences, {int(labels.sum())} labelled {label}")
    click.echo(f"{'detector':<32}    AUC  95% interval   found at 1% and 5% false alarms")
    for name, score in scores.items():
        rng = np.random.default_rng(12345)  # the same resamples for every detector
        drawn = (rng.integers(len(rows), size=len(rows)) for _ in range(resamples))
        low, high = interval(np.array([area(score[sample], labels[sample]) for sample in drawn]))
        found = " ".join(f"{recall_at(score, labels, alarms):6.1%}" for alarms in (0.01, 0.05))
        click.echo(f"{name:<32} {area(score, labels):.4f}  {low:.4f}–{high:.4f}  {found}")


def recall_at(scores: Array, labels: Array, alarms: float) -> float:
    """The share of labelled sentences above the lowest threshold that at most ``alarms`` of the others reach."""
    others = np.sort(scores[labels == 0])[::-1]
    threshold = others[int(alarms * len(others))]
    return float((scores[labels == 1] > threshold).mean())


if __name__ == "__main__":
    main()
