"""``nmt-translate``: lines in, translations out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

import click

from nmt.cli.common import Command
from nmt.errors import InputError
from nmt.links import format_links
from nmt.machine import settle
from nmt.text import STANDARD_INPUT, read_lines
from nmt.translator import Translator

# Lines read, sorted by length and searched together: enough to fill batches, few enough to stream.
CHUNK = 1000


@click.command(cls=Command)
@click.argument("paths", metavar="RUN... [SOURCE]", nargs=-1, required=True)
@click.option("--alignment", is_flag=True, help="After a tab, the links between source and target words (0-0 1-2).")
@click.option("--n-best", type=click.IntRange(1), help="So many translations a line: number, translation, score.")
@click.option("--beam", type=click.IntRange(1), help="Width of the beam.  [default: the recipe's]")
@click.option("--longest", type=click.IntRange(1), default=1000, show_default=True, help="Longest line, in tokens.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
def main(
    paths: tuple[str, ...], alignment: bool, n_best: int | None, beam: int | None, longest: int, device: str
) -> None:
    """Translate the lines of SOURCE (standard input by default) with the model of a RUN directory, or with those of
    several as an ensemble, searching as the recipe of the first says.

    N lines in, N lines out, in order. With --n-best the output has a line a translation, its fields separated by tabs:
    line number (from 0), translation, score.
    """
    settle()
    runs, source = _runs_and_source(paths)
    chosen = {"beam": beam, "n_best": n_best}
    translator = Translator.load(runs, device, search={name: value for name, value in chosen.items() if value})
    # What is wrong with a file is told before its first translation is printed; a pipe can be read only once.
    if source != STANDARD_INPUT and os.path.isfile(source):
        for _ in _chunks(source, longest, translator):
            pass
    for first, lines in _chunks(source, longest, translator):
        for number, translations in enumerate(translator.n_best(lines), start=first):
            for translation in translations:
                fields = [translation.text]
                if n_best:
                    fields = [str(number), *fields, f"{translation.score:.6f}"]
                if alignment:
                    fields.append(format_links(translation.links()))
                click.echo("\t".join(fields))


def _runs_and_source(paths: Sequence[str]) -> tuple[list[str], str]:
    """The first path is a run; those after it are runs where they are directories, and the last may be the source.

    Raises ``InputError`` for anything after the source.
    """
    runs = [paths[0], *takewhile(os.path.isdir, paths[1:])]
    source, *rest = paths[len(runs) :] or [STANDARD_INPUT]
    if rest:
        raise InputError(f"{source}: is no directory, so it is the source; but {rest[0]} comes after it")
    return runs, source


def _chunks(source: str, longest: int, translator: Translator) -> Iterator[tuple[int, list[str]]]:
    """Chunks of lines with the number of their first. Raises ``InputError`` for a line that is too long."""
    lines = read_lines(source)
    # A person at a terminal waits for the translation of each line.
    size = 1 if source == STANDARD_INPUT and sys.stdin.isatty() else CHUNK
    first = 0
    while chunk := list(islice(lines, size)):
        for number, line in enumerate(chunk, start=first + 1):
            if (length := len(translator.vocabularies[0].encode(line))) > longest:
                name = "standard input" if source == STANDARD_INPUT else source
                raise InputError(
                    f"{name}, line {number}: {length} tokens, more than the {longest} allowed; "
                    "split it or raise --longest"
                )
        yield first, chunk
        first += len(chunk)
