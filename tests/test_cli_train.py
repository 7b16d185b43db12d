"""``nmt-train``: from one command to a tested run, and one sentence for everything a user may get wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from runs import DEMANDING, RECIPE, write_project, write_reversals
from safetensors.torch import load_file

import nmt.cli.train
from nmt.cli.train import main
from nmt.journal import Journal

LETTERS_AND_SPECIAL = 12


def train(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Result]:
    """The recipe, the run and what was told of it."""
    path = write_project(tmp_path_factory.mktemp("finished"))
    return path, path.parent / "run", train(path, "--run", path.parent / "run", "training.log_every=5", "pictures=1")


def snapshot(directory: Path) -> dict[str, bytes]:
    """Every file of a directory; nothing of it may change when a command refuses."""
    return {str(one): one.read_bytes() for one in sorted(directory.rglob("*")) if one.is_file()}


def refused(result: Result) -> str:
    """The one sentence on standard error (after what the preparation told), with nothing on standard output."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    sentence = result.stderr.removesuffix("\n").split("\n")[-1]
    assert result.stderr.count("error: ") == 1
    assert sentence.startswith("error: ")
    assert "Traceback" not in result.output
    return sentence


# ------------------------------------------------------------------------------------------------------ what it does


def test_one_command_trains_translates_and_scores(finished: tuple[Path, Path, Result]) -> None:
    _, run, result = finished
    assert result.exit_code == 0, result.output
    table = result.stdout.split("\n")
    assert table[0].startswith("| test set | sentences |")
    assert "AER" in table[0]
    assert table[2].startswith("| held-out |         5 |")
    assert re.search(r"\d+ updates in \d+\.\d minutes of training\. The run: .*run \(report\.md", result.stdout)
    wanted = "checkpoints log.jsonl pictures recipe.yaml report.md translations vocabularies"
    assert sorted(one.name for one in run.iterdir()) == wanted.split()
    assert re.search(r"^epoch 1  update 5  cross-entropy \d", result.stderr, re.MULTILINE)
    assert re.search(r"^validation at update \d+  loss \d.* bleu .*\(best so far\)$", result.stderr, re.MULTILINE)
    assert "\x1b" not in result.output  # no colours, no bar where there is no terminal


def test_the_same_command_again_tells_the_same_results(finished: tuple[Path, Path, Result], tmp_path: Path) -> None:
    path, run, first = finished
    shutil.copytree(run, tmp_path / "run")
    again = train(path, "--run", tmp_path / "run", "training.log_every=5", "pictures=1")
    assert again.exit_code == 0
    assert "going on from update" in again.stderr
    assert again.stdout.split("\n")[:3] == first.stdout.split("\n")[:3]


def test_the_run_is_called_after_the_recipe(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("project/small.yaml", "training.updates=1").exit_code == 0
    assert (tmp_path / "runs" / "small" / "report.md").is_file()


def test_the_resolved_recipe_goes_on_with_its_run(finished: tuple[Path, Path, Result], tmp_path: Path) -> None:
    shutil.copytree(finished[1], tmp_path / "run")
    result = train(tmp_path / "run" / "recipe.yaml", "--run", tmp_path / "run", "training.epochs=3")
    assert result.exit_code == 0, result.output
    assert "going on from update" in result.stderr
    assert "epoch: 3" not in (tmp_path / "run" / "recipe.yaml").read_text()
    assert "epochs: 3" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_the_options_are_these() -> None:
    """A setting belongs into the recipe; a flag needs a reason."""
    assert {one.name for one in main.params} == {"recipe", "overrides", "run", "dry_run", "tensorboard"}


# ----------------------------------------------------------------------------------------------------- rehearsal


def parameters_by_hand(words: int, embedding: int, hidden: int) -> int:
    """GRU encoder and conditional GRU decoder with Bahdanau attention, tanh readout of the embedding's size."""

    def gru(inputs: int) -> int:
        return 3 * hidden * (inputs + 1) + 3 * hidden * (hidden + 1)

    memory = 2 * hidden
    return (
        2 * words * embedding  # the embeddings of both sides
        + 2 * gru(embedding)  # the encoder, there and back
        + hidden * (memory + 1)  # s_0
        + gru(embedding) + gru(memory)  # the decoder's two cells
        + memory * hidden + memory * memory + memory  # W, U, v of an attention of the memory's size
        + embedding * (hidden + embedding + memory + 1)  # readout
        + words * (embedding + 1)  # output
    )  # fmt: skip


def test_a_dry_run_tells_what_it_will_take_and_leaves_no_run(project: Path, tmp_path: Path) -> None:
    result = train(project, "--dry-run", "--run", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "run").exists()
    told = result.stdout
    assert f"model: {parameters_by_hand(LETTERS_AND_SPECIAL, 8, 8):,} parameters on cpu\n" in told
    words = sum(len(line.split()) + 1 for line in (project.parent / "train.trg").read_text().split("\n")[:-1])
    assert re.search(rf"^an epoch: \d+ batches, {words:,} target tokens \(padding x1\.\d\d\)$", told, re.MULTILINE)
    assert re.search(r"^memory: weights \d+ MiB, gradients \d+ MiB, optimiser \d+ MiB; .* \d+ MiB$", told, re.MULTILINE)
    assert re.search(r"^speed: [\d,]+ target tokens a second; an epoch takes about \d+ seconds?$", told, re.MULTILINE)
    assert re.search(r"^training \(2 x\): at most about \d+ seconds?, validations not counted$", told, re.MULTILINE)
    assert "training pairs: 60 of 60" in result.stderr


# --------------------------------------------------------------------------------------------------- interruptions


def weights(run: Path) -> dict[str, torch.Tensor]:
    (average,) = (run / "checkpoints").glob("average-*")
    newest = sorted((run / "checkpoints").glob("update-*"))[-1]
    return {f"{one.name} {k}": v for one in (average, newest) for k, v in load_file(one / "model.safetensors").items()}


def test_the_command_goes_on_after_it_was_ended(project: Path, tmp_path: Path) -> None:
    """The real command, asked to end and then killed, ends with the weights of one that was left alone."""
    write_reversals(project.parent, "train", [["a", "b", "c"], ["d", "e"], ["f", "a", "g", "h"]] * 100)
    overrides = (*DEMANDING, "training.save_minutes=1e-9", "training.log_every=1")
    assert train(project, "--run", tmp_path / "whole", *overrides).exit_code == 0

    command = [sys.executable, "-c", "from nmt.cli.train import main; main()", project, "--run", tmp_path / "run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for number, status in ((signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        process = subprocess.Popen(
            [*map(str, command), *overrides], stderr=subprocess.PIPE, text=True, env=environment, bufsize=1
        )
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("epoch ") and number is not None:
                process.send_signal(number)
                number = None
        assert process.wait(timeout=300) == status, "".join(said)
        if status == 130:
            assert re.fullmatch(r"interrupted at update \d+; the same command goes on from there\n", said[-1])
            assert "Traceback" not in "".join(said)

    assert train(project, "--run", tmp_path / "run", *overrides).exit_code == 0
    found, wanted = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().split("\n") if line]
    assert sum(record["event"] == "resume" for record in records) == 2


def test_a_terminal_shows_a_bar(project: Path, tmp_path: Path) -> None:
    """In a pseudo-terminal: a bar while training, lines that stay above it, Ctrl-C as a user types it."""
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - another process
        os.environ.update(OMP_NUM_THREADS="1", TERM="xterm", COLUMNS="100")
        code = "from nmt.cli.train import main; main()"
        settings = ["training.epochs=10000", "training.log_every=5", "training.validation.every=100000"]
        os.execv(sys.executable, [sys.executable, "-c", code, str(project), "--run", str(tmp_path / "run"), *settings])
    shown, typed, deadline = b"", False, time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not piece:
            break
        shown += piece
        if not typed and re.search(rb"update 1\d+ ", shown):
            os.write(terminal, b"\x03")
            typed = True
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130, shown.decode()
    assert b"\xe2\x94\x81" in shown  # ━
    assert b"ask again to stop at once" in shown
    assert re.search(rb"interrupted at update \d+; the same command goes on from there", shown)
    assert b"Traceback" not in shown


# --------------------------------------------------------------------------------------------------------- refusals


def break_text(name: str, content: bytes) -> object:
    return lambda at: (at / name).write_bytes(content)


def make_directory(at: Path) -> None:
    (at / "train.src").unlink()
    (at / "train.src").mkdir()


BAD_TEXT = {
    "missing file": (lambda at: (at / "train.trg").unlink(), r"train\.trg: no such file"),
    "unequal numbers of lines": (break_text("train.src", b"a\nb\n"), r"train\.src has 2 lines but .*train\.trg has"),
    "invalid UTF-8": (break_text("dev.src", b"a\n" * 3 + b"\xe4\n"), r"dev\.src, line 4: invalid UTF-8 at byte 1"),
    "directory": (make_directory, r"train\.src: is a directory, a text file was expected"),
    "empty training set": (break_text("train.src", b""), r"train\.src: no words in it"),
    "empty development set": (
        lambda at: write_reversals(at, "dev", []),
        r"no pair is left to use; the files are empty",
    ),
    "links out of range": (break_text("test.gold", b"0-0\n1-99\n\n\n\n"), r"test\.gold, line 2: link 1-99 is out of"),
}

BAD_SETTINGS = {
    "unknown key": (["training.epoch=3"], r'training\.epoch: unknown key; did you mean "epochs"\?'),
    "vocabulary too large": (["text.source.size=99"], r"train\.src: .*size 99 is larger than the text allows"),
    "nothing short enough": (["text.longest_source=1"], r"no pair is left to use"),
    "missing corpus": (["corpus=gone.yaml"], r"gone\.yaml: no such file"),
    "no override": (["epochs"], r"is written key=value or section\.key=value"),
    "no device": (["training.device=tpu"], r"training\.device: must be 'auto', 'cpu', 'cuda' or 'mps'"),
}


@pytest.mark.parametrize(("change", "sentence"), BAD_TEXT.values(), ids=list(BAD_TEXT))
def test_bad_text_is_refused_in_a_sentence(project: Path, tmp_path: Path, change: object, sentence: str) -> None:
    change(project.parent)  # type: ignore[operator]
    assert re.search(sentence, refused(train(project, "--run", tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("overrides", "sentence"), BAD_SETTINGS.values(), ids=list(BAD_SETTINGS))
def test_bad_settings_are_refused_in_a_sentence(
    project: Path, tmp_path: Path, overrides: list[str], sentence: str
) -> None:
    assert re.search(sentence, refused(train(project, "--run", tmp_path / "run", *overrides)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["gone.yaml", "."])
def test_a_recipe_that_is_none(tmp_path: Path, recipe: str) -> None:
    assert str(tmp_path / recipe) in refused(train(tmp_path / recipe, "--run", tmp_path / "run"))


def test_all_mistakes_of_a_recipe_are_told(project: Path) -> None:
    project.write_text(RECIPE.replace("hidden", "hiden") + "sed: 3\n", encoding="utf-8")
    result = train(project)
    assert result.exit_code == 2
    assert [line.split(": ")[-1] for line in result.stderr.split("\n")[:-1]] == [
        'unknown key; did you mean "hidden"?',
        'unknown key; did you mean "seed"?',
    ]


def test_a_run_that_is_a_file(project: Path) -> None:
    before = snapshot(project.parent)
    assert "is a file; a run needs a directory" in refused(train(project, "--run", project))
    assert "is a file; a run needs a directory" in refused(train(project, "--run", project / "below"))
    assert snapshot(project.parent) == before


def test_a_directory_of_other_files_is_no_run(project: Path) -> None:
    """Least of all the one where the user's own recipe.yaml lies."""
    own = project.rename(project.with_name("recipe.yaml"))
    before = snapshot(project.parent)
    assert "holds files but no run" in refused(train(own, "--run", own.parent))
    assert snapshot(project.parent) == before


def test_a_directory_that_may_not_be_written_to(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nmt.cli.train.os, "access", lambda _, mode: mode != os.W_OK)
    assert "may not be written to" in refused(train(project, "--run", project.parent / "run"))


def test_an_empty_directory_may_become_a_run(project: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.123.partial").write_text("left behind")
    assert train(project, "--run", tmp_path / "run", "training.updates=1").exit_code == 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"corpus: [\n", r"recipe\.yaml, line \d+: not YAML"),
        (b"", r'recipe\.yaml: the key "corpus" is missing'),
        (b"\xff", r"recipe\.yaml, line 1: invalid UTF-8"),
    ],
)
def test_a_damaged_recipe_in_the_run(
    finished: tuple[Path, Path, Result], tmp_path: Path, content: bytes, sentence: str
) -> None:
    shutil.copytree(finished[1], tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_bytes(content)
    before = snapshot(tmp_path / "run")
    result = train(finished[0], "--run", tmp_path / "run")
    assert result.exit_code == 2
    assert re.search(sentence, result.stderr)
    assert snapshot(tmp_path / "run") == before


def test_another_recipe_for_the_run(finished: tuple[Path, Path, Result]) -> None:
    path, run, _ = finished
    before = snapshot(run)
    assert "(model.hidden was 8, is now 9)" in refused(train(path, "--run", run, "model.hidden=9"))
    assert snapshot(run) == before


def test_another_text_for_the_run(finished: tuple[Path, Path, Result], tmp_path: Path) -> None:
    shutil.copytree(finished[0].parent, tmp_path / "moved")
    project, run = tmp_path / "moved" / "small.yaml", tmp_path / "moved" / "run"
    recipe = (run / "recipe.yaml").read_text().replace(str(finished[0].parent), str(tmp_path / "moved"))
    (run / "recipe.yaml").write_text(recipe)
    write_reversals(project.parent, "train", [["x", "y", "z"]] * 50)
    vocabularies = snapshot(run / "vocabularies")
    sentence = refused(train(project, "--run", run, "training.epochs=9"))
    assert "the training text has changed since this run began" in sentence
    assert snapshot(run / "vocabularies") == vocabularies


def test_a_run_that_another_process_trains(project: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with Journal(run):
        assert "another training is at work in this run" in refused(train(project, "--run", run))


def test_training_that_diverges(project: Path, tmp_path: Path) -> None:
    result = train(project, "--run", tmp_path / "run", "training.optimiser.rate=1e37", "training.log_every=1")
    assert result.exit_code == 2
    assert re.search(r"^error: training diverged: at update \d+ ", result.stderr, re.MULTILINE)


def test_tensorboard_without_its_extra(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert 'pip install "nmt[tensorboard]"' in refused(train(project, "--run", tmp_path / "run", "--tensorboard"))


def test_a_real_process_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from nmt.cli.train import main; main()", str(tmp_path / "gone.yaml")],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*gone\.yaml: no such file or directory\n", done.stderr)
