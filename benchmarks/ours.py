"""Our own toolkit as a measured system: the loop, the search and the forced alignment that the commands run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import Any

import yaml

from benchmarks.protocol import Works, serve
from benchmarks.texts import added, counted, sentences, text_file
from nmt.batching import Batch
from nmt.journal import Journal
from nmt.machine import settle
from nmt.preparation import Data, prepare
from nmt.recipe import Recipe, load_recipe
from nmt.text import write_lines
from nmt.train import Tally, Trainer, plan_epoch
from nmt.translator import Translator


def recipe_of(directory: Path, place: Path, size: int, batch: int, forced_length: int) -> Path:
    """Write the recipe of a workload; everything that is not in it is the toolkit's default."""
    files = {
        part: {side: str(text_file(directory, part, side).resolve()) for side in ("source", "target")}
        for part in ("train", "dev")
    }
    corpus = {
        "kind": "files",
        "source_language": "de",
        "target_language": "en",
        "licence": "generated",
        "tokenised": True,
        **files,
    }
    recipe = {
        "corpus": "corpus.yaml",
        "text": {
            "source": {"kind": "words"},
            "target": {"kind": "words"},
            "longest_source": 1000,
            "longest_target": 1000,
        },
        "model": {
            "embedding": size,
            "hidden": size,
            "attention": {"kind": "bahdanau", "size": size},
            "wiring": "look-then-update",
            "readout": "tanh",
            "readout_size": size,
            "dropout": {"embedding": 0.2, "output": 0.2},
        },
        "training": {
            "updates": 1_000_000,
            "batch_tokens": None,
            "batch_sentences": batch,
            "device": "cpu",
            "optimiser": {"kind": "adam", "rate": 0.001},
        },
        "search": {"beam": 5, "minimum_length": forced_length, "maximum_length": forced_length},
    }
    place.mkdir(parents=True, exist_ok=True)
    for name, content in (("corpus", corpus), ("recipe", recipe)):
        write_lines(place / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False).removesuffix("\n").split("\n"))
    return place / "recipe.yaml"


def batches_for_ever(recipe: Recipe, data: Data) -> Iterator[Any]:
    """The positions of the pairs of every batch, epoch after epoch."""
    epoch = 0
    while True:
        epoch += 1
        yield from plan_epoch(data.train, recipe, epoch)


def make(settings: dict[str, Any]) -> Works:
    """Training, its data alone, beam search and forced alignment of a workload, with ``settings["overrides"]``."""
    settle()  # as our commands do
    directory = Path(settings["workload"])
    place = directory.parent / f"ours-{settings['size']}-{settings['batch']}-{directory.name}"
    path = recipe_of(directory, place, settings["size"], settings["batch"], settings["forced_length"])
    recipe = load_recipe(path, [*settings["overrides"], f"training.threads={settings['threads']}"])
    data = prepare(recipe, lambda _: None)
    trainer = Trainer(recipe, data, Path(mkdtemp()), Journal(None))
    numbers = batches_for_ever(recipe, data)
    translator = Translator(trainer.model, data.vocabularies, recipe.search, trainer.device)
    lines, references = (
        [" ".join(words) for words in sentences(directory, "test", side)] for side in ("source", "target")
    )

    def train(updates: int) -> dict[str, float]:
        counts, tally = [], Tally(monotonic())
        for chosen in islice(numbers, updates):
            batch = trainer.batch(chosen)
            trainer.train_step([batch], tally)
            trainer.progress.update += 1
            counts.append(of_batch(batch))
        return {**added(counts), "loss": float(tally.values()["cross-entropy"])}

    def data_alone(updates: int) -> dict[str, float]:
        batches = [trainer.batch(chosen).to(trainer.device) for chosen in islice(numbers, updates)]
        return {**added([of_batch(batch) for batch in batches])}

    def decode(count: int) -> dict[str, float]:
        found = translator.translate(lines[:count])
        return {"sentences": len(found), "words": sum(len(one.words) for one in found)}

    def align(count: int) -> dict[str, float]:
        found = translator.align(lines[:count], references[:count])
        return {"sentences": len(found), "words": sum(len(one.links().sure) for one in found)}

    return {"train": train, "data": data_alone, "decode": decode, "align": align}


def of_batch(batch: Batch) -> dict[str, int]:
    """What a batch counts for."""
    return counted(batch.source_valid_BS.sum(dim=1).tolist(), batch.target_valid_BT.sum(dim=1).tolist())


if __name__ == "__main__":
    serve(make)
