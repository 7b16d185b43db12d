"""``nmt-train``: from a recipe to a trained, tested run."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nmt.cli.common import INTERRUPTED, Command
from nmt.errors import InputError
from nmt.journal import LOG_FILE, Journal
from nmt.machine import settle
from nmt.preparation import prepare
from nmt.recipe import RECIPE_FILE, Recipe, keep_recipe, load_recipe


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--run", type=click.Path(path_type=Path), help="Directory of the run.  [default: runs/NAME-OF-THE-RECIPE]"
)
@click.option("--dry-run", is_flag=True, help="Read the data, build the model, run a batch, say what it will take.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files too (an extra: nmt[tensorboard]).")
def main(recipe: Path, overrides: tuple[str, ...], run: Path | None, dry_run: bool, tensorboard: bool) -> None:
    """Train the model of a RECIPE, then translate and score its test sets.

    KEY=VALUE replaces a setting of the recipe: training.epochs=3, model.attention.kind=gatt. The same command goes on
    with a run that was interrupted.
    """
    from nmt.ending import END, facts
    from nmt.rehearsal import rehearse
    from nmt.results import write_results
    from nmt.train import Interrupted, Trainer
    from nmt.translator import Translator

    settle()
    settings = load_recipe(recipe, overrides)
    if dry_run:
        with Journal(None) as journal:
            data = prepare(settings, journal.say)
            for line in rehearse(settings, data):
                click.echo(line)
        return
    run = run or Path("runs") / recipe.stem
    _check_run(run, settings)
    with Journal(None) as journal:
        data = prepare(settings, journal.say)
    _make(run)
    with Journal(run, tensorboard) as journal:
        keep_recipe(settings, run)
        trainer = Trainer(settings, data, run, journal)
        try:
            trainer.run()
        except Interrupted:
            journal.say(f"interrupted at update {trainer.progress.update}; the same command goes on from there")
            raise SystemExit(INTERRUPTED) from None
        translator = Translator.load(run, settings.training.device)
        notes = [f"{trainer.progress.update} updates in {trainer.progress.seconds / 60:.1f} minutes of training."]
        table = write_results(translator, data.corpus, run, pictures=settings.pictures, notes=notes, report=journal.say)
        journal.record(END, trainer.progress.update, facts(trainer))
    click.echo(table)
    click.echo(f"\n{notes[0]} The run: {run} (report.md, pictures, translations, checkpoints).")


def _check_run(run: Path, settings: Recipe) -> None:
    """Refuse what stands in the way before an hour of work, not after it."""
    above = next(one for one in (run, *run.absolute().parents) if one.exists())
    if not above.is_dir():
        raise InputError(f"{above}: is a file; a run needs a directory")
    if not os.access(above, os.W_OK):
        raise InputError(f"{above}: may not be written to; choose another directory with --run")
    found = {one.name for one in run.iterdir() if not one.name.endswith(".partial")} if run.is_dir() else set()
    # A run begins with its log. A recipe alone is no run but somebody's file, perhaps the very one that was given.
    if found - {LOG_FILE} and not {LOG_FILE, RECIPE_FILE} <= found:
        raise InputError(f"{run}: holds files but no run; choose an empty or new directory with --run")
    if RECIPE_FILE in found:
        keep_recipe(settings, run)


def _make(run: Path) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{run}: cannot be made a directory ({error.strerror}); choose another with --run") from None


if __name__ == "__main__":
    main()
