"""Which step of a trained run shows best what a target word is aligned to: the one that says it, or the next.

A model may look at a source word when it *produces* its translation, as recurrent decoders do, or when its translation
is *fed* back to it, as Transformers often do (Chen et al. 2020, Shift-Att). Gold links tell; nothing else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nmt.alignment import Alignment, Reading, Readings, judged, words_of
from nmt.errors import InputError
from nmt.links import Links

if TYPE_CHECKING:
    from nmt.translator import Translator


def best_reading_of_run(
    run: Translator | str | Path, source_lines: Sequence[str], target_lines: Sequence[str], gold: Sequence[Links]
) -> Readings:
    """The reading with the lower AER when a run (or its directory) is forced to say the target; both AERs beside it.

    Attention is read between pieces, then taken to words, without the ends, and each target word linked to the source
    word with the highest weight. Raises ``InputError`` when source, target and gold differ in length, and as
    :meth:`nmt.Translator.load` does.
    """
    translator = loaded_for(run, source_lines, target_lines, gold)
    found: dict[Reading, list[Links]] = {"produced": [], "fed": []}
    for said in translator.align(source_lines, target_lines):
        for reading, links in found.items():
            between_words = Alignment.of(said).read(reading).to_words(*words_of(said))
            links.append(between_words.hard().links or Links())
    return judged(found, gold)


def loaded_for(
    run: Translator | str | Path, source_lines: Sequence[str], target_lines: Sequence[str], gold: Sequence[Links]
) -> Translator:
    """The run, loaded where it is a directory, that is to be forced to say a target whose links are known.

    Raises ``InputError`` when source, target and gold differ in length, and as :meth:`nmt.Translator.load` does.
    """
    if not len(source_lines) == len(target_lines) == len(gold):
        raise InputError(
            f"{len(source_lines)} source lines, {len(target_lines)} target lines and the gold links of {len(gold)}; "
            "one of each for every sentence"
        )
    if isinstance(run, str | Path):
        from nmt.translator import Translator  # only now, for it takes torch to load a run

        run = Translator.load(run)
    return run
