"""What the tests of commands look at alike."""

from __future__ import annotations

import os

from click.testing import Result


def pipe(content: bytes) -> str:
    """What a shell makes of ``<(...)``: the name of a pipe that gives its few bytes once."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return f"/dev/fd/{reading}"


def refused(result: Result) -> str:
    """The one sentence on standard error, without its "error: ", with nothing on standard output."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ")
