"""Attention modules, and the table by which recipes choose one."""

from __future__ import annotations

from collections.abc import Callable

from nmt.attention.bahdanau import Bahdanau
from nmt.attention.base import Attention, Glance, Memory
from nmt.attention.gatt import GAtt

# An attention is added by writing its class in a file of this package and its line here.
ATTENTIONS: dict[str, Callable[..., Attention]] = {
    "bahdanau": Bahdanau,
    "gatt": GAtt,
}

__all__ = ["ATTENTIONS", "Attention", "Bahdanau", "GAtt", "Glance", "Memory"]
