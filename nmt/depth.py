"""How deep self-attention should be for its width (Levine et al. 2020, arXiv:2006.12467)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nmt.settings import Settings
from nmt.sublayers import TransformerDecoderSettings, TransformerEncoderSettings


def depth_threshold(width: int) -> float:
    """L_th = log_3(d_x): up to so many layers of self-attention depth buys more than width does, doubly exponentially
    more of the separation rank, their measure of dependence between inputs; beyond it both buy alike.

    The theorem is of self-attention layers without feed-forward parts, softmax or norms, and asymptotic: a rule of
    thumb for a translation model, whose best depth must be measured. (The threshold is that of the abstract; what
    the theorem leaves out is not verified against the paper.)
    """
    return math.log(width, 3)


def remarks_on_depth(model: Settings) -> Iterator[str]:
    """A sentence for each side of a model that is a Transformer deeper than its width supports."""
    for side, layers, width in _transformers(model):
        threshold = depth_threshold(width)
        if layers > threshold:
            yield (
                f"remark: {layers} {side} layers are more than log3({width}) = {threshold:.1f}, up to which depth buys "
                "more than width (Levine et al. 2020, a theorem on self-attention alone); the same parameters may do "
                "better in fewer, wider layers"
            )


def _transformers(model: Settings) -> Iterator[tuple[str, int, int]]:
    """The sides that are Transformers: name, layers, width."""
    for side in ("encoder", "decoder"):
        part = getattr(model, side, None)
        if isinstance(part, TransformerEncoderSettings | TransformerDecoderSettings):
            yield side, part.layers, part.embedding
