"""Time and memory by length, against what is known of the tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import write_project

from nmt.cost import Costs, cost_by_length, fitted_exponent, peak_of
from nmt.recipe import Recipe, load_recipe

CPU = torch.device("cpu")
FLOAT = 4  # bytes


def recipe_of(tmp_path: Path, *overrides: str) -> Recipe:
    return load_recipe(write_project(tmp_path), overrides)


def test_the_peak_is_that_of_the_tensors_alive() -> None:
    before = torch.ones(5000)

    def work() -> None:
        one = torch.ones(1000)
        two = one + before[:1000]
        del one  # no longer there when the next comes
        torch.ones(2000)
        del two

    assert peak_of(work, CPU) == 3000 * FLOAT


def test_what_a_product_takes_for_its_gradient_is_in_the_peak() -> None:
    """A softmax keeps its output; its gradient is made beside it, from one of the same size."""
    x = torch.zeros(64, 64, requires_grad=True)

    def work() -> None:
        torch.autograd.grad((x.softmax(dim=-1) * 2).sum(), x)

    assert peak_of(work, CPU) >= 2 * 64 * 64 * FLOAT


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_of_a_power(power: float) -> None:
    lengths = (3, 7, 20, 100)
    costs = [5 * length**power for length in lengths]
    assert fitted_exponent(lengths, costs) == pytest.approx(power)
    assert Costs(lengths, tuple(costs), tuple(int(1e9 * c) for c in costs)).exponents() == pytest.approx((power, power))
    shifted = [cost + 50 for cost in costs]  # what does not grow makes it smaller
    assert fitted_exponent(lengths, shifted) < power


def test_the_exponent_is_that_of_the_longer_half() -> None:
    lengths = (8, 1, 4, 2)
    assert Costs(lengths, (64.0, 9.0, 16.0, 9.0), (8, 5, 4, 5)).exponents() == pytest.approx((2, 1))
    assert Costs((4, 2), (16.0, 4.0), (4, 2)).exponents() == pytest.approx((2, 1))
    assert Costs((4, 2, 1), (16.0, 4.0, 9.0), (4, 2, 9)).exponents() == pytest.approx((2, 1))


def test_an_exponent_needs_two_lengths() -> None:
    with pytest.raises(ValueError, match="two lengths"):
        fitted_exponent([4, 4], [1.0, 2.0])


def growth(recipe: Recipe) -> float:
    """By how much more the second doubling of the length adds than the first: 2 of what is linear, 4 of a square."""
    short, middle, long = cost_by_length(recipe, (32, 64, 128), words=20, repeats=1).memory
    return (long - middle) / (middle - short)


def test_memory_is_linear_but_for_the_weights_of_attention(tmp_path: Path) -> None:
    """Attention to the source keeps heads by T by S numbers; the wide layers of the others outweigh one head's."""
    sizes = "kind: transformer, embedding: 8, encoder_layers: 1, decoder_layers: 1"
    heads = recipe_of(tmp_path, f"model={{{sizes}, heads: 8, hidden: 8}}")
    wide = recipe_of(tmp_path, f"model={{{sizes}, heads: 1, hidden: 2048}}")
    recurrent = recipe_of(tmp_path, "model.hidden=64", "model.attention=general")
    assert growth(heads) > 3.6
    assert growth(wide) < 2.5
    assert growth(recurrent) < 2.5


def test_costs_are_of_the_recipes_model(tmp_path: Path) -> None:
    small, large = (
        cost_by_length(recipe_of(tmp_path, f"model.hidden={size}"), (8, 16), words=20, repeats=1) for size in (8, 128)
    )
    assert small.lengths == (8, 16)
    assert all(one > 0 for one in small.seconds)
    assert all(b > 2 * a for a, b in zip(small.memory, large.memory, strict=True))
