"""From a recipe to what training reads: the corpus's files, the vocabularies, and the pairs as ids."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from nmt.bitext import Bitext, Limits, prepare_bitext
from nmt.corpus import Corpus, TextPair, load_corpus, prepare_corpus
from nmt.errors import InputError
from nmt.kept import kept_directory, key_of, sha256_of
from nmt.links import read_links
from nmt.losses import LOSSES
from nmt.recipe import Recipe, TextSettings
from nmt.text import read_lines, read_parallel
from nmt.vocabulary import Vocabulary, load_vocabulary, train_vocabulary

Vocabularies = tuple[Vocabulary, Vocabulary]

LARGE_TEXT = 50 * 2**20  # bytes
# Where vocabularies stand in a run directory.
VOCABULARIES = "vocabularies"


class Data(NamedTuple):
    """All that a run reads."""

    corpus: Corpus
    vocabularies: Vocabularies
    train: Bitext
    dev: Bitext  # without limits: every development pair counts


def prepare(recipe: Recipe, report: Callable[[str], None]) -> Data:
    """Fetch or make what is not there yet; ``report`` is told what is being done and what was left out.

    Raises ``InputError`` for a corpus that cannot be had or holds nothing to train on.
    """
    downloads = recipe.corpus.parent / "downloads"
    corpus = prepare_corpus(load_corpus(recipe.corpus), downloads, report)
    links = training_links(recipe, corpus)
    cache = downloads / "ids"
    vocabularies = prepare_vocabularies(corpus.train, recipe.text, cache)
    report(f"vocabularies: {len(vocabularies[0])} source, {len(vocabularies[1])} target ({recipe.text.source.kind})")
    limits = Limits(recipe.text.longest_source, recipe.text.longest_target)
    train = prepare_bitext(
        corpus.train.source, corpus.train.target, vocabularies, limits, cache, _workers(corpus.train), links
    )
    read, kept, empty, too_long = train.counts
    report(
        f"training pairs: {kept} of {read} ({empty} with an empty side and {too_long} longer than "
        f"{limits.source} source or {limits.target} target tokens left out)"
    )
    if links is not None:
        if train.link_count == 0:
            raise InputError(f"{links}: no link in it is of a training pair, so there is nothing to learn from it")
        report(f"training links: {train.link_count} between tokens of the vocabularies, from {links.name}")
    dev = prepare_bitext(corpus.dev.source, corpus.dev.target, vocabularies, None, cache)
    for test in corpus.tests.values():
        check_links(test)
    return Data(corpus, vocabularies, train, dev)


def training_links(recipe: Recipe, corpus: Corpus) -> Path | None:
    """The file of the training text's word links, where a part of the objective reads them.

    Raises ``InputError`` when there is none.
    """
    readers = [part.loss.kind for part in recipe.training.objective if part.loss.build(LOSSES).reads_links]
    if not readers:
        return None
    if corpus.train.gold is None:
        raise InputError(
            f'{recipe.corpus}: its training text has no word links, which the loss "{readers[0]}" learns from; name a '
            "file of them as gold of train, choose a corpus that has them, or take the loss out of training.objective"
        )
    return corpus.train.gold


def check_links(test: TextPair) -> None:
    """Raises ``InputError`` for gold links that do not fit the words of a test set: now, not after the training."""
    if test.gold is not None:
        rows = read_parallel(test.source, test.target)
        read_links(test.gold, base=0, lengths=[(len(source.split()), len(target.split())) for source, target in rows])


def _workers(pair: TextPair) -> int:
    """Processes that encode a text: one where starting others would take longer than the work."""
    size = pair.source.stat().st_size + pair.target.stat().st_size
    return (os.cpu_count() or 1) if size > LARGE_TEXT else 1


def prepare_vocabularies(pair: TextPair, settings: TextSettings, cache: Path) -> Vocabularies:
    """The vocabularies of a training text, made once for each text and settings."""
    key = key_of(text=settings.model_dump(), files=[sha256_of(pair.source), sha256_of(pair.target)])

    def build(directory: Path) -> None:
        if settings.joint:
            both = chain(read_lines(pair.source), read_lines(pair.target))
            joint = train_vocabulary(both, settings.source, f"{pair.source} and {pair.target}")
            made = joint, joint
        else:
            made = (
                train_vocabulary(read_lines(pair.source), settings.source, str(pair.source)),
                train_vocabulary(read_lines(pair.target), settings.target, str(pair.target)),
            )
        save_vocabularies(made, directory)

    return load_vocabularies(kept_directory(cache / f"vocabularies-{key[:32]}", key, build))


def save_vocabularies(vocabularies: Vocabularies, directory: Path) -> None:
    """Write both vocabularies into a directory."""
    for vocabulary, side in zip(vocabularies, ("source", "target"), strict=True):
        vocabulary.save(directory, side)


def load_vocabularies(directory: Path) -> Vocabularies:
    """What :func:`save_vocabularies` wrote."""
    return load_vocabulary(directory, "source"), load_vocabulary(directory, "target")
