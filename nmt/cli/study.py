"""``nmt-study``: a grid of runs, trained where they are missing, and the tables and plots of all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from rich.console import Console

from nmt.cli.common import INTERRUPTED, Command
from nmt.machine import settle


@click.command(cls=Command)
@click.argument("study", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Directory of the runs.  [default: runs/NAME-OF-THE-STUDY]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Directory of tables and plots.  [default: that of the runs]"
)
@click.option("--jobs", type=click.IntRange(1), default=1, help="Runs that are trained at the same time (1).")
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of each run.  [default: its recipe's, or cores / jobs]"
)
@click.option("--dry-run", is_flag=True, help="Say what is missing and about how long it will take.")
@click.option("--table", is_flag=True, help="Train nothing; tell of what is there.")
def main(
    study: Path,
    overrides: tuple[str, ...],
    runs: Path | None,
    out: Path | None,
    jobs: int,
    threads: int | None,
    dry_run: bool,
    table: bool,
) -> None:
    """Train the missing runs of a STUDY, then write its tables (Markdown, TSV, HTML) and plots.

    KEY=VALUE replaces a setting of the study: seeds=[1]. The same command goes on with a study that was interrupted,
    and may run several times at once.
    """
    from nmt.study import load_study
    from nmt.study import runs as all_runs
    from nmt.study_results import check, collect
    from nmt.study_runs import missing, train_missing, with_threads
    from nmt.study_tables import markdown_section, write_findings

    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False)

    settle()
    settings = load_study(study, overrides)
    directory = runs or Path("runs") / study.stem
    wanted = with_threads(all_runs(settings, directory), threads, (os.cpu_count() or 1) // jobs or 1)
    left = missing(wanted)
    check(settings, wanted)
    say(f"{len(wanted)} runs: {len(wanted) - len(left)} finished, {len(left)} missing")
    if dry_run:
        from nmt.study_forecast import forecast

        for line in forecast(wanted, left, jobs, say):
            click.echo(line)
        return
    if left and not table and train_missing(settings, wanted, jobs, say):
        say("--table tells of what is finished")
        raise SystemExit(INTERRUPTED)
    findings = collect(study.stem, settings, wanted, directory / "analyses", say)
    places = write_findings(findings, out or directory)
    click.echo(
        "\n".join(
            _told(
                [f"## {one.name}\n\n{markdown_section(settings, one)}" for one in findings.sections],
                findings.unfinished,
            )
        )
    )
    click.echo(f"\nWritten: {', '.join(map(str, places[:3]))} and {len(places) - 3} plots.")


def _told(tables: Sequence[str], unfinished: Sequence[str]) -> Iterator[str]:
    yield "\n\n".join(tables)
    if unfinished:
        yield ""
        yield from unfinished


if __name__ == "__main__":
    main()
