"""Speed of N-GRR with its bootstrap, beside sacrebleu's BLEU on the same generated text.

    python benchmarks/metrics_speed.py --sentences 1000000

N-GRR 1 to 4 with 13a tokens in lower case and 1,000 bootstrap resamples, on one process and two threads of linear
algebra at most; the bound is two minutes and 2 GB for a million sentences. BLEU is sacrebleu's corpus score without any
bootstrap, on at most ``--bleu-sentences`` of the same lines.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
import numpy as np

from nmt.metrics import Output, build
from nmt.metrics.comparison import System, compare


def generate(sentences: int, seed: int) -> list[str]:
    """Lines of 5 to 45 words and a full stop; words of a Zipfian vocabulary, some with capitals or a comma."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    words = np.array(["".join(rng.choice(letters, size=rng.integers(1, 11))) for _ in range(30_000)], dtype=object)
    words[rng.integers(len(words), size=3000)] += ","
    capital = rng.integers(len(words), size=1500)
    words[capital] = [word.capitalize() for word in words[capital]]
    weights = 1 / np.arange(1, len(words) + 1)
    lengths = rng.integers(5, 46, size=sentences)
    lines = []
    for start in range(0, sentences, 10_000):
        part = lengths[start : start + 10_000]
        drawn = words[np.searchsorted(np.cumsum(weights / weights.sum())[:-1], rng.random(part.sum()))]
        ends = np.cumsum(part)
        lines += [" ".join(drawn[end - length : end]) + "." for end, length in zip(ends, part, strict=True)]
    return lines


def peak() -> float:
    """The most memory this process has held, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


@contextmanager
def timed(what: str, sentences: int) -> Iterator[None]:
    """Print how long the block took by the clock and on the processor: on a busy machine only the second is its own."""
    clock, processor = time.perf_counter(), time.process_time()
    yield
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    speed = sentences / processor
    click.echo(f"{what}: {clock:.1f} s, {processor:.1f} s of processor time, {speed:,.0f} sentences a processor second")


@click.command()
@click.option("--sentences", default=100_000, help="How many to generate (100,000).")
@click.option("--resamples", default=1000, help="Bootstrap resamples (1,000).")
@click.option("--bleu-sentences", default=50_000, help="How many of them, at most, BLEU is timed on (50,000).")
def main(sentences: int, resamples: int, bleu_sentences: int) -> None:
    lines = generate(sentences, seed=1)
    length = sum(map(len, lines)) / len(lines)
    click.echo(f"{sentences} sentences of {length:.0f} characters; {peak():.2f} GB so far")
    metric = build("ngrr")
    with timed(f"N-GRR 1 to 4 with {resamples} bootstrap resamples", sentences):
        row = compare([System("generated", [Output(lines)])], [metric], resamples, trials=0).rows[0]
    click.echo(f"peak memory {peak():.2f} GB")
    for column, cell in row.cells.items():
        click.echo(f"  {column} {cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]")
    from sacrebleu.metrics.bleu import BLEU

    some = lines[:bleu_sentences]
    with timed(f"N-GRR 1 to 4 of {len(some)}, no bootstrap", len(some)):
        metric.scores(Output(some))
    references = generate(len(some), seed=2)
    with timed(f"sacrebleu's BLEU of {len(some)}", len(some)):
        BLEU(force=True).corpus_score(some, [references])


if __name__ == "__main__":
    main()
