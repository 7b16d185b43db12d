"""The end of a run in its log: tokens and seconds over all of its updates, and the key of its settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import Trained, prepared, write_project

from nmt.ending import facts, last_end, settings_key
from nmt.journal import Journal
from nmt.recipe import load_recipe
from nmt.text import read_lines, write_lines


@pytest.mark.parametrize("changes", [["training.epochs=3"], ["training.updates=5"], ["training.updates=13"]])
def test_the_tokens_of_all_updates_are_counted(tmp_path: Path, changes: list[str]) -> None:
    recipe, data = prepared(write_project(tmp_path), *changes)
    trained = Trained(recipe, data, tmp_path / "run")
    counted = 0
    trainer = trained.trainer()
    step = trainer.train_step

    def counting(batches: list, tally: object) -> None:
        nonlocal counted
        counted += sum(int(batch.target_valid_BT.sum()) for batch in batches)
        step(batches, tally)  # type: ignore[arg-type]

    trainer.train_step = counting  # type: ignore[method-assign]
    with trainer.journal:
        trainer.run()
    found = facts(trainer)
    assert found["tokens/s"] * found["seconds"] == pytest.approx(counted)
    if changes == ["training.epochs=3"]:
        words = sum(len(line.split()) + 1 for line in read_lines(tmp_path / "train.trg"))
        assert counted == 3 * words
    assert found["parameters"] == sum(one.numel() for one in trainer.model.parameters())
    assert found["peak memory"] > 50 * 2**20
    again = trained.run()  # there is nothing left to do, and what was done still counts
    assert facts(again)["tokens/s"] == pytest.approx(found["tokens/s"])


def test_the_key_is_of_what_comes_out_alone(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    key = settings_key(load_recipe(path))
    same = [
        "training.threads=2",
        "training.replay=true",
        "training.multiple=1",
        "training.log_every=7",
        "training.keep=5",
        "training.save_minutes=1",
        "pictures=2",
    ]
    others = [
        "seed=2",
        "training.epochs=3",
        "training.multiple=2",
        "model.hidden=9",
        "search.beam=1",
        "training.validation.by=loss",
    ]
    assert {settings_key(load_recipe(path, [one])) for one in same} == {key}
    lstm, as_before, other = (
        settings_key(load_recipe(path, [f"model.cell={cell}"]))
        for cell in ("lstm", "{kind: lstm, forget_bias: 0}", "{kind: lstm, forget_bias: 1}")
    )
    assert lstm == as_before != other
    assert len({settings_key(load_recipe(path, [one])) for one in others} | {key}) == 1 + len(others)


def test_the_last_line_decides(tmp_path: Path) -> None:
    end = {"event": "end", "update": 3, "settings": "k"}
    assert last_end(tmp_path) is None
    write_lines(tmp_path / "log.jsonl", ['{"event": "train"}', json.dumps(end)])
    assert last_end(tmp_path) == end
    write_lines(tmp_path / "log.jsonl", [json.dumps(end), '{"event": "resume"}'])
    assert last_end(tmp_path) is None
    write_lines(tmp_path / "log.jsonl", [json.dumps(end)[:-4]])
    assert last_end(tmp_path) is None


def test_a_line_that_a_power_cut_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for whole in ("", '{"event": "train", "update": 1}\n'):
        log.write_text(whole + '{"event": "tr')
        with Journal(tmp_path) as journal:
            journal.record("resume", 1, {})
        assert log.read_text().startswith(whole)
        assert [json.loads(line)["event"] for line in log.read_text().split("\n")[:-1]][-1] == "resume"
