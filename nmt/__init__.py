"""Coverage-first neural machine translation.

The public names are fetched when they are first used, so that measuring files does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nmt.version import VERSION as __version__  # noqa: N811 - the customary name

if TYPE_CHECKING:
    from nmt.alignment import Alignment, best_reading, symmetrised
    from nmt.cost import cost_by_length
    from nmt.errors import InputError
    from nmt.flow import gate_statistics, gradient_flow
    from nmt.links import Links
    from nmt.recipe import Recipe, load_recipe
    from nmt.score import Score
    from nmt.translator import Translation, Translator

# Public name -> the module it lives in.
_HOMES = {
    "Alignment": "nmt.alignment",
    "InputError": "nmt.errors",
    "Links": "nmt.links",
    "Recipe": "nmt.recipe",
    "Score": "nmt.score",
    "Translation": "nmt.translator",
    "Translator": "nmt.translator",
    "best_head": "nmt.heads",
    "best_reading": "nmt.alignment",
    "cost_by_length": "nmt.cost",
    "gate_statistics": "nmt.flow",
    "gradient_flow": "nmt.flow",
    "load_recipe": "nmt.recipe",
    "symmetrised": "nmt.alignment",
}

__all__ = [
    "Alignment",
    "InputError",
    "Links",
    "Recipe",
    "Score",
    "Translation",
    "Translator",
    "__version__",
    "best_head",
    "best_reading",
    "cost_by_length",
    "gate_statistics",
    "gradient_flow",
    "load_recipe",
    "symmetrised",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nmt' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
