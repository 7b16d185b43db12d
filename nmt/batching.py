"""Batches: which pairs go together, and their tensors.

Shapes: B pairs of a batch, S source positions (EOS counted), T target positions (EOS counted), L links of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nmt.vocabulary import BOS, EOS, PAD

Ids = Sequence[int] | NDArray[np.integer]
Numbers = NDArray[np.int64]


class Batch(NamedTuple):
    """Pairs side by side, filled up with PAD on the right."""

    source_BS: Tensor  # int64, EOS at the end
    source_valid_BS: Tensor  # bool, True on what is real, EOS among it
    input_BT: Tensor  # BOS, then the target: what the decoder reads
    target_BT: Tensor  # the target, then EOS: what it is to say
    target_valid_BT: Tensor  # bool, True on what is real, EOS among it
    number_B: Tensor  # position of each pair in the bitext
    link_BL3: Tensor  # int64, given links: target position, source position, 1 sure or 0 possible; filled up with -1

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device; a GPU is not waited for, which takes memory that the system may not move."""
        pinned = torch.device(device).type == "cuda" and not self.source_BS.is_cuda
        whence = (tensor.pin_memory() if pinned else tensor for tensor in self)
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in whence))


def collate(
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    numbers: Sequence[int] | NDArray[np.integer],
    links: Sequence[NDArray[np.integer]] | None = None,
) -> Batch:
    """A batch of pairs of ids without BOS and EOS; either side of a pair may be empty.

    ``links`` are arrays (L, 3), as :meth:`nmt.bitext.Bitext.links` gives them; without them no pair has one.
    """
    if links is None:
        links = [np.empty((0, 3), np.int64)] * len(numbers)
    if not len(sources) == len(targets) == len(numbers) == len(links) > 0:
        raise ValueError(
            f"{len(sources)} sources, {len(targets)} targets, {len(numbers)} numbers, {len(links)} rows of links: "
            "one each, at least"
        )
    source_BS, source_valid_BS = _rectangle(sources, before=[], after=[EOS])
    target_BT, target_valid_BT = _rectangle(targets, before=[], after=[EOS])
    input_BT, _ = _rectangle(targets, before=[BOS], after=[])
    number_B = torch.as_tensor(np.asarray(numbers, np.int64))
    return Batch(source_BS, source_valid_BS, input_BT, target_BT, target_valid_BT, number_B, _padded_links(links))


def _rectangle(rows: Sequence[Ids], before: list[int], after: list[int]) -> tuple[Tensor, Tensor]:
    width = max(len(row) for row in rows) + len(before) + len(after)
    ids = np.full((len(rows), width), PAD, np.int64)
    valid = np.zeros((len(rows), width), np.bool_)
    for place, row in enumerate(rows):
        filled = np.concatenate([before, row, after]).astype(np.int64)
        ids[place, : len(filled)] = filled
        valid[place, : len(filled)] = True
    return torch.from_numpy(ids), torch.from_numpy(valid)


def _padded_links(links: Sequence[NDArray[np.integer]]) -> Tensor:
    padded = np.full((len(links), max(map(len, links)), 3), -1, np.int64)
    for row, link_L3 in enumerate(links):
        padded[row, : len(link_L3)] = link_L3
    return torch.from_numpy(padded)


def plan(
    source_lengths: NDArray[np.integer],
    target_lengths: NDArray[np.integer],
    *,
    tokens: int | None = None,
    sentences: int | None = None,
    seed: int,
    epoch: int,
    bucket: int = 2,
) -> list[Numbers]:
    """The batches of an epoch of training, as positions of pairs: every pair once, in an order of seed and epoch alone.

    A batch holds at most ``sentences`` pairs and at most ``tokens`` positions on either side, padding and EOS counted;
    a pair longer than that has a batch of its own. Shuffled pairs are put in order of length, lengths within the same
    ``bucket`` tokens counting as equal, and cut into batches, which are shuffled.
    """
    if tokens is None and sentences is None:
        raise ValueError("a batch needs a limit: tokens or sentences")
    random = np.random.default_rng((seed, epoch))
    shuffled = random.permutation(len(target_lengths))
    source_bucket, target_bucket = source_lengths[shuffled] // bucket, target_lengths[shuffled] // bucket
    # there and back again, so that a batch over the border of two target buckets has sources of one length
    source_bucket = np.where(target_bucket % 2 == 1, -source_bucket, source_bucket)
    ranked = shuffled[np.lexsort((source_bucket, target_bucket))]
    batches = _cut(ranked, [source_lengths, target_lengths], tokens, sentences)
    return [batches[number] for number in random.permutation(len(batches))]


def plan_sorted(lengths: NDArray[np.integer], *, tokens: int) -> list[Numbers]:
    """Batches for search and evaluation, as positions: longest first, at most ``tokens`` positions in a batch."""
    ranked = np.argsort(-lengths, kind="stable")
    return _cut(ranked, [lengths], tokens, None)


def _cut(ranked: Numbers, sides: list[NDArray[np.integer]], tokens: int | None, sentences: int | None) -> list[Numbers]:
    """Consecutive pieces of ``ranked``, each as long as the limits allow and never empty."""
    widths = np.maximum.reduce([lengths[ranked] for lengths in sides]) + 1  # EOS
    starts: list[int] = []
    size = widest = 0
    for place, width in enumerate(widths.tolist()):
        size, widest = size + 1, max(widest, width)
        full = (tokens is not None and size * widest > tokens) or (sentences is not None and size > sentences)
        if full or not starts:
            starts.append(place)
            size, widest = 1, width
    return np.split(ranked, starts[1:]) if starts else []
