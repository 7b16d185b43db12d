"""Losses against plain loops over their equations, and the sum they make."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import numpy as np
import pydantic
import pytest
import torch
from references import cross_entropy
from runs import write_project
from torch import Tensor

from nmt.batching import Batch, collate
from nmt.losses import LOSSES, Objective, PartSettings
from nmt.losses.coverage import Coverage, DoublyStochastic
from nmt.losses.likelihood import CrossEntropy, last_reading
from nmt.model import Trace
from nmt.recipe import load_recipe

V, E = 7, 3
SOURCES = [[4], [4, 5], [4]]  # and EOS
TARGETS = [[4, 5, 6, 4], [], [6]]  # and EOS
# Target position, source position, 1 sure or 0 possible: one with links, one without, one with a possible link alone.
LINKS = [np.array([[0, 0, 1], [1, 0, 1], [1, 1, 0]]), np.empty((0, 3), np.int64), np.array([[0, 0, 0]])]


def a_batch() -> Batch:
    return collate(SOURCES, TARGETS, range(3), LINKS)


def a_trace(dtype: torch.dtype = torch.float64) -> Trace:
    batch = a_batch()
    logit_BTV = 2 * torch.randn(*batch.target_BT.shape, V, dtype=dtype)
    weight_BTS = torch.rand(*batch.target_BT.shape, batch.source_BS.shape[1], dtype=dtype)
    return Trace(
        logit_BTV,
        weight_BTS,
        torch.randn(batch.target_BT.shape, dtype=dtype),
        torch.randn(*batch.target_BT.shape, E, dtype=dtype),
        2 * torch.rand(batch.source_BS.shape, dtype=dtype),
    )


def by_hand(trace: Trace, smoothing: float = 0.0) -> list[float]:
    wanted = []
    for row, target in enumerate(TARGETS):
        words = [*target, 3]
        wanted.append(cross_entropy(trace.logit_BTV[row, : len(words)].tolist(), words, smoothing))
    return wanted


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_equals_its_equation(smoothing: float) -> None:
    trace = a_trace()
    found = CrossEntropy(smoothing=smoothing)(trace, a_batch())
    assert found.tolist() == pytest.approx(by_hand(trace, smoothing), abs=1e-10)


def test_cross_entropy_of_a_model_that_knows_nothing() -> None:
    trace = a_trace()._replace(logit_BTV=torch.zeros(3, 5, V))
    wanted = [(len(target) + 1) * torch.tensor(float(V)).log().item() for target in TARGETS]
    for smoothing in (0.0, 0.3):
        assert CrossEntropy(smoothing=smoothing)(trace, a_batch()).tolist() == pytest.approx(wanted, rel=1e-6)


def of(kind: str) -> Callable[[Trace, Batch], Tensor]:
    """A loss that learns nothing from being looked at; what compares is compared with a trace of half the logits."""
    loss = LOSSES[kind]().eval()
    if not loss.compares:
        return loss
    return lambda trace, batch: loss(trace, batch, trace._replace(logit_BTV=trace.logit_BTV / 2))


@pytest.mark.parametrize("silly", [1e6, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", LOSSES)
def test_what_stands_in_the_padding_is_ignored(kind: str, silly: float) -> None:
    loss, trace, batch = of(kind), a_trace(), a_batch()
    found = loss(trace, batch)
    assert found.shape == (3,)
    padding_BT, padding_BS = ~batch.target_valid_BT, ~batch.source_valid_BS
    assert padding_BT.any()
    assert padding_BS.any()
    padding_BTS = padding_BT.unsqueeze(2) | padding_BS.unsqueeze(1)
    of_target = [padding_BT.unsqueeze(-1).expand_as(one) for one in (trace.logit_BTV, trace.context_BTE)]
    paddings = (of_target[0], padding_BTS, padding_BT, of_target[1], padding_BS)
    parts = [part.masked_fill(padding, silly).requires_grad_() for part, padding in zip(trace, paddings, strict=True)]
    padded = loss(Trace(*parts), batch)
    assert torch.equal(padded, found)
    gradients = torch.autograd.grad(padded.sum(), parts, materialize_grads=True)
    assert any(gradient.any() for gradient in gradients)
    for gradient, padding in zip(gradients, paddings, strict=True):
        assert not gradient[padding].any()
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("kind", LOSSES)
def test_a_loss_is_the_same_alone_and_among_others(kind: str) -> None:
    loss, trace = of(kind), a_trace()
    together = loss(trace, a_batch())
    for row, target in enumerate(TARGETS):
        length = len(target) + 1
        positions = len(SOURCES[row]) + 1
        logit_BTV, weight_BTS, choice_BT, context_BTE = (part[[row], :length] for part in trace[:4])
        fertility_BS = trace.fertility_BS[[row], :positions]
        alone = Trace(logit_BTV, weight_BTS[:, :, :positions], choice_BT, context_BTE, fertility_BS)
        batch = collate([SOURCES[row]], [target], [0], [LINKS[row]])
        assert float(loss(alone, batch)) == pytest.approx(float(together[row]), abs=1e-10)


def test_half_precision_logits_meet_the_softmax_in_single() -> None:
    trace = a_trace(torch.bfloat16)
    found = CrossEntropy()(trace, a_batch())
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(by_hand(trace), rel=1e-5)  # of the very numbers that bfloat16 holds


def test_gradients_are_those_of_finite_differences() -> None:
    trace, batch, loss = a_trace(), a_batch(), CrossEntropy(smoothing=0.1)

    def of(logit_BTV: Tensor) -> Tensor:
        return loss(trace._replace(logit_BTV=logit_BTV), batch)

    assert torch.autograd.gradcheck(of, trace.logit_BTV.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_last_reading_leaves_the_same_gradient_where_the_logits_were(dtype: torch.dtype) -> None:
    trace, batch, loss = a_trace(dtype), a_batch(), CrossEntropy(smoothing=0.1)
    leaf = trace.logit_BTV.requires_grad_()
    plain = torch.autograd.grad(loss(trace, batch).sum(), leaf)[0]
    logit_BTV = leaf.clone()
    with last_reading():
        total = loss(trace._replace(logit_BTV=logit_BTV), batch).sum()
    total.backward(retain_graph=True)
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, plain)
    assert torch.equal(logit_BTV, plain)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_a_last_reading_is_refused_where_another_needs_the_logits() -> None:
    trace, batch = a_trace(), a_batch()
    logit_BTV = trace.logit_BTV.requires_grad_().clone()
    with last_reading():
        both = logit_BTV.square().sum() + CrossEntropy()(trace._replace(logit_BTV=logit_BTV), batch).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        both.backward()


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, "0.1"])
def test_impossible_smoothing_is_refused(smoothing: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        PartSettings(loss={"kind": "cross-entropy", "smoothing": smoothing})


# ---------------------------------------------------------------------------------------------------- the objective


def part(smoothing: float, **values: float) -> PartSettings:
    return PartSettings(loss={"kind": "cross-entropy", "smoothing": smoothing}, **values)


def weighed(parts: list[PartSettings], trace: Trace, update: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    objective = Objective(parts)
    found: tuple[Tensor, dict[str, Tensor]] = objective(trace, a_batch(), objective.started(update))
    return found


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    trace = a_trace()
    total, _ = weighed([part(0.0), part(0.2, weight=0.25)], trace)
    wanted = [plain + 0.25 * smooth for plain, smooth in zip(by_hand(trace), by_hand(trace, 0.2), strict=True)]
    assert total.tolist() == pytest.approx(wanted, abs=1e-10)


@pytest.mark.parametrize(("update", "started"), [(1, False), (9, False), (10, True), (11, True)])
def test_a_part_starts_with_its_update(update: int, started: bool) -> None:
    trace = a_trace()
    total, _ = weighed([part(0.0), part(0.2, weight=2.0, start=10)], trace, update)
    both = [plain + 2 * smooth for plain, smooth in zip(by_hand(trace), by_hand(trace, 0.2), strict=True)]
    assert total.tolist() == pytest.approx(both if started else by_hand(trace), abs=1e-10)


def test_parts_are_named_and_unweighted() -> None:
    trace = a_trace()
    total, parts = weighed([part(0.0, weight=0.5)], trace)
    assert list(parts) == ["cross-entropy"]
    assert parts["cross-entropy"].tolist() == pytest.approx(by_hand(trace), abs=1e-10)
    assert total.tolist() == pytest.approx([0.5 * one for one in by_hand(trace)], abs=1e-10)


def test_nothing_has_started_yet() -> None:
    total, parts = weighed([part(0.0, start=5)], a_trace(), update=4)
    assert total.tolist() == [0.0, 0.0, 0.0]
    assert parts == {}


# ------------------------------------------------------------------------------------------- coverage in the loss


def attention_by_hand(trace: Trace) -> list[list[list[float]]]:
    """The rows of real target positions, their columns the real source positions."""
    lengths = zip(TARGETS, SOURCES, strict=True)
    return [
        [line[: len(source) + 1] for line in trace.weight_BTS[row, : len(target) + 1].tolist()]
        for row, (target, source) in enumerate(lengths)
    ]


def test_the_coverage_loss_equals_its_equation() -> None:
    trace = a_trace()
    wanted = []
    for rows in attention_by_hand(trace):
        total = 0.0
        for t, row in enumerate(rows):
            for i, weight in enumerate(row):
                total += min(weight, sum(rows[before][i] for before in range(t)))
        wanted.append(total)
    assert Coverage()(trace, a_batch()).tolist() == pytest.approx(wanted, abs=1e-12)


def attending(rows: list[list[float]]) -> tuple[Trace, Batch]:
    """A sentence whose attention is this, the end of both sentences among it."""
    weight_BTS = torch.tensor([rows])
    batch = collate([[4] * (len(rows[0]) - 1)], [[4] * (len(rows) - 1)], [0])
    nothing_BT, fertility_BS = torch.zeros(1, len(rows)), torch.ones(1, len(rows[0]))
    return Trace(
        torch.zeros(1, len(rows), V), weight_BTS, nothing_BT, torch.zeros(1, len(rows), E), fertility_BS
    ), batch


def test_coverage_of_a_diagonal_is_free_and_a_repeated_column_is_not() -> None:
    assert Coverage()(*attending([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])).item() == 0
    assert Coverage()(*attending([[1.0, 0], [1.0, 0], [1.0, 0]])).item() == 2
    # The first step is covered by nothing, were it as peaked as can be: the present step does not count.
    assert Coverage()(*attending([[1.0, 0]])).item() == 0
    assert Coverage()(*attending([[0.5, 0.5], [0.25, 0.75]])).item() == pytest.approx(0.25 + 0.5)


@pytest.mark.parametrize("share", [None, 1.0, 0.4])
def test_the_doubly_stochastic_penalty_equals_its_equation(share: float | None) -> None:
    trace = a_trace()
    wanted = []
    for rows in attention_by_hand(trace):
        wished = len(rows) / len(rows[0]) if share is None else share
        wanted.append(sum((wished - sum(column)) ** 2 for column in zip(*rows, strict=True)))
    assert DoublyStochastic(share=share)(trace, a_batch()).tolist() == pytest.approx(wanted, abs=1e-12)


def test_even_attention_is_doubly_stochastic() -> None:
    assert DoublyStochastic()(*attending([[0.5, 0.5]] * 4)).item() == 0
    assert DoublyStochastic(share=1.0)(*attending([[0.5, 0.5]] * 4)).item() == 2


@pytest.mark.parametrize("kind", ["coverage", "doubly-stochastic"])
def test_a_coverage_penalty_has_the_right_gradient(kind: str) -> None:
    trace, batch = a_trace(), a_batch()
    # Away from the kinks of the minimum: random weights meet nowhere.
    weight_BTS = trace.weight_BTS.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: LOSSES[kind]()(trace._replace(weight_BTS=w), batch), (weight_BTS,))


# -------------------------------------------------------------------------------------------------- documentation

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "losses.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_is_documented_with_its_settings(kind: str) -> None:
    (section,) = (one for one in DOCUMENT.split("\n## ")[1:] if kind in one.split("\n")[0].split())
    if "hard-attention.md" not in section:
        assert all(f"`{name}" in section for name in PartSettings(loss=kind).loss.settings)


def test_what_the_documentation_shows_is_understood(tmp_path: Path) -> None:
    snippets = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    kinds = set()
    for number, snippet in enumerate(snippets):
        whole = snippet if snippet.startswith("training:") else f"training:\n  objective:\n{indent(snippet, '  ')}"
        place = write_project(tmp_path / str(number))
        added = tmp_path / str(number) / "shown.yaml"
        added.write_text(f"base: {place.name}\n{whole}")
        kinds |= {part.loss.kind for part in load_recipe(added).training.objective}
    assert kinds == LOSSES.keys() - {"reinforce", "entropy"}
