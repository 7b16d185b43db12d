"""``nmt-align``: word links of given translations, read from the attention of a run that is forced to say them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nmt.aligners import ALIGNERS, align_by, check_installed
from nmt.alignment import Alignment, Reading, symmetrised, words_of
from nmt.cli.common import Command
from nmt.errors import InputError
from nmt.heads import Head, Place, best_head, parse_head
from nmt.links import Links, format_links, read_links, write_matrices
from nmt.machine import settle
from nmt.metrics.alignment import Aer, Saer
from nmt.metrics.base import Array, Output
from nmt.symmetrise import SYMMETRISATIONS
from nmt.text import read_parallel, rereadable
from nmt.version import VERSION

if TYPE_CHECKING:
    from nmt.translator import Translation, Translator

# Pairs read, sorted by length and forced together: enough to fill batches, few enough to stream.
CHUNK = 1000
METHODS = [*SYMMETRISATIONS, "product"]
READINGS: tuple[Reading, ...] = get_args(Reading)


@dataclass
class Judged:
    """One way to align: its statistics against gold, added up over the sentences."""

    name: str
    reading: str = "–"  # a dash where there is no attention to read
    hard: Array = field(default_factory=lambda: np.zeros(4))
    soft: Array | None = None  # None where there is no attention

    def add(self, alignments: Sequence[Alignment], gold: Sequence[Links]) -> None:
        """The hard links of some sentences, and their attention where they have any."""
        self.add_links([_links(one) for one in alignments], gold)
        if alignments[0].weight_TS is not None:
            output = Output(weights=[one.between_words() for one in alignments], gold=gold)
            before = np.zeros(4) if self.soft is None else self.soft
            self.soft = before + Saer().statistics(output).sum(axis=0)

    def add_links(self, links: Sequence[Links], gold: Sequence[Links]) -> None:
        """Hard links alone."""
        self.hard = self.hard + Aer().statistics(Output(links=links, gold=gold)).sum(axis=0)


class Reader:
    """A run, and where its attention is read. Raises ``InputError`` for a head that it has not."""

    def __init__(self, run: Path, device: str, head: str | None, reading: Reading | None) -> None:
        self.run, self.device, self.asked = run, device, reading
        self.reading: Reading = reading or "produced"
        self.translator = self._load(None if head in (None, "best") else parse_head(str(head)))

    def _load(self, place: tuple[Place, Place] | None) -> Translator:
        from nmt.sublayers import Shown
        from nmt.translator import Translator

        shown = None if place is None else Shown(layer=place[0], head=place[1])
        return Translator.load(self.run, self.device, shown=shown)

    def take_best(self, sources: Sequence[str], targets: Sequence[str], gold: Sequence[Links]) -> None:
        """Read where gold links like it best, and tell what they think of every head on standard error."""
        readings = READINGS if self.asked is None else (self.asked,)
        heads = best_head(self.translator, sources, targets, gold, readings)
        table = Table(title=f"{self.run.name}: AER % ↓ of every head")
        for heading in ("layer", "head", *readings):
            table.add_column(heading, justify="right")
        for layer, head in dict.fromkeys((one.layer, one.head) for one in heads.aer):
            table.add_row(str(layer), str(head), *(f"{heads.aer[Head(layer, head, one)]:.2f}" for one in readings))
        Console(stderr=True, highlight=False).print(table)
        self.reading = heads.best.reading
        if len(heads.aer) > len(readings):  # there is something to choose from
            self.translator = self._load((heads.best.layer, heads.best.head))

    def say(self, sources: Sequence[str], targets: Sequence[str]) -> list[Translation]:
        """The targets as the run is forced to say them."""
        return self.translator.align(sources, targets)


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--symmetrise", "other", metavar="RUN2", type=click.Path(path_type=Path), help="A run of the other way.")
@click.option(
    "--with",
    "ways",
    multiple=True,
    type=click.Choice(METHODS),
    show_default="grow-diag",
    help="How both become one; given again, the table compares, and the first is printed.",
)
@click.option(
    "--reading",
    type=click.Choice(READINGS),
    show_default="produced, or the better one with --head best",
    help="The step at which a word's attention is read.",
)
@click.option(
    "--head",
    metavar="L.H|L|mean|best",
    help="Read this layer and head of a Transformer, a layer's mean, the mean of all, or what --gold likes best.",
)
@click.option("--matrix", type=click.Path(path_type=Path), help="Write attention between words here (.npz or .json).")
@click.option("-g", "--gold", type=click.Path(path_type=Path), help="Gold links: print AER and SAER of both readings.")
@click.option("--gold-base", type=click.IntRange(0, 1), help="What the gold links count from, where it does not show.")
@click.option("--method", "methods", multiple=True, type=click.Choice(list(ALIGNERS)), help="Compare this aligner too.")
@click.option(
    "--learn", nargs=2, type=click.Path(path_type=Path), metavar="SRC TGT", help="More text for --method to learn from."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.version_option(VERSION, package_name="nmt")
def main(
    run: Path,
    source: Path,
    target: Path,
    other: Path | None,
    ways: tuple[str, ...],
    reading: Reading | None,
    head: str | None,
    matrix: Path | None,
    gold: Path | None,
    gold_base: int | None,
    methods: tuple[str, ...],
    learn: tuple[Path, Path] | None,
    device: str,
) -> None:
    """Print the links between the words of SOURCE and TARGET, line by line, as the RUN sees them (0-0 1-2).

    N lines in, N lines out. The table of --gold goes to standard error. With --symmetrise the links are those of both
    directions; --matrix keeps the attention of RUN, or the product of both.
    """
    if methods and gold is None:
        raise InputError("--method compares with other aligners, which takes gold links; give --gold")
    if learn and not methods:
        raise InputError("--learn is text for --method to learn from; give a --method, or leave it out")
    if ways and other is None and not methods:
        raise InputError("--with makes two directions one; give --symmetrise or a --method, or leave it out")
    if other is None and "product" in ways:
        raise InputError("--with product is of the attention of two runs; give --symmetrise, or another way")
    ways = ways or ("grow-diag",)
    if head == "best" and gold is None:
        raise InputError("--head best is the one that gold links like best; give --gold")
    for method in methods:
        check_installed(method)
    settle()
    forward = Reader(run, device, head, reading)
    backward = None if other is None else Reader(other, device, head, reading)
    # What is wrong with a file is told before its first line is printed.
    again = click.get_current_context().with_resource
    source, target = again(rereadable(source, target))
    if learn:
        one, two = again(rereadable(*learn))
        learn = one, two
    known: list[Links] | None = None
    if gold is not None:
        lengths = [(len(one.split()), len(two.split())) for one, two in read_parallel(source, target)]
        known = read_links(gold, gold_base, lengths).links
    if head == "best" and known is not None:
        pairs = list(read_parallel(source, target))
        sources, targets = [one for one, _ in pairs], [two for _, two in pairs]
        forward.take_best(sources, targets, known)
        if backward is not None:
            backward.take_best(targets, sources, [one.turned() for one in known])
    rows: dict[tuple[str, str], Judged] = {}
    chosen = forward.reading, (forward if backward is None else backward).reading
    # With gold links every direction is judged in both readings.
    both_readings = dict.fromkeys([(each, each) for each in READINGS if known is not None] + [chosen])

    def said() -> Iterator[Alignment]:
        pairs, number = read_parallel(source, target), 0
        while chunk := list(islice(pairs, CHUNK)):
            sources, targets = [one for one, _ in chunk], [two for _, two in chunk]
            there = forward.say(sources, targets)
            back = None if backward is None else backward.say(targets, sources)
            columns: dict[tuple[str, str], list[Alignment]] = {}
            for one, two in both_readings:
                reading_of_both = one if one == two else f"{one}, {two}"
                best = first = columns[run.name, one] = _between_words(there, one)
                if other is not None and back is not None:
                    turned = [each.turned() for each in _between_words(back, two)]
                    columns[f"{other.name}, turned", two] = turned
                    for way in ways:
                        columns[f"both, {way}", reading_of_both] = _both(first, turned, way)
                    best = columns[f"both, {ways[0]}", reading_of_both]
                if (one, two) == chosen:
                    read = list(zip(first, best, strict=True))
            if known is not None:
                for key, column in columns.items():
                    rows.setdefault(key, Judged(*key)).add(column, known[number : number + len(chunk)])
            number += len(chunk)
            for attention, links in read:
                click.echo(format_links(_links(links)))
                yield attention if links.weight_TS is None else links

    if matrix is None:
        for _ in said():
            pass
    else:
        try:
            write_matrices(matrix, (one.between_words() for one in said()))
        except BrokenPipeError:  # the reader of the links left, which says nothing of the matrices
            raise
        except OSError as error:
            raise InputError(f"{matrix}: cannot be written ({error.strerror}); choose another --matrix") from None
    if known is not None:
        others = [row for method in methods for row in _judged_method(method, ways, source, target, learn, known)]
        _print([*rows.values(), *others])


def _between_words(said: Sequence[Translation], reading: Reading) -> list[Alignment]:
    """The attention between words, without the ends, and the links made from it."""
    return [Alignment.of(one).read(reading).to_words(*words_of(one)).ends("drop").hard() for one in said]


def _both(forward: Sequence[Alignment], turned: Sequence[Alignment], way: str) -> list[Alignment]:
    """One of two directions, the second with source and target in each other's place."""
    return [symmetrised(one, two.turned(), way) for one, two in zip(forward, turned, strict=True)]


def _links(alignment: Alignment) -> Links:
    links = alignment.links if alignment.links is not None else alignment.hard().links
    assert links is not None
    return links


def _judged_method(
    method: str,
    ways: Sequence[str],
    source: Path,
    target: Path,
    learn: tuple[Path, Path] | None,
    known: Sequence[Links],
) -> list[Judged]:
    pairs = [(one, two) for one, two in read_parallel(source, target)]
    more: Iterable[tuple[str, str]] = ((one, two) for one, two in read_parallel(*learn)) if learn else ()
    forward, backward = align_by(method, pairs, more)
    columns = {method: forward, f"{method}, turned": backward}
    for way in [way for way in ways if way in SYMMETRISATIONS] or ["grow-diag"]:  # links have no product
        both = [SYMMETRISATIONS[way](one, two) for one, two in zip(forward, backward, strict=True)]
        columns[f"{method}, {way}"] = both
    rows = []
    for name, links in columns.items():
        rows.append(Judged(name))
        rows[-1].add_links(links, known)
    return rows


def _print(rows: Iterable[Judged]) -> None:
    table = Table()
    table.add_column("alignment")
    table.add_column("reading")
    for heading in ("links", "AER % ↓", "SAER % ↓"):
        table.add_column(heading, justify="right")
    for row in rows:
        soft = "–" if row.soft is None else f"{Saer().values(row.soft)[0]:.2f}"
        table.add_row(Text(row.name), row.reading, str(int(row.hard[2])), f"{Aer().values(row.hard)[0]:.2f}", soft)
    Console(stderr=True, highlight=False).print(table)


if __name__ == "__main__":
    main()
