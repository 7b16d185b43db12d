"""``python -m benchmarks``: speed beside other toolkits; see README.md of this directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from benchmarks import data as loading
from benchmarks import gpu as on_gpu
from benchmarks import lengths as by_length
from benchmarks import quality as learning
from benchmarks import search
from benchmarks import train as training
from benchmarks.machine import description
from benchmarks.peers import PEERS, install, our_torch
from benchmarks.protocol import ROOT
from benchmarks.systems import OURS, SEARCHING, SYSTEMS, TRAINING, peers_directory
from benchmarks.table import page, write_page
from benchmarks.train import Setting
from benchmarks.workload import Workload
from nmt.errors import InputError

CACHE = ROOT / ".bench" / "work"
SIZE, BATCH = 512, 80  # as the peers were measured with before
OURSELVES = [name for name, system in SYSTEMS.items() if system.environment is None]


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every measurement."""
    for option in reversed(
        [
            click.option("--threads", default=1, show_default=True, help="Threads of every system."),
            click.option("--rounds", default=3, show_default=True, help="Rounds; the median of them counts."),
            click.option("--size", type=int, help="Of embeddings, states, scorer and readout.  [default: 512]"),
            click.option("--batch", type=int, help="Sentences of a batch.  [default: 80]"),
            click.option("--pairs", default=20_000, show_default=True, help="Pairs of the training text."),
            click.option("--vocabulary", default=8_000, show_default=True, help="Words of each side."),
            click.option("--peers", type=click.Path(path_type=Path), help="Where the peers' environments are."),
            click.option("--out", type=click.Path(path_type=Path), help="Write the table to this file too."),
        ]
    ):
        command = option(command)
    return command


def setting_of(**given: Any) -> Setting:
    """From the options that all commands have."""
    workload = Workload(pairs=given["pairs"], vocabulary=given["vocabulary"])
    peers = peers_directory(given["peers"])
    size, batch = given["size"] or SIZE, given["batch"] or BATCH
    return Setting(workload, CACHE, peers, size, batch, given["threads"], given["rounds"])


def chosen_of(names: str, known: Iterable[str]) -> list[str]:
    """The names, separated by commas, in the order of those that are known; ``all`` are all."""
    known = list(known)
    asked = known if names == "all" else names.split(",")
    for name in asked:
        if name not in known:
            raise click.BadParameter(f"{name}: known here are {', '.join(known)}")
    return [name for name in known if name in asked]


def threads_of(setting: Setting) -> str:
    """``1 thread``, ``2 threads``."""
    return f"{setting.threads} thread{'s' * (setting.threads > 1)}"


def say(sentence: str) -> None:
    """Progress, on standard error."""
    click.echo(sentence, err=True)


def finish(title: str, parts: list[list[str]], out: Path | None, failures: list[str]) -> None:
    """Print a page, write it where asked to, and fail when a system of ours has failed."""
    command = "python -m benchmarks " + " ".join(sys.argv[1:])
    lines = page(title, description(), command, parts)
    click.echo("\n".join(lines))
    if out is not None:
        write_page(out, lines)
    if any(SYSTEMS[name].environment is None for name in failures):
        raise SystemExit(1)


@click.group()
def main() -> None:
    """Speed, beside other toolkits where `python -m benchmarks peers` has installed them."""


@main.command()
@common
@click.option("--updates", default=4, show_default=True, help="Updates of a round; slow systems make half as many.")
@click.option("--systems", default="all", show_default=True, help="Which, separated by commas.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), help="Only systems of this precision.")
def train(updates: int, systems: str, precision: str | None, out: Path | None, **given: Any) -> None:
    """Target tokens a second of training, EOS counted, and the share of each system's floor."""
    setting = setting_of(**given)
    chosen = chosen_of(systems, SYSTEMS)
    parts, failures = [], []
    for title, members in TRAINING.items():
        names = [n for n in members if n in chosen and precision in (None, SYSTEMS[n].precision)]
        if names and (names != [OURS] or not parts):
            lines, failed = training.measure(names, setting, updates, say)
            parts.append([f"## {title}", "", *lines])
            failures += failed
    finish(f"Training, {threads_of(setting)}", parts, out, failures)


@main.command()
@common
@click.option("--sentences", default=200, show_default=True, help="Sentences of a round.")
@click.option("--systems", default=",".join(SEARCHING), show_default=True, help="Which, separated by commas.")
def decode(sentences: int, systems: str, out: Path | None, **given: Any) -> None:
    """Sentences a second of beam search, beam 5, the length of all translations forced to 30."""
    setting = setting_of(**given)
    lines, failures = search.decode(chosen_of(systems, SEARCHING), setting, sentences, say)
    finish(f"Beam search, {threads_of(setting)}", [lines], out, failures)


@main.command()
@common
@click.option("--sentences", default=200, show_default=True, help="Sentences of a round.")
@click.option("--systems", default=f"{OURS},{OURS}-bf16", show_default=True, help="Which, separated by commas.")
def align(sentences: int, systems: str, out: Path | None, **given: Any) -> None:
    """Sentences a second of forced alignment, beside beam search of the same sentences and lengths."""
    setting = setting_of(**given)
    lines, failures = search.align(chosen_of(systems, OURSELVES), setting, sentences, say)
    finish(f"Forced alignment, {threads_of(setting)}", [lines], out, failures)


@main.command()
@common
@click.option("--updates", default=4, show_default=True, help="Updates of a round.")
@click.option("--processes", default="1,2", show_default=True, help="Processes that encode the text.")
@click.option("--repeat", default=25, show_default=True, help="How often the text is repeated to be encoded.")
def data(updates: int, processes: str, repeat: int, out: Path | None, **given: Any) -> None:
    """The share of data in an update, and the speed of preparing a text."""
    setting = setting_of(**given)
    lines, failures = loading.share(setting, updates, say)
    numbers = tuple(int(one) for one in processes.split(","))
    prepared = loading.preparation(setting, numbers, repeat, say)
    parts = [["## Data in an update", "", *lines], ["## Sentencepiece encoding and index building", "", *prepared]]
    finish(f"Data, {threads_of(setting)}", parts, out, failures)


@main.command()
@common
@click.option("--lengths", default="10,20,50,100,200", show_default=True, help="Lengths of one side.")
@click.option("--sentences", default=16, show_default=True, help="Sentences of a search.")
@click.option("--systems", default=OURS, show_default=True, help="Which, separated by commas.")
def lengths(lengths: str, sentences: int, systems: str, out: Path | None, **given: Any) -> None:
    """Cost by the length of target and source, and its exponent: linear is 1.

    Of batches of 16 sentences and sizes of 256 unless told otherwise.
    """
    setting = setting_of(**{**given, "size": given["size"] or 256, "batch": given["batch"] or 16})
    numbers = [int(one) for one in lengths.split(",")]
    lines, failures = by_length.measure(chosen_of(systems, OURSELVES), setting, numbers, sentences, say)
    finish(f"Cost by length, {threads_of(setting)}", [lines], out, failures)


@main.command()
@click.option("--batches", default="80,1000", show_default=True, help="Sentences of a batch.")
@click.option("--updates", default=20, show_default=True, help="Updates of a round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the median of them counts.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to this file too.")
def gpu(batches: str, updates: int, rounds: int, out: Path | None) -> None:
    """RNNSearch and GAtt of the paper's sizes on a GPU, in bfloat16."""
    if reason := on_gpu.missing():
        raise click.ClickException(reason)
    workload = Workload(pairs=60_000, vocabulary=on_gpu.PAPER.vocabulary)
    numbers = [int(one) for one in batches.split(",")]
    lines, failures = on_gpu.measure(numbers, on_gpu.PAPER, workload, CACHE, updates, rounds, say)
    finish("Training on a GPU", [[on_gpu.gpu()], lines], out, failures)


@main.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--threads", default=1, show_default=True, help="Threads of JoeyNMT.")
@click.option("--peers", type=click.Path(path_type=Path), help="Where the peers' environments are.")
@click.option("--directory", type=click.Path(path_type=Path), help="JoeyNMT's work.  [default: RUN-joeynmt]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the table to this file too.")
def quality(run: Path, threads: int, peers: Path | None, directory: Path | None, out: Path | None) -> None:
    """BLEU and 4-GRR of a finished RUN of ours, and of JoeyNMT trained on the same pieces as long and as large."""
    place = (directory or run.with_name(f"{run.name}-joeynmt")).resolve()
    python = peers_directory(peers) / "joeynmt" / "bin" / "python"
    try:
        lines = learning.compare(run, python, place, threads, say)
    except InputError as error:
        raise click.UsageError(str(error)) from error
    finish(f"Quality: {run.name}", [lines], out, [])


@main.command()
@click.option("--peers", type=click.Path(path_type=Path), help="Where to make the environments.")
@click.option("--torch", help="What pip installs as torch.  [default: the very build that runs here]")
@click.argument("names", nargs=-1)
def peers(peers: Path | None, torch: str | None, names: tuple[str, ...]) -> None:
    """Make the environments of the peers, all of them or those NAMEd."""
    install(peers_directory(peers), chosen_of(",".join(names or PEERS), PEERS), torch or our_torch(), say)


if __name__ == "__main__":
    main()
