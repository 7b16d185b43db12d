"""Speed of the search: sentences a second of random weights, whose translations are forced to one length.

    OMP_NUM_THREADS=1 python benchmarks/decoding_speed.py

Processor time on one thread, the best of several alternating runs. A one-layer bidirectional encoder and a one-layer
decoder, GRU, additive attention, all sizes 512, 8,000 words, sources of 24 words on average. *copied* gives every
hypothesis a copy of its sentence's keys, which the search does without.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
import numpy as np
import torch
from torch import Tensor

from nmt.batching import collate, plan_sorted
from nmt.model import Model, RecurrentSettings, Trace, build_model
from nmt.search import SearchSettings, beam_search
from nmt.settings import Choice
from nmt.tree import State, repeat, rows

WORDS, LENGTH = 8000, 30


class Copied(Model):
    """A model that copies the memory of a sentence for each of its hypotheses, at every step."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def encode(self, source_BS: Tensor, valid_BS: Tensor) -> State:
        return self.model.encode(source_BS, valid_BS)

    def start(self, memory: State) -> State:
        return self.model.start(memory)

    def decode(self, token_BT: Tensor, memory: State, state: State) -> tuple[Trace, State]:
        return self.model.decode(token_BT, repeat(memory, len(token_BT) // rows(memory)), state)


def sentences_a_second(model: Model, sources: Sequence[Sequence[int]], settings: SearchSettings, coarse: bool) -> float:
    start = time.process_time()
    for places in plan_sorted(np.array([len(ids) for ids in sources]), tokens=settings.batch_tokens):
        batch = collate([sources[place] for place in places], [[] for _ in places], places)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=coarse):
            beam_search(model, batch.source_BS, batch.source_valid_BS, settings)
    return len(sources) / (time.process_time() - start)


@click.command()
@click.option("--sentences", default=200, help="How many sentences (200).")
@click.option("--beam", default=5, help="Width of the beam (5).")
@click.option("--attention", default="bahdanau", help="The attention (bahdanau).")
@click.option("--batch-tokens", default="1300,4000", help="Source tokens searched at once (1300,4000).")
@click.option("--runs", default=3, help="How often each is run; the best counts (3).")
def main(sentences: int, beam: int, attention: str, batch_tokens: str, runs: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    sources = [random.integers(4, WORDS, length).tolist() for length in random.poisson(24, sentences).clip(5, 60)]
    settings = RecurrentSettings(
        embedding=512, hidden=512, attention=Choice(attention), wiring="update-then-look", readout="direct"
    )
    model = build_model(settings, WORDS, WORDS).eval()
    ways = {"copied": (Copied(model), False), "float32": (model, False), "bfloat16": (model, True)}
    click.echo(f"{'tokens':>6} " + " ".join(f"{name:>9}" for name in ways) + "   sentences/s")
    for tokens in map(int, batch_tokens.split(",")):
        search = SearchSettings(beam=beam, minimum_length=LENGTH, maximum_length=LENGTH, batch_tokens=tokens)
        best = dict.fromkeys(ways, 0.0)
        for _ in range(runs):
            for name, (one, coarse) in ways.items():
                best[name] = max(best[name], sentences_a_second(one, sources, search, coarse))
        click.echo(f"{tokens:>6} " + " ".join(f"{one:9.1f}" for one in best.values()))


if __name__ == "__main__":
    main()
