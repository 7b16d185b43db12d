"""A study: a recipe, a grid of settings and seeds, in one strict YAML file (``nmt-study``).

Every cell of the grid is a value of each axis; every seed of it is a run. What a run of one kind of study is made from
and by which command stands in :data:`KINDS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from nmt.ending import settings_key
from nmt.errors import InputError
from nmt.memory_tasks import MemoryTask
from nmt.metrics import build
from nmt.recipe import Recipe
from nmt.settings import Choice, FilePath, Override, Settings, choice, load
from nmt.study_analyses import ANALYSES
from nmt.yaml_tree import Text

_NAME = re.compile(r"(?!\.+$)[\w.+=-]+")  # what may be part of a directory's name, anywhere


class Kind(NamedTuple):
    """What a kind of study trains: the settings of a run, and the module that is the command for it."""

    settings: type[Settings]
    command: str


KINDS = {"translation": Kind(Recipe, "nmt.cli.train"), "memory": Kind(MemoryTask, "nmt.cli.remember")}


class Variation(Settings):
    """A value of an axis: settings, and another recipe where it needs one."""

    recipe: FilePath | None = None
    settings: tuple[Override, ...] = ()


class Study(Settings):
    """What is trained, and what is told of it."""

    kind: Literal["translation", "memory"] = "translation"
    recipe: FilePath
    settings: tuple[Override, ...] = ()  # of every run
    grid: Annotated[dict[str, dict[str, tuple[Override, ...] | Variation]], Field(min_length=1)]
    only: dict[str, tuple[str | int | float, ...]] = Field(
        default_factory=dict
    )  # axes of which only some values are run
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (1,)
    tests: tuple[str, ...] | None = None  # test sets of the table; null: all
    metrics: tuple[str, ...] = ("bleu", "ngrr", "otem", "utem", "aer", "saer")  # those that a test set allows
    resamples: Annotated[int, Field(ge=0)] = 1000  # of the bootstrap
    trials: Annotated[int, Field(ge=0)] = 1000  # of approximate randomisation
    along: str | None = None  # the axis along x of the plots; null: the last one of numbers, else the last
    plots: Literal["png", "svg"] = "svg"
    drawn: tuple[str, ...] | None = None  # the numbers of the tables that are drawn; null: all
    analyses: tuple[Annotated[Choice, choice(ANALYSES)], ...] = ()

    @field_validator("grid")
    @classmethod
    def _names_are_names(cls, grid: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for axis, values in grid.items():
            if not values:
                raise ValueError(f'the axis "{axis}" has no value')
            for name in (axis, *values):
                if not _NAME.fullmatch(name):
                    raise ValueError(
                        f'"{name}" becomes part of a file\'s name; letters, digits and . _ + = - are allowed'
                    )
        return grid

    @field_validator("seeds")
    @classmethod
    def _each_seed_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is given twice; another run of the same seed gives the same again")
        return seeds

    @field_validator("metrics")
    @classmethod
    def _metrics_exist(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for name in metrics:
            try:
                build(name)
            except InputError as error:
                raise ValueError(str(error)) from None
        return metrics

    @model_validator(mode="after")
    def _only_what_there_is(self) -> Self:
        for axis, names in self.only.items():
            if axis not in self.grid:
                raise ValueError(f'only: the grid has no axis "{axis}"; it has {", ".join(self.grid)}')
            for name in map(str, names):
                if name not in self.grid[axis]:
                    raise ValueError(
                        f'only: the axis "{axis}" has no value "{name}"; it has {", ".join(self.grid[axis])}'
                    )
            if not names:
                raise ValueError(f'only: no value of the axis "{axis}" is left')
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "memory" and self.tests is not None:
            raise ValueError("tests: a study of memory has no test sets of translations")
        if self.along is not None and self.along not in self.grid:
            raise ValueError(f'along: the grid has no axis "{self.along}"; it has {", ".join(self.grid)}')
        for one in self.analyses if self.kind == "memory" else ():
            if one.build(ANALYSES).reads == "translation":
                raise ValueError(f"analyses: {one.kind} reads translations, which a study of memory has not")
        return self

    @property
    def axes(self) -> dict[str, dict[str, Variation]]:
        """The grid that is run."""
        chosen = {axis: set(map(str, names)) for axis, names in self.only.items()}
        return {
            axis: {
                name: value if isinstance(value, Variation) else Variation(settings=value)
                for name, value in values.items()
                if name in chosen.get(axis, values)
            }
            for axis, values in self.grid.items()
        }

    @property
    def axis(self) -> str:
        """The axis along x."""
        numbers = [axis for axis, values in self.axes.items() if len(values) > 1 and all(map(is_number, values))]
        return self.along or [*self.grid, *numbers][-1]


def is_number(name: str) -> bool:
    """Whether the name of a value is a number, with which a plot can place it."""
    return re.fullmatch(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", name) is not None


class Cell(NamedTuple):
    """A cell of the grid: the names of its values in the order of the axes, and what they say."""

    values: tuple[str, ...]
    recipe: Path
    settings: tuple[str, ...]

    @property
    def name(self) -> str:
        """In tables, and of its directory."""
        return "_".join(self.values)


class Run(NamedTuple):
    """A seed of a cell: its settings, and where it lies."""

    cell: Cell
    seed: int
    settings: Any
    directory: Path

    def __str__(self) -> str:
        return f"{self.cell.name} seed {self.seed}"

    @property
    def key(self) -> str:
        """Of what must come out of it."""
        return settings_key(self.settings)


def load_study(path: Path, overrides: Sequence[str] = ()) -> Study:
    """The study in a file, with ``key=value`` overrides. Raises ``InputError`` that tells every mistake at once."""
    return load(path, Study, overrides)


def cells(study: Study) -> list[Cell]:
    """All cells, the first one being what the others are compared with; the last axis changes fastest."""
    found = []
    for chosen in product(*(values.items() for values in study.axes.values())):
        recipe, settings = study.recipe, [*study.settings]
        for _, variation in chosen:
            recipe = variation.recipe or recipe
            settings += variation.settings
        found.append(Cell(tuple(name for name, _ in chosen), recipe, tuple(settings)))
    return found


def runs(study: Study, directory: Path) -> list[Run]:
    """Every run of a study, seed by seed of the whole grid, so that the first seeds are compared soon.

    Raises ``InputError`` for settings that no run can have: each mistake once, by its line in the study.
    """
    schema, mistakes = KINDS[study.kind].settings, dict[str, None]()
    known: dict[str, Any] = {}
    for cell in cells(study):
        if own := [one for one in cell.settings if one.partition("=")[0].strip() == "seed"]:
            mistakes[f'{_place(own[0])}"{own[0]}": the seeds of a study stand in its list of seeds'] = None
        if cell.name in known:
            mistakes[f"two cells are called {cell.name}; give values other names"] = None
        try:
            known[cell.name] = load(cell.recipe, schema, cell.settings)
        except InputError as error:
            mistakes |= dict.fromkeys(str(error).split("\n"))
    if not mistakes:
        mistakes |= dict.fromkeys(_twins(known))
    if mistakes:
        raise InputError("\n".join(mistakes))
    return [
        Run(cell, seed, known[cell.name].model_copy(update={"seed": seed}), directory / cell.name / f"seed-{seed}")
        for seed in study.seeds
        for cell in cells(study)
    ]


def _place(setting: str) -> str:
    """The line that a setting was written in, for the beginning of a sentence."""
    return f"{setting.origin}: " if isinstance(setting, Text) else ""


def _twins(known: Mapping[str, Settings]) -> Iterator[str]:
    """A grid that says the same twice is a mistake in it: a comparison of a system with itself."""
    seen: dict[str, str] = {}
    for name, settings in known.items():
        first = seen.setdefault(settings_key(settings), name)
        if first != name:
            yield f"the cells {first} and {name} have the same settings"
