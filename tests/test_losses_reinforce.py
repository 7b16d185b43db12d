"""REINFORCE and the exact marginal against full enumeration of all alignments."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pydantic
import pytest
import torch
from torch import Tensor

from nmt.attention import hard
from nmt.batching import Batch, collate
from nmt.decoder import WIRINGS, MarginalDecoder
from nmt.losses import Objective, PartSettings
from nmt.losses.base import word_log_probs
from nmt.losses.likelihood import CrossEntropy
from nmt.losses.reinforce import (
    BASELINES,
    REWARDS,
    Entropy,
    MovingAverage,
    OtherSamples,
    Reinforce,
    entropies,
    sampled,
    sampling_figures,
)
from nmt.model import EncoderDecoder, RecurrentSettings, Trace, build_model
from nmt.recipe import TrainingSettings
from nmt.settings import choice
from nmt.tree import repeat, select

DOUBLE = torch.float64
WORDS, S = 7, 3
HARD = {"kind": "hard", "expectation": 0.0}
every_wiring = pytest.mark.parametrize("wiring", WIRINGS)


def a_model(**changes: Any) -> EncoderDecoder:
    settings = RecurrentSettings(**{"embedding": 3, "hidden": 4, "attention": HARD, **changes})
    model = build_model(settings, WORDS, WORDS).double().train()
    with torch.no_grad():
        for one in model.parameters():
            one.uniform_(-1, 1)
    return model


def a_batch(length: int) -> Batch:
    """One pair; ``length`` target positions with the end of the sentence."""
    return collate([[4, 6]], [[5, 4, 6][: length - 1]], [0])


class Everything:
    """A pair decoded once with each of the S^T alignments, in place of sampling."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: EncoderDecoder, length: int) -> None:
        self.model, pair = model, a_batch(length)
        self.alignments = list(itertools.product(range(S), repeat=length))
        self.memory = repeat(model.encode(pair.source_BS, pair.source_valid_BS), len(self.alignments))
        self.batch: Batch = repeat(pair, len(self.alignments))
        columns = iter(torch.tensor(self.alignments).T)
        monkeypatch.setattr(hard, "drawn", lambda weight_BTS: next(columns).unsqueeze(1))
        self.trace, _ = model.decode(self.batch.input_BT, self.memory, model.start(self.memory))
        self.log_prob_A = self.trace.choice_BT.sum(dim=1)  # log p(s)
        self.word_A = word_log_probs(self.trace, self.batch).sum(dim=1)  # log p(y | s)

    def gradient(self, number: Tensor) -> list[Tensor]:
        return list(
            torch.autograd.grad(number, list(self.model.parameters()), retain_graph=True, materialize_grads=True)
        )

    def predict(self) -> Trace:
        return self.model.predict(self.batch.input_BT, self.memory)

    def of_surrogate(self, reinforce: Reinforce) -> list[Tensor]:
        """E_s of the gradient that training would use."""
        predicted = (self.predict(),) if reinforce.compares else ()
        loss_A = CrossEntropy()(self.trace, self.batch) + reinforce(self.trace, self.batch, *predicted)
        return self.gradient((self.log_prob_A.exp().detach() * loss_A).sum())

    def of_expectation(self) -> list[Tensor]:
        """The gradient of −E_s log p(y | s)."""
        return self.gradient(-(self.log_prob_A.exp() * self.word_A).sum())


def difference(ones: list[Tensor], others: list[Tensor]) -> float:
    return max(float((one - other).detach().abs().max()) for one, other in zip(ones, others, strict=True))


def reinforce(reward: Any = "to-go", baseline: Any = "none") -> Reinforce:
    chosen: Mapping[str, Any] = {
        "reward": choice(REWARDS).validate(reward),
        "baseline": choice(BASELINES).validate(baseline),
    }
    return Reinforce(**chosen).double().eval()


# --------------------------------------------------------------------------------------- the gradient, by enumeration


@every_wiring
def test_all_alignments_are_one(wiring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is enumerated is a distribution; so the enumeration is of everything."""
    every = Everything(monkeypatch, a_model(wiring=wiring), 3)
    assert len(every.alignments) == 27
    assert float(every.log_prob_A.exp().sum().detach()) == pytest.approx(1, abs=1e-12)
    assert float(every.word_A.detach().std()) > 0.01


@every_wiring
@pytest.mark.parametrize("reward", ["sentence", "to-go"])
@pytest.mark.parametrize("baseline", ["none", "moving-average", "self-critical"])
def test_the_estimate_is_unbiased(wiring: str, reward: str, baseline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    every, loss = Everything(monkeypatch, a_model(wiring=wiring), 3), reinforce(reward, baseline)
    if isinstance(loss.baseline, MovingAverage):
        loss.baseline.average.fill_(-4.2)
    assert difference(every.of_surrogate(loss), every.of_expectation()) < 1e-10


@pytest.mark.parametrize(
    "attention",
    [
        {"kind": "gatt", "inner": HARD},
        {**HARD, "inner": "coverage-linguistic"},
        {**HARD, "prediction": "expectation"},
    ],
    ids=["gatt(hard)", "hard(coverage)", "soft baseline"],
)
def test_the_estimate_is_unbiased_in_compositions(attention: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    every = Everything(monkeypatch, a_model(attention=attention), 2)
    loss = reinforce("to-go", "self-critical")
    assert difference(every.of_surrogate(loss), every.of_expectation()) < 1e-10


@every_wiring
def test_without_its_score_the_estimate_is_biased(wiring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail: cross-entropy alone is not the gradient of its expectation."""
    every = Everything(monkeypatch, a_model(wiring=wiring), 3)
    alone = every.gradient((every.log_prob_A.exp().detach() * CrossEntropy()(every.trace, every.batch)).sum())
    assert difference(alone, every.of_expectation()) > 1e-3


@every_wiring
@pytest.mark.parametrize("discount", [0.0, 0.5])
def test_a_discount_is_exact_where_no_state_reads_the_context(
    wiring: str, discount: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = Everything(monkeypatch, a_model(wiring=wiring), 3)
    loss = reinforce({"kind": "to-go", "discount": discount}, "self-critical")
    exact = difference(every.of_surrogate(loss), every.of_expectation()) < 1e-10
    assert exact == (wiring == "unfed")


@every_wiring
def test_other_samples_are_an_unbiased_baseline(wiring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all pairs of alignments, two samples of one pair each."""
    every = Everything(monkeypatch, a_model(wiring=wiring), 2)
    pairs = list(itertools.product(range(len(every.alignments)), repeat=2))
    rows_N = torch.tensor(pairs).flatten()
    trace, batch = select(every.trace, rows_N), select(every.batch, rows_N)
    batch = batch._replace(number_B=torch.arange(len(pairs)).repeat_interleave(2))
    loss_N = CrossEntropy()(trace, batch) + reinforce("to-go", "other-samples")(trace, batch)
    both_P = every.log_prob_A[rows_N].view(-1, 2).sum(dim=1).exp().detach()
    found = every.gradient((both_P * loss_N.view(-1, 2).mean(dim=1)).sum())
    assert difference(found, every.of_expectation()) < 1e-10


def test_baselines_lower_the_variance_and_rewards_to_go_do_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """E ‖g − E g‖² over all alignments, exactly, for losses of which each sees a constant part it can do without."""
    every = Everything(monkeypatch, a_model(wiring="unfed"), 2)

    def variance(loss: Reinforce) -> float:
        predicted = (every.predict(),) if loss.compares else ()
        loss_A = loss(every.trace, every.batch, *predicted)
        gradients = [torch.cat([g.flatten() for g in every.gradient(one)]) for one in loss_A]
        prob_A1 = every.log_prob_A.exp().detach().unsqueeze(1)
        gradient_AP = torch.stack(gradients)
        return float((prob_A1 * (gradient_AP - (prob_A1 * gradient_AP).sum(0)) ** 2).sum())

    assert variance(reinforce("to-go")) < variance(reinforce("sentence"))
    for reward in ("to-go", "sentence"):
        assert variance(reinforce(reward, "self-critical")) < variance(reinforce(reward))


def test_the_entropy_term_is_that_of_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    every = Everything(monkeypatch, a_model(wiring="unfed"), 3)
    found = every.gradient((every.log_prob_A.exp().detach() * Entropy()(every.trace, every.batch)).sum())
    weight_TS = every.trace.weight_BTS[0]
    wanted = every.gradient(sum(a * a.log() for row in weight_TS for a in row))
    assert difference(found, wanted) < 1e-10


# ------------------------------------------------------------------------------------------- the marginal likelihood


def marginal_of(hard: EncoderDecoder, **changes: Any) -> EncoderDecoder:
    """The model with the weights of a hard one that adds up over where to look."""
    marginal = a_model(attention="bahdanau", wiring="unfed", output="marginal", **changes)
    weights = {name.replace("attention.inner.", "attention."): one for name, one in hard.state_dict().items()}
    marginal.load_state_dict(weights)
    return marginal


@pytest.mark.parametrize("readout", ["tanh", "maxout"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_marginal_is_the_sum_over_all_alignments(
    readout: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hard = a_model(wiring="unfed", readout=readout)
    every, pair = Everything(monkeypatch, hard, length), a_batch(length)
    wanted = (every.log_prob_A + every.word_A).exp().sum().log()
    marginal = marginal_of(hard, readout=readout)
    trace = marginal(pair.source_BS, pair.source_valid_BS, pair.input_BT)
    found = -CrossEntropy()(trace, pair).sum()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(trace.logit_BTV.exp().sum(-1), torch.ones(1, length, dtype=DOUBLE), rtol=0, atol=1e-12)
    # E_s log p(y | s) is a bound on it (Xu et al. 2015, equation 10).
    assert float((every.log_prob_A.exp() * every.word_A).sum().detach()) < float(found.detach()) - 1e-6
    gradients = torch.autograd.grad(found, list(marginal.parameters()))
    assert difference(list(gradients), every.gradient(wanted)) < 1e-10


def test_in_pieces_the_marginal_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast equals plain: what is computed at once, and in pieces, again when the gradient is."""
    model = a_model(attention="bahdanau", wiring="unfed", output="marginal")
    batch = collate([[4, 6, 5], [4]], [[5, 4], [6, 6, 6, 4]], [0, 1])
    ends = []
    for chunk in (2**24, 3 * 4 * WORDS, 1):
        monkeypatch.setattr(MarginalDecoder, "CHUNK", chunk)
        trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        loss = CrossEntropy()(trace, batch).sum()
        ends.append((trace.logit_BTV, *torch.autograd.grad(loss, list(model.parameters()))))
    for end in ends[1:]:
        assert difference(list(end), list(ends[0])) < 1e-12


def test_a_marginal_over_weights_that_are_0_has_a_gradient() -> None:
    model = a_model(attention={"kind": "fertility-bound", "inner": "bahdanau", "fertility": 1.0}, wiring="unfed",
                    output="marginal")  # fmt: skip
    batch = collate([[4, 6, 5], [4]], [[5, 4], [6, 6, 6, 4, 4]], [0, 1])
    trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    assert bool((trace.weight_BTS[1, :, :2] == 0).any())  # used up
    CrossEntropy()(trace, batch).sum().backward()
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters())


# --------------------------------------------------------------------------------------------------- soft attention


def test_on_soft_attention_nothing_is_reinforced() -> None:
    model = a_model(attention="bahdanau").train()
    batch = collate([[4, 6, 5], [4]], [[5, 4], [6, 6, 6, 4]], [0, 1])
    trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    losses = [reinforce("sentence", "moving-average").train(), reinforce("to-go"), Entropy()]
    assert [loss(trace, batch).tolist() for loss in losses] == [[0.0, 0.0]] * 3
    assert losses[0].baseline.average == 0
    parts = [PartSettings(loss="cross-entropy"), PartSettings(loss="reinforce"), PartSettings(loss="entropy")]
    gradients = []
    for chosen in (parts[:1], parts):
        memory = model.encode(batch.source_BS, batch.source_valid_BS)
        trace, _ = model.decode(batch.input_BT, memory, model.start(memory))
        objective = Objective(chosen)
        compare = partial(model.predict, batch.input_BT, memory)
        total, _ = objective(trace, batch, objective.started(1), compare)
        gradients.append(torch.autograd.grad(total.sum(), list(model.parameters())))
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


# ------------------------------------------------------------------------------------------------------ by hand


def by_hand(choices: list[list[float]], words: list[list[float]], weights: Tensor | None = None) -> tuple[Trace, Batch]:
    """A trace in which two words have these log-probabilities, of which the right one is said."""
    length = max(map(len, words))
    batch = collate([[4]] * len(words), [[0] * (len(one) - 1) for one in words], range(len(words)))
    batch = batch._replace(target_BT=torch.zeros_like(batch.target_BT))
    logit_BTV = torch.zeros(len(words), length, 2, dtype=DOUBLE)
    choice_BT = torch.zeros(len(words), length, dtype=DOUBLE)
    for row, (log_probs, chosen) in enumerate(zip(words, choices, strict=True)):
        for t, log_prob in enumerate(log_probs):
            logit_BTV[row, t] = torch.tensor([log_prob, math.log(1 - math.exp(log_prob))], dtype=DOUBLE)
            choice_BT[row, t] = chosen[t]
    weight_BTS = torch.full((len(words), length, 2), 0.5, dtype=DOUBLE) if weights is None else weights
    nothing = torch.zeros(len(words), length, 1)
    return Trace(logit_BTV, weight_BTS, choice_BT, nothing, torch.ones(len(words), 2)), batch


CHOICES = [[-0.5, -2.0, -1.0], [0.0], [-3.0, -0.1]]  # the second sentence sampled nothing
LOG_PROBS = [[-1.0, -2.0, -4.0], [-8.0], [-0.5, -0.25]]


@pytest.mark.parametrize(
    ("reward", "wanted"),
    [
        ("sentence", [(-7) * (-3.5), 0, (-0.75) * (-3.1)]),
        ("to-go", [(-7) * (-0.5) + (-6) * (-2) + (-4) * (-1), 0, (-0.75) * (-3) + (-0.25) * (-0.1)]),
        (
            {"kind": "to-go", "discount": 0.5},
            [(-1 - 1 - 1) * (-0.5) + (-2 - 2) * (-2) + (-4) * (-1), 0, (-0.5 - 0.125) * (-3) + (-0.25) * (-0.1)],
        ),
        ({"kind": "to-go", "discount": 0.0}, [0.5 + 4 + 4, 0, 1.5 + 0.025]),
    ],
    ids=str,
)
def test_rewards_by_hand(reward: Any, wanted: list[float]) -> None:
    found = reinforce(reward)(*by_hand(CHOICES, LOG_PROBS))
    assert found.tolist() == pytest.approx([-one for one in wanted], abs=1e-12)


def test_the_moving_average_by_hand() -> None:
    """b = 0.9 b + 0.1 log p of the sentences that sampled; a batch meets the b of those before it."""
    loss = reinforce("sentence", "moving-average").train()
    one, other = by_hand(CHOICES, LOG_PROBS), by_hand([[-2.0]], [[-3.0]])
    assert loss(*one).tolist() == pytest.approx([-7.0 * 3.5, 0, -0.75 * 3.1], abs=1e-12)
    assert float(loss.baseline.average) == pytest.approx(0.1 * (-7 - 0.75) / 2, abs=1e-12)  # −0.3875
    assert loss(*other).tolist() == pytest.approx([-(-3 + 0.3875) * -2], abs=1e-12)
    assert float(loss.baseline.average) == pytest.approx(0.9 * -0.3875 + 0.1 * -3, abs=1e-12)  # −0.64875
    loss(*by_hand([[0.0]], [[-9.0]]))  # nothing was sampled
    loss.eval()(*other)
    assert float(loss.baseline.average) == pytest.approx(-0.64875, abs=1e-12)


def test_the_moving_average_of_a_word_by_hand() -> None:
    loss = reinforce("to-go", {"kind": "moving-average", "decay": 0.5, "per": "word"}).train()
    loss(*by_hand(CHOICES, LOG_PROBS))
    assert float(loss.baseline.average) == pytest.approx(0.5 * -7.75 / 5, abs=1e-12)  # −0.775 a word
    advantages = [-0.5 + 0.775 - 0.25 + 0.775, -0.25 + 0.775]
    found = loss(*by_hand([[-3.0, -0.1]], [[-0.5, -0.25]]))
    assert found.tolist() == pytest.approx([-(advantages[0] * -3 + advantages[1] * -0.1)], abs=1e-12)


def test_other_samples_by_hand() -> None:
    trace, batch = by_hand([[-1.0], [-1.0], [-1.0], [-1.0]], [[-1.0], [-2.0], [-6.0], [-5.0]])
    batch = batch._replace(number_B=torch.tensor([7, 7, 7, 8]))
    expected_BT = OtherSamples()(word_log_probs(trace, batch), sampled(trace, batch).any(1), batch, None)
    assert expected_BT.flatten().tolist() == pytest.approx([-4.0, -3.5, -1.5, 0.0], abs=1e-12)


def test_other_samples_need_two() -> None:
    part = {"loss": {"kind": "reinforce", "baseline": "other-samples"}}
    with pytest.raises(pydantic.ValidationError, match=r"needs training\.samples: 2 at least"):
        TrainingSettings(epochs=1, objective=(part,))
    TrainingSettings(epochs=1, objective=(part,), samples=2)


def test_figures_of_what_is_sampled_by_hand() -> None:
    weights = torch.tensor([[[0.5, 0.5], [0.995, 0.005]], [[0.1, 0.9], [1.0, 0.0]]], dtype=DOUBLE)
    trace, batch = by_hand([[-0.7, -0.005], [0.0]], [[-1.0, -1.0], [-1.0]], weights)
    figures = sampling_figures(trace, batch)
    entropy = [math.log(2), -0.995 * math.log(0.995) - 0.005 * math.log(0.005)]
    assert (int(figures["sampled"]), int(figures["collapsed"])) == (2, 1)  # the third is soft, the fourth padding
    assert float(figures["entropy"]) == pytest.approx(sum(entropy), abs=1e-12)
    assert entropies(trace, batch)[0].tolist() == pytest.approx(entropy, abs=1e-12)
    assert Entropy()(trace, batch).tolist() == pytest.approx([-sum(entropy), 0.0], abs=1e-12)


def test_an_entropy_has_a_gradient_where_a_weight_is_0() -> None:
    weights = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]], dtype=DOUBLE, requires_grad=True)
    trace, batch = by_hand([[-1e-9, -1.0]], [[-1.0, -1.0]], weights)
    Entropy()(trace, batch).sum().backward()
    assert weights.grad is not None
    assert bool(weights.grad.isfinite().all())
    assert weights.grad[0, 1].tolist() == pytest.approx([1 + math.log(0.25), 1 + math.log(0.75)], abs=1e-12)
