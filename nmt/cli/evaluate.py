"""nmt-eval: over-translation, under-translation and alignment, on any system's output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from nmt.cli.common import Command
from nmt.cli.tables import (
    TSV_HEADER,
    as_json,
    console,
    print_sentence,
    print_table,
    sentence_as_json,
    tsv_lines,
)
from nmt.errors import InputError
from nmt.metrics import METRICS, Metric, Output, build, for_text
from nmt.metrics.comparison import Comparison, System, compare
from nmt.metrics.reading import Reader, is_run, read_run
from nmt.metrics.repetition import SHORT
from nmt.metrics.tokens import TOKENIZERS
from nmt.version import VERSION

FORMAT = 1  # of the JSON output

Section = tuple[str | None, list[System]]  # a test set's name, when there are several, and the systems on it


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("systems", nargs=-1, required=True)
@click.option("-m", "--metric", "metric_names", metavar="NAME,…", help=f"Any of {', '.join(METRICS)}.")
@click.option("-r", "--ref", "references", multiple=True, metavar="FILE", help="Reference; may be given again.")
@click.option("-s", "--src", "source", metavar="FILE", help="Source text.")
@click.option(
    "-a", "--alignment", "alignments", multiple=True, metavar="FILE", help="Links or attention of a system, in order."
)
@click.option("-g", "--gold", metavar="FILE", help="Gold links, Pharaoh (0-0 1p2) or NAACL.")
@click.option("--ref-alignment", metavar="FILE", help="Links of source and reference, for drop and cdr.")
@click.option("--base", type=click.IntRange(0, 1), help="What links count from, where the file does not show it.")
@click.option("--gold-base", type=click.IntRange(0, 1), help="The same for the gold links.")
@click.option("--tokenize", type=click.Choice(TOKENIZERS), help="Tokeniser; by default 13a, or zh for Chinese.")
@click.option("--src-tokenize", type=click.Choice(TOKENIZERS), help="The same for the source.")
@click.option("--lowercase/--no-lowercase", default=None, help="Default: lower case for all but bleu and chrf.")
@click.option("--short", type=click.Choice(SHORT), default="zero", help="What a sentence without an N-gram counts.")
@click.option("--renormalise", is_flag=True, help="saer: divide each row of attention by its sum first.")
@click.option("--resamples", type=click.IntRange(0), default=1000, help="Bootstrap resamples (1000; 0: none).")
@click.option("--trials", type=click.IntRange(0), default=1000, help="Trials of randomisation (1000; 0: none).")
@click.option("--seed", type=click.IntRange(0), default=12345, help="Seed of both (12345).")
@click.option("--show", type=click.IntRange(0), default=0, metavar="N", help="List the N worst sentences.")
@click.option("--json", "output_format", flag_value="json", help="Print JSON.")
@click.option("--tsv", "output_format", flag_value="tsv", help="Print tab-separated values.")
@click.version_option(VERSION, package_name="nmt")
def main(
    systems: tuple[str, ...],
    metric_names: str | None,
    references: tuple[str, ...],
    source: str | None,
    alignments: tuple[str, ...],
    gold: str | None,
    ref_alignment: str | None,
    base: int | None,
    gold_base: int | None,
    resamples: int,
    trials: int,
    seed: int,
    show: int,
    output_format: str | None,
    **settings: Any,
) -> None:
    """Measure the output of translation SYSTEMS, the first being the baseline of the others.

    A system is a text of a sentence a line (- for standard input), JSONL with src, hyp, ref and alignment, a file of
    links or of attention matrices (.npz, .json), or a run directory; NAME=FILE,FILE,… is one system with several seeds.
    """
    names = [name.strip() for name in metric_names.split(",")] if metric_names else None
    for name in names or ():
        build(name)  # a misspelt name is told before anything is read
    reader = Reader(references, source, gold, ref_alignment, base, gold_base)
    results = []
    for test, section in _sections(systems, alignments, names, reader):
        metrics = _metrics(names, section[0].outputs[0], settings)
        results.append((test, section, metrics, compare(section, metrics, resamples, trials, seed)))
    if output_format == "json":
        _print_json(results, show, reader.notes)
    elif output_format == "tsv":
        lines = [line for test, _, _, comparison in results for line in tsv_lines(comparison, test)]
        click.echo("\n".join(["\t".join(TSV_HEADER), *lines]))
    else:
        _print_tables(results, show, reader.notes)


Result = tuple[str | None, list[System], list[Metric], Comparison]


def _sections(
    arguments: Sequence[str], alignments: Sequence[str], names: Sequence[str] | None, reader: Reader
) -> Iterator[Section]:
    """The systems on every test set: one nameless for files, those that all of the runs have for run directories."""
    runs = [argument for argument in arguments if is_run(argument)]
    if not runs:
        yield None, _file_systems(arguments, alignments, names, reader)
        return
    if len(runs) < len(arguments):
        other = next(argument for argument in arguments if not is_run(argument))
        raise InputError(
            f"{other} is a file and {runs[0]} a run directory; compare files with files and runs with runs"
        )
    if alignments or reader.references or reader.source or reader.gold or reader.reference_links:
        raise InputError(f"{runs[0]} is a run directory and has its own source, references and links; give no others")
    tests = {run: read_run(run) for run in runs}
    shared = [test for test in tests[runs[0]] if all(test in found for found in tests.values())]
    if not shared:
        raise InputError(f"{' and '.join(runs)} have no test set in common")
    for test in shared:
        yield test, [System(Path(run).resolve().name, [found[test]]) for run, found in tests.items()]


def _file_systems(
    arguments: Sequence[str], alignments: Sequence[str], names: Sequence[str] | None, reader: Reader
) -> list[System]:
    groups = [_group(argument) for argument in arguments]
    files = [path for _, paths in groups for path in paths]
    if alignments and len(alignments) != len(files):
        raise InputError(
            f"{len(alignments)} alignments for {len(files)} files; give --alignment once for each, in order"
        )
    needs = {need for name in names or () for need in METRICS[name].needs}
    is_links = bool(names) and "hypotheses" not in needs and not alignments
    given: Iterator[str | None] = iter(alignments)
    return [
        System(name, [reader.output(path, next(given, None), is_links) for path in paths])
        for name, paths in _distinct(groups)
    ]


def _group(argument: str) -> tuple[str, list[str]]:
    """A name and its files, from ``FILE`` or ``NAME=FILE,FILE,…`` (when there is no file of that name)."""
    name, equals, files = argument.partition("=")
    if equals and name and not Path(argument).exists():
        return name, files.split(",")
    return argument, [argument]


def _distinct(groups: Sequence[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Files by their names without folders, unless two would be called the same."""
    short = [Path(name).name if [name] == files else name for name, files in groups]
    return [
        (name if short.count(brief) > 1 else brief, files) for (name, files), brief in zip(groups, short, strict=True)
    ]


def _metrics(names: Sequence[str] | None, output: Output, settings: dict[str, Any]) -> list[Metric]:
    """The metrics asked for, or what the data allow; tokenisers chosen by the text where none is named."""
    chosen = {key: value for key, value in settings.items() if (key, value) != ("lowercase", None)}
    return [*for_text(names or _possible(output), output, chosen).values()]


def _possible(output: Output) -> list[str]:
    """What to report when nothing is asked for."""
    wanted = ["bleu", "ngrr", "aer", "saer"]
    found = [name for name in wanted if all(getattr(output, need) is not None for need in METRICS[name].needs)]
    return found or ["coverage", "ignored", "entropy", "nothing"]


def _worst(metric: Metric, output: Output, count: int) -> list[tuple[int, float]]:
    """The numbers and values of the worst sentences, the worst first; equals in the order of the text."""
    values = metric.sentence_values(metric.statistics(output))
    order = np.argsort(-values if not metric.higher_is_better else values, kind="stable")
    return [(int(number), float(values[number])) for number in order[:count]]


def _print_tables(results: Sequence[Result], show: int, notes: Sequence[str]) -> None:
    out = console()
    for test, systems, metrics, comparison in results:
        print_table(out, comparison, test)
        for system in systems if show else ():
            for metric in metrics:
                out.print(f"\n{system.name}: worst by {' / '.join(metric.columns)}", markup=False)
                for number, value in _worst(metric, system.outputs[0], show):
                    print_sentence(out, system.outputs[0], number, value, metric)
    for note in notes:
        out.print(note, markup=False)


def _print_json(results: Sequence[Result], show: int, notes: Sequence[str]) -> None:
    tests = []
    for test, systems, metrics, comparison in results:
        worst = [
            {
                "system": system.name,
                "metric": list(metric.columns),
                "sentences": [
                    sentence_as_json(system.outputs[0], number, value, metric)
                    for number, value in _worst(metric, system.outputs[0], show)
                ],
            }
            for system in (systems if show else ())
            for metric in metrics
        ]
        tests.append(as_json(comparison, test) | {"worst": worst})
    document = {"format": FORMAT, "version": VERSION, "tests": tests, "notes": list(notes)}
    click.echo(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
