"""Attention modules, and the table by which recipes choose one."""

from __future__ import annotations

from collections.abc import Callable

from nmt.attention.bahdanau import Bahdanau
from nmt.attention.base import Attention, Glance, Memory
from nmt.attention.coverage import LinguisticCoverage, NeuralCoverage, SeeCoverage
from nmt.attention.dot import Concat, Dot, General, LocalP, ScaledDot
from nmt.attention.fertility import FertilityBound
from nmt.attention.gate_cells import GAttCell, GAttInvCell
from nmt.attention.gatt import GAtt, GAttInv, GAttResetAfter
from nmt.attention.hard import Hard
from nmt.attention.multihead import MultiHead

# An attention is added by writing its class in a file of this package and its line here.
ATTENTIONS: dict[str, Callable[..., Attention]] = {
    "bahdanau": Bahdanau,
    "dot": Dot,
    "scaled-dot": ScaledDot,
    "general": General,
    "concat": Concat,
    "local-p": LocalP,
    "multi-head": MultiHead,
    "coverage-linguistic": LinguisticCoverage,
    "coverage-neural": NeuralCoverage,
    "coverage-see": SeeCoverage,
    "fertility-bound": FertilityBound,
    "gatt": GAtt,
    "gatt-inv": GAttInv,
    "gatt-reset-after": GAttResetAfter,
    "gatt-cell": GAttCell,
    "gatt-inv-cell": GAttInvCell,
    "hard": Hard,
}

__all__ = ["ATTENTIONS", "Attention", "Glance", "Memory", *(one.__name__ for one in ATTENTIONS.values())]
