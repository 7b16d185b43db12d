"""What every command shares: how it ends when something is wrong, and nothing else.

Exit status: 0 a result, 2 bad input (one sentence on standard error), 130 interrupted, 1 and silence when the reader of
a pipe left (as click and rich have it). Anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from nmt.errors import InputError

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, what a shell reports
BROKEN_PIPE = 1


class Command(click.Command):
    """A command of ours: ``@click.command(cls=Command)``."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command and leave the process with its exit status (``standalone_mode=False`` returns instead)."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            sys.stdout.flush()
        except InputError as error:
            _complain(str(error))
            sys.exit(BAD_INPUT)
        except click.ClickException as error:
            error.show()
            sys.exit(BAD_INPUT)
        except (KeyboardInterrupt, click.Abort):
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            _silence_standard_output()
            sys.exit(BROKEN_PIPE)
        # click hands back the status of --help, --version and ctx.exit(); other values are a function's own result.
        sys.exit(status if isinstance(status, int) else 0)


def _complain(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)


def _silence_standard_output() -> None:
    """Let the interpreter's last flush go nowhere, so that it has nothing to complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
