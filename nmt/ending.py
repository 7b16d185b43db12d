"""The last word of a finished run in its log: what it cost, and of which recipe it is the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nmt.batching import Batch
from nmt.journal import LOG_FILE
from nmt.kept import key_of
from nmt.machine import peak_memory
from nmt.settings import Settings, plain
from nmt.train import Trainer, gather, plan_epoch

END = "end"  # the event

# What decides where and how a run is computed, but not what comes out.
_HOW = ("device", "threads", "replay", "log_every", "save_minutes", "keep", "pictures")
# What has come later, and says nothing while it is this: runs from before keep their keys.
_LATER = {"multiple": 1, "forget_bias": 0.0}


def settings_key(settings: Settings) -> str:
    """The same for all settings that must lead to the same results."""
    return key_of(settings=_essence(plain(settings)))


def _essence(settings: Any) -> Any:
    kept = {name: value for name, value in settings.items() if name not in _HOW}
    if "training" in kept:
        kept["training"] = {name: value for name, value in kept["training"].items() if name not in _HOW}
    return _as_before(kept)


def _as_before(settings: Any) -> Any:
    if isinstance(settings, dict):
        said = {name: value for name, value in settings.items() if name not in _LATER or value != _LATER[name]}
        return {name: _as_before(value) for name, value in said.items()}
    return [_as_before(one) for one in settings] if isinstance(settings, list) else settings


def facts(trainer: Trainer) -> dict[str, Any]:
    """Of a training that has come to its end: the key of its settings, the number of parameters, the seconds spent on
    updates and the real target tokens trained on in one of them, and the peak of the memory (bytes) since the process
    began, translations of the tests included."""
    progress = trainer.progress
    return {
        "settings": settings_key(trainer.recipe),
        "parameters": sum(one.numel() for one in trainer.model.parameters()),
        "seconds": progress.seconds,
        "tokens/s": _tokens(trainer) / progress.seconds if progress.seconds else 0.0,
        "peak memory": peak_memory(trainer.device.type),
    }


def _tokens(trainer: Trainer) -> int:
    """Real target tokens, ends of sentences counted, of all updates, those before an interruption too."""
    train, progress = trainer.data.train, trainer.progress
    tokens = (progress.epoch - 1) * (int(train.target_lengths.sum()) + len(train))
    for numbers in plan_epoch(train, trainer.recipe, progress.epoch)[: progress.batch] if progress.batch else ():
        batch: Batch = gather(train, numbers)
        tokens += int(batch.target_valid_BT.sum())
    return tokens


def last_end(run: Path) -> dict[str, Any] | None:
    """The record of the end of a run that has come to one and has not gone on since, else None."""
    try:
        lines = (run / LOG_FILE).read_text(encoding="utf-8").rstrip("\n").split("\n")
        record: dict[str, Any] = json.loads(lines[-1])
        return record if record["event"] == END else None
    except (OSError, ValueError, KeyError, TypeError):  # no log, or one whose last line was cut off
        return None
