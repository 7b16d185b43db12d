"""Word aligners that other people wrote, called where they are installed: what attention has to be compared with.

None of them is part of this project; each is found on the PATH by the name of its own program.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from nmt.errors import InputError
from nmt.links import Links, links_of_lines
from nmt.text import read_lines, write_lines


class Directions(NamedTuple):
    """Links of every sentence pair, as (source word, target word) in both: see :mod:`nmt.symmetrise`."""

    forward: list[Links]
    backward: list[Links]


def eflomal(directory: Path, source: Path, target: Path) -> None:
    """eflomal 2 (Östling and Tiedemann 2016), with its own defaults."""
    out = ["-f", str(directory / "forward"), "-r", str(directory / "backward")]
    _call("eflomal-align", ["-s", str(source), "-t", str(target), *out])


def fast_align(directory: Path, source: Path, target: Path) -> None:
    """fast_align (Dyer, Chahuneau and Smith 2013), with the options of its authors: -d -o -v.

    It takes the word ||| for the end of the source, so where a text has it another stands in its place.
    """
    joined = directory / "joined"
    with open(source, encoding="utf-8") as left, open(target, encoding="utf-8") as right:
        sides = ((_without_bars(one), _without_bars(other)) for one, other in zip(left, right, strict=True))
        write_lines(joined, map(" ||| ".join, sides))
    for name, reverse in (("forward", []), ("backward", ["-r"])):
        (directory / name).write_text(_call("fast_align", ["-i", str(joined), "-d", "-o", "-v", *reverse]), "utf-8")


class Aligner(NamedTuple):
    """The name of a program, and how it is called: from a directory and two texts without empty lines to the files
    ``forward`` and ``backward`` in it, in Pharaoh's notation, from 0."""

    program: str
    align: Callable[[Path, Path, Path], None]


# An aligner is added by writing its function above and its line here.
ALIGNERS: dict[str, Aligner] = {
    "eflomal": Aligner("eflomal-align", eflomal),
    "fast_align": Aligner("fast_align", fast_align),
}


def check_installed(method: str) -> None:
    """Raises ``InputError`` when the program of a method is not on the PATH."""
    if shutil.which(program := ALIGNERS[method].program) is None:
        raise InputError(f"{program} is not installed (not found on the PATH); install it or leave its --method out")


def align_by(
    method: str,
    pairs: Sequence[tuple[str, str]],
    learn: Iterable[tuple[str, str]] = (),
) -> Directions:
    """The links that an aligner finds between the words of ``pairs``; it learns from them and from ``learn``.

    A pair with an empty side has no link. Raises ``InputError`` when the program is not installed, fails, or gives
    links that are not of these sentences.
    """
    check_installed(method)
    real = [number for number, pair in enumerate(pairs) if all(side.split() for side in pair)]
    text = [pairs[number] for number in real]
    text += [pair for pair in learn if all(side.split() for side in pair)]
    found = Directions([Links()] * len(pairs), [Links()] * len(pairs))
    if not real:
        return found
    with TemporaryDirectory() as name:
        directory = Path(name)
        source, target = directory / "source", directory / "target"
        write_lines(source, (" ".join(one.split()) for one, _ in text))
        write_lines(target, (" ".join(other.split()) for _, other in text))
        ALIGNERS[method].align(directory, source, target)
        lengths = [(len(one.split()), len(other.split())) for one, other in text]
        for side, file in zip(found, Directions._fields, strict=True):
            links = links_of_lines(list(read_lines(directory / file)), f"{method}, {file}", 0, lengths).links
            for number, one in zip(real, links[: len(real)], strict=True):
                side[number] = one
    return found


def _without_bars(line: str) -> str:
    return " ".join("¦¦¦" if word == "|||" else word for word in line.split())


def _call(program: str, arguments: Sequence[str]) -> str:
    """Run a program to its end; what it wrote to its standard output."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        last = done.stderr.strip().split("\n")[-1]
        raise InputError(f"{program} failed with status {done.returncode}: {last}")
    return done.stdout
