"""Proof that the tests can fail: bugs that other toolkits had, or could have had, planted one at a time.

    python benchmarks/planted_bugs.py              # all of them
    python benchmarks/planted_bugs.py --list
    python benchmarks/planted_bugs.py z-inverted gate-ignored

Each bug is a piece of the source replaced by a wrong one in a temporary copy of the checkout, where the test files that
ought to notice are run until the first failure. First they are run without any bug: a test that fails by itself proves
nothing. The exit status is 1 when a bug survives, 2 when one cannot be planted any more.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from nmt.cli.common import Command
from nmt.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent
NOT_COPIED = (".*", "build", "runs", "downloads", "__pycache__", "*.egg-info")
FAILED = 1  # pytest's exit status when tests ran and some failed


class Bug(NamedTuple):
    """A piece of a file that is there exactly once, what replaces it, and the test files that ought to notice."""

    what: str
    file: str
    right: str
    wrong: str
    tests: str  # names of test files without test_ and .py


_GATE = "torch.lerp(h, (c + p_NE.view(sizes)).tanh_(), (qz + kz).sigmoid_())"
_RECEIVED = "beta_BTSW + weight_BTS.unsqueeze(-1) / source_B1SU"
_SELECTED = "select((state, covered_BS, word_BS), parent_B)"

# A bug is added by its line here.
BUGS: dict[str, Bug] = {
    "coverage-unread": Bug(
        "coverage does not reach the score (OpenNMT-py, eole 0.6.4)",
        *("nmt/attention/coverage.py", " + self.coverage(beta_BTSW)", ""),
        "attention_coverage",
    ),
    "present-step-counted": Bug(
        "the present step is counted in the coverage loss (OpenNMT-py)",
        *("nmt/losses/coverage.py", "weight_BTS.cumsum(dim=1) - weight_BTS", "weight_BTS.cumsum(dim=1)"),
        "losses",
    ),
    "argument-changed": Bug(
        "an argument is changed in place (OpenNMT-py)",
        *("nmt/attention/coverage.py", _RECEIVED, "beta_BTSW.add_(weight_BTS.unsqueeze(-1) / source_B1SU)"),
        "attention attention_coverage",
    ),
    "mask-inverted": Bug(
        "attention goes to the padding and nowhere else",
        *("nmt/attention/base.py", "energy_BTS.masked_fill(~valid_B1S", "energy_BTS.masked_fill(valid_B1S"),
        "attention",
    ),
    "state-not-reordered": Bug(
        "beam search goes on with the states of other hypotheses",
        *("nmt/search/beam.py", _SELECTED),
        "(select(state, torch.arange(len(parent_B))), *select((covered_BS, word_BS), parent_B))",
        "search",
    ),
    "gate-ignored": Bug(
        "GAtt attends to the source as it was",
        *("nmt/attention/gates.py", _GATE, "(h + 0 * p_NE.view(sizes))"),
        "attention_gatt",
    ),
    "z-inverted": Bug(
        "GAtt's z keeps the old, as in torch.nn.GRU",
        *("nmt/attention/gates.py", _GATE, "torch.lerp((c + p_NE.view(sizes)).tanh_(), h, (qz + kz).sigmoid_())"),
        "attention_gatt",
    ),
    "reset-after": Bug(
        "GAtt's reset gate acts after U, as in torch.nn.GRU",
        "nmt/attention/gates.py",
        "F.linear(((qr + kr).sigmoid_() * h).to(kind), weight_EE)",
        "((qr + kr).sigmoid_() * F.linear(h, weight_EE)).to(kind)",
        "attention_gatt",
    ),
    "possible-dropped": Bug(
        "AER knows sure links only",
        *("nmt/metrics/alignment.py", "len(a.possible & g.possible)", "len(a.possible & g.sure)"),
        "metrics_alignment",
    ),
    "end-row-kept": Bug(
        "a matrix holds the row of the end of the sentence, and lacks the first",
        *("nmt/translator.py", "self.weight_TS[:-1, :-1]", "self.weight_TS[1:, :-1]"),
        "translator",
    ),
    "fertility-ignored": Bug(
        "linguistic coverage is not divided by fertility",
        *("nmt/attention/coverage.py", _RECEIVED, "beta_BTSW + weight_BTS.unsqueeze(-1)"),
        "attention_coverage",
    ),
    "pieces-averaged": Bug(
        "a source word gets the mean of its pieces, not their sum",
        *("nmt/words.py", "np.add.at(summed", "np.maximum.at(summed"),
        "links",
    ),
}


def plant(root: Path, bug: Bug) -> None:
    """Replace the right piece by the wrong one in a copy of the checkout.

    Raises ``InputError`` when the piece is not there exactly once: the code has changed, and this file must follow.
    """
    path = root / bug.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if (count := text.count(bug.right)) != 1:
        raise InputError(
            f'{bug.file}: "{bug.right}" is there {count} times, not once; adapt benchmarks/planted_bugs.py'
        )
    path.write_text(text.replace(bug.right, bug.wrong), encoding="utf-8")


def test_files(bug: Bug) -> list[str]:
    """The test files of a bug, relative to the checkout."""
    return [f"tests/test_{name}.py" for name in bug.tests.split()]


def first_failure(root: Path, tests: Sequence[str]) -> str | None:
    """The first test that fails in a copy of the checkout, or None; raises ``InputError`` where none could be run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(
        command, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", done.stdout, flags=re.MULTILINE)
    if done.returncode != FAILED or found is None:
        raise InputError(f"{' '.join(tests)}: cannot be run\n{done.stdout}{done.stderr}")
    return found[1]


def examine(tests: Sequence[str], bug: Bug | None = None) -> str | None:
    """The first of these tests that fails in a fresh copy of the checkout, with a bug or without, or None."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "copy"
        shutil.copytree(REPOSITORY, root, ignore=shutil.ignore_patterns(*NOT_COPIED))
        if bug is not None:
            plant(root, bug)
        return first_failure(root, tests)


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[BUG]...")
@click.option("--list", "listed", is_flag=True, help="Say what bugs there are.")
def main(names: tuple[str, ...], listed: bool) -> None:
    """Plant bugs (all of them, or those named) and say which test notices each, and how soon."""
    for name in names:
        if name not in BUGS:
            near = difflib.get_close_matches(name, BUGS, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "see --list"
            raise InputError(f'there is no bug "{name}"; {hint}')
    chosen = {name: BUGS[name] for name in names or BUGS}
    width = max(map(len, chosen))
    if listed:
        for name, bug in chosen.items():
            click.echo(f"{name:<{width}}  {bug.what}  ({bug.file})")
        return
    tests = sorted({file for bug in chosen.values() for file in test_files(bug)})
    if failed := examine(tests):
        raise InputError(f"{failed} fails without any bug; mend that first")
    survived = 0
    for name, bug in chosen.items():
        start = time.perf_counter()
        noticed = examine(test_files(bug), bug)
        survived += noticed is None
        click.echo(f"{name:<{width}}  {time.perf_counter() - start:5.1f} s  {noticed or 'SURVIVED'}")
    click.echo(f"{len(chosen) - survived} of {len(chosen)} bugs are noticed")
    if survived:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
