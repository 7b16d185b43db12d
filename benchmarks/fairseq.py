"""fairseq 0.12.2 as a measured system: its own data set, batches, LSTM with dot attention, trainer and generator."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count as numbers_from
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.protocol import Works, serve
from benchmarks.texts import SIDES, added, counted, text_file, words


@contextmanager
def dataclasses_as_defaults() -> Iterator[None]:
    """Python 3.11 refuses a default that cannot be hashed, as instances of fairseq's and hydra's dataclasses are."""
    original = dataclasses.dataclass

    def dataclass(cls: Any = None, /, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        own_hash = "__hash__" in cls.__dict__
        return original(cls, **({} if own_hash else {"unsafe_hash": True}), **options)

    dataclasses.dataclass = dataclass  # type: ignore[assignment]
    try:
        yield
    finally:
        dataclasses.dataclass = original


def arguments(settings: dict[str, Any]) -> list[str]:
    """The command line of ``fairseq-train``, with the text in its raw format."""
    directory, size, place = Path(settings["workload"]), str(settings["size"]), Path(mkdtemp())
    for side in SIDES:
        for part, name in (("train", "train"), ("dev", "valid"), ("test", "test")):
            shutil.copyfile(text_file(directory, part, side), place / f"{name}.source-target.{side}")
        lines = "".join(f"{word} 1\n" for word in words(directory, side))
        (place / f"dict.{side}.txt").write_text(lines, encoding="utf-8")
    layers = ["--encoder-bidirectional", "--encoder-layers=1", "--decoder-layers=1", "--decoder-attention=1"]
    sizes = ("encoder-embed-dim", "encoder-hidden-size", "decoder-embed-dim", "decoder-hidden-size")
    return [
        *(str(place), "--source-lang=source", "--target-lang=target", "--dataset-impl=raw", "--task=translation"),
        *("--arch=lstm", *layers, *(f"--{name}={size}" for name in (*sizes, "decoder-out-embed-dim")), "--dropout=0.2"),
        *("--criterion=cross_entropy", "--optimizer=adam", "--lr=0.001", "--clip-norm=1.0", "--cpu", "--seed=1"),
        *(f"--batch-size={settings['batch']}", "--max-source-positions=1000", "--max-target-positions=1000"),
        *("--num-workers=0", "--no-save", "--log-format=none", f"--save-dir={place}"),
    ]


def make(settings: dict[str, Any]) -> Works:
    """Training and beam search of a workload."""
    import torch  # noqa: F401 - before its dataclasses could be touched

    with dataclasses_as_defaults():
        from fairseq import options, tasks, utils
        from fairseq.data import iterators
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf
        from fairseq.logging import metrics
        from fairseq.sequence_generator import SequenceGenerator
        from fairseq.trainer import Trainer

    args = options.parse_args_and_arch(options.get_training_parser(), input_args=arguments(settings))
    cfg = convert_namespace_to_omegaconf(args)
    utils.set_torch_seed(cfg.common.seed)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    pad = task.target_dictionary.pad()

    def batches_for_ever():  # type: ignore[no-untyped-def]
        for epoch in numbers_from(1):
            epoch_iterator = trainer.get_train_iterator(epoch=epoch, load_dataset=epoch == 1)
            trainer.begin_epoch(epoch)
            yield from iterators.GroupedIterator(epoch_iterator.next_epoch_itr(shuffle=True), 1)

    batches = batches_for_ever()

    def train(updates: int) -> dict[str, float]:
        counts, loss = [], 0.0
        for _ in range(updates):
            samples = next(batches)
            with metrics.aggregate("train"):
                loss = float(trainer.train_step(samples)["loss"])
            target = samples[0]["target"]
            lengths = samples[0]["net_input"]["src_lengths"].tolist()
            counts.append(counted(lengths, target.ne(pad).sum(dim=1).tolist()))
        return {**added(counts), "loss": loss}

    task.load_dataset("test")
    generator = SequenceGenerator(
        [model],
        task.target_dictionary,
        beam_size=5,
        min_len=settings["forced_length"],
        max_len_b=settings["forced_length"],
    )

    def decode(many: int) -> dict[str, float]:
        model.eval()
        found = said = 0
        iterator = task.get_batch_iterator(
            task.dataset("test"), max_sentences=settings["batch"], disable_iterator_cache=True
        )
        for sample in iterator.next_epoch_itr(shuffle=False):
            hypotheses = task.inference_step(generator, [model], sample)
            found += len(hypotheses)
            said += sum(len(best[0]["tokens"]) - 1 for best in hypotheses)
            if found >= many:
                break
        return {"sentences": found, "words": said}

    return {"train": train, "decode": decode}


if __name__ == "__main__":
    serve(make)
