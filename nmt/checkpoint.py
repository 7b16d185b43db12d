"""Checkpoints: all that a run needs to go on exactly where it stopped, and the best weights so far.

A checkpoint is a kept directory (:mod:`nmt.kept`): written beside its place, flushed and renamed, its checksums
verified on load. Tensors are safetensors, the rest is JSON: nothing that is loaded can run code.

    checkpoints/update-00001200/  model.safetensors optimiser.safetensors random.safetensors state.json
                                  objective.safetensors, where the objective remembers something
    checkpoints/best-00000900/    model.safetensors state.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from nmt.errors import InputError
from nmt.kept import is_whole, kept_directory

FORMAT = 1
_KEY = f"checkpoint, format {FORMAT}"


class Checkpoints:
    """The checkpoints of one run; ``warn`` is told of every damaged one that is passed over."""

    def __init__(self, directory: Path, warn: Callable[[str], None]) -> None:
        self.directory, self.warn = directory, warn

    def save(
        self,
        update: int,
        model: nn.Module,
        optimiser: Optimizer,
        objective: nn.Module,
        state: Mapping[str, Any],
        keep: int,
    ) -> None:
        """Keep everything of this update; the last ``keep`` stay, and the last ``keep`` of those of a validation."""

        def build(directory: Path) -> None:
            save_file(_weights(model), directory / "model.safetensors")
            save_file(_optimiser_tensors(optimiser), directory / "optimiser.safetensors")
            save_file(random_states(), directory / "random.safetensors")
            if remembered := _weights(objective):
                save_file(remembered, directory / "objective.safetensors")
            (directory / "state.json").write_text(json.dumps(dict(state), indent=1), encoding="utf-8")

        place = kept_directory(self._place("update", update), _KEY, build)
        places = self._up_to(place, "update")
        self._remove_all_but({*places[-keep:], *list(filter(_of_validation, places))[-keep:]}, "update")

    def save_weights(self, name: str, update: int, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Keep weights alone, as ``best`` or ``average``, in the place of earlier ones of this name."""

        def build(directory: Path) -> None:
            save_file(dict(weights), directory / "model.safetensors")
            (directory / "state.json").write_text(json.dumps(dict(state), indent=1), encoding="utf-8")

        place = kept_directory(self._place(name, update), _KEY, build)
        self._remove_all_but({place}, name)

    def remove(self, name: str) -> None:
        """Forget what was kept by a name."""
        self._remove_all_but(set(), name)

    def latest(self, name: str = "update") -> Path | None:
        """The newest whole checkpoint of a name, or None; damaged ones are named and passed over."""
        for place in reversed(self.all(name)):
            if is_whole(place, _KEY):
                return place
            self.warn(f"{place}: damaged checkpoint (a checksum or its format is not right); passed over")
        return None

    def all(self, name: str = "update") -> list[Path]:
        """The checkpoints of a name, oldest first, unverified."""
        return sorted(self.directory.glob(f"{name}-*"))

    def resume(self, place: Path, model: nn.Module, optimiser: Optimizer, objective: nn.Module) -> dict[str, Any]:
        """Put a checkpoint's weights, optimiser state and random states in place; returns its other state.

        What the objective remembers begins anew where the checkpoint is older than the format that keeps it.
        """
        load_weights(place, model)
        if (place / "objective.safetensors").exists():
            load_weights(place, objective, "objective.safetensors")
        _restore_optimiser(optimiser, load_file(place / "optimiser.safetensors"))
        restore_random_states(load_file(place / "random.safetensors"))
        return read_state(place)

    def average(self, count: int) -> dict[str, Tensor]:
        """The mean of the weights at the last ``count`` validations whose checkpoints are whole (or fewer).

        Checkpoints in between depend on the clock and on interruptions, which must not change what training ends with.
        """
        whole = [place for place in self.all() if is_whole(place, _KEY) and _of_validation(place)][-count:]
        total: dict[str, Tensor] = {}
        for place in whole:
            for name, tensor in load_file(place / "model.safetensors").items():
                total[name] = total[name] + tensor.double() if name in total else tensor.double()
        return {name: (tensor / len(whole)).float() for name, tensor in total.items()}

    def _place(self, name: str, update: int) -> Path:
        return self.directory / f"{name}-{update:08d}"

    def _up_to(self, place: Path, name: str) -> list[Path]:
        # Later ones are of a future that did not happen: training went on from an earlier one.
        return [one for one in self.all(name) if one <= place]

    def _remove_all_but(self, kept: set[Path], name: str) -> None:
        for place in self.all(name):
            if place not in kept:
                shutil.rmtree(place)


def read_state(place: Path) -> dict[str, Any]:
    """What a checkpoint holds besides tensors."""
    state: dict[str, Any] = json.loads((place / "state.json").read_text(encoding="utf-8"))
    return state


def _of_validation(place: Path) -> bool:
    """Whether the model was validated at the update of this checkpoint; a damaged one has no say."""
    try:
        progress = read_state(place)["progress"]
        return bool(progress["update"] == progress["validated"])
    except (OSError, ValueError, TypeError, KeyError):
        return False


def load_weights(place: Path, model: nn.Module, file: str = "model.safetensors") -> None:
    """Put a checkpoint's weights into a model.

    Raises ``InputError`` when they are not the weights of such a model: the first name or shape that differs.
    """
    stored, wanted = load_file(place / file), _weights(model)
    for name in sorted(stored.keys() | wanted.keys()):
        if name not in stored or name not in wanted:
            raise InputError(f"{place}: {name} is {'missing' if name in wanted else 'unknown'}: not of this model")
        if stored[name].shape != wanted[name].shape:
            found, expected = list(stored[name].shape), list(wanted[name].shape)
            raise InputError(f"{place}: {name} has the shape {found}, this model needs {expected}: not of this model")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])


def current_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's weights and buffers by name; a weight that is tied has one name."""
    return {name: tensor.detach().clone() for name, tensor in _weights(model).items()}


def _weights(model: nn.Module) -> dict[str, Tensor]:
    # named_parameters tells a tied weight once, as safetensors wants it.
    return {name: one.data for name, one in [*model.named_parameters(), *model.named_buffers()]}


def _optimiser_tensors(optimiser: Optimizer) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": tensor.contiguous()
        for number, state in optimiser.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def _restore_optimiser(optimiser: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        number, name = path.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor.clone()  # no longer the file's own memory
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def random_states() -> dict[str, Tensor]:
    """Where torch's random generators stand, on every device there is."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Tensor]) -> None:
    """Let them stand there again."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
