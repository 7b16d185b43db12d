"""The recipe: all that decides a run, in one strict YAML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from nmt.decoder import MarginalDecoder
from nmt.errors import InputError
from nmt.losses import LOSSES, PartSettings
from nmt.model import ModelSettings, build_model
from nmt.optim import OPTIMISERS, SCHEDULES
from nmt.recurrent import RecurrentSettings
from nmt.search import SearchSettings
from nmt.settings import Choice, FilePath, Settings, choice, dump, load, plain
from nmt.text import write_lines
from nmt.version import VERSION
from nmt.vocabulary import SPECIAL, VocabularySettings

# The resolved recipe's place in a run directory.
RECIPE_FILE = "recipe.yaml"

Count = Annotated[int, Field(ge=1)]


class TextSettings(Settings):
    """How text becomes tokens, and which pairs are trained on."""

    source: VocabularySettings
    target: VocabularySettings
    joint: bool = False  # one vocabulary, made from both sides with the settings of the source
    longest_source: Count = 50  # longer training pairs are left out, and counted; in tokens
    longest_target: Count = 50

    @model_validator(mode="after")
    def _joint_is_one(self) -> Self:
        if self.joint and self.source != self.target:
            raise ValueError("a joint vocabulary has the same settings for source and target")
        return self


class ValidationSettings(Settings):
    """How a model in training is judged on the development set."""

    every: Count | None = None  # in updates; null: at the end of every epoch
    by: Literal["bleu", "loss"] = "bleu"  # what "best" means, for checkpoints, patience and the plateau schedule
    sentences: Count | None = None  # how many sentences are translated for BLEU; null: all
    beam: Count = 1
    patience: Count | None = None  # stop after so many validations in a row that were not the best


class TrainingSettings(Settings):
    """How the model is trained."""

    epochs: Count | None = None
    updates: Count | None = None  # training ends at whichever comes first
    batch_tokens: Count | None = 4000  # positions of the longer side in a batch, padding counted
    batch_sentences: Count | None = None
    multiple: Count = 1  # of which pairs, source and target positions are a multiple: fewer shapes of batches
    accumulate: Count = 1  # batches whose gradients make one update; several mix lengths, which one batch does not
    samples: Count = 1  # times each pair is decoded, sampling anew; its loss is the mean over them
    objective: Annotated[tuple[PartSettings, ...], Field(min_length=1)] = (PartSettings(loss=Choice("cross-entropy")),)
    optimiser: Annotated[Choice, choice(OPTIMISERS, "adam")] = Choice("adam")
    schedule: Annotated[Choice, choice(SCHEDULES, "constant")] = Choice("constant")
    clip: Annotated[float, Field(gt=0)] | None = 1.0  # largest norm of the gradient
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast of the matrix products
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Count | None = None  # of the CPU; null: all cores
    replay: bool = False  # on a GPU: what a shape of batches asks of it is recorded once (CUDA graphs)
    validation: ValidationSettings = ValidationSettings()
    log_every: Count = 100  # updates
    save_minutes: Annotated[float, Field(gt=0)] = 10.0  # between checkpoints, besides those at validations
    keep: Count = 2  # checkpoints kept besides the best one
    average: Count = 1  # the weights used in the end are the mean of so many last checkpoints; 1: the best checkpoint's

    @field_validator("schedule")
    @classmethod
    def _schedule_can_be_made(cls, schedule: Choice) -> Choice:
        """Made once: its own ``ValueError`` tells what cannot be."""
        schedule.build(SCHEDULES)
        return schedule

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.epochs is None and self.updates is None:
            raise ValueError("training needs an end: epochs, updates or both")
        if self.batch_tokens is None and self.batch_sentences is None:
            raise ValueError("a batch needs a size: batch_tokens, batch_sentences or both")
        kinds = [part.loss.kind for part in self.objective]
        if twice := {kind for kind in kinds if kinds.count(kind) > 1}:
            raise ValueError(f"the objective names {', '.join(sorted(twice))} more than once; give it one weight")
        baselines = [part.loss.settings.get("baseline") for part in self.objective]
        if self.samples == 1 and Choice("other-samples") in baselines:
            raise ValueError('the baseline "other-samples" needs training.samples: 2 at least')
        if self.average > self.keep:
            raise ValueError(f"average {self.average} needs as many checkpoints kept, not {self.keep}")
        return self


class Recipe(Settings):
    """A run: corpus, text, model, training, search."""

    corpus: FilePath  # a corpus file, see data/README.md
    text: TextSettings
    model: ModelSettings = RecurrentSettings()
    training: TrainingSettings
    search: SearchSettings = SearchSettings()
    seed: Annotated[int, Field(ge=0)] = 1
    pictures: Annotated[int, Field(ge=0)] = 4  # sentences of each test set whose attention is drawn in the end

    @model_validator(mode="after")
    def _ties_need_one_vocabulary(self) -> Self:
        if self.model.tie == "all" and not self.text.joint:
            raise ValueError('model.tie "all" needs text.joint: true, one vocabulary for both sides')
        return self

    @model_validator(mode="after")
    def _losses_have_what_they_read(self) -> Self:
        readers = [part.loss.kind for part in self.training.objective if part.loss.build(LOSSES).reads_fertility]
        if readers:
            with torch.device("meta"):
                decoder = build_model(self.model, len(SPECIAL), len(SPECIAL)).decoder
            if self.model.attention and decoder.expects == "anew":
                raise ValueError(
                    f'the loss "{readers[0]}" compares with the fertility of each source position, which '
                    f'"{self.model.attention.kind}" around coverage expects anew at every step; choose the coverage '
                    "without it, fertility: null in it, or the loss doubly-stochastic"
                )
        return self

    @model_validator(mode="after")
    def _what_is_replayed_asks_nothing(self) -> Self:
        if self.training.replay:
            with torch.device("meta"):
                model = build_model(self.model, len(SPECIAL), len(SPECIAL))
            if any(isinstance(part, MarginalDecoder) for part in model.modules()):
                raise ValueError(
                    'training.replay repeats what does not hang on the words of a batch, and model.output "marginal" '
                    "computes as much as there are words; leave one of them out"
                )
            if any(getattr(part, "recompute", False) for part in model.modules()):
                raise ValueError("training.replay cannot repeat what recompute: true does twice; leave one of them out")
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, with ``key=value`` overrides. Raises ``InputError`` that tells every mistake at once."""
    return load(path, Recipe, overrides)


# What may change between two calls that go on with the same run: when to stop, where and how to run, how to search.
_CHANGEABLE = {
    "training": ("epochs", "updates", "device", "threads", "replay", "log_every", "save_minutes", "keep", "average"),
    "search": None,
    "pictures": None,
}


def keep_recipe(recipe: Recipe, run: Path) -> None:
    """Write the resolved recipe into a run directory.

    Raises ``InputError`` when the directory holds a run of another recipe: what differs, and what to do.
    """
    place = run / RECIPE_FILE
    if place.exists():
        before = load_recipe(place)
        if changed := _differences(_essence(before), _essence(recipe)):
            raise InputError(
                f"{run}: holds a run of another recipe ({'; '.join(changed)}); choose another directory with --run, "
                "or remove this one to begin anew"
            )
    write_lines(place, [f"# resolved by nmt {VERSION}", *dump(recipe).removesuffix("\n").split("\n")])


def _essence(recipe: Recipe) -> dict[str, Any]:
    settings: dict[str, Any] = plain(recipe)
    for section, names in _CHANGEABLE.items():
        if names is None:
            del settings[section]
        else:
            for name in names:
                del settings[section][name]
    del settings["training"]["validation"]["patience"]
    return settings


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """What differs, by the keys of a recipe; of what is of another kind, its kind alone."""
    if isinstance(before, dict) and isinstance(now, dict):
        if before.get("kind") != now.get("kind"):
            before, now = before.get("kind"), now.get("kind")
        elif before.keys() == now.keys():
            return [one for key in before for one in _differences(before[key], now[key], f"{name}.{key}".lstrip("."))]
    return [] if before == now else [f"{name} was {_shown(before)}, is now {_shown(now)}"]


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, str) else json.dumps(value)
