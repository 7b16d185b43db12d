"""JoeyNMT 2.3.0 as a measured system: its own data sets, batches, model, training step, optimiser and search."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.protocol import Works, serve
from benchmarks.texts import added, counted, text_file, words, words_file


def configuration(settings: dict[str, Any]) -> dict[str, Any]:
    """What would stand in its YAML file."""
    directory, size = Path(settings["workload"]), settings["size"]
    run = Path(mkdtemp())
    sides = {}
    for side, key in (("source", "src"), ("target", "trg")):
        vocabulary = run / words_file(directory, side).name
        vocabulary.write_text("\n".join(words(directory, side)) + "\n", encoding="utf-8")
        sides[key] = {"lang": side, "level": "word", "lowercase": False, "voc_file": str(vocabulary)}
    parts = {part: str(text_file(directory, part, "source").with_suffix("")) for part in ("train", "dev", "test")}
    embeddings = {"embedding_dim": size, "scale": False, "dropout": 0.2}
    layer = {"rnn_type": "gru", "hidden_size": size, "num_layers": 1, "embeddings": embeddings}
    return {
        "name": "benchmark",
        "model_dir": str(run),
        "use_cuda": False,
        "random_seed": 1,
        "data": {**parts, **sides, "dataset_type": "plain"},
        "model": {
            "initializer": "xavier_uniform",
            "embed_initializer": "xavier_uniform",
            "encoder": {**layer, "type": "recurrent", "bidirectional": True, "dropout": 0.2},
            "decoder": {
                **layer,
                "type": "recurrent",
                "attention": "bahdanau",
                "input_feeding": True,
                "init_hidden": "bridge",
                "hidden_dropout": 0.2,
                "dropout": 0.2,
            },
        },
        "training": {
            "optimizer": "adam",
            "learning_rate": 0.001,
            "clip_grad_norm": 1.0,
            "normalization": "tokens",
            "batch_size": settings["batch"],
            "batch_type": "sentence",
            # A schedule by epochs, which never end here: the usual one, plateau, fails on this torch.
            "scheduling": "exponential",
        },
        "testing": {"beam_size": 5, "beam_alpha": 1.0},
    }


def make(settings: dict[str, Any]) -> Works:
    """Training and beam search of a workload."""
    import torch
    from joeynmt.config import parse_global_args
    from joeynmt.prediction import prepare
    from joeynmt.search import search
    from joeynmt.training import TrainManager

    args = parse_global_args(configuration(settings), rank=0, mode="train")
    model, train_data, _, test_data = prepare(args, rank=0, mode="train")
    manager = TrainManager(
        rank=0,
        model=model,
        model_dir=args.model_dir,
        device=args.device,
        autocast=args.autocast,
        train_args=args.train,
        dev_args=args.test,
    )
    ids = {"pad_index": model.pad_index, "eos_index": model.eos_index, "device": torch.device("cpu")}

    def batches_for_ever():  # type: ignore[no-untyped-def]
        while True:
            yield from train_data.make_iter(batch_size=settings["batch"], shuffle=True, seed=1, **ids)

    batches = batches_for_ever()

    def train(updates: int) -> dict[str, float]:
        counts, loss = [], 0.0
        for _ in range(updates):
            batch = next(batches)
            # What its train_and_validate does with a batch, without the reports.
            model.zero_grad()
            loss, _ = manager._train_step(batch)
            manager.clip_grad_fun(parameters=model.parameters())
            manager.optimizer.step()
            counts.append(counted(batch.src_length.tolist(), batch.trg_mask.sum(dim=(1, 2)).tolist()))
        return {**added(counts), "loss": loss}

    def decode(count: int) -> dict[str, float]:
        model.eval()
        test_data.reset_indices(random_subset=-1)
        found = said = 0
        for batch in test_data.make_iter(batch_size=settings["batch"], **ids):
            batch.sort_by_src_length()
            output, _, _ = search(
                model=model,
                batch=batch,
                beam_size=5,
                beam_alpha=1.0,
                min_output_length=settings["forced_length"],
                max_output_length=settings["forced_length"],
            )
            sentences = model.trg_vocab.arrays_to_sentences(arrays=output)
            found, said = found + len(sentences), said + sum(map(len, sentences))
            if found >= count:
                break
        return {"sentences": found, "words": said}

    return {"train": train, "decode": decode}


if __name__ == "__main__":
    serve(make)
