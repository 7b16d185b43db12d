"""CTranslate2: the results of ``Translator.translate_batch(..., return_attention=True)``, kept as JSON, one a line.

    json.dumps({"hypotheses": result.hypotheses, "attention": result.attention})

The lists of dictionaries of old versions (``[{"tokens": …, "attention": …}]``) are read too. The matrix has a row a
target token and a column a source token; special tokens that CTranslate2 adds by itself are dropped, those in the text
given to it stay. The first hypothesis is read, at the step that produced each token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nmt.alignment import Alignment
from nmt.errors import InputError
from nmt.formats.base import File, required, soft, with_texts

HINT = "the source must be the very tokens given to translate_batch"
END = "</s>"


def read_ctranslate2(path: File, source: File | None = None, target: File | None = None) -> Iterator[Alignment]:
    """Alignments of tokens. The source is needed; a ``</s>`` at the end of either side is its end."""
    source = required(path, "source", source)
    for number, line, before, after in with_texts(path, source, target):
        where = f"{path}, line {number}"
        try:
            tokens, weights = _first(json.loads(line))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            raise InputError(f"{where}: no JSON of a result with hypotheses and attention") from None
        sides = [_without_end(side) for side in (before or [], tokens if after is None else after)]
        yield soft(sides[0], sides[1], weights, where, HINT)


def _first(result: Any) -> tuple[list[str], Any]:
    if isinstance(result, list):
        tokens, weights = result[0]["tokens"], result[0]["attention"]
    else:
        tokens, weights = result["hypotheses"][0], result["attention"][0]
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise TypeError
    return tokens, weights


def _without_end(tokens: list[str]) -> list[str]:
    return tokens[:-1] if tokens[-1:] == [END] else tokens
