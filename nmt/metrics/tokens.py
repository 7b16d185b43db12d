"""Words of a line: sacrebleu's tokenisers under sacrebleu's names, and which one a text asks for.

sacrebleu is imported only when one of its tokenisers is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nmt.errors import InputError

DEFAULT = "13a"
CHINESE = "zh"

# What --tokenize takes: sacrebleu's name, and the module and class that sacrebleu keeps it in (none: split at spaces).
TOKENIZERS: dict[str, tuple[str, str] | None] = {
    "13a": ("tokenizer_13a", "Tokenizer13a"),
    "zh": ("tokenizer_zh", "TokenizerZh"),
    "intl": ("tokenizer_intl", "TokenizerV14International"),
    "char": ("tokenizer_char", "TokenizerChar"),
    "none": None,
}

Tokenize = Callable[[str], list[str]]


def tokenizer(name: str, lowercase: bool) -> Tokenize:
    """A function from a line to its words. Raises ``InputError`` for a name that is not in :data:`TOKENIZERS`."""
    if name not in TOKENIZERS:
        raise InputError(f"unknown tokeniser {name!r}; known are {', '.join(TOKENIZERS)}")
    place = TOKENIZERS[name]
    if place is None:
        return (lambda line: line.lower().split()) if lowercase else str.split
    module, cls = place
    apply = _uncached(module, cls)
    return (lambda line: apply(line.lower()).split()) if lowercase else (lambda line: apply(line).split())


def choose(lines: Iterable[str], sample: int = 1000) -> str:
    """The tokeniser a text asks for: ``zh`` when most letters of its first lines are Chinese, else ``13a``.

    Japanese (with kana) and Thai are written without spaces as well, and ``char`` is what remains for them.
    """
    chinese = kana = thai = letters = 0
    for _, line in zip(range(sample), lines, strict=False):
        for character in line:
            if character.isalpha():
                letters += 1
                chinese += "\u3400" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0003134f"
                kana += "\u3040" <= character <= "\u30ff"
                thai += "\u0e00" <= character <= "\u0e7f"
    if 2 * (chinese + kana + thai) <= letters:
        return DEFAULT
    return "char" if 10 * (kana + thai) > letters else CHINESE


def ngrams(words: Sequence[str], order: int) -> list[tuple[str, ...]]:
    """The n-grams of exactly this order, in order."""
    return list(zip(*(words[start:] for start in range(order)), strict=False))


def _uncached(module: str, cls: str) -> Callable[[str], str]:
    """sacrebleu's tokeniser without the 65,536 lines that it would remember."""
    from importlib import import_module

    instance = getattr(import_module(f"sacrebleu.tokenizers.{module}"), cls)()
    inner = getattr(instance, "_post_tokenizer", None)
    if inner is not None:
        plain = type(inner).__call__
        instance._post_tokenizer = lambda line: getattr(plain, "__wrapped__", plain)(inner, line)
    call = type(instance).__call__
    bare = getattr(call, "__wrapped__", call)
    return lambda line: bare(instance, line)
