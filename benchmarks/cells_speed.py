"""Speed of a bidirectional layer of an encoder: our steps beside torch's own loop.

    OMP_NUM_THREADS=1 python benchmarks/cells_speed.py

Processor time on one thread, the best of several runs, of 64 sentences of 21 to 25 words: training is values and
gradients, encoding the values alone. The size is that of what a cell reads and of its state. What is faster here by
torch's loop stands in ``nmt.cells.sequence.FASTER``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import click
import torch
from torch import Tensor

from nmt.cells import CELLS, Cell, fused, unroll

SENTENCES, LONGEST, SHORTEST = 64, 25, 21


def milliseconds(function: Callable[[], object], runs: int) -> float:
    """Processor time of the fastest of several runs, after one that warms up."""
    function()
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return 1000 * best


def both(way: Callable[..., Tensor], forth: Cell, back: Cell, x_BTX: Tensor, valid_BT: Tensor) -> Tensor:
    """h of both directions side by side."""
    start_BH = x_BTX.new_zeros(len(x_BTX), forth.hidden_size)
    return torch.cat(
        [
            way(forth, x_BTX, valid_BT, forth.start(start_BH)),
            way(back, x_BTX, valid_BT, back.start(start_BH), backward=True),
        ],
        dim=-1,
    )


@click.command()
@click.option("--sizes", default="128,512", help="Sizes of state and input (128,512).")
@click.option("--runs", default=9, help="How often each is run; the best counts (9).")
def main(sizes: str, runs: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    click.echo(f"{'cell':<18} {'size':>4} {'way':<6} {'training':>11} {'encoding':>11}")
    for size in map(int, sizes.split(",")):
        x_BTX = torch.randn(SENTENCES, LONGEST, size, requires_grad=True)
        length_B = torch.randint(SHORTEST, LONGEST + 1, (SENTENCES,))
        valid_BT = torch.arange(LONGEST) < length_B.unsqueeze(1)
        for name, make in CELLS.items():
            forth, back = make(size, size), make(size, size)
            for way in (unroll, fused):
                if way is fused and forth.kernel is None:
                    continue
                layer = partial(both, way, forth, back, x_BTX, valid_BT)
                training = milliseconds(lambda: layer().sum().backward(), runs)  # noqa: B023
                with torch.no_grad():
                    encoding = milliseconds(layer, runs)
                click.echo(f"{name:<18} {size:>4} {way.__name__:<6} {training:>8.1f} ms {encoding:>8.1f} ms")


if __name__ == "__main__":
    main()
