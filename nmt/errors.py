"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class InputError(Exception):
    """Bad input, told in one clear sentence: which file, which line, what is wrong, what to do.

    Commands print the sentence on standard error and exit with status 2. Anything else that is raised is a bug and
    keeps its traceback.
    """
