"""What an update costs by the length of the sentences: time, memory, and how fast they grow.

A recurrent network takes a step after the other, a Transformer compares every position with every other: linear against
quadratic, once sentences are long enough for that to be what costs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from nmt.batching import Batch, collate
from nmt.losses.likelihood import CrossEntropy
from nmt.model import EncoderDecoder, build_model
from nmt.recipe import Recipe
from nmt.translator import choose_device
from nmt.vocabulary import SPECIAL


class Costs(NamedTuple):
    """Of one update without the optimiser's part, forward and backward, by the words of source and target alike."""

    lengths: tuple[int, ...]
    seconds: tuple[float, ...]  # of the processor, over all its threads; on a GPU, of the clock
    memory: tuple[int, ...]  # bytes that tensors held at their peak, beyond the weights

    def exponents(self) -> tuple[float, float]:
        """x of time ∝ length^x and of memory ∝ length^x over the longer half of the lengths, two at least: what short
        sentences cost is mostly what does not grow."""
        places = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        longer = places[min(len(places) // 2, len(places) - 2) :]
        time_, memory = (
            fitted_exponent([self.lengths[place] for place in longer], [costs[place] for place in longer])
            for costs in (self.seconds, self.memory)
        )
        return time_, memory


def fitted_exponent(lengths: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost on log length by least squares.

    Raises ``ValueError`` for fewer than two lengths.
    """
    if len(set(lengths)) < 2:
        raise ValueError("an exponent needs two lengths at least")
    return float(np.polyfit(np.log(lengths), np.log(costs), 1)[0])


def cost_by_length(
    recipe: Recipe, lengths: Sequence[int], *, sentences: int = 1, words: int = 1000, repeats: int = 3
) -> Costs:
    """Measure the model of a recipe, freshly drawn, on random sentences of ``lengths`` words, so many at once.

    ``words`` is the size of both vocabularies. The least of ``repeats`` times counts: what else the machine did is in
    the others. On the device that the recipe names; memory on a CPU is what torch's allocator was asked for.

    Raises ``InputError`` where there is no such device.
    """
    device = choose_device(recipe.training.device)
    if recipe.training.threads:
        torch.set_num_threads(recipe.training.threads)
    torch.manual_seed(recipe.seed)
    model = build_model(recipe.model, words, words).to(device).train()
    seconds, memory = [], []
    for length in lengths:
        batch = _random_batch(length, sentences, words).to(device)

        def update(batch: Batch = batch) -> None:
            _update(model, batch)

        update()  # what is done once a shape is not part of the cost
        seconds.append(min(_seconds(update, device) for _ in range(repeats)))
        memory.append(peak_of(update, device))
    return Costs(tuple(lengths), tuple(seconds), tuple(memory))


def _random_batch(length: int, sentences: int, words: int) -> Batch:
    rng = np.random.default_rng(length)
    sources, targets = (list(rng.integers(len(SPECIAL), words, (sentences, length))) for _ in range(2))
    return collate(sources, targets, range(sentences))


def _update(model: EncoderDecoder, batch: Batch) -> None:
    trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    loss = CrossEntropy()(trace, batch).sum()
    # Not backward(): gradients kept from the update before would not be in this one's peak.
    torch.autograd.grad(loss, [one for one in model.parameters() if one.requires_grad], allow_unused=True)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - started


def peak_of(work: Callable[[], None], device: torch.device) -> int:
    """The most bytes that tensors held during ``work``, beyond those that they held before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler tells standard error that it starts
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    assert profiler.profiler is not None
    found = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(found, key=lambda event: event.start_ns())]
    return int(max(np.cumsum(changes), default=0))
