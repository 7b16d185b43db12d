"""How deep self-attention should be for its width (Levine et al. 2020, arXiv:2006.12467)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from nmt.sublayers import TransformerSettings


def depth_threshold(width: int) -> float:
    """L_th = log_3(d_x): up to so many layers of self-attention depth buys more than width does, doubly exponentially
    more of the separation rank, their measure of dependence between inputs; beyond it both buy alike.

    The theorem is of self-attention layers without feed-forward parts, softmax or norms, and asymptotic: a rule of
    thumb for a translation model, whose best depth must be measured.
    """
    return math.log(width, 3)


def remarks_on_depth(settings: TransformerSettings) -> Iterator[str]:
    """A sentence for each side of a Transformer that is deeper than its width supports."""
    threshold = depth_threshold(settings.embedding)
    for side, layers in (("encoder", settings.encoder_layers), ("decoder", settings.decoder_layers)):
        if layers > threshold:
            yield (
                f"remark: {layers} {side} layers are more than log3({settings.embedding}) = {threshold:.1f}, up to "
                "which depth buys more than width (Levine et al. 2020, a theorem on self-attention alone); the same "
                "parameters may do better in fewer, wider layers"
            )
