"""What JoeyNMT learns from the very text of a finished run of ours: same pieces, sizes, epochs and number of updates.

JoeyNMT reads the run's pieces as words, so that its vocabulary is ours, and its translations are put together and
scored as ours are. What cannot be the same stands in :data:`DIFFERENT`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from benchmarks.protocol import ROOT
from benchmarks.table import table
from benchmarks.texts import SIDES, SPECIAL, text_file, words_file
from nmt.corpus import Corpus, load_corpus, prepare_corpus
from nmt.ending import last_end
from nmt.errors import InputError
from nmt.journal import LOG_FILE
from nmt.metrics import bleu, ngrr
from nmt.preparation import Vocabularies, load_vocabularies
from nmt.recipe import load_recipe
from nmt.text import read_lines, write_lines
from nmt.vocabulary import Vocabulary, WordVocabulary

DIFFERENT = """\
JoeyNMT draws its batches without regard to length, as many sentences each as make our number of updates an epoch; it
trains in float32, keeps the checkpoint of its best greedy BLEU of pieces on the sentences that ours is judged by, and
normalises lengths by its own formula (`beam_alpha: 1.0`). Its recurrent decoder is torch's GRU with input feeding; the
learning rate of that is constant."""


def export(directory: Path, corpus: Corpus, vocabularies: Vocabularies, judged: int | None = None) -> None:
    """Write the pieces of train, dev and the test sets, a sentence a line, and each side's vocabulary, a piece a line.

    Of dev the first ``judged`` sentences; None: all."""
    for side, vocabulary in zip(SIDES, vocabularies, strict=True):
        write_lines(words_file(directory, side), vocabulary.pieces(range(SPECIAL, len(vocabulary))))
        for part, pair in {"train": corpus.train, "dev": corpus.dev, **corpus.tests}.items():
            lines = islice(read_lines(getattr(pair, side)), judged if part == "dev" else None)
            pieces = (" ".join(vocabulary.pieces(vocabulary.encode(line))) for line in lines)
            write_lines(text_file(directory, part, side), pieces)


def configuration(directory: Path, run: Mapping[str, Any], updates: int, epochs: int, test: str) -> dict[str, Any]:
    """JoeyNMT's settings for a run's recipe, read as YAML, and a test set, in a directory filled by :func:`export`."""
    model, training = run["model"], run["training"]
    pairs = sum(1 for _ in read_lines(text_file(directory, "train", "source")))
    transformer = model.get("kind") == "transformer"
    frequency = updates // epochs
    return {
        "name": "quality",
        "model_dir": str(directory / "model"),
        "use_cuda": False,
        "random_seed": run.get("seed", 1),
        "data": {
            **{
                key: str(text_file(directory, part, "source").with_suffix(""))
                for key, part in (("train", "train"), ("dev", "dev"), ("test", test))
            },
            "dataset_type": "plain",
            **{
                key: {"lang": side, "level": "word", "lowercase": False, "voc_file": str(words_file(directory, side))}
                for side, key in zip(SIDES, ("src", "trg"), strict=True)
            },
        },
        "model": {
            "initializer": "xavier_uniform",
            # As its own example configurations of the two kinds have it.
            "embed_initializer": "xavier_uniform" if transformer else "normal",
            "embed_init_weight": 0.1,
            "tied_softmax": model["tie"] == "target",
            **(transformer_sizes(model) if transformer else recurrent_sizes(model)),
        },
        "training": {
            "optimizer": "adam",
            "adam_betas": [0.9, training["optimiser"].get("beta2", 0.999)],
            "learning_rate": training["optimiser"]["rate"],
            "learning_rate_min": 1e-8,
            "learning_rate_warmup": training["schedule"]["warmup"],
            # Its plateau schedule fails on this torch; exponential with a factor of 1 is a constant rate.
            "scheduling": "warmupinversesquareroot" if transformer else "exponential",
            "decrease_factor": 1.0,
            "label_smoothing": training["objective"][0]["loss"]["smoothing"],
            "clip_grad_norm": 1.0,
            "normalization": "tokens",
            "batch_type": "sentence",
            "batch_size": math.ceil(pairs / frequency),
            "updates": updates,
            "epochs": epochs + 1,
            "validation_freq": frequency,
            "logging_freq": frequency,
            "early_stopping_metric": "bleu",
            "keep_best_ckpts": 1,
        },
        "testing": {
            "beam_size": run["search"]["beam"],
            "beam_alpha": 1.0,
            "batch_size": 50,
            "batch_type": "sentence",
            "max_output_length": 60,
            "eval_metrics": ["bleu"],
            "sacrebleu_cfg": {"tokenize": "none"},
        },
    }


def recurrent_sizes(model: Mapping[str, Any]) -> dict[str, Any]:
    """Encoder and decoder of an RNNSearch recipe."""
    dropout = model["dropout"]
    embeddings = {"embedding_dim": model["embedding"], "scale": False, "dropout": dropout["embedding"]}
    layer = {"type": "recurrent", "rnn_type": "gru", "hidden_size": model["hidden"], "num_layers": 1}
    decoder = {"attention": "bahdanau", "input_feeding": True, "hidden_dropout": dropout["output"]}
    return {
        "encoder": {**layer, "embeddings": embeddings, "bidirectional": True},
        "decoder": {**layer, **decoder, "embeddings": embeddings, "init_hidden": "bridge"},
    }


def transformer_sizes(model: Mapping[str, Any]) -> dict[str, Any]:
    """Encoder and decoder of a Transformer's recipe."""
    layer = {
        "type": "transformer",
        "num_heads": model["heads"],
        "hidden_size": model["embedding"],
        "ff_size": model["hidden"],
        "dropout": model["dropout"]["layer"],
        "layer_norm": model["norm"],
        "activation": model["feed_forward"],
        "embeddings": {"embedding_dim": model["embedding"], "scale": True, "dropout": model["dropout"]["embedding"]},
    }
    return {side: {**layer, "num_layers": model[f"{side}_layers"]} for side in ("encoder", "decoder")}


def compare(run: Path, python: Path, directory: Path, threads: int, say: Callable[[str], None]) -> list[str]:
    """Train JoeyNMT beside a finished run, as far as ``directory`` does not hold it yet; the lines of a table.

    ``say`` is told of the part that begins. Raises ``CalledProcessError`` where JoeyNMT fails; its log is in
    ``directory``. Raises ``InputError`` for a run that has not come to its end, or where there is no JoeyNMT.
    """
    if (ended := last_end(run)) is None:
        raise InputError(f"{run}: not a run that has come to its end; train it with nmt-train first")
    if not python.exists():
        raise InputError(f"{python}: not there; make it with python -m benchmarks peers joeynmt, or name --peers")
    corpus_file = load_recipe(run / "recipe.yaml").corpus
    corpus = prepare_corpus(load_corpus(corpus_file), corpus_file.parent / "downloads", say)
    vocabularies = load_vocabularies(run / "vocabularies")
    updates = ended["update"]
    events = (json.loads(line) for line in read_lines(run / LOG_FILE))
    epochs = max(event["epoch"] for event in events if event["event"] == "train")
    if missing := [name for name in corpus.tests if not (directory / f"{name}.test").exists()]:
        directory.mkdir(parents=True, exist_ok=True)
        say("writing the pieces")
        settings = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
        export(directory, corpus, vocabularies, settings["training"]["validation"]["sentences"])
        for name in missing:
            asked = configuration(directory, settings, updates, epochs, name)
            write_lines(directory / f"{name}.yaml", yaml.safe_dump(asked).splitlines())
        say("JoeyNMT trains, where it is not trained")
        joeynmt(python, directory, threads, "benchmarks.joeynmt_training", directory / f"{missing[0]}.yaml")
        for name in missing:
            say(f"JoeyNMT translates {name}")
            given = "test", directory / f"{name}.yaml", "--output-path", directory / name  # and .test
            joeynmt(python, directory, threads, "joeynmt", *given)
    tokenize = "none" if corpus.tokenised else None
    head, rows = [""], [["ours"], ["JoeyNMT 2.3.0"]]
    for name, test in corpus.tests.items():
        theirs = [text_of(line, vocabularies[1]) for line in read_lines(directory / f"{name}.test")]
        write_lines(directory / f"{name}.hyp", theirs)
        references = [list(read_lines(path)) for path in (test.target, *test.references)]
        for row, lines in zip(rows, (list(read_lines(run / "translations" / f"{name}.hyp")), theirs), strict=True):
            scores = bleu(lines, *references, tokenize=tokenize), ngrr(lines, order=4, tokenize=tokenize)
            row.extend(f"{score.value:.2f}" for score in scores)
        head += [f"BLEU on {name}", "4-GRR"]
    return [*table([*head, "updates"], [[*row, f"{updates:,}"] for row in rows]), "", *DIFFERENT.splitlines()]


def text_of(line: str, vocabulary: Vocabulary) -> str:
    """The text whose pieces (words, where the vocabulary has words) are separated by spaces."""
    if isinstance(vocabulary, WordVocabulary):
        return line
    return line.replace(" ", "").replace("▁", " ").strip()


def joeynmt(python: Path, directory: Path, threads: int, module: str, *arguments: str | Path) -> None:
    """Run a module in JoeyNMT's environment; its log is in ``directory``."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
    command = [python, "-m", module, *arguments]
    with (directory / "joeynmt.log").open("a") as log:
        subprocess.run(command, check=True, env=environment, stdout=log, stderr=subprocess.STDOUT)
