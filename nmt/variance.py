"""How much a gradient that is estimated from samples varies: measured, without leaving a trace in the training.

Shapes: P all parameters in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nmt.attention import Attention
from nmt.checkpoint import random_states, restore_random_states
from nmt.layers import modes_kept


def gradient_variance(
    loss: Callable[[], Tensor], parameters: Sequence[nn.Parameter], passes: int
) -> tuple[float, float]:
    """E‖g_k − ḡ‖² over the gradients g_k of so many evaluations of ``loss``, and the same divided by ‖ḡ‖².

    The first is the sum of the variances of all components (unbiased: divided by one less than the passes). ḡ is the
    mean of the few passes, whose own noise makes the second too low when it is large: it cannot exceed the number of
    passes. The gradients that the parameters hold stay as they are.
    """
    mean_P = torch.cat([torch.zeros_like(one).flatten() for one in parameters])
    squares = mean_P.new_zeros(())
    for number in range(1, passes + 1):
        parts = torch.autograd.grad(loss(), parameters, materialize_grads=True)
        gradient_P = torch.cat([part.flatten() for part in parts])
        away_P = gradient_P - mean_P
        mean_P = mean_P + away_P / number
        squares = squares + away_P @ (gradient_P - mean_P)
    variance = float(squares) / (passes - 1)
    return variance, variance / max(float(mean_P.square().sum()), torch.finfo(mean_P.dtype).tiny)


@contextmanager
def only_sampling(model: nn.Module, objective: nn.Module) -> Iterator[None]:
    """In the block attention samples as in training, and there is no dropout: passes differ in what is sampled alone.

    Afterwards the random generators stand where they stood and the objective has learnt nothing, so that a training
    goes on as if the block had not been.
    """
    states = random_states()
    try:
        with modes_kept(model, objective):
            model.eval()
            objective.eval()
            for part in model.modules():
                if isinstance(part, Attention):
                    part.train()
            yield
    finally:
        restore_random_states(states)
