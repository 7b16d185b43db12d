"""A model made ready for search: in the precision that the settings ask for, with what pays computed beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nmt.errors import InputError
from nmt.model import Model
from nmt.quantised import quantised
from nmt.search.base import SearchSettings


class Prepared:
    """A model as search decodes with it. What is computed from its weights is made anew when one of them has changed.

    The search settings say how it multiplies. The table of its words costs as much as reading all of them, so it is
    made when as many have been read, or are about to be.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._version: tuple[object, ...] = ()
        self._ready, self._words = model, 0

    @contextmanager
    def __call__(self, settings: SearchSettings, words: int) -> Iterator[Model]:
        """In the block, which is inference: the model that will decode about this many target words one by one."""
        self.model.eval()
        device = next(self.model.parameters(), torch.empty(0)).device  # a model may have no weights
        refuse_precision(settings, device)
        coarse = settings.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=coarse):
            yield self._of(settings.precision, words)

    def _of(self, precision: str, words: int) -> Model:
        version = precision, *((one.data_ptr(), _changes(one)) for one in self.model.parameters())
        if version != self._version:
            self._ready, self._words = quantised(self.model) if precision == "int8" else self.model, 0
            self._version = version
        self._words += words
        self._ready = self._ready.tabulated(self._words)
        return self._ready


def _changes(weight: torch.Tensor) -> int:
    """How often a weight was changed in place; torch does not count it for those born in inference mode."""
    return 0 if weight.is_inference() else weight._version


def refuse_precision(settings: SearchSettings, device: torch.device) -> None:
    """Raises ``InputError`` for a precision that the device does not search in."""
    if settings.precision == "int8" and device.type != "cpu":
        raise InputError(
            f"search.precision int8 is for the CPU, not for {device.type}; choose bfloat16, or the device cpu"
        )
