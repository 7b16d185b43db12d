"""Optimisers and learning-rate schedules, and the tables by which recipes choose them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from torch.autograd.graph import increment_version
from torch.optim import Optimizer

from nmt.settings import Builder, Choice

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Update = Annotated[int, Field(ge=1)]


def _counted(optimiser: Optimizer) -> Optimizer:
    """Its fused step changes weights and torch does not count that; a search that has computed something from them (see
    :class:`~nmt.search.prepared.Prepared`) goes by the count."""

    def count(optimiser: Optimizer, *step: Any) -> None:
        increment_version([one for group in optimiser.param_groups for one in group["params"]])

    optimiser.register_step_post_hook(count)
    return optimiser


def adam(
    parameters: Iterable[nn.Parameter],
    *,
    rate: Positive = 0.001,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    epsilon: Positive = 1e-8,
) -> Optimizer:
    """Adam (Kingma and Ba 2015)."""
    return _counted(torch.optim.Adam(parameters, lr=rate, betas=(beta1, beta2), eps=epsilon, fused=True))


def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    rate: Positive = 0.001,
    beta1: Share = 0.9,
    beta2: Share = 0.999,
    epsilon: Positive = 1e-8,
    decay: Annotated[float, Field(ge=0)] = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
    betas = beta1, beta2
    return _counted(torch.optim.AdamW(parameters, lr=rate, betas=betas, eps=epsilon, weight_decay=decay, fused=True))


def adadelta(
    parameters: Iterable[nn.Parameter], *, rate: Positive = 1.0, rho: Share = 0.95, epsilon: Positive = 1e-6
) -> Optimizer:
    """Adadelta (Zeiler 2012), as Bahdanau et al. 2015 and Zhang et al. 2017 use it."""
    return torch.optim.Adadelta(parameters, lr=rate, rho=rho, eps=epsilon)


OPTIMISERS: dict[str, Callable[..., Optimizer]] = {"adam": adam, "adamw": adamw, "adadelta": adadelta}


class Schedule:
    """A factor on the optimiser's rate, from the number of the update (1 is the first) and the validations so far."""

    def factor(self, update: int) -> float:
        """What the rate is multiplied by at an update."""
        raise NotImplementedError

    def observe(self, improved: bool) -> None:
        """Told after every validation whether it was the best so far."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep, as JSON."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` gave."""


class Constant(Schedule):
    """The same rate from the first update, or from the end of a linear warm-up, to the last."""

    def __init__(self, *, warmup: Annotated[int, Field(ge=0)] = 0) -> None:
        self.warmup = warmup

    def factor(self, update: int) -> float:
        return min(1.0, update / self.warmup) if self.warmup else 1.0


class InverseSquareRoot(Schedule):
    """Linear warm-up to the full rate at update ``warmup``, then √(warmup / update) (Vaswani et al. 2017, eq. 3)."""

    def __init__(self, *, warmup: Annotated[int, Field(ge=1)] = 4000) -> None:
        self.warmup = warmup

    def factor(self, update: int) -> float:
        return float(min(update / self.warmup, (self.warmup / update) ** 0.5))


class Plateau(Schedule):
    """The rate is multiplied by ``decay`` whenever ``patience`` validations in a row were not the best so far."""

    def __init__(
        self,
        *,
        decay: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        patience: Annotated[int, Field(ge=1)] = 1,
        warmup: Annotated[int, Field(ge=0)] = 0,
        floor: Annotated[float, Field(ge=0, le=1)] = 0.0,
    ) -> None:
        self.decay, self.patience, self.warmup, self.floor = decay, patience, warmup, floor
        self.waited, self.reductions = 0, 0

    def factor(self, update: int) -> float:
        warm = min(1.0, update / self.warmup) if self.warmup else 1.0
        return warm * max(self.floor, self.decay**self.reductions)

    def observe(self, improved: bool) -> None:
        self.waited = 0 if improved else self.waited + 1
        if self.waited == self.patience:
            self.waited, self.reductions = 0, self.reductions + 1

    def state(self) -> dict[str, Any]:
        return {"waited": self.waited, "reductions": self.reductions}

    def restore(self, state: dict[str, Any]) -> None:
        self.waited, self.reductions = state["waited"], state["reductions"]


class Cooldown(Schedule):
    """What another schedule says until update ``start``, and from there on linearly less of it, down to 0 at ``end``.

    Late, low rates are what the last points of a score come from; with a schedule that never ends, training can be
    stopped anywhere, and so be longer than planned (Hägele et al. 2024; not verified against the paper).
    Raises ``ValueError`` when it ends before it starts.
    """

    def __init__(self, *, start: Update, end: Update, inner: Builder = Choice("constant")) -> None:
        if end <= start:
            raise ValueError(f"a cooldown from update {start} must end after that, not at {end}")
        self.start, self.end, self.inner = start, end, inner()

    def factor(self, update: int) -> float:
        left = (self.end - update) / (self.end - self.start)
        return float(self.inner.factor(update) * min(1.0, max(0.0, left)))

    def observe(self, improved: bool) -> None:
        self.inner.observe(improved)

    def state(self) -> dict[str, Any]:
        return dict(self.inner.state())

    def restore(self, state: dict[str, Any]) -> None:
        self.inner.restore(state)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "inverse-square-root": InverseSquareRoot,
    "plateau": Plateau,
    "cooldown": Cooldown,
}
