"""``nmt-translate``: lines in, lines out, whatever they hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from commands import pipe
from runs import Trained, prepared, write_project

from nmt.cli.translate import CHUNK, main
from nmt.links import parse_links
from nmt.translator import Translator


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    Trained(*prepared(write_project(directory), "training.epochs=6"), directory / "run").run()
    return directory / "run"


def translate(*arguments: object, text: bytes | str | None = None) -> Result:
    return CliRunner().invoke(main, [*(str(one) for one in arguments), "--device", "cpu"], input=text)


def lines_of(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.split("\n")[:-1]


def refused(result: Result) -> str:
    """The one sentence on standard error, with nothing on standard output."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    return result.stderr


def test_a_file_and_standard_input_give_the_same(run: Path, tmp_path: Path) -> None:
    text = "a b c\n\nd e\n"
    (tmp_path / "text").write_text(text)
    wanted = [one.text for one in Translator.load(run, "cpu").translate(["a b c", "", "d e"])]
    assert wanted[0]
    assert lines_of(translate(run, tmp_path / "text")) == wanted
    assert lines_of(translate(run, text=text)) == wanted
    assert lines_of(translate(run, "-", text=text)) == wanted
    assert lines_of(translate(run, pipe(text.encode()))) == wanted


def test_whatever_the_lines_hold_there_are_as_many(run: Path) -> None:
    lines = ["\ufeffa b", "", "  ", "a", "a\u2028b\u0085c\x0cd\x1ce", "a b\r", "a b " * 500, "Ω \u3000", "b", "a\tb"]
    for end in ("\n", ""):  # with and without an end of the last line
        out = lines_of(translate(run, text=("\n".join(lines) + end).encode()))
        assert len(out) == len(lines)
        assert out[1] == out[2] == ""
        assert out[3] == lines_of(translate(run, text="a\n"))[0]
        assert out[5] == lines_of(translate(run, text="a b\n"))[0]  # CRLF is LF
        assert out[0] == out[5]  # the mark at the head is no text
    assert lines_of(translate(run, text="")) == []


def test_more_lines_than_are_read_at_once(run: Path) -> None:
    letters = [" ".join("abcdefgh"[: 1 + n % 8]) for n in range(CHUNK + 7)]
    wanted = {line: lines_of(translate(run, "--beam", 1, text=line))[0] for line in set(letters)}
    assert lines_of(translate(run, "--beam", 1, text="\n".join(letters))) == [wanted[line] for line in letters]


def test_links_stand_after_a_tab(run: Path) -> None:
    found = Translator.load(run, "cpu").translate(["a b c", "", "d"])
    out = [line.split("\t") for line in lines_of(translate(run, "--alignment", text="a b c\n\nd\n"))]
    assert [text for text, _ in out] == [one.text for one in found]
    assert [parse_links(links) for _, links in out] == [one.links() for one in found]
    assert out[1] == ["", ""]


def test_n_best_lists(run: Path) -> None:
    out = [line.split("\t") for line in lines_of(translate(run, "--n-best", 3, text="a b c\n\nd e\n"))]
    assert [line[0] for line in out] == ["0", "0", "0", "1", "2", "2", "2"]
    assert out[3] == ["1", "", "0.000000"]
    for number in ("0", "2"):
        scores = [float(score) for place, _, score in out if place == number]
        assert scores == sorted(scores, reverse=True)
    aligned = [line.split("\t") for line in lines_of(translate(run, "--n-best", 2, "--alignment", text="a b c"))]
    assert [len(line) for line in aligned] == [4, 4]


def test_several_runs_are_an_ensemble(run: Path, tmp_path: Path) -> None:
    text = "a b c\n\nd e\n"
    (tmp_path / "text").write_text(text)
    alone = [line.split("\t") for line in lines_of(translate(run, "--n-best", 2, text=text))]
    for paths in ([run, run], [run, run, run]):
        assert [line[1] for line in alone] == [
            line.split("\t")[1] for line in lines_of(translate(*paths, tmp_path / "text", "--n-best", 2))
        ]
    other = tmp_path / "other"
    shutil.copytree(run, other)
    again = Translator.load([run, other], "cpu").translate(["a b c"])
    assert lines_of(translate(run, other, text="a b c")) == [again[0].text]


def test_an_ensemble_needs_the_same_vocabularies(run: Path, tmp_path: Path) -> None:
    project = write_project(tmp_path)
    other = tmp_path / "other"
    Trained(*prepared(project, "text.source.lowercase=true", "training.epochs=1"), other).run()
    assert refused(translate(run, other, text="a")) == (
        f"error: {other}: has other vocabularies than {run}; only runs that share theirs make an ensemble\n"
    )


def test_nothing_comes_after_the_source(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a\n")
    sentence = f"{tmp_path / 'text'}: is no directory, so it is the source; but {run} comes after it"
    assert sentence in refused(translate(run, tmp_path / "text", run))


def test_the_options_are_these() -> None:
    wanted = {"paths", "alignment", "n_best", "beam", "longest", "device"}
    assert {one.name for one in main.params} == wanted


# --------------------------------------------------------------------------------------------------------- refusals


def test_a_sentence_longer_than_the_limit(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b\na b c\n")
    sentence = refused(translate(run, tmp_path / "text", "--longest", 2))
    assert sentence == (
        f"error: {tmp_path / 'text'}, line 2: 3 tokens, more than the 2 allowed; split it or raise --longest\n"
    )
    assert "standard input, line 1: 1001 tokens" in refused(translate(run, text="a " * 1001))
    assert len(lines_of(translate(run, "--beam", 1, text="a " * 1000))) == 1


def test_what_is_wrong_late_in_a_file_is_told_before_anything_is_printed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\n" * (CHUNK + 5) + b"\xff\n")
    assert f"line {CHUNK + 6}: invalid UTF-8 at byte 1" in refused(translate(run, tmp_path / "text"))


@pytest.mark.parametrize(("name", "sentence"), [("gone", "no such file"), (".", "is no run directory")])
def test_a_text_that_is_no_file(run: Path, tmp_path: Path, name: str, sentence: str) -> None:
    assert sentence in refused(translate(run, tmp_path / name))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--beam", "2", "--n-best", "3"], "search: n_best 3 needs a beam at least as wide, not 2"),
        (["--device", "tpu"], "device tpu: not available here"),
    ],
)
def test_options_that_do_not_fit(run: Path, options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, [str(run), *options], input="a")
    assert sentence in refused(result)


def test_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("gone", "file", "."):
        assert "is no run directory (it has no recipe.yaml)" in refused(translate(tmp_path / name, text="a"))


def test_a_run_without_weights(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert "has no whole checkpoint" in refused(translate(tmp_path / "run", text="a"))


def test_a_run_with_the_checkpoint_of_another(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    recipe = tmp_path / "run" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("hidden: 8", "hidden: 9"))
    sentence = refused(translate(tmp_path / "run", text="a"))
    assert re.search(r"has the shape \[.*\], this model needs \[.*\]: not of this model", sentence)


@pytest.mark.parametrize("content", [b"corpus: [\n", b"\xff\n", b"- 1\n"])
def test_a_run_with_a_damaged_recipe(run: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_bytes(content)
    assert f"{tmp_path / 'run' / 'recipe.yaml'}" in refused(translate(tmp_path / "run", text="a"))


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"format": 99}', b'{"format": 1}'])
def test_a_run_with_a_damaged_vocabulary(run: Path, tmp_path: Path, content: bytes | None) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / "vocabularies" / "target.vocab.json"
    file.unlink() if content is None else file.write_bytes(content)
    assert str(file) in refused(translate(tmp_path / "run", text="a"))


def test_a_real_process_in_a_pipe(run: Path) -> None:
    command = [sys.executable, "-c", "from nmt.cli.translate import main; main()", str(run), "--device", "cpu"]
    done = subprocess.run(command, input=b"a b\n\n", capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 2)
