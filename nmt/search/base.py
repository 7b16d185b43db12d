"""What a search may be told, what it finds, and what a hypothesis is worth.

Shapes: T target tokens and the end of the sentence, S source tokens and the end of the sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from nmt.search.penalties import PENALTIES
from nmt.settings import Choice, FilePath, Settings, choice


def length_none(length: int, alpha: float) -> float:
    """1: the score is log P(Y | X), as it is."""
    return 1.0


def length_average(length: int, alpha: float) -> float:
    """|Y|^α."""
    return float(length**alpha)


def length_gnmt(length: int, alpha: float) -> float:
    """lp(Y) = ((5 + |Y|) / 6)^α (Wu et al. 2016, equation 14)."""
    return float(((5 + length) / 6) ** alpha)


# From the length |Y|, with EOS, and α to what the log-probability is divided by.
NORMALISATIONS: dict[str, Callable[[int, float], float]] = {
    "none": length_none,
    "average": length_average,
    "gnmt": length_gnmt,
}


class SearchSettings(Settings):
    """How to search for a translation."""

    beam: Annotated[int, Field(ge=1)] = 5
    n_best: Annotated[int, Field(ge=1)] = 1
    normalise: Literal["none", "average", "gnmt"] = "average"  # of the log-probability, by length
    alpha: Annotated[float, Field(ge=0)] = 1.0  # the strength of the normalisation
    coverage: Annotated[Choice, choice(PENALTIES)] = Choice("none")  # what is paid for words left out or said too often
    stepwise: bool = False  # whether it is paid at every step, and not by complete translations alone
    block_ngrams: Annotated[int, Field(ge=1)] | None = None  # no n-gram of this order twice in a translation
    minimum_length: Annotated[int, Field(ge=0)] = 0  # tokens before the end of the sentence
    maximum_length: Annotated[int, Field(ge=1)] | None = None  # null: twice the source's plus 10, or the minimum
    unknown: bool = True  # whether a translation may hold the unknown word
    # True: a word with anything unknown in it becomes the source word it is aligned to; or, where the dictionary in a
    # file of two columns has that, its translation
    replace_unknown: bool | FilePath = False
    ensemble: Literal["arithmetic", "geometric"] = "arithmetic"  # mean of the probabilities of several models
    batch_tokens: Annotated[int, Field(ge=1)] = 4000  # source tokens searched at once
    # of the matrix products; bfloat16: by autocast; int8: dynamic quantisation of the linear layers, on a CPU
    precision: Literal["float32", "bfloat16", "int8"] = "float32"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.n_best > self.beam:
            raise ValueError(f"n_best {self.n_best} needs a beam at least as wide, not {self.beam}")
        if self.maximum_length is not None and self.minimum_length > self.maximum_length:
            raise ValueError(f"minimum_length {self.minimum_length} is above maximum_length {self.maximum_length}")
        if self.stepwise and self.coverage.kind == "none":
            raise ValueError("stepwise is how a coverage penalty is paid; choose one, such as coverage: gnmt")
        if self.replace_unknown and not self.unknown:
            raise ValueError("replace_unknown has nothing to replace with unknown: false")
        return self

    def divisor(self, length: int) -> float:
        """What the log-probability of ``length`` tokens (EOS counted) is divided by."""
        return NORMALISATIONS[self.normalise](length, self.alpha)

    def penalty(self, covered_S: Tensor) -> Tensor:
        """What a coverage of the source words (*, S) costs, (*)."""
        paid: Tensor = self.coverage.build(PENALTIES, covered_S)
        return paid


class Hypothesis(NamedTuple):
    """A complete translation, in the vocabulary's ids."""

    tokens: list[int]  # without EOS
    log_prob: float  # natural logarithm, EOS counted
    score: float  # what hypotheses are ranked by: see :func:`score`
    weight_TS: Tensor  # attention, on the CPU: a row a token and one for EOS, a column a source token and one for EOS


def score(log_prob: float, weight_TS: Tensor, settings: SearchSettings) -> float:
    """What a complete translation with this attention is worth; higher is better.

    log P(Y | X) / lp(Y) − penalty(cov), |Y| counting EOS as the rows of the attention do (Wu et al. 2016, equation 14).
    """
    length = weight_TS.shape[0]
    covered_S = weight_TS[:, :-1].to(torch.float64).sum(dim=0)
    return log_prob / settings.divisor(length) - float(settings.penalty(covered_S))
