"""The systems that are measured beside each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import floor
from benchmarks.floor import Product, Sizes
from benchmarks.protocol import ROOT

# Where the peers' environments are, unless --peers says otherwise.
PEERS_VARIABLE = "NMT_BENCH_PEERS"
DEFAULT_PEERS = ROOT / ".bench"


class System(NamedTuple):
    """A system: what it is, the module that measures it, in whose environment, and what its products cost."""

    what: str
    module: str
    products: Callable[[Sizes], list[Product]]
    environment: str | None = None  # None: this one
    precision: str = "float32"
    overrides: tuple[str, ...] = ()  # of our recipe
    share: float = 1.0  # of the updates that others make in a round: less for a slow one
    rnn_size: int = 1  # times the size, of a decoder that cannot be smaller
    gates: int = 3


def _ours(products: str, what: str, precision: str, *overrides: str, share: float = 1.0) -> System:
    """Ours, whose attention's products are those of :data:`benchmarks.floor.ATTENTIONS` of that name."""
    training = [f"training.precision={precision}"] if precision != "int8" else []  # which only search knows
    return System(
        f"{what}, {precision}",
        "benchmarks.ours",
        lambda sizes: floor.ours(sizes, products),
        precision=precision,
        overrides=(*training, f"search.precision={precision}", *overrides),
        share=share,
    )


class _Gatt(NamedTuple):
    """A form of GAtt, around what, and how it is called among the floors."""

    kind: str
    inner: str
    products: str
    what: str


def _gatt(form: _Gatt, precision: str, share: float) -> System:
    override = f"model.attention={{kind: {form.kind}, inner: {form.inner}}}"
    return _ours(form.products, form.what, precision, override, share=share)


ADDITIVE = "{kind: bahdanau, size: SIZE}"
EXACT = _Gatt("gatt", ADDITIVE, "gatt", "GAtt, exact, around additive attention")
AFTER = _Gatt(
    "gatt-reset-after", "general", "gatt-reset-after", "GAtt, reset after the product, around general attention"
)
AFTER_ADDITIVE = _Gatt(
    "gatt-reset-after",
    ADDITIVE,
    "gatt-reset-after-additive",
    "GAtt, reset after the product, around additive attention",
)
OURS = "ours"  # what all others are compared with
SYSTEMS: dict[str, System] = {
    OURS: _ours("bahdanau", "additive attention (Bahdanau)", "float32"),
    "ours-bf16": _ours("bahdanau", "additive attention (Bahdanau)", "bfloat16"),
    "ours-int8": _ours("bahdanau", "additive attention (Bahdanau)", "int8"),
    "joeynmt": System("JoeyNMT 2.3.0: GRU, additive attention", "benchmarks.joeynmt", floor.joeynmt, "joeynmt"),
    "fairseq": System("fairseq 0.12.2: LSTM, dot attention", "benchmarks.fairseq", floor.fairseq, "fairseq", gates=4),
    "opennmt": System(
        "OpenNMT-py 3.5.1: GRU, additive attention, decoder twice as wide",
        "benchmarks.opennmt",
        floor.joeynmt,
        "opennmt",
        rnn_size=2,
        share=0.5,
    ),
    "gatt": _gatt(EXACT, "float32", share=0.5),
    "gatt-bf16": _gatt(EXACT, "bfloat16", share=0.5),
    "gatt-reset-after": _gatt(AFTER, "float32", share=1.0),
    "gatt-reset-after-bf16": _gatt(AFTER, "bfloat16", share=1.0),
    "gatt-reset-after-additive": _gatt(AFTER_ADDITIVE, "float32", share=0.5),
}

# Those of a group are alive at the same time and take turns: no more of them than memory holds. Each has OURS.
TRAINING = {
    "Additive attention and the peers": (OURS, "ours-bf16", "joeynmt", "fairseq", "opennmt"),
    "GAtt": (OURS, "gatt", "gatt-bf16", "gatt-reset-after", "gatt-reset-after-bf16", "gatt-reset-after-additive"),
}
SEARCHING = (OURS, "ours-bf16", "ours-int8", "joeynmt", "fairseq", "opennmt")


def sizes_of(system: System, size: int, vocabulary: int) -> Sizes:
    """The sizes of a system's model when all that can be chosen is ``size``."""
    hidden = system.rnn_size * size
    return Sizes(size, hidden, size, hidden, size, vocabulary, system.gates)


def python_of(system: System, peers: Path) -> Path:
    """The interpreter that runs a system."""
    import sys

    return Path(sys.executable) if system.environment is None else peers / system.environment / "bin" / "python"


def missing(name: str, peers: Path) -> str | None:
    """Why a system cannot be measured here, or None."""
    if (system := SYSTEMS[name]).environment is None or python_of(system, peers).exists():
        return None
    return f"{name}: skipped, no environment {peers / system.environment}; python -m benchmarks peers makes it"


def peers_directory(given: Path | None) -> Path:
    """Where the peers' environments are."""
    return given or Path(os.environ.get(PEERS_VARIABLE) or DEFAULT_PEERS)
