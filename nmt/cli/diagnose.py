"""``nmt-diagnose``: what the attention of runs does while they are forced to say their test sets."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import click
from rich.table import Table
from rich.text import Text

from nmt.cli.common import Command
from nmt.cli.tables import console
from nmt.errors import InputError
from nmt.machine import settle
from nmt.text import read_parallel, rereadable
from nmt.version import VERSION

FORMAT = 1  # of the JSON output
TEXT = "text"  # what a text is called that is no test set of a run

# How a table shows a measure: its heading, the factor of its unit, and the digits after the point.
COLUMNS: dict[str, tuple[str, float, int]] = {
    "variance_over_steps": ("variance\nover steps", 1, 4),
    "variance_over_dimensions": ("variance over\ndimensions", 1, 4),
    "entropy": ("entropy\nnats", 1, 3),
    "to_end": ("to the\nend %", 100, 2),
    "collapsed": ("collapsed\nsteps %", 100, 2),
    "coverage": ("coverage\nof a word", 1, 3),
    "ignored": ("ignored\nwords %", 100, 2),
    "overloaded": ("overloaded\nwords %", 100, 2),
    "monotone": ("monotone\n%", 100, 2),
}
LEGEND = (
    "Forced decoding; variances of the context vectors; ignored below 0.2, overloaded above 2 in all, collapsed above "
    "0.99 at one place; docs/diagnostics.md"
)


class Sides(NamedTuple):
    """The two files of a text."""

    source: Path
    target: Path


class Row(NamedTuple):
    """A line of a table: what was measured of one run on one text."""

    run: str
    path: str
    sentences: int
    left_out: int
    measures: dict[str, float | None]


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--test", "name", metavar="NAME", help="Only this test set.  [default: all that a run has translated]")
@click.option(
    "-s", "--src", "source", type=click.Path(path_type=Path), help="Source of a text of your own, with --ref."
)
@click.option("-r", "--ref", "target", type=click.Path(path_type=Path), help="Its translation, line by line.")
@click.option(
    "--weights",
    type=click.Choice(["final", "best", "last"]),
    default="final",
    show_default=True,
    help="Which of a run.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, every value in full.")
@click.version_option(VERSION, package_name="nmt")
def main(
    runs: tuple[str, ...],
    name: str | None,
    source: Path | None,
    target: Path | None,
    weights: Literal["final", "best", "last"],
    device: str,
    as_json: bool,
) -> None:
    """Show what the attention of each RUN does while it is forced to say the references of its test sets.

    A table a test set, a row a run: variance of the context vectors, entropy, weight of the end of the sentence, source
    words that are ignored or overloaded.
    """
    from nmt.diagnostics import diagnose
    from nmt.translator import Translator

    settle()
    own = _own_text(source, target, name)
    # What is wrong with the last run is told before the first is measured.
    translators = [Translator.load(run, device, weights=weights) for run in runs]
    texts = [own or _tests(Path(run), name) for run in runs]
    for sides in {sides for found in texts for sides in found.values()}:
        for _ in read_parallel(*sides):
            pass
    tables: dict[str, list[Row]] = {}
    for run, shown, translator, found in zip(runs, _names(runs), translators, texts, strict=True):
        for test, sides in found.items():
            measures, sentences, left_out = diagnose(translator, read_parallel(*sides))
            tables.setdefault(test, []).append(Row(shown, run, sentences, left_out, measures))
    _print_json(tables) if as_json else _print_tables(tables)


def _own_text(source: Path | None, target: Path | None, name: str | None) -> dict[str, Sides] | None:
    if source is None and target is None:
        return None
    if source is None or target is None:
        raise InputError("--src and --ref are the two sides of one text; give both")
    if name is not None:
        raise InputError("--test names a test set of the runs; with --src and --ref there is none")
    return {TEXT: Sides(*click.get_current_context().with_resource(rereadable(source, target)))}


def _tests(run: Path, name: str | None) -> dict[str, Sides]:
    """The test sets that a run has translated, or the one of a name."""
    directory = run / "translations"
    sources = {path.stem: path for path in sorted(directory.glob("*.src"))}
    tests = {test: Sides(path, path.with_suffix(".ref")) for test, path in sources.items()}
    if not tests:
        raise InputError(f"{directory}: holds no test set (it is written when training ends); give --src and --ref")
    if name is None:
        return tests
    if name not in tests:
        near = difflib.get_close_matches(name, tests, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(tests)}"
        raise InputError(f'{run}: has no test set "{name}"; {hint}')
    return {name: tests[name]}


def _names(runs: Sequence[str]) -> list[str]:
    """The last part of every path, or the whole where two have the same."""
    short = [Path(run).resolve().name for run in runs]
    return [brief if short.count(brief) == 1 else run for brief, run in zip(short, runs, strict=True)]


def _print_tables(tables: Mapping[str, Sequence[Row]]) -> None:
    out = console()
    for test, rows in tables.items():
        table = Table(title=Text(test), title_justify="left")
        table.add_column("run")
        for heading in ("sentences", *(heading for heading, _, _ in COLUMNS.values())):
            table.add_column(heading, justify="right")
        for row in rows:
            cells = [_cell(row.measures[name], factor, digits) for name, (_, factor, digits) in COLUMNS.items()]
            table.add_row(Text(row.run), str(row.sentences), *cells)
        out.print(table)
        for row in rows:
            if row.left_out:
                out.print(f"{row.run}: {row.left_out} pairs with an empty side are left out", markup=False)
    out.print(LEGEND, markup=False)


def _cell(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{factor * value:.{digits}f}"


def _print_json(tables: Mapping[str, Sequence[Row]]) -> None:
    tests = [{"test": test, "runs": [row._asdict() for row in rows]} for test, rows in tables.items()]
    click.echo(json.dumps({"format": FORMAT, "version": VERSION, "tests": tests}, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
