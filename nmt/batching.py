"""Batches: which pairs go together, and their tensors.

Shapes: B pairs of a batch, S source positions (EOS counted), T target positions (EOS counted), L links of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Rows(NamedTuple):
    """Rows of numbers of different lengths, one after the other."""

    numbers: NDArray[np.integer]
    lengths: Numbers


def collate(
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    numbers: Sequence[int] | NDArray[np.integer],
    links: Sequence[NDArray[np.integer]] | None = None,
    *,
    multiple: int = 1,
) -> Batch:
    """A batch of pairs of ids without BOS and EOS; either side of a pair may be empty.

    ``links`` are arrays (L, 3), as :meth:`nmt.bitext.Bitext.links` gives them; without them no pair has one. Rows are
    filled up until S, T and L are multiples of ``multiple``.
    """
    if links is None:
        links = [np.empty((0, 3), np.int64)] * len(numbers)
    if not len(sources) == len(targets) == len(numbers) == len(links) > 0:
        raise ValueError(
            f"{len(sources)} sources, {len(targets)} targets, {len(numbers)} numbers, {len(links)} rows of links: "
            "one each, at least"
        )
    link_rows = _in_a_row([one.ravel() for one in links])
    return collate_rows(_in_a_row(sources), _in_a_row(targets), numbers, link_rows, multiple=multiple)


def collate_rows(
    sources: Rows, targets: Rows, numbers: Sequence[int] | NDArray[np.integer], links: Rows, *, multiple: int = 1
) -> Batch:
    """The same of rows, as :meth:`nmt.bitext.Bitext.sources` gives them; each link is three numbers of its row."""
    source_BS, source_valid_BS = _ended(sources, multiple)
    target_BT, target_valid_BT = _ended(targets, multiple)
    input_BT = torch.full_like(target_BT, PAD)
    input_BT[:, 0] = BOS
    input_BT[:, 1:][target_valid_BT[:, 1:]] = target_BT[:, :-1][target_valid_BT[:, 1:]]
    link_BN, _ = _rectangle(links, filling=-1, extra=0, multiple=3 * multiple)
    number_B = torch.as_tensor(np.asarray(numbers, np.int64))
    link_BL3 = torch.from_numpy(link_BN.reshape(len(link_BN), -1, 3))
    return Batch(source_BS, source_valid_BS, input_BT, target_BT, target_valid_BT, number_B, link_BL3)


def _in_a_row(rows: Sequence[Ids]) -> Rows:
    return Rows(np.concatenate([np.asarray(row, np.int64) for row in rows]), np.array([len(row) for row in rows]))


def _ended(rows: Rows, multiple: int) -> tuple[Tensor, Tensor]:
    """The rows with EOS after each, filled up with PAD; True on all that is not PAD."""
    ids, valid = _rectangle(rows, filling=PAD, extra=1, multiple=multiple)
    last = np.arange(len(ids)), rows.lengths
    ids[last], valid[last] = EOS, True
    return torch.from_numpy(ids), torch.from_numpy(valid)


def _rectangle(rows: Rows, *, filling: int, extra: int, multiple: int) -> tuple[Numbers, NDArray[np.bool_]]:
    """The rows side by side, wider than the longest by ``extra`` at least, up to a multiple; True on their numbers."""
    width = int(filled_up(rows.lengths.max() + extra, multiple))
    real = np.arange(width) < rows.lengths[:, np.newaxis]
    filled = np.full(real.shape, filling, np.int64)
    filled[real] = rows.numbers
    return filled, real


def plan(
    source_lengths: NDArray[np.integer],
    target_lengths: NDArray[np.integer],
    *,
    tokens: int | None = None,
    sentences: int | None = None,
    seed: int,
    epoch: int,
    bucket: int = 2,
    multiple: int = 1,
) -> list[Numbers]:
    """The batches of an epoch of training, as positions of pairs: every pair once, in an order of seed and epoch alone.

    A batch holds at most ``sentences`` pairs and at most ``tokens`` positions on either side, padding and EOS counted;
    a pair longer than that has a batch of its own. Shuffled pairs are put in order of length, lengths within the same
    ``bucket`` tokens counting as equal, and cut into batches, which are shuffled.

    Where batches are to be few shapes, all that have ``multiple`` pairs or more, but the last, have a multiple of it;
    their positions are counted as :func:`collate` fills them up.
    """
    if tokens is None and sentences is None:
        raise ValueError("a batch needs a limit: tokens or sentences")
    random = np.random.default_rng((seed, epoch))
    shuffled = random.permutation(len(target_lengths))
    source_bucket, target_bucket = source_lengths[shuffled] // bucket, target_lengths[shuffled] // bucket
    # there and back again, so that a batch over the border of two target buckets has sources of one length
    source_bucket = np.where(target_bucket % 2 == 1, -source_bucket, source_bucket)
    ranked = shuffled[np.lexsort((source_bucket, target_bucket))]
    batches = _cut(ranked, [source_lengths, target_lengths], tokens, sentences, multiple)
    return [batches[number] for number in random.permutation(len(batches))]


def plan_sorted(lengths: NDArray[np.integer], *, tokens: int) -> list[Numbers]:
    """Batches for search and evaluation, as positions: longest first, at most ``tokens`` positions in a batch."""
    ranked = np.argsort(-lengths, kind="stable")
    return _cut(ranked, [lengths], tokens, None)


def _cut(
    ranked: Numbers, sides: list[NDArray[np.integer]], tokens: int | None, sentences: int | None, multiple: int = 1
) -> list[Numbers]:
    """Consecutive pieces of ``ranked``, each as long as the limits allow and never empty."""
    widths = filled_up(np.maximum.reduce([lengths[ranked] for lengths in sides]) + 1, multiple).tolist()  # with EOS

    def too_large(pairs: int, widest: int) -> bool:
        return (tokens is not None and pairs * widest > tokens) or (sentences is not None and pairs > sentences)

    starts = [0]
    widest = 0
    for place, width in enumerate(widths):
        widest = max(widest, width)
        while (before := place - starts[-1]) and too_large(before + 1, widest):
            # What is over a multiple goes with the pairs that follow, unless they are too long for that.
            starts.append(place - before % multiple if before > multiple else place)
            widest = max(widths[starts[-1] : place + 1])
    return np.split(ranked, starts[1:]) if widths else []


def filled_up(lengths: Any, multiple: int) -> Any:
    """The least multiples that are not shorter."""
    return -(-lengths // multiple) * multiple
