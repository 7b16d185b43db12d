"""A run of a study of memory: ``python -m nmt.cli.remember``, which nmt-study calls as it calls nmt-train."""

from __future__ import annotations

from pathlib import Path

import click

from nmt.cli.common import INTERRUPTED, Command
from nmt.errors import InputError
from nmt.machine import settle
from nmt.recipe import RECIPE_FILE
from nmt.settings import dump, load
from nmt.text import write_lines


@click.command(cls=Command)
@click.argument("task", type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), required=True, help="Directory of the run.")
def main(task: Path, run: Path) -> None:
    """Train a cell on the memory problem of a TASK; the same command goes on with a run that was interrupted."""
    from nmt.ending import END, settings_key
    from nmt.journal import Journal
    from nmt.memory_tasks import MemoryTask, learn
    from nmt.train import Interrupted

    settle()
    settings = load(task, MemoryTask)
    run.mkdir(parents=True, exist_ok=True)
    with Journal(run) as journal:
        place = run / RECIPE_FILE
        if place.exists():
            before = load(place, MemoryTask)
            longer = before.model_copy(update={"updates": settings.updates})
            if before.updates > settings.updates or settings_key(longer) != settings_key(settings):
                raise InputError(f"{run}: holds a run of another task; choose another directory, or remove this one")
        write_lines(place, dump(settings).removesuffix("\n").split("\n"))
        try:
            found = learn(settings, run, journal)
        except Interrupted:
            raise SystemExit(INTERRUPTED) from None
        journal.record(END, settings.updates, {"settings": settings_key(settings), **found})
    click.echo("  ".join(f"{name} {value:.4g}" for name, value in found.items()))


if __name__ == "__main__":
    main()
