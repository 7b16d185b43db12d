"""``nmt-report``: one page that a person can read about the output of runs, or of any systems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nmt.alignment import Alignment, Reading, words_of
from nmt.cli.common import Command
from nmt.errors import InputError
from nmt.formats import READERS
from nmt.machine import settle
from nmt.metrics import METRICS, Output, build
from nmt.metrics.reading import is_run, read_run
from nmt.metrics.tokens import TOKENIZERS
from nmt.page import Entry, Measuring, Section, document, write_document
from nmt.page.reading import Texts, read_section
from nmt.version import VERSION
from nmt.words import STYLES

if TYPE_CHECKING:
    from nmt.translator import Translator


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default="report.html", show_default=True, help="The page."
)
@click.option("--title", help="Its title.  [default: the names of the systems]")
@click.option(
    "--test", "tests", multiple=True, metavar="NAME", help="Only this test set of the runs; may be given again."
)
@click.option("-s", "--src", "source", metavar="FILE", help="Source text.")
@click.option("-r", "--ref", "references", multiple=True, metavar="FILE", help="Reference; may be given again.")
@click.option("--hyp", "hypotheses", multiple=True, metavar="[NAME=]FILE", help="Translations of a system.")
@click.option("--links", "own", multiple=True, metavar="[NAME=]FILE", help="Alignment of source and its translations.")
@click.option(
    "--ref-links", "forced", multiple=True, metavar="[NAME=]FILE", help="Alignment of source and reference by a system."
)
@click.option("-g", "--gold", metavar="FILE", help="Gold links of source and reference, Pharaoh or NAACL.")
@click.option("--gold-base", type=click.IntRange(0, 1), help="What the gold links count from, where it does not show.")
@click.option(
    "--format", "form", type=click.Choice(list(READERS)), help="Of --links and --ref-links.  [default: by name]"
)
@click.option("--pieces", type=click.Choice(STYLES), help="Texts and alignments are of pieces marked so.")
@click.option("-m", "--metric", "metrics", metavar="NAME,…", help=f"Any of {', '.join(METRICS)}.")
@click.option("--tokenize", type=click.Choice(TOKENIZERS), help="Tokeniser; by default 13a, or zh for Chinese.")
@click.option("--src-tokenize", type=click.Choice(TOKENIZERS), help="The same for the source.")
@click.option("--resamples", type=click.IntRange(0), default=1000, help="Bootstrap resamples (1000; 0: none).")
@click.option("--trials", type=click.IntRange(0), default=1000, help="Trials of randomisation (1000; 0: none).")
@click.option("--seed", type=click.IntRange(0), default=12345, help="Seed of both (12345).")
@click.option("--reading", type=click.Choice(["produced", "fed"]), default="produced", help="When attention is read.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.version_option(VERSION, package_name="nmt")
def main(
    runs: tuple[str, ...],
    out: Path,
    title: str | None,
    tests: tuple[str, ...],
    source: str | None,
    references: tuple[str, ...],
    hypotheses: tuple[str, ...],
    own: tuple[str, ...],
    forced: tuple[str, ...],
    gold: str | None,
    gold_base: int | None,
    form: str | None,
    pieces: str | None,
    metrics: str | None,
    tokenize: str | None,
    src_tokenize: str | None,
    resamples: int,
    trials: int,
    seed: int,
    reading: Reading,
    device: str,
) -> None:
    """Write one HTML page about the tests of each RUN, or about texts: scores with intervals, sentences to sort and to
    filter, heat maps, repeated spans, source words left out. The first system is the baseline of the others.

    The page is a single file that asks the network for nothing.
    """
    names = [name.strip() for name in metrics.split(",")] if metrics is not None else None
    for name in names or ():
        build(name)  # a misspelt name is told before anything is read
    given = (source, *references, *hypotheses, *own, *forced, gold)
    if runs and any(given):
        raise InputError(f"{runs[0]}: a run has its own source, references and links; give runs or texts, not both")
    if runs:
        sections = _sections(runs, tests, reading, device)
    elif tests:
        raise InputError("--test names a test set of runs, and no run was given")
    elif reading != "produced":
        raise InputError(
            "--reading is of the attention of runs, and no run was given; alignments in files are as they are"
        )
    else:
        texts = Texts(source, references, hypotheses, own, forced, gold, gold_base, form, pieces)
        sections = [read_section(texts)]
    title = title or " · ".join(entry.name for entry in sections[0].entries)
    how = Measuring(names, tokenize, src_tokenize, resamples, trials, seed)
    page = document(title, sections, how)
    try:
        size = write_document(out, page)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another place with --out") from None
    sentences = sum(section.sentences for section in sections)
    click.echo(f"{out}: {title}, {sentences} sentences, {size / 1e6:.1f} MB")


def _sections(runs: Sequence[str], tests: Sequence[str], reading: Reading, device: str) -> list[Section]:
    """The test sets that all of the runs have."""
    for run in runs:
        if not is_run(run):
            raise InputError(f"{run}: is no run directory; texts are given by --src, --ref and --hyp")
    outputs = {run: read_run(run) for run in dict.fromkeys(runs)}
    shared = [test for test in outputs[runs[0]] if all(test in found for found in outputs.values())]
    for test in tests:
        if test not in shared:
            raise InputError(f"{' and '.join(runs)} have no test set {test!r} in common; there are {', '.join(shared)}")
    if not shared:
        raise InputError(f"{' and '.join(runs)} have no test set in common")
    shared = [test for test in shared if not tests or test in tests]
    short = [Path(run).resolve().name for run in outputs]
    names = [brief if short.count(brief) == 1 else run for brief, run in zip(short, outputs, strict=True)]
    entries: dict[str, list[Entry]] = {test: [] for test in shared}
    from nmt.translator import Translator

    settle()
    for (run, found), name in zip(outputs.items(), names, strict=True):
        translator = Translator.load(run, device)
        for test in shared:
            entries[test].append(_entry(name, found[test], translator, reading))
    first = outputs[runs[0]]
    for test in shared:
        for run, found in outputs.items():
            if (found[test].sources, found[test].references) != (first[test].sources, first[test].references):
                raise InputError(f"{run} and {runs[0]} have different texts called {test}; compare runs of one corpus")
    return [
        Section(test, entries[test], first[test].sources, first[test].references or (), first[test].gold, reading)
        for test in shared
    ]


def _entry(name: str, output: Output, translator: Translator, reading: Reading) -> Entry:
    """What a run said, with the attention with which it says so again when forced; and, where there are gold links, its
    attention to the reference, which it keeps as it was produced."""
    sources, hypotheses = output.sources, output.hypotheses
    own = None if sources is None or hypotheses is None else _said(translator, sources, hypotheses, reading)
    forced = None
    if sources is not None and output.references and output.links is not None:
        reference = output.references[0]
        if reading == "produced":
            matrices = output.weights if output.weights is not None else [None] * len(output.links)
            kept = zip(sources, reference, output.links, matrices, strict=True)
            forced = [Alignment(one.split(), two.split(), found, weight_TS) for one, two, found, weight_TS in kept]
        else:
            forced = _said(translator, sources, reference, reading)
    return Entry(name, hypotheses, own, forced)


def _said(translator: Translator, sources: Sequence[str], targets: Sequence[str], reading: Reading) -> list[Alignment]:
    """The attention between words of a run that is forced to say the targets."""
    said = translator.align(sources, targets)
    return [Alignment.of(one).read(reading).to_words(*words_of(one)).ends("drop") for one in said]


if __name__ == "__main__":
    main()
