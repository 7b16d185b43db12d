"""OpenNMT-py 3.5.1 as a measured system: its own data iterator, model, trainer and optimiser.

Its bidirectional encoder is as wide as its decoder, so a memory of 1024 means a decoder of 1024: more work a token.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.protocol import Works, serve
from benchmarks.texts import SIDES, added, counted, sentences, text_file, words

# Imported by transforms that are not used here.
UNUSED = ("spacy", "fasttext")


def stub_what_is_unused() -> None:
    """Empty modules for what is imported and not used, where it is not installed."""
    for name in UNUSED:
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)


def configuration(settings: dict[str, Any]) -> str:
    """Its YAML file; JSON is YAML."""
    import json

    directory, size, place = Path(settings["workload"]), settings["size"], Path(mkdtemp())
    for side in SIDES:
        (place / f"words.{side}").write_text("\n".join(words(directory, side)) + "\n", encoding="utf-8")
    paths = {
        f"path_{key}": str(text_file(directory, "train", side)) for key, side in zip(("src", "tgt"), SIDES, strict=True)
    }
    config = {
        "data": {"train": {**paths, "transforms": [], "weight": 1}},
        "src_vocab": str(place / "words.source"),
        "tgt_vocab": str(place / "words.target"),
        "vocab_size_multiple": 1,
        "save_model": str(place / "model"),
        "gpu_ranks": [],
        "num_workers": 0,
        "bucket_size": 20_000,
        "bucket_size_init": -1,
        "batch_size": settings["batch"],
        "batch_type": "sents",
        "accum_count": [1],
        "normalization": "tokens",
        "encoder_type": "brnn",
        "decoder_type": "rnn",
        "rnn_type": "GRU",
        "word_vec_size": size,
        "hidden_size": 2 * size,
        "enc_layers": 1,
        "dec_layers": 1,
        "global_attention": "mlp",
        "input_feed": 1,
        "dropout": [0.2],
        "optim": "adam",
        "learning_rate": 0.001,
        "max_grad_norm": 1.0,
        "seed": 1,
    }
    path = place / "config.yaml"
    path.write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def make(settings: dict[str, Any]) -> Works:
    """Training and beam search of a workload."""
    stub_what_is_unused()
    import torch
    from onmt import opts
    from onmt.constants import CorpusTask
    from onmt.inputters.dynamic_iterator import build_dynamic_dataset_iter
    from onmt.model_builder import build_model
    from onmt.train_single import _init_train
    from onmt.trainer import build_trainer
    from onmt.translate import GNMTGlobalScorer, Translator
    from onmt.utils.optimizers import Optimizer
    from onmt.utils.parse import ArgumentParser
    from onmt.utils.statistics import Statistics

    parser = ArgumentParser()
    opts.train_opts(parser)
    opt, _ = parser.parse_known_args(["-config", configuration(settings)])
    ArgumentParser.validate_train_opts(opt)
    ArgumentParser.update_model_opts(opt)
    ArgumentParser.validate_model_opts(opt)
    torch.manual_seed(opt.seed)
    _, vocabs, transforms = _init_train(opt)
    model = build_model(opt, opt, vocabs, None, -1)
    trainer = build_trainer(opt, -1, model, vocabs, Optimizer.from_opt(model, opt, checkpoint=None))
    pad, end = vocabs["tgt"]["<blank>"], vocabs["tgt"]["</s>"]

    def batches_for_ever():  # type: ignore[no-untyped-def]
        while True:
            for batch in build_dynamic_dataset_iter(opt, transforms, vocabs, copy=opt.copy_attn, device_id=-1):
                # Some of its batches come with the number of the bucket.
                yield batch[0] if isinstance(batch, tuple) else batch

    batches = batches_for_ever()

    def train(updates: int) -> dict[str, float]:
        model.train()
        counts, statistics = [], Statistics()
        for _ in range(updates):
            batch = next(batches)
            real = batch["tgt"][:, 1:, 0].ne(pad).sum(dim=1)  # without BOS
            trainer._gradient_accumulation([batch], int(real.sum()), Statistics(), statistics)
            counts.append(counted(batch["srclen"].tolist(), real.tolist()))
        return {**added(counts), "loss": statistics.xent()}

    # What its translation options would say.
    opt.transforms, opt.tgt = [], None
    test = [" ".join(said) for said in sentences(Path(settings["workload"]), "test", "source")]
    translator = Translator(
        model,
        vocabs,
        n_best=1,
        beam_size=5,
        min_length=settings["forced_length"],
        max_length=settings["forced_length"],
        max_length_ratio=0,
        global_scorer=GNMTGlobalScorer(alpha=1.0, beta=0.0, length_penalty="avg", coverage_penalty="none"),
    )

    def decode(count: int) -> dict[str, float]:
        model.eval()
        found = said = 0
        for batch, _ in build_dynamic_dataset_iter(opt, transforms, vocabs, task=CorpusTask.INFER, src=test[:count]):
            best = [best_first[0] for best_first in translator.translate_batch(batch, attn_debug=False)["predictions"]]
            found, said = found + len(best), said + sum(int(ids.ne(end).sum()) for ids in best)
        return {"sentences": found, "words": said}

    return {"train": train, "decode": decode}


if __name__ == "__main__":
    serve(make)
