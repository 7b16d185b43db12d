"""The numbers of a page: comparisons of systems for its tables, and a value for every sentence to sort by.

Which metrics apply follows from what is given; each is asked of the systems that have what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from nmt.metrics import Metric, Output, for_text
from nmt.metrics.base import Array
from nmt.metrics.comparison import Comparison, System, compare
from nmt.metrics.repetition import Ngrr
from nmt.metrics.tokens import tokenizer
from nmt.page.base import Entry, Section, links, matrix

# What to measure when nothing is asked for, in the order of the table.
USUAL = ("bleu", "ngrr", "otem", "utem", "ignored", "aer", "saer")

# What a person calls the number of one sentence: at full length, and where there is little room.
CALLED = {
    "bleu": ("sentence BLEU", "BLEU"),
    "ngrr": ("repetition: mean of 1- to 4-GRR, %", "repetition"),
    "otem": ("n-grams more often than in the reference, %", "too often"),
    "utem": ("n-grams of the reference that are missing, %", "missing"),
    "ignored": ("omission: source words left uncovered, %", "left out"),
    "aer": ("alignment error rate (AER), %", "AER"),
    "saer": ("soft alignment error rate (SAER), %", "SAER"),
    "rep": ("repetition beyond the reference (REP)", "REP"),
    "drop": ("omission: source words dropped (DROP), %", "DROP"),
    "length": ("length of the translation, tokens", "length"),
    "source-length": ("length of the source, tokens", "source length"),
}


@dataclass(frozen=True)
class Measuring:
    """How to measure: metrics by name (None: what the data allow), tokenisers (None: by the text), resampling."""

    metrics: Sequence[str] | None = None
    tokenize: str | None = None
    src_tokenize: str | None = None
    resamples: int = 1000
    trials: int = 1000
    seed: int = 12345


class Column(NamedTuple):
    """A number of every sentence: values in the order of the systems, None for one that has none."""

    key: str
    label: str
    short: str
    higher_is_better: bool
    values: list[Array | None]


class Numbers(NamedTuple):
    """Comparisons whose columns together are the table, the columns of the sentences, and the tokeniser of the text."""

    comparisons: list[Comparison]
    columns: list[Column]
    tokenize: str
    source_tokenize: str


def measure(section: Section, how: Measuring) -> Numbers:
    """All numbers of a test set. Raises ``InputError`` where a metric that was asked for lacks what it reads."""
    seen = [_views(section, entry) for entry in section.entries]
    sample = next((views["text"] for views in seen if views["text"].hypotheses is not None), seen[0]["text"])
    named = {"tokenize": how.tokenize, "src_tokenize": how.src_tokenize}
    metrics = for_text(list(how.metrics if how.metrics is not None else USUAL), sample, named)
    there = {name: [_has(views[_view(metric)], metric) for views in seen] for name, metric in metrics.items()}
    for name, metric in list(metrics.items()):
        if not any(there[name]):
            if how.metrics is not None:
                metric.require(seen[0][_view(metric)])  # says what is missing
            del metrics[name]
    comparisons = []
    for (view, having), group in groupby(metrics, key=lambda name: (_view(metrics[name]), there[name])):
        systems = [
            System(entry.name, [views[view]])
            for entry, views, has in zip(section.entries, seen, having, strict=True)
            if has
        ]
        chosen = [metrics[name] for name in group]
        comparisons.append(compare(systems, chosen, how.resamples, how.trials, how.seed))
    columns = [_column(name, metric, seen, there[name]) for name, metric in metrics.items()]
    (ngrr,) = for_text(["ngrr"], sample, named).values()
    assert isinstance(ngrr, Ngrr)
    columns += _lengths(section, ngrr)
    return Numbers(comparisons, columns, ngrr.tokenize, ngrr.source_tokenize)


Views = dict[str, Output]


def _views(section: Section, entry: Entry) -> Views:
    """An entry as metrics see it: the translations, their alignments, and the alignments that gold judges."""
    own, forced = entry.own, entry.forced
    soft = forced is not None and all(one.weight_TS is not None for one in forced)
    forced_links = None if forced is None else [links(one) for one in forced]
    return {
        "text": Output(entry.hypotheses, section.references or None, section.sources),
        "own": Output(
            links=None if own is None else [links(one) for one in own],
            weights=None if own is None else [matrix(one) for one in own],
            reference_links=forced_links,
        ),
        "gold": Output(
            links=forced_links, weights=[matrix(one) for one in forced or ()] if soft else None, gold=section.gold
        ),
    }


def _view(metric: Metric) -> str:
    if "gold" in metric.needs:
        return "gold"
    return "own" if {"links", "weights"} & set(metric.needs) else "text"


def _has(output: Output, metric: Metric) -> bool:
    return all(getattr(output, need) is not None for need in metric.needs)


def _column(name: str, metric: Metric, seen: Sequence[Views], there: Sequence[bool]) -> Column:
    outputs = [views[_view(metric)] if has else None for views, has in zip(seen, there, strict=True)]
    values = [None if one is None else metric.sentence_values(metric.statistics(one)) for one in outputs]
    label, short = CALLED.get(name, (" / ".join(metric.columns),) * 2)
    return Column(name, label, short, metric.higher_is_better, values)


def _lengths(section: Section, ngrr: Ngrr) -> Iterator[Column]:
    """How many tokens every translation has, and the source."""
    texts = {
        "length": ([entry.hypotheses for entry in section.entries], ngrr.tokenize),
        "source-length": ([section.sources] * len(section.entries), ngrr.source_tokenize),
    }
    for key, (sides, tokenize) in texts.items():
        words = tokenizer(tokenize, lowercase=True)
        values = [None if lines is None else np.array([len(words(line)) for line in lines], float) for lines in sides]
        if any(one is not None for one in values):
            yield Column(key, *CALLED[key], False, values)
