"""Unknown words of a translation, replaced through the alignment (Luong et al. 2015; Jean et al. 2015)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nmt.errors import InputError
from nmt.links import Links
from nmt.text import read_lines


def read_dictionary(path: Path) -> dict[str, str]:
    """A word and its translation a line, with a space or tab between them; of several translations the first counts.

    Raises ``InputError`` for a line, blank ones apart, that has not two words.
    """
    translations: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split()
        if columns and len(columns) != 2:
            raise InputError(
                f"{path}, line {number}: {len(columns)} words, but a dictionary has two a line: "
                "a source word and its translation"
            )
        if columns:
            translations.setdefault(*columns)
    return translations


def replacements(
    unknown: Collection[int], source_words: Sequence[str], links: Links, dictionary: Mapping[str, str]
) -> dict[int, str]:
    """What is to stand in place of the ``unknown`` target words, by their indices.

    That is the translation of the source word that each is linked to, or the source word itself where the dictionary
    has none. A word without a link stays as it is, and is left out here.
    """
    linked = {target: source_words[source] for source, target in links.sure if target in unknown}
    return {target: dictionary.get(word, word) for target, word in sorted(linked.items())}
