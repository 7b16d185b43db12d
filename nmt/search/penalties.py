"""What a translation pays for the source words it left out, or said too often, by its attention.

The coverage of a source word is the attention that it received, cov_i = Σ_t α_ti, over the |Y| target positions, of
which the end of the sentence is one, as in the normalisation by length. The end of the source is no word: nothing is
owed to it. A word that was covered exactly once costs nothing, so what stands at padding is 1.

Shapes: S source positions; * anything before them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field
from torch import Tensor

Strength = Annotated[float, Field(ge=0)]


def penalty_none(covered_S: Tensor) -> Tensor:
    """0."""
    return covered_S.new_zeros(covered_S.shape[:-1])


def penalty_gnmt(
    covered_S: Tensor, *, beta: Strength = 0.2, floor: Annotated[float, Field(gt=0, le=1)] = 1e-6
) -> Tensor:
    """−cp(X; Y), cp = β Σ_i log min(cov_i, 1) (Wu et al. 2016, equation 14): for words left out.

    The paper leaves open what a word costs that got nothing, whose logarithm is −∞; here it costs as much as one that
    got ``floor``, 13.8 β by default. Unverified: the published β = 0.2.
    """
    return -beta * covered_S.clamp(floor, 1.0).log().sum(dim=-1)


def penalty_summary(covered_S: Tensor, *, beta: Strength = 0.2) -> Tensor:
    """β Σ_i max(0, cov_i − 1): for words said too often (OpenNMT's *summary* penalty, there with β = 5)."""
    return beta * (covered_S - 1.0).clamp(min=0.0).sum(dim=-1)


# From the coverage of every source word (*, S) to what a hypothesis pays (*), in nats.
PENALTIES: dict[str, Callable[..., Tensor]] = {
    "none": penalty_none,
    "gnmt": penalty_gnmt,
    "summary": penalty_summary,
}


def source_words(valid_BS: Tensor) -> Tensor:
    """True at the words of a source: at all that is real but the last, the end of the sentence."""
    behind_BS = valid_BS.flip(1).cumsum(dim=1).flip(1) - valid_BS.long()
    return valid_BS & (behind_BS > 0)
