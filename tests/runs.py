"""Tiny corpora, recipes and runs: everything that training needs, made in a moment."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from nmt.journal import Journal
from nmt.preparation import Data, prepare
from nmt.recipe import Recipe, keep_recipe, load_recipe
from nmt.text import write_lines
from nmt.train import Trainer

LETTERS = "abcdefgh"

CORPUS = """\
kind: files
source_language: de
target_language: en
licence: made for tests
tokenised: true
train: {source: train.src, target: train.trg}
dev: {source: dev.src, target: dev.trg}
tests:
  held-out: {source: test.src, target: test.trg, gold: test.gold}
"""

RECIPE = """\
corpus: corpus.yaml
text:
  source: {kind: words}
  target: {kind: words}
model: {embedding: 8, hidden: 8}
training:
  epochs: 2
  batch_tokens: 40
  threads: 1
  device: cpu
  optimiser: {kind: adam, rate: 0.01}
search: {beam: 2}
pictures: 0
"""

# Everything on that remembers something from one update to the next.
DEMANDING = (
    "training.epochs=3",
    "training.accumulate=2",
    "training.schedule={kind: plateau, decay: 0.5, patience: 1, warmup: 3}",
    "training.validation={every: 2, sentences: 2}",
    "training.keep=3",
    "training.average=3",
    "model.dropout={embedding: 0.2, output: 0.2}",
)


# The same, with an objective that remembers too.
SAMPLING = (
    *DEMANDING,
    "model.attention=hard",
    "training.objective=[{loss: cross-entropy}, {loss: {kind: reinforce, baseline: moving-average}}, {loss: entropy}]",
)


def reversals(count: int, seed: int, letters: str = LETTERS, shortest: int = 2, longest: int = 5) -> list[list[str]]:
    """Sequences of letters; what they are translated to is themselves backwards."""
    draw = random.Random(seed)
    return [[draw.choice(letters) for _ in range(draw.randint(shortest, longest))] for _ in range(count)]


def write_reversals(directory: Path, name: str, sequences: Iterable[Sequence[str]]) -> None:
    """``NAME.src``, ``NAME.trg`` and the links of one to the other, ``NAME.gold``."""
    sequences = list(sequences)
    write_lines(directory / f"{name}.src", (" ".join(words) for words in sequences))
    write_lines(directory / f"{name}.trg", (" ".join(reversed(words)) for words in sequences))
    links = (" ".join(f"{i}-{len(words) - 1 - i}" for i in range(len(words))) for words in sequences)
    write_lines(directory / f"{name}.gold", links)


def write_project(directory: Path, train: int = 60, dev: int = 6, test: int = 5) -> Path:
    """A directory with a corpus and a recipe, as a user would write them; the recipe's path."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed, (name, count) in enumerate({"train": train, "dev": dev, "test": test}.items()):
        write_reversals(directory, name, reversals(count, seed))
    (directory / "corpus.yaml").write_text(CORPUS, encoding="utf-8")
    recipe = directory / "small.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    return recipe


def quiet(sentence: str) -> None:
    """Listens to nothing."""


def prepared(path: Path, *overrides: str) -> tuple[Recipe, Data]:
    """A recipe and its data."""
    recipe = load_recipe(path, overrides)
    return recipe, prepare(recipe, quiet)


class Killed(Exception):  # noqa: N818 - stands for a signal
    """What stands for ``kill -9``: whatever is not on disk by now is lost."""


_JOURNALS: dict[Path, Journal] = {}


class Trained:
    """A run directory on which trainers are started as often as a test likes."""

    def __init__(self, recipe: Recipe, data: Data, directory: Path) -> None:
        self.recipe, self.data, self.directory = recipe, data, directory
        self.said: list[str] = []

    def trainer(self) -> Trainer:
        """A trainer that has not begun; what it tells people goes to ``said``."""
        self.directory.mkdir(parents=True, exist_ok=True)
        keep_recipe(self.recipe, self.directory)
        if self.directory in _JOURNALS:  # the trainer before is gone, and so is its hold on the run
            _JOURNALS[self.directory].close()
        journal = _JOURNALS[self.directory] = Journal(self.directory)
        journal.say = self.said.append  # type: ignore[method-assign]
        return Trainer(self.recipe, self.data, self.directory, journal)

    def run(self) -> Trainer:
        """A trainer that has run to its end."""
        trainer = self.trainer()
        with trainer.journal:
            trainer.run()
        return trainer


def end_of(trainer: Trainer) -> dict[str, Tensor]:
    """All numbers that a training ends with: weights, optimiser, randomness, and what was kept of it."""
    found = {f"weight {name}": one.detach() for name, one in trainer.model.named_parameters()}
    found |= {f"objective {name}": one for name, one in trainer.objective.named_buffers()}
    for number, state in trainer.optimiser.state_dict()["state"].items():
        found |= {f"optimiser {number} {name}": one for name, one in state.items()}
    for name in ("best", "average"):
        for place in trainer.checkpoints.all(name):
            weights = load_file(place / "model.safetensors")
            found |= {f"{place.name} {key}": one for key, one in weights.items()}
    return found | {"random": torch.get_rng_state()}


def assert_same_end(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Bit for bit."""
    assert found.keys() == wanted.keys()
    different = [name for name in wanted if not torch.equal(found[name], wanted[name])]
    assert not different, different
