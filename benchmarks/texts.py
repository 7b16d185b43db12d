"""Where the workload's files lie, and how to read them: the standard library alone, for every system reads the same."""

from __future__ import annotations

from pathlib import Path

SIDES = ("source", "target")
SPECIAL = 4  # ids that every toolkit keeps for padding, the unknown word, and both ends of a sentence


def text_file(directory: str | Path, part: str, side: str) -> Path:
    """The file of one side of ``train``, ``dev`` or ``test``, a sentence a line."""
    return Path(directory) / f"{part}.{side}"


def words_file(directory: str | Path, side: str) -> Path:
    """The file of the words of a side, the most frequent first, one a line."""
    return Path(directory) / f"words.{side}"


def sentences(directory: str | Path, part: str, side: str) -> list[list[str]]:
    """The words of every sentence."""
    text = text_file(directory, part, side).read_text(encoding="utf-8")
    return [line.split(" ") for line in text.removesuffix("\n").split("\n")]


def words(directory: str | Path, side: str) -> list[str]:
    """The vocabulary of a side, without the special words of any toolkit."""
    return words_file(directory, side).read_text(encoding="utf-8").removesuffix("\n").split("\n")


def counted(source_lengths: list[int], target_lengths: list[int]) -> dict[str, int]:
    """What a batch counts for, from its lengths with EOS: source and target tokens, and pairs of a position of each."""
    return {
        "target": sum(target_lengths),
        "source": sum(source_lengths),
        "pairs": sum(s * t for s, t in zip(source_lengths, target_lengths, strict=True)),
    }


def added(counts: list[dict[str, int]]) -> dict[str, int]:
    """The sum of what several batches count for."""
    return {name: sum(one[name] for one in counts) for name in ("target", "source", "pairs")}
