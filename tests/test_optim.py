"""Schedules by numbers worked by hand; optimisers by their first step and by what they reach."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pydantic
import pytest
import torch
from torch import nn

from nmt.optim import OPTIMISERS, SCHEDULES, Constant, InverseSquareRoot, Plateau, Schedule, adadelta, adam, adamw
from nmt.recipe import TrainingSettings
from nmt.settings import choice

# ------------------------------------------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Constant(), {1: 1, 2: 1, 1000: 1}),
        (Constant(warmup=4), {1: 0.25, 2: 0.5, 3: 0.75, 4: 1, 5: 1, 1000: 1}),
        (InverseSquareRoot(warmup=4), {1: 0.25, 3: 0.75, 4: 1, 16: 0.5, 64: 0.25, 400: 0.1}),
        (InverseSquareRoot(warmup=1), {1: 1, 4: 0.5, 100: 0.1}),
        (Plateau(), {1: 1, 1000: 1}),
        (Plateau(warmup=10), {1: 0.1, 5: 0.5, 10: 1, 11: 1}),
    ],
)
def test_factors_by_hand(schedule: Schedule, factors: dict[int, float]) -> None:
    assert {update: schedule.factor(update) for update in factors} == pytest.approx(factors, abs=1e-12)


def test_the_inverse_square_root_is_vaswanis_up_to_its_peak() -> None:
    """lrate = d^−½ · min(step^−½, step · warmup^−1.5), divided by its value at the end of the warm-up."""
    schedule = InverseSquareRoot()
    for step in (1, 17, 3999, 4000, 4001, 100_000):
        wanted = min(step**-0.5, step * 4000**-1.5) / 4000**-0.5
        assert schedule.factor(step) == pytest.approx(wanted, rel=1e-12)


def factors_after(plateau: Plateau, improvements: str) -> list[float]:
    """The factor after every validation; + was the best so far, − was not."""
    found = []
    for one in improvements:
        plateau.observe(one == "+")
        found.append(plateau.factor(1000))
    return found


def test_plateau_by_hand() -> None:
    assert factors_after(Plateau(), "+-+--") == [1, 0.5, 0.5, 0.25, 0.125]
    assert factors_after(Plateau(patience=2), "+-+--+---") == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert factors_after(Plateau(decay=0.1, floor=0.05), "---") == pytest.approx([0.1, 0.05, 0.05])
    warm = Plateau(warmup=100)
    warm.observe(False)
    assert warm.factor(50) == 0.25


def test_a_constant_rate_hears_nothing() -> None:
    schedule = Constant()
    schedule.observe(False)
    assert schedule.factor(1) == 1


def test_a_cooldown_is_a_line_from_what_another_says_to_nothing() -> None:
    schedule = choice(SCHEDULES).validate({"kind": "cooldown", "start": 4, "end": 8}).build(SCHEDULES)
    assert [schedule.factor(update) for update in (1, 3, 4, 5, 6, 7, 8, 9)] == [1, 1, 1, 0.75, 0.5, 0.25, 0, 0]
    inner = {"kind": "inverse-square-root", "warmup": 2}
    schedule = choice(SCHEDULES).validate({"kind": "cooldown", "start": 4, "end": 8, "inner": inner}).build(SCHEDULES)
    assert [schedule.factor(update) for update in (1, 2, 4, 6)] == [0.5, 1, 0.5**0.5, (1 / 3) ** 0.5 / 2]


def test_a_cooldown_of_a_plateau_knows_of_every_validation() -> None:
    settings = {"kind": "cooldown", "start": 4, "end": 8, "inner": {"kind": "plateau", "decay": 0.5}}
    schedule = choice(SCHEDULES).validate(settings).build(SCHEDULES)
    schedule.observe(True)
    schedule.observe(False)
    assert (schedule.factor(1), schedule.factor(6)) == (0.5, 0.25)
    assert schedule.state() == {"waited": 0, "reductions": 1}


def test_a_cooldown_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(pydantic.ValidationError, match="a cooldown from update 9 must end after that, not at 9"):
        TrainingSettings.model_validate({"epochs": 1, "schedule": {"kind": "cooldown", "start": 9, "end": 9}})


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("cut", [0, 1, 3, 4])
def test_a_restored_schedule_goes_on_as_if_nothing_had_happened(kind: str, cut: int) -> None:
    history = "+--+---"
    plateau = {"kind": "plateau", "patience": 2}
    settings = {"plateau": plateau, "cooldown": {"kind": kind, "start": 6, "end": 11, "inner": plateau}}
    chosen = choice(SCHEDULES).validate(settings.get(kind, kind))
    whole, before, after = (chosen.build(SCHEDULES) for _ in range(3))
    for one in history[:cut]:
        before.observe(one == "+")
    after.restore(json.loads(json.dumps(before.state())))
    for one in history[:cut]:
        whole.observe(one == "+")
    for one in history[cut:]:
        assert after.factor(9) == whole.factor(9)
        whole.observe(one == "+")
        after.observe(one == "+")
    assert after.factor(9) == whole.factor(9)
    assert after.state() == whole.state()


# ----------------------------------------------------------------------------------------------------- optimisers


def step(make: object, at: float, gradient: float, **settings: float) -> float:
    """Where one step leads from ``at``."""
    parameter = nn.Parameter(torch.tensor([at], dtype=torch.float64))
    optimiser = make([parameter], **settings)
    parameter.grad = torch.tensor([gradient], dtype=torch.float64)
    optimiser.step()
    return parameter.item()


def test_first_steps_by_hand() -> None:
    """After one step the moments are the gradient's own, so Adam moves by rate · g / (|g| + ε)."""
    assert step(adam, 1.0, 4.0, rate=0.1) == pytest.approx(0.9, abs=1e-8)
    assert step(adam, 1.0, -4.0, rate=0.1, epsilon=4.0) == pytest.approx(1.05, abs=1e-12)
    assert step(adamw, 1.0, 4.0, rate=0.1, decay=0.5) == pytest.approx(0.95 - 0.1, abs=1e-8)
    # Adadelta: Δ = −√(0 + ε) / √((1 − ρ) g² + ε) · g
    wanted = 1.0 - math.sqrt(1e-6) / math.sqrt(0.05 * 16 + 1e-6) * 4.0
    assert step(adadelta, 1.0, 4.0) == pytest.approx(wanted, abs=1e-12)
    assert step(adadelta, 1.0, 4.0, rate=0.5) == pytest.approx((1.0 + wanted) / 2, abs=1e-12)


def test_second_step_of_adam_by_hand() -> None:
    """m̂ and v̂ with both betas: g = 1 then 3."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimiser = adam([parameter], rate=0.1, beta1=0.5, beta2=0.75)
    for gradient in (1.0, 3.0):
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimiser.step()
    m, v = (0.25 * 1 + 0.5 * 3) / (1 - 0.25), (0.1875 * 1 + 0.25 * 9) / (1 - 0.5625)
    assert parameter.item() == pytest.approx(-0.1 - 0.1 * m / math.sqrt(v), abs=1e-8)


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_optimiser_descends(kind: str, dtype: torch.dtype) -> None:
    """Σ k x_k², from 1: every one of 20 steps of the default settings lowers it."""
    x = nn.Parameter(torch.ones(5, dtype=dtype))
    optimiser = OPTIMISERS[kind]([x])
    values = []
    for _ in range(21):
        optimiser.zero_grad()
        value = (torch.arange(1, 6) * x**2).sum()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert all(later < earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_a_rate_of_almost_nothing_moves_almost_nothing(kind: str) -> None:
    """The setting reaches the optimiser, and a schedule finds it where torch keeps it."""
    x = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimiser = OPTIMISERS[kind]([x], rate=1e-9)
    assert [group["lr"] for group in optimiser.param_groups] == [1e-9]
    x.grad = torch.ones_like(x)
    optimiser.step()
    assert 0 < 1 - x.item() < 1e-8
