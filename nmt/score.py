"""A measured number that says how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nmt.version import VERSION


@dataclass(frozen=True, slots=True)
class Score:
    """The value of a metric on a corpus, with the signature without which it cannot be compared.

    ``detail`` holds what else is worth knowing: counts, brevity penalty, number of short sentences.
    """

    name: str
    value: float
    signature: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} = {self.value:.2f} ({self.signature})"

    def __float__(self) -> float:
        return self.value


def signature(**settings: object) -> str:
    """Settings as sacrebleu writes them, ``key:value|key:value|version:…``; a truth value becomes yes or no.

    A setting that is None is left out: it does not bear on the score.
    """
    words = {True: "yes", False: "no"}
    parts = [
        f"{key.replace('_', '-')}:{words[value] if isinstance(value, bool) else value}"
        for key, value in settings.items()
        if value is not None
    ]
    return "|".join([*parts, f"version:nmt-{VERSION}"])
