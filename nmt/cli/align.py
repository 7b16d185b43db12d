"""``nmt-align``: word links of given translations, read from the attention of a run that is forced to say them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

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
from nmt.metrics.alignment import Aer, Saer
from nmt.metrics.base import Array, Output
from nmt.symmetrise import SYMMETRISATIONS
from nmt.text import read_parallel
from nmt.version import VERSION

if TYPE_CHECKING:
    from nmt.translator import Translator

# Pairs read, sorted by length and forced together: enough to fill batches, few enough to stream.
CHUNK = 1000
METHODS = [*SYMMETRISATIONS, "product"]


@dataclass
class Judged:
    """One way to align: its statistics against gold, added up over the sentences."""

    name: str
    hard: Array = field(default_factory=lambda: np.zeros(4))
    soft: Array | None = None  # None where there is no attention

    def add(self, links: Sequence[Links], gold: Sequence[Links]) -> None:
        """Hard links of some sentences."""
        self.hard = self.hard + Aer().statistics(Output(links=links, gold=gold)).sum(axis=0)

    def add_weights(self, alignments: Sequence[Alignment], gold: Sequence[Links]) -> None:
        """The attention of some sentences."""
        output = Output(weights=[one.between_words() for one in alignments], gold=gold)
        before = np.zeros(4) if self.soft is None else self.soft
        self.soft = before + Saer().statistics(output).sum(axis=0)


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
        readings: tuple[Reading, ...] = ("produced", "fed") if self.asked is None else (self.asked,)
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

    def aligned(self, pairs: Sequence[tuple[str, ...]]) -> list[Alignment]:
        """The attention between words, without the ends, and the links made from it."""
        said = self.translator.align([one for one, _ in pairs], [two for _, two in pairs])
        return [Alignment.of(one).read(self.reading).to_words(*words_of(one)).ends("drop").hard() for one in said]


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--symmetrise", "other", metavar="RUN2", type=click.Path(path_type=Path), help="A run of the other way.")
@click.option(
    "--with", "way", type=click.Choice(METHODS), default="grow-diag", show_default=True, help="How both become one."
)
@click.option(
    "--reading",
    type=click.Choice(["produced", "fed"]),
    show_default="produced, or the better one with --head best",
    help="The step at which a word's attention is read.",
)
@click.option(
    "--head",
    metavar="L.H|L|mean|best",
    help="Read this layer and head of a Transformer, a layer's mean, the mean of all, or what --gold likes best.",
)
@click.option("--matrix", type=click.Path(path_type=Path), help="Write attention between words here (.npz or .json).")
@click.option("-g", "--gold", type=click.Path(path_type=Path), help="Gold links: print AER and SAER at the end.")
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
    way: str,
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
    if head == "best" and gold is None:
        raise InputError("--head best is the one that gold links like best; give --gold")
    for method in methods:
        check_installed(method)
    forward = Reader(run, device, head, reading)
    backward = None if other is None else Reader(other, device, head, reading)
    known: list[Links] | None = None
    if gold is not None:
        lengths = [(len(one.split()), len(two.split())) for one, two in read_parallel(source, target)]
        known = read_links(gold, gold_base, lengths).links
    else:  # what is wrong with a file is told before its first line is printed
        for _ in read_parallel(source, target):
            pass
    if head == "best" and known is not None:
        pairs = list(read_parallel(source, target))
        sources, targets = [one for one, _ in pairs], [two for _, two in pairs]
        forward.take_best(sources, targets, known)
        if backward is not None:
            backward.take_best(targets, sources, [one.turned() for one in known])
    rows = [Judged(run.name)]
    if other is not None:
        rows += [Judged(f"{other.name}, turned"), Judged(f"both, {way}")]

    def said() -> Iterator[Alignment]:
        pairs, number = read_parallel(source, target), 0
        while chunk := list(islice(pairs, CHUNK)):
            columns = [forward.aligned(chunk)]
            if backward is not None:
                turned = [(two, one) for one, two in chunk]
                columns.append([one.turned() for one in backward.aligned(turned)])
                columns.append([symmetrised(one, two.turned(), way) for one, two in zip(*columns, strict=True)])
            if known is not None:
                wanted = known[number : number + len(chunk)]
                for row, column in zip(rows, columns, strict=True):
                    row.add([_links(one) for one in column], wanted)
                    if column[0].weight_TS is not None:
                        row.add_weights(column, wanted)
            number += len(chunk)
            for one, best in zip(columns[0], columns[-1], strict=True):
                click.echo(format_links(_links(best)))
                yield one if best.weight_TS is None else best

    if matrix is None:
        for _ in said():
            pass
    else:
        write_matrices(matrix, (one.between_words() for one in said()))
    if known is not None:
        for method in methods:
            rows += _judged_method(method, way, source, target, learn, known)
        _print(rows)


def _links(alignment: Alignment) -> Links:
    links = alignment.links if alignment.links is not None else alignment.hard().links
    assert links is not None
    return links


def _judged_method(
    method: str, way: str, source: Path, target: Path, learn: tuple[Path, Path] | None, known: Sequence[Links]
) -> list[Judged]:
    pairs = [(one, two) for one, two in read_parallel(source, target)]
    more: Iterable[tuple[str, str]] = ((one, two) for one, two in read_parallel(*learn)) if learn else ()
    forward, backward = align_by(method, pairs, more)
    combine = SYMMETRISATIONS["grow-diag" if way == "product" else way]
    both = [combine(one, two) for one, two in zip(forward, backward, strict=True)]
    rows = []
    for name, links in (("", forward), (", turned", backward), (", both", both)):
        rows.append(Judged(method + name))
        rows[-1].add(links, known)
    return rows


def _print(rows: Iterable[Judged]) -> None:
    table = Table()
    table.add_column("alignment")
    for heading in ("links", "AER % ↓", "SAER % ↓"):
        table.add_column(heading, justify="right")
    for row in rows:
        soft = "–" if row.soft is None else f"{Saer().values(row.soft)[0]:.2f}"
        table.add_row(Text(row.name), str(int(row.hard[2])), f"{Aer().values(row.hard)[0]:.2f}", soft)
    Console(stderr=True, highlight=False).print(table)


if __name__ == "__main__":
    main()
