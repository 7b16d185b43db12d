"""What the tests of commands look at alike."""

from __future__ import annotations

from click.testing import Result


def refused(result: Result) -> str:
    """The one sentence on standard error, without its "error: ", with nothing on standard output."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ")
