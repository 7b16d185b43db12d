"""``python -m benchmarks gpu``: RNNSearch and GAtt of the paper's sizes on a GPU.

Embeddings and readout of 620, states and scorer of 1000, 30,000 words a side (Zhang, Xiong and Su 2017, section 4.1),
in bfloat16, with the wiring and the kind of text of the other benchmarks. The rate that a system's products are
compared with is that of one large product in bfloat16, which a GPU computes as fast as it can; those of a step of a
recurrence are small, and so no share is near 1. The paper's own ratio of GAtt to RNNSearch is 0.56. Each system is
measured as it is and with its operations recorded once for every shape of batches (CUDA graphs). A round goes before
those that count, for the first batches of a shape are slow: ``--updates`` must be enough for most shapes to come.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks import floor
from benchmarks.floor import Counts, Sizes
from benchmarks.machine import GIGA
from benchmarks.protocol import Child
from benchmarks.rounds import ratio, speeds, take_turns
from benchmarks.systems import SYSTEMS, python_of
from benchmarks.table import table
from benchmarks.train import Say
from benchmarks.workload import Workload, generate

PAPER = Sizes(embedding=620, hidden=1000, encoder_hidden=1000, scorer=1000, readout=620, vocabulary=30_000)
RNNSEARCH, GATT = "ours-bf16", "gatt-bf16"
# What is said of a way to train, and the settings that make it.
WAYS = {"": (), ", replayed": ("training.multiple=8", "training.replay=true")}
HEAD = [
    "system, batch",
    "tokens/s",
    "GAtt ÷ RNNSearch",
    "MFLOP/token",
    "TFLOP/s of its products",
    "of the product's rate",
]


def missing() -> str | None:
    """A sentence when there is no GPU here."""
    import torch

    if torch.cuda.is_available():
        return None
    return "there is no GPU here that torch can use (torch.cuda.is_available() is False), so nothing was measured"


def gpu() -> str:
    """Its name, and the versions that matter."""
    import torch

    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, torch {torch.__version__}"


def product_rate(device: str, size: int = 8192, runs: int = 20) -> float:
    """Operations a second of a square product in bfloat16."""
    import torch

    x, w = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def seconds() -> float:
        started = time.perf_counter()
        y = x
        for _ in range(runs):
            y = x @ w
        float(y[0, 0])  # waits until all are done
        return time.perf_counter() - started

    seconds()
    return 2.0 * size**3 * runs / min(seconds() for _ in range(3))


def overrides(name: str, sizes: Sizes, device: str) -> list[str]:
    """Of the recipe of a system."""
    model = {
        "embedding": sizes.embedding,
        "hidden": sizes.hidden,
        "encoder_hidden": sizes.encoder_hidden,
        "readout_size": sizes.readout,
        "attention.size": sizes.scorer,
    }
    told = [f"model.{key}={value}" for key, value in model.items() if key != "attention.size" or name == RNNSEARCH]
    attention = [one.replace("SIZE", str(sizes.scorer)) for one in SYSTEMS[name].overrides]
    return [*told, *attention, f"training.device={device}"]


def measure(
    batches: Sequence[int],
    sizes: Sizes,
    workload: Workload,
    cache: Path,
    updates: int,
    rounds: int,
    say: Say,
    device: str = "cuda",
) -> tuple[list[str], list[str]]:
    """The lines of a table, and the names of systems that failed."""
    fastest = product_rate(device) if device == "cuda" else product_rate(device, 256, 2)
    say(f"a large product in bfloat16 runs at {fastest / GIGA:,.0f} GFLOP/s")
    rows: list[list[str | float | None]] = []
    failures: list[str] = []
    for batch in batches:
        starts = {}
        for name, way in product((RNNSEARCH, GATT), WAYS):
            settings = {
                "threads": 1,
                "workload": str(generate(workload, cache)),
                "size": sizes.scorer,
                "batch": batch,
                "forced_length": workload.forced_length,
                "overrides": [*overrides(name, sizes, device), *WAYS[way]],
            }
            starts[name + way] = partial(Child, python_of(SYSTEMS[name], cache), SYSTEMS[name].module, settings)
        turns = take_turns(starts, ["train"], dict.fromkeys(starts, updates), rounds + 1, say)
        failures += turns.failures
        for (name, attention), way in product(((RNNSEARCH, "bahdanau"), (GATT, "gatt")), WAYS):
            answers, plain = turns.answers.get(name + way, [])[1:], turns.answers.get(RNNSEARCH + way, [])[1:]
            if not answers:
                continue
            products = floor.ours(sizes, attention)
            counts = Counts(*(sum(one[field] for one in answers) for field in Counts._fields))
            rate = floor.operations(products, counts) / sum(one["seconds"] for one in answers)
            rows.append(
                [
                    f"{SYSTEMS[name].what}{way}, {batch}",
                    median(speeds(answers, "target")),
                    ratio(speeds(answers, "target"), speeds(plain, "target")) if plain else None,
                    floor.megaflop_a_token(products, counts),
                    rate / GIGA / 1000,
                    rate / fastest,
                ]
            )
    return table(HEAD, rows), failures
