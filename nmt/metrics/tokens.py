"""Words of a line: sacrebleu's tokenisers under sacrebleu's names, and which one a text asks for.

13a, which nearly every text needs, is written here a second time, several times as fast, and equals sacrebleu's (a law
in the tests); the others are sacrebleu's own, imported only when asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from nmt.errors import InputError

DEFAULT = "13a"
CHINESE = "zh"

# sacrebleu's other tokenisers: the module and the class that it keeps them in.
_SACREBLEU = {
    "zh": ("tokenizer_zh", "TokenizerZh"),
    "intl": ("tokenizer_intl", "TokenizerV14International"),
    "char": ("tokenizer_char", "TokenizerChar"),
}
TOKENIZERS = ("13a", *_SACREBLEU, "none")  # what --tokenize takes; none splits at spaces

Tokenize = Callable[[str], list[str]]

_ESCAPES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
_ALONE = '{|}~[\\]^_`!"#$%&()*+:;<=>?@/'  # these stand alone wherever they are
_AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
_BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
_HAN = re.compile(r"[\u3400-\u9fff\U00020000-\U0003134f]")
_KANA_OR_THAI = re.compile(r"[\u3040-\u30ff\u0e00-\u0e7f]")
_DASH = re.compile(r"([0-9])(-)")


def tokenizer(name: str, lowercase: bool) -> Tokenize:
    """A function from a line to its words. Raises ``InputError`` for a name that is not in :data:`TOKENIZERS`."""
    if name == "none":
        split: Tokenize = str.split
    elif name == "13a":
        split = words_13a
    elif name in _SACREBLEU:
        split = _sacrebleu(*_SACREBLEU[name])
    else:
        raise InputError(f"unknown tokeniser {name!r}; known are {', '.join(TOKENIZERS)}")
    return (lambda line: split(line.lower())) if lowercase else split


def words_13a(line: str) -> list[str]:
    """The words of a line by mteval-v13a, as sacrebleu's ``Tokenizer13a`` finds them."""
    line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in line:
        for escape, character in _ESCAPES.items():
            line = line.replace(escape, character)
    line = f" {line} "
    for character in _ALONE:
        if character in line:
            line = line.replace(character, f" {character} ")
    if "." in line or "," in line:
        line = _BEFORE_NO_DIGIT.sub(r" \1 \2", _AFTER_NO_DIGIT.sub(r"\1 \2 ", line))
    if "-" in line:
        line = _DASH.sub(r"\1 \2 ", line)
    return line.split()


def choose(lines: Iterable[str], sample: int = 1000) -> str:
    """The tokeniser a text asks for: ``zh`` when most letters of its first lines are Chinese, else ``13a``.

    Japanese (with kana) and Thai are written without spaces as well, and ``char`` is what remains for them.
    """
    chinese = unspaced = letters = 0
    for _, line in zip(range(sample), lines, strict=False):
        letters += sum(map(str.isalpha, line))
        chinese += len(_HAN.findall(line))
        unspaced += len(_KANA_OR_THAI.findall(line))
    if 2 * (chinese + unspaced) <= letters:
        return DEFAULT
    return "char" if 10 * unspaced > letters else CHINESE


def ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """The n-grams of exactly this order, in order."""
    return list(zip(*(words[start:] for start in range(order)), strict=False))


def _sacrebleu(module: str, name: str) -> Tokenize:
    from importlib import import_module

    apply = getattr(import_module(f"sacrebleu.tokenizers.{module}"), name)()
    return lambda line: list(apply(line).split())
