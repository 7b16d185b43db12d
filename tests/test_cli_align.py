"""``nmt-align``: links of given translations, and how they compare."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from commands import pipe, refused
from runs import Trained, prepared, write_project

from nmt.aligners import ALIGNERS, align_by
from nmt.cli import align
from nmt.cli.align import main
from nmt.errors import InputError
from nmt.links import Links, argmax_links, parse_links, read_links, read_matrices
from nmt.metrics import aer, saer
from nmt.readings import best_reading_of_run
from nmt.symmetrise import SYMMETRISATIONS
from nmt.text import read_lines, write_lines
from nmt.translator import Translator


class Text:
    """A trained run with the two sides and the gold links of its test set."""

    def __init__(self, directory: Path) -> None:
        recipe = write_project(directory / "project")
        self.run = directory / "run"
        Trained(*prepared(recipe, "training.epochs=1"), self.run).run()
        self.source, self.target, self.gold = (recipe.parent / f"test.{end}" for end in ("src", "trg", "gold"))

    def lines(self) -> tuple[list[str], list[str]]:
        return list(read_lines(self.source)), list(read_lines(self.target))

    def aligned(self) -> list:
        """What the library says of the same text."""
        return Translator.load(self.run, "cpu").align(*self.lines())


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return Text(tmp_path_factory.mktemp("align"))


def invoke(*arguments: object, given: str | None = None) -> Result:
    return CliRunner().invoke(main, [*(str(one) for one in arguments), "--device", "cpu"], input=given)


def links_of(result: Result) -> list[Links]:
    assert result.exit_code == 0, result.output
    return [parse_links(line) for line in result.stdout.removesuffix("\n").split("\n")]


def cells(result: Result, name: str, reading: str = "produced") -> list[str]:
    """The numbers of a row of the table."""
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stderr.split("\n")]
    (row,) = (row for row in rows if row[:2] == [name, reading])
    return row[2:]


def test_the_links_are_those_of_the_library_line_by_line(text: Text, tmp_path: Path) -> None:
    result = invoke(text.run, text.source, text.target, "--matrix", tmp_path / "out.npz")
    said = text.aligned()
    assert links_of(result) == [one.links() for one in said]
    for found, one in zip(read_matrices(tmp_path / "out.npz"), said, strict=True):
        np.testing.assert_allclose(found, one.matrix(), atol=1e-6)


def test_error_rates_are_those_of_the_metrics(text: Text) -> None:
    result = invoke(text.run, text.source, text.target, "--gold", text.gold)
    gold, said = read_links(text.gold, base=0).links, text.aligned()
    # Letters are words, so the row of the next step is where a word is fed.
    weights = {
        "produced": [one.matrix() for one in said],
        "fed": [one.weight_TS[1:, :-1].astype(np.float64) for one in said],
    }
    for reading, matrices in weights.items():
        links = [argmax_links(one) for one in matrices]
        assert cells(result, "run", reading) == [
            str(sum(len(one.possible) for one in links)),
            f"{aer(links, gold).value:.2f}",
            f"{saer(matrices, gold).value:.2f}",
        ]
    assert best_reading_of_run(text.run, *text.lines(), gold).aer == {
        reading: pytest.approx(float(cells(result, "run", reading)[1]), abs=0.005) for reading in weights
    }


@pytest.mark.parametrize("way", [*SYMMETRISATIONS, "product"])
def test_both_directions_become_one(text: Text, way: str) -> None:
    # Letters are the words of both sides, so that a run can stand for one of the other way.
    result = invoke(text.run, text.source, text.target, "--symmetrise", text.run, "--with", way, "--gold", text.gold)
    found = links_of(result)
    lines = [list(read_lines(path)) for path in (text.target, text.source)]
    turned = Translator.load(text.run, "cpu").align(*lines)
    for one, forth, back in zip(found, text.aligned(), turned, strict=True):
        if way == "product":
            product = forth.matrix() * back.matrix().T
            assert one == Links((int(row.argmax()), j) for j, row in enumerate(product) if row.max(initial=0.0) > 0)
        else:
            assert one == SYMMETRISATIONS[way](forth.links(), back.links().turned())
    assert cells(result, f"both, {way}")[0] == str(sum(len(one.possible) for one in found))


def test_ways_of_making_both_directions_one_stand_beside_each_other(text: Text) -> None:
    ways = [word for way in ("union", "product", "intersection") for word in ("--with", way)]
    both = ["--symmetrise", text.run, "--gold", text.gold]
    result = invoke(text.run, text.source, text.target, *both, *ways)
    assert links_of(result) == links_of(invoke(text.run, text.source, text.target, *both, *ways[:2]))
    links = {name: int(cells(result, name)[0]) for name in ("run", "run, turned", "both, union", "both, intersection")}
    assert links["both, union"] + links["both, intersection"] == links["run"] + links["run, turned"]
    gold, lines = read_links(text.gold, base=0).links, text.lines()
    turned = Translator.load(text.run, "cpu").align(*lines[::-1])
    products = [one.matrix() * two.matrix().T for one, two in zip(text.aligned(), turned, strict=True)]
    assert cells(result, "both, product")[2] == f"{saer(products, gold).value:.2f}"
    assert cells(result, "both, union", "fed")[2] == "–"


ODD = [
    "",
    "a b",
    " ",
    "a\r",
    "a\u2028b c",
    "\x85",
    "\ufeffa b",
    "a\u3000b",
    " a  b ",
    "a " * 1000,
    "zzz \u0000 \u200b",
    "\t",
    "a",
]


def test_n_lines_in_n_lines_out(text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty and blank lines, every character that somebody takes for the end of a line, a mark of byte order, a
    thousand words; every line beside itself and another. In other portions, so with other padding, the attention
    is the same."""
    sources = ODD * 2
    targets = [line for shift in (0, 4) for line in ODD[shift:] + ODD[:shift]]
    for name, lines in (("source", sources), ("target", targets)):
        (tmp_path / name).write_bytes(("\ufeff" + "\n".join(lines) + "\n").encode())
    given = tmp_path / "source", tmp_path / "target"
    whole = invoke(text.run, *given, "--matrix", tmp_path / "out.npz")
    links = links_of(whole)
    assert len(links) == len(sources)
    for found, matrix, one, two in zip(links, read_matrices(tmp_path / "out.npz"), sources, targets, strict=True):
        assert matrix.shape == (len(two.split()), len(one.split()))
        assert all(i < matrix.shape[1] and j < matrix.shape[0] for i, j in found.sure)
        if one.isascii() and two.isascii() and "\0" not in one + two and one.strip():  # no word without a piece
            assert {j for _, j in found.sure} == set(range(len(two.split())))
    monkeypatch.setattr(align, "CHUNK", 7)
    links_of(invoke(text.run, *given, "--matrix", tmp_path / "portions.npz"))
    for one, two in zip(*(read_matrices(tmp_path / name) for name in ("out.npz", "portions.npz")), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


MEASURE = """\
import re, sys
import nmt.cli.align
class Counting:
    lines = 0
    def write(self, text): Counting.lines += text.count("\\n")
    def flush(self): pass
out, sys.stdout = sys.stdout, Counting()
nmt.cli.align.main(sys.argv[1:], standalone_mode=False)
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", open("/proc/self/status").read())
print(Counting.lines, peak[1], file=out)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
@pytest.mark.parametrize("name", ["out.npz", "out.json"])
def test_memory_does_not_grow_with_the_text(text: Text, tmp_path: Path, name: str) -> None:
    """Fifteen portions take what two take, or little more; the matrices, were they held, would take 40 MiB."""
    peaks = {}
    for count in (200, 1500):
        for side, line in (("source", "a b c d e f g h " * 8), ("target", "h g f e d c b a " * 8)):
            write_lines(tmp_path / side, [line] * count)
        arguments = [text.run, tmp_path / "source", tmp_path / "target", "--matrix", tmp_path / name]
        script = MEASURE.replace("import nmt.cli.align", "import nmt.cli.align; nmt.cli.align.CHUNK = 100")
        done = subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments), "--device", "cpu"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        lines, peak = map(int, done.stdout.split())
        assert lines == count
        peaks[count] = peak / 1024
    held = 1500 * 64 * 64 * 8 / 2**20
    assert peaks[1500] - peaks[200] < 0.5 * held, peaks


def test_a_text_that_can_be_read_once(text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input and pipes, where gold links and other aligners read the text again."""
    install(tmp_path, "eflomal", monkeypatch)
    judged = ["--gold", text.gold, "--method", "eflomal", "--learn"]
    wanted = invoke(text.run, text.source, text.target, *judged, text.source, text.target)
    target, *more = (pipe(file.read_bytes()) for file in (text.target, text.source, text.target))
    found = invoke(text.run, "-", target, *judged, *more, given=text.source.read_text())
    assert len(links_of(found)) == 5
    assert (found.stdout, found.stderr) == (wanted.stdout, wanted.stderr)
    assert "can be read once" in refused(invoke(text.run, "-", "-"))


def test_empty_lines_stay_in_their_place(text: Text, tmp_path: Path) -> None:
    write_lines(tmp_path / "source", ["", "a b", ""])
    write_lines(tmp_path / "target", ["a", "", ""])
    for reading in ("produced", "fed"):
        result = invoke(text.run, tmp_path / "source", tmp_path / "target", "--reading", reading)
        assert result.exit_code == 0, result.output
        assert result.stdout == "\n\n\n"


def test_a_word_may_be_read_where_it_is_fed(text: Text) -> None:
    found = links_of(invoke(text.run, text.source, text.target, "--reading", "fed"))
    for one, said in zip(found, text.aligned(), strict=True):
        shifted = said.weight_TS[1:, :-1]  # letters are words, and the step after a word is its row
        assert one == Links((int(row.argmax()), j) for j, row in enumerate(shifted))


# ---------------------------------------------------------------------------------------------- other people's aligners

# Each links the first word to the first, and backward the last to the last; it fails when it is given an empty line.
EFLOMAL = """#!/usr/bin/env python3
import sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
pairs = list(zip(open(given["-s"]), open(given["-t"]), strict=True))
assert all(one.strip() and two.strip() for one, two in pairs)
with open(given["-f"], "w") as forward, open(given["-r"], "w") as backward:
    for one, two in pairs:
        print("0-0", file=forward)
        print(f"{len(one.split()) - 1}-{len(two.split()) - 1}", file=backward)
"""
FAST_ALIGN = """#!/usr/bin/env python3
import sys
assert sys.argv[3:6] == ["-d", "-o", "-v"]
for line in open(sys.argv[2]):
    words = line.split()
    middle = words.index("|||")  # the first one ends the source
    one, two = words[:middle], words[middle + 1 :]
    assert one and two
    print(f"{len(one) - 1}-{len(two) - 1}" if "-r" in sys.argv else "0-0")
"""
PROGRAMS = {"eflomal": ("eflomal-align", EFLOMAL), "fast_align": ("fast_align", FAST_ALIGN)}


def install(directory: Path, method: str, monkeypatch: pytest.MonkeyPatch, program: str | None = None) -> None:
    name, text = PROGRAMS[method]
    (directory / name).write_text(program or text)
    (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=":")


@pytest.mark.parametrize("method", PROGRAMS)
def test_an_aligner_is_called_for_both_directions(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, method, monkeypatch)
    found = align_by(method, [("a b", "c  d e"), ("", "x"), ("f ||| g", "h |||")], [("h i", "j"), ("k", " ")])
    assert found.forward == [Links([(0, 0)]), Links(), Links([(0, 0)])]
    assert found.backward == [Links([(1, 2)]), Links(), Links([(2, 1)])]
    assert align_by(method, [("", "x")]) == ([Links()], [Links()])


def test_an_aligner_stands_in_the_same_table(text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "eflomal", monkeypatch)
    common = ["--gold", text.gold, "--method", "eflomal", "--learn", text.source, text.target, "--with", "union"]
    result = invoke(text.run, text.source, text.target, *common)
    assert len(links_of(result)) == 5
    assert cells(result, "eflomal", "–")[0] == cells(result, "eflomal, turned", "–")[0] == "5"
    assert cells(result, "eflomal, union", "–")[0] == "10"
    assert cells(result, "eflomal, union", "–")[2] == "–"


@pytest.mark.parametrize("method", ALIGNERS)
def test_an_aligner_that_is_installed_aligns(method: str) -> None:
    """Two languages that differ in their words alone, so that a real aligner must find the diagonal."""
    if shutil.which(ALIGNERS[method].program) is None:
        pytest.skip(f"{ALIGNERS[method].program} is not installed")
    draw = random.Random(1)
    sources = [[draw.choice("abcdefghijklmnop") for _ in range(draw.randint(3, 8))] for _ in range(400)]
    pairs = [(" ".join(words), " ".join(word.upper() for word in words)) for words in sources]
    gold = [Links((i, i) for i in range(len(words))) for words in sources]
    for found in align_by(method, [*pairs[:50], ("", "A")], pairs[50:]):
        assert found.pop() == Links()
        assert aer(found, gold[:50]).value < 5


def test_an_aligner_that_fails_is_told_with_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "eflomal", monkeypatch, "#!/bin/sh\necho first >&2\necho no memory >&2\nexit 3\n")
    with pytest.raises(InputError, match="eflomal-align failed with status 3: no memory"):
        align_by("eflomal", [("a", "b")])


@pytest.mark.parametrize("method", PROGRAMS)
def test_links_of_an_aligner_are_of_the_words_it_was_given(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong, sentence in (
        ("0-1", f"{method}, forward, line 1: link 0-1 is out of range, the source has 2 words"),
        ("0-0\\n0-0", f"{method}, forward has the links of 2 sentences but the text has 1"),
    ):
        install(tmp_path, method, monkeypatch, PROGRAMS[method][1].replace("0-0", wrong))
        with pytest.raises(InputError, match=sentence):
            align_by(method, [("a b", "c")])


# ---------------------------------------------------------------------------------------------------------- bad input


def test_what_is_wrong_is_told_before_anything_is_printed(
    text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "short", ["a"])
    assert "short" in refused(invoke(text.run, text.source, tmp_path / "short"))
    assert "is no run directory" in refused(invoke(tmp_path, text.source, text.target))
    assert "give --gold" in refused(invoke(text.run, text.source, text.target, "--method", "eflomal"))
    assert "--learn is text" in refused(invoke(text.run, text.source, text.target, "--learn", text.source, text.target))
    alone = ["--with", "product", "--method", "eflomal", "--gold", text.gold]
    assert "--with product is of" in refused(invoke(text.run, text.source, text.target, *alone))
    assert "--with makes two directions one" in refused(invoke(text.run, text.source, text.target, "--with", "union"))
    assert "out.npz: cannot be written (File exists); choose another --matrix" in refused(
        invoke(text.run, text.source, text.target, "--matrix", text.source / "out.npz")
    )
    write_lines(tmp_path / "gold", ["0-0 9-9"] * 5)
    assert f"{tmp_path / 'gold'}, line 1" in refused(
        invoke(text.run, text.source, text.target, "--gold", tmp_path / "gold")
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    common = ["--gold", text.gold, "--method", "fast_align"]
    assert "fast_align is not installed" in refused(invoke(text.run, text.source, text.target, *common))
