"""Checkpoints: what is put away comes back, what is damaged is named and passed over, nothing in them can run."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import DEMANDING, Trained, assert_same_end, end_of, prepared, write_project
from safetensors.torch import load_file
from torch import nn

from nmt.checkpoint import Checkpoints, current_weights, load_weights, read_state
from nmt.cli.train import main
from nmt.errors import InputError
from nmt.model import RecurrentSettings, build_model
from nmt.translator import Translator

KNOWN = {".safetensors", ".json", ".jsonl", ".yaml", ".md", ".png", ".src", ".hyp", ".ref", ".links", ".gold", ".npz"}


def ignore(sentence: str) -> None:
    raise AssertionError(f"nothing is damaged here: {sentence}")


def linear(value: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model of one weight and its optimiser, which has been at work."""
    model = nn.Linear(1, 1, bias=False)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.ones(1)).sum().backward()
    optimiser.step()
    nn.init.constant_(model.weight, value)
    return model, optimiser


def save(checkpoints: Checkpoints, update: int, value: float, *, validated: bool = True, keep: int = 9) -> Path:
    state = {"progress": {"update": update, "validated": update if validated else 0}}
    checkpoints.save(update, *linear(value), nn.Identity(), state, keep)
    return checkpoints.all()[-1]


def names(checkpoints: Checkpoints, name: str = "update") -> list[int]:
    return [int(place.name.removeprefix(f"{name}-")) for place in checkpoints.all(name)]


# ------------------------------------------------------------------------------------------------- one checkpoint


def test_everything_comes_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ignore)
    place = save(checkpoints, 7, 0.25)
    randomness = torch.get_rng_state()
    model, optimiser = linear(9.0)
    wanted = linear(0.25)[1].state_dict()["state"][0]
    torch.rand(5)
    state = checkpoints.resume(place, model, optimiser, nn.Identity())
    assert model.state_dict()["weight"].item() == 0.25
    assert torch.equal(torch.get_rng_state(), randomness)
    assert state["progress"]["update"] == 7
    found = optimiser.state_dict()["state"][0]
    assert found.keys() == wanted.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def remembering(value: float) -> nn.Module:
    objective = nn.Module()
    objective.register_buffer("average", torch.tensor(value))
    return objective


def test_what_the_objective_remembers_comes_back(tmp_path: Path) -> None:
    checkpoints, state = Checkpoints(tmp_path, ignore), {"progress": {"update": 7, "validated": 7}}
    checkpoints.save(7, *linear(0.25), remembering(-1 / 3), state, keep=2)
    objective = remembering(0.0)
    checkpoints.resume(checkpoints.all()[-1], *linear(9.0), objective)
    assert torch.equal(objective.average, torch.tensor(-1 / 3))


def test_a_checkpoint_from_before_objectives_remembered_is_gone_on_with(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ignore)
    place = save(checkpoints, 7, 0.25)
    assert not (place / "objective.safetensors").exists()
    objective, (model, optimiser) = remembering(0.0), linear(9.0)
    checkpoints.resume(place, model, optimiser, objective)
    assert model.state_dict()["weight"].item() == 0.25
    assert objective.average == 0.0


@pytest.mark.parametrize("tie", ["none", "target", "all"])
def test_tied_weights_survive(tie: str, tmp_path: Path) -> None:
    sizes = RecurrentSettings(embedding=6, hidden=5, tie=tie)
    model, other = build_model(sizes, 11, 11), build_model(sizes, 11, 11)
    Checkpoints(tmp_path, ignore).save_weights("best", 3, current_weights(model), {"bleu": 1.0})
    (place,) = tmp_path.glob("best-*")
    assert read_state(place) == {"bleu": 1.0}
    stored = load_file(place / "model.safetensors")
    assert sum(tensor.shape == (11, 6) for tensor in stored.values()) == {"none": 3, "target": 2, "all": 1}[tie]
    load_weights(place, other)
    tables = [other.encoder.embedding.weight, other.decoder.embedding.weight, other.decoder.output.weight]
    assert len({one.data_ptr() for one in tables}) == {"none": 3, "target": 2, "all": 1}[tie]
    for one, same in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)


def test_another_model_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, ignore).save_weights("best", 1, current_weights(nn.Linear(2, 3)), {})
    (place,) = tmp_path.glob("best-*")
    with pytest.raises(
        InputError, match=r"weight has the shape \[3, 2\], this model needs \[3, 4\]: not of this model"
    ):
        load_weights(place, nn.Linear(4, 3))
    with pytest.raises(InputError, match="bias is unknown: not of this model"):
        load_weights(place, nn.Linear(2, 3, bias=False))
    with pytest.raises(InputError, match=r"0\.bias is missing: not of this model"):
        load_weights(place, nn.Sequential(nn.Linear(2, 3)))


# ---------------------------------------------------------------------------------------------------------- keeping


def test_the_last_are_kept_and_the_last_of_validations(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ignore)
    for update in range(1, 11):
        save(checkpoints, update, 0.0, validated=update % 4 == 0, keep=2)
    assert names(checkpoints) == [4, 8, 9, 10]


def test_checkpoints_of_a_future_that_did_not_happen_go(tmp_path: Path) -> None:
    """Training goes on from 4 because 8 is damaged: what is kept next must not be taken for the older one."""
    said: list[str] = []
    checkpoints = Checkpoints(tmp_path, said.append)
    for update in (4, 8):
        save(checkpoints, update, 0.0, keep=2)
    (tmp_path / "update-00000008" / "model.safetensors").write_bytes(b"")
    assert checkpoints.latest() == tmp_path / "update-00000004"
    save(checkpoints, 5, 0.5, keep=1)
    assert names(checkpoints) == [5]
    assert checkpoints.latest() == tmp_path / "update-00000005"


def test_a_name_has_one_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ignore)
    for update in (10, 30, 20):
        checkpoints.save_weights("best", update, {"w": torch.tensor([float(update)])}, {})
        assert names(checkpoints, "best") == [update]
    checkpoints.remove("best")
    assert checkpoints.latest("best") is None


@settings(max_examples=20)
@given(
    values=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=5),
    count=st.integers(1, 6),
)
def test_the_average_is_the_mean_of_the_last(
    values: list[float], count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    checkpoints = Checkpoints(tmp_path_factory.mktemp("checkpoints"), ignore)
    for update, value in enumerate(values, start=1):
        save(checkpoints, 10 * update, value)
        save(checkpoints, 10 * update + 1, 1000.0, validated=False)  # in between: of the clock, not of training
    last = values[-count:]
    assert float(checkpoints.average(count)["weight"]) == pytest.approx(sum(last) / len(last), abs=1e-6)


# ---------------------------------------------------------------------------------------------------------- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("finished")
    run = Trained(*prepared(write_project(directory), *DEMANDING, "training.epochs=2"), directory / "run")
    run.run()
    return run


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink], ids=["flipped", "truncated", "missing"])
@pytest.mark.parametrize("file", ["model.safetensors", "optimiser.safetensors", "random.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    finished: Trained, tmp_path: Path, file: str, damage: object
) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    run = Trained(finished.recipe, finished.data, tmp_path / "run")
    *_, before, newest = run.trainer().checkpoints.all()
    damage(newest / file)  # type: ignore[operator]
    trainer = run.trainer()
    trainer.resume()
    assert f"{newest}: damaged checkpoint" in run.said[0]
    assert f"going on from update {read_state(before)['progress']['update']} " in run.said[1]


def test_training_on_from_before_the_damage_ends_the_same(finished: Trained, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    run = Trained(finished.recipe, finished.data, tmp_path / "run")
    whole = run.run()
    wanted = end_of(whole)
    flip(whole.checkpoints.all()[-1] / "optimiser.safetensors")
    assert_same_end(end_of(run.run()), wanted)


def test_with_nothing_whole_left_training_begins_anew(finished: Trained, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    run = Trained(finished.recipe, finished.data, tmp_path / "run")
    places = run.trainer().checkpoints.all()
    for place in places:
        flip(place / "model.safetensors")
    trainer = run.trainer()
    trainer.resume()
    assert trainer.progress.update == 0
    assert len(run.said) == len(places) + 1
    assert run.said[-1] == "no checkpoint is whole: training begins anew"


def test_what_is_half_written_is_no_checkpoint(finished: Trained, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    run = Trained(finished.recipe, finished.data, tmp_path / "run")
    newest = run.trainer().checkpoints.all()[-1]
    shutil.copytree(newest, newest.with_name(".update-00009999.abcd.partial"))
    trainer = run.trainer()
    trainer.resume()
    assert run.said[0].startswith(f"going on from update {read_state(newest)['progress']['update']} ")


def test_the_translator_names_damaged_weights_and_takes_others(finished: Trained, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    (average,) = (tmp_path / "run" / "checkpoints").glob("average-*")
    flip(average / "model.safetensors")
    with pytest.warns(UserWarning, match=rf"{average.name}: damaged checkpoint"):
        Translator.load(tmp_path / "run", "cpu")


# ---------------------------------------------------------------------------------------------------- no pickle


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("a pickle has run",))


def test_nothing_in_a_run_can_be_unpickled(tmp_path: Path) -> None:
    path = write_project(tmp_path)
    done = CliRunner().invoke(main, [str(path), "--run", str(tmp_path / "run"), "training.average=2", "pictures=1"])
    assert done.exit_code == 0, done.output
    files = [one for one in tmp_path.rglob("*") if one.is_file() and one.parent != tmp_path]
    assert {one.suffix for one in files if (tmp_path / "run") in one.parents} == KNOWN
    for one in files:
        contents = [one.read_bytes()]
        if one.suffix == ".npz":
            with zipfile.ZipFile(one) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
            assert all(content.startswith(b"\x93NUMPY") and b"'|O'" not in content[:128] for content in contents)
        for content in contents:
            with pytest.raises((pickle.UnpicklingError, EOFError, KeyError, ValueError, IndexError)):
                pickle.loads(content)
    assert len(files) > 15


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "manifest.json"])
def test_a_pickle_in_the_place_of_a_file_does_not_run(
    finished: Trained, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    run = Trained(finished.recipe, finished.data, tmp_path / "run")
    newest = run.trainer().checkpoints.all()[-1]
    (newest / file).write_bytes(pickle.dumps(Evil()))
    run.trainer().resume()
    assert "damaged" in run.said[0]
    assert "a pickle has run" not in capsys.readouterr().out
