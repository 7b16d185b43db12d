"""The library's door: a trained run that translates, scores and aligns.

    translator = Translator.load("runs/zh-en-gatt")
    translator.translate(["我 喜欢 苹果 。"])[0].text

Several runs with the same vocabularies are an ensemble: ``Translator.load(["runs/gatt-1", "runs/gatt-2"])``.

Shapes: T target tokens and the end of the sentence, S source tokens and the end of the sentence.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from nmt.batching import collate, plan_sorted
from nmt.checkpoint import Checkpoints, load_weights
from nmt.ensemble import Ensemble
from nmt.errors import InputError
from nmt.links import Links, argmax_links
from nmt.model import BuiltFrom, Model, build_model, with_shown
from nmt.preparation import VOCABULARIES, Vocabularies, load_vocabularies
from nmt.recipe import RECIPE_FILE, load_recipe
from nmt.search import Hypothesis, Prepared, SearchSettings, beam_search, force, refuse_precision
from nmt.sublayers import Shown
from nmt.unknown import read_dictionary, replacements
from nmt.vocabulary import UNK, Vocabulary
from nmt.words import pieces_to_words, words_of_pieces

CHECKPOINTS = "checkpoints"
Weights = Literal["final", "best", "last"]


@dataclass(frozen=True)
class Translation:
    """A target sentence, found or given, and how the model says it."""

    text: str
    log_prob: float  # natural logarithm, the end of the sentence counted
    score: float  # the log-probability, normalised as the search settings say
    source_pieces: list[str]
    pieces: list[str]
    weight_TS: NDArray[np.float32] = field(repr=False)  # attention between pieces, the ends of the sentences last
    source_words: list[str]
    words: list[str]
    source_word_of_piece: list[int] = field(repr=False)
    word_of_piece: list[int] = field(repr=False)
    replaced: tuple[int, ...] = ()  # which of the words were unknown and stand for their source words

    def matrix(self) -> NDArray[np.float64]:
        """Attention between words, (target words, source words): summed over the pieces of a source word, averaged over
        those of a target word; without the ends of the sentences, not renormalised."""
        if not self.words:  # there may be pieces all the same: a ▁ alone is no word
            return np.zeros((0, len(self.source_words)))
        words = len(self.words), len(self.source_words)
        return pieces_to_words(self.weight_TS[:-1, :-1], self.word_of_piece, self.source_word_of_piece, words)

    def links(self) -> Links:
        """For every target word a link to the source word with the highest weight."""
        return argmax_links(self.matrix())


class Translator:
    """A model with its vocabularies and search settings.

    Raises ``InputError`` for a dictionary of unknown words that cannot be read, and for a precision that the device
    does not search in.
    """

    def __init__(self, model: Model, vocabularies: Vocabularies, search: SearchSettings, device: torch.device) -> None:
        self.model, self.vocabularies, self.search, self.device = model.to(device), vocabularies, search, device
        refuse_precision(search, device)
        self._prepared = Prepared(self.model)
        unknown = search.replace_unknown
        self.dictionary = read_dictionary(unknown) if isinstance(unknown, Path) else {}

    @classmethod
    def load(
        cls,
        run: str | Path | Sequence[str | Path],
        device: str = "auto",
        *,
        weights: Weights = "final",
        search: Mapping[str, object] = MappingProxyType({}),
        shown: Shown | None = None,
    ) -> Self:
        """The translator of a run directory, or of several as an ensemble, searching as the first recipe says.

        ``search`` replaces single search settings, ``{"beam": 1}``; ``shown`` says which layer's and head's attention
        is told, where the decoder is a Transformer's (:func:`nmt.heads.best_head` finds one). ``weights`` are those
        that training ended with (``final``: the average of the last checkpoints where the recipe asks for one, else the
        best), or ``best``, or ``last``. Raises ``InputError`` when a directory is no run, when runs have not the same
        vocabularies, and when there is nothing to choose what is shown from.
        """
        runs = [Path(one) for one in ([run] if isinstance(run, str | Path) else run)]
        if not runs:
            raise InputError("a translator needs at least one run directory")
        loaded = [_load_run(one, weights, shown) for one in runs]
        first = loaded[0]
        for one, other in zip(runs[1:], loaded[1:], strict=True):
            if any(a.digest() != b.digest() for a, b in zip(first.vocabularies, other.vocabularies, strict=True)):
                raise InputError(
                    f"{one}: has other vocabularies than {runs[0]}; only runs that share theirs make an ensemble"
                )
        settings = _replaced(first.search, search)
        model = first.model if len(runs) == 1 else Ensemble([one.model for one in loaded], settings.ensemble)
        return cls(model, first.vocabularies, settings, choose_device(device))

    def translate(self, lines: Sequence[str]) -> list[Translation]:
        """The best translation of every line, in order; an empty line has an empty one."""
        return [best[0] for best in self.n_best(lines)]

    def n_best(self, lines: Sequence[str]) -> list[list[Translation]]:
        """The ``n_best`` translations of every line, best first."""
        target = self.vocabularies[1]
        found: list[list[Translation]] = [[_empty(line)] for line in lines]
        for numbers, sources in self._batches(lines):
            batch = collate(sources, [[] for _ in sources], numbers).to(self.device)
            # A translation has about as many words as its source, and the search reads each hypothesis's.
            with self._prepared(self.search, self.search.beam * int(batch.source_valid_BS.sum())) as model:
                searched = beam_search(model, batch.source_BS, batch.source_valid_BS, self.search)
            if not all(searched):
                raise InputError("the model's scores are not numbers; was its training whole, and did it not diverge?")
            for number, ids, hypotheses in zip(numbers, sources, searched, strict=True):
                found[number] = [
                    self._translation(lines[number], ids, target.decode(one.tokens), one) for one in hypotheses
                ]
        return found

    def align(self, lines: Sequence[str], translations: Sequence[str]) -> list[Translation]:
        """The given translations as the model says them when forced to: their scores and their attention.

        Raises ``InputError`` when there are not as many translations as lines.
        """
        if len(lines) != len(translations):
            raise InputError(f"{len(lines)} source lines but {len(translations)} translations; one for each")
        targets = [self.vocabularies[1].encode(text) for text in translations]
        found = [_empty(line, text) for line, text in zip(lines, translations, strict=True)]
        for numbers, sources in self._batches(lines, targets):
            batch = collate(sources, [targets[n] for n in numbers], numbers).to(self.device)
            with self._prepared(self.search, int(batch.target_valid_BT.sum())) as model:
                forced = force(model, batch, self.search)
            for number, ids, hypothesis in zip(numbers, sources, forced, strict=True):
                found[number] = self._translation(lines[number], ids, translations[number], hypothesis, forced=True)
        return found

    def head_weights(self, lines: Sequence[str], translations: Sequence[str]) -> list[NDArray[np.float32]]:
        """The attention of every layer's every head as the given translations are said: (layers, heads, T, S), the ends
        of the sentences last; (1, 1, 1, 1) of an empty line."""
        targets = [self.vocabularies[1].encode(text) for text in translations]
        found = [np.zeros((1, 1, 1, 1), np.float32) for _ in lines]
        for numbers, sources in self._batches(lines, targets):
            batch = collate(sources, [targets[n] for n in numbers], numbers).to(self.device)
            with self._prepared(self.search, 0):
                weight_BLHTS = self.model.head_weights(batch.source_BS, batch.source_valid_BS, batch.input_BT)
            for row, (number, ids) in enumerate(zip(numbers, sources, strict=True)):
                real_LHTS = weight_BLHTS[row, :, :, : len(targets[number]) + 1, : len(ids) + 1]
                found[number] = real_LHTS.float().cpu().numpy()
        return found

    def _batches(
        self, lines: Sequence[str], targets: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Numbers and ids of lines that go together, longest first; lines without a piece go nowhere."""
        encoded = [self.vocabularies[0].encode(line) for line in lines]
        real = [number for number, ids in enumerate(encoded) if ids]
        lengths = np.array([len(encoded[n]) for n in real])
        if targets is not None:
            lengths = np.maximum(lengths, [len(targets[n]) for n in real])
        for places in plan_sorted(lengths, tokens=self.search.batch_tokens) if real else []:
            numbers = [real[place] for place in places]
            yield numbers, [encoded[n] for n in numbers]

    def _translation(
        self, line: str, ids: Sequence[int], text: str, hypothesis: Hypothesis, *, forced: bool = False
    ) -> Translation:
        source, target = self.vocabularies
        translation = Translation(
            text=text,
            log_prob=hypothesis.log_prob,
            score=hypothesis.score,
            source_pieces=source.pieces(ids),
            pieces=target.pieces(hypothesis.tokens),
            weight_TS=hypothesis.weight_TS.numpy(),
            source_words=source.words(line),
            words=target.words(text),
            source_word_of_piece=source.word_of_piece(line),
            word_of_piece=target.word_of_piece(text) if forced else _word_of_piece(target, hypothesis.tokens),
        )
        return translation if forced else self._without_unknown(translation, hypothesis.tokens)

    def _without_unknown(self, one: Translation, ids: Sequence[int]) -> Translation:
        """The translation with its unknown words replaced, where the search settings say so."""
        if self.search.replace_unknown is False or UNK not in ids:
            return one
        unknown = {word for word, number in zip(one.word_of_piece, ids, strict=True) if number == UNK}
        instead = replacements(unknown, one.source_words, one.links(), self.dictionary)
        words = [instead.get(place, word) for place, word in enumerate(one.words)]
        return replace(one, text=" ".join(words), words=words, replaced=tuple(instead))


class _Run(NamedTuple):
    """What a run directory holds for translating."""

    model: Model
    vocabularies: Vocabularies
    search: SearchSettings


def _load_run(run: Path, weights: Weights, shown: Shown | None) -> _Run:
    if not (run / RECIPE_FILE).is_file():
        raise InputError(f"{run}: is no run directory (it has no {RECIPE_FILE}); train one with nmt-train")
    recipe = load_recipe(run / RECIPE_FILE)
    vocabularies = load_vocabularies(run / VOCABULARIES)
    settings = recipe.model if shown is None else _showing(run, recipe.model, shown)
    model = build_model(settings, *map(len, vocabularies))
    load_weights(find_weights(run, weights), model)
    return _Run(model, vocabularies, recipe.search)


def _showing(run: Path, model: BuiltFrom, shown: Shown) -> BuiltFrom:
    """The settings of the same model, which tells of another look."""
    try:
        return with_shown(model, shown)
    except ValueError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ") if isinstance(error, ValidationError) else error
        raise InputError(f"{run}: {told}") from None


def _replaced(settings: SearchSettings, changes: Mapping[str, object]) -> SearchSettings:
    values = {**dict(settings), **changes}
    if "n_best" in changes and "beam" not in changes:
        values["beam"] = max(settings.beam, settings.model_copy(update=dict(changes)).n_best)
    try:
        return SearchSettings.model_validate(values)
    except ValidationError as error:
        raise InputError(
            "; ".join(f"search: {one['msg'].removeprefix('Value error, ')}" for one in error.errors())
        ) from None


def find_weights(run: Path, weights: Weights = "final") -> Path:
    """The checkpoint of a run that holds certain weights; warns of damaged ones that would have come first.

    Raises ``InputError`` when there is none.
    """
    checkpoints = Checkpoints(run / CHECKPOINTS, warnings.warn)
    names = {"final": ("average", "best", "update"), "best": ("best",), "last": ("update",)}[weights]
    for name in names:
        if (place := checkpoints.latest(name)) is not None:
            return place
    raise InputError(f"{run}: has no whole checkpoint with {weights} weights; train it with nmt-train")


def choose_device(name: str) -> torch.device:
    """A device by name; ``auto`` is CUDA, else MPS, else the CPU. Raises ``InputError`` for one that is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    try:
        device = torch.device(name)
        if available.get(device.type):
            torch.empty(0, device=device)  # cuda:7 is refused here
            return device
    except RuntimeError:
        pass
    raise InputError(f"device {name}: not available here; choose auto or cpu")


def _word_of_piece(vocabulary: Vocabulary, ids: Sequence[int]) -> list[int]:
    """The word of every piece of a translation; encoding its text anew could cut it into other pieces."""
    if vocabulary.kind in ("words", "word"):  # every id is a word, the unknown one too
        return list(range(len(ids)))
    return words_of_pieces(vocabulary.pieces(ids), "sentencepiece")


def _empty(line: str, text: str = "") -> Translation:
    words, source_words = text.split(), line.split()
    return Translation(text, 0.0, 0.0, [], [], np.zeros((1, 1), np.float32), source_words, words, [], [])
