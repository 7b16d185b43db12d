"""Hard attention: what it takes out of training, and the law of what it samples in training."""

from __future__ import annotations

import pytest
import torch
from looks import DOUBLE, VALID, B, E, Q, S, T, a_memory, queries, spread, weights
from references import bahdanau
from scipy import stats
from torch import Tensor

from nmt.attention import Bahdanau, Glance, Hard, LinguisticCoverage, Memory
from nmt.attention.hard import drawn


def a_hard(expectation: float = 0.5, prediction: str = "mode") -> Hard:
    return spread(Hard(Q, E, inner=Bahdanau, expectation=expectation, prediction=prediction))


def looked(attention: Hard, memory: Memory, query_BTQ: Tensor) -> tuple[Glance, list[bool]]:
    """The looks, and which sentences sampled."""
    state = attention.start(memory.valid_BS)
    glance, after = attention.step(query_BTQ, attention.precompute(memory), state)
    assert torch.equal(after.sampling_B, state.sampling_B)  # decided once a sentence
    return glance, state.sampling_B.tolist()


def soft(attention: Hard, memory: Memory, query_BTQ: Tensor) -> list[list[tuple[list, list]]]:
    """(Σ α h, α) of every sentence and query, by the equations of the inner attention."""
    inner = attention.inner
    w, u, [v] = weights(inner.query, inner.memory, inner.energy)
    rows = zip(query_BTQ.tolist(), memory.value_BSE.tolist(), memory.valid_BS.tolist(), strict=True)
    return [[bahdanau(w, u, v, s, source, valid) for s in many] for many, source, valid in rows]


def test_what_is_drawn_is_what_torch_draws() -> None:
    torch.manual_seed(1)
    weight_BTS = torch.softmax(4 * torch.randn(50, 3, 7), dim=-1)
    weight_BTS[..., 5:] = 0
    torch.manual_seed(2)
    wanted_N1 = torch.multinomial(weight_BTS.flatten(0, 1), 1)
    torch.manual_seed(2)
    assert torch.equal(drawn(weight_BTS), wanted_N1.view(50, 3))


# ------------------------------------------------------------------------------------------------ out of training


@pytest.mark.parametrize("prediction", ["mode", "expectation"])
def test_prediction_takes_the_mode_or_the_expectation(prediction: str) -> None:
    attention, memory, query_BTQ = a_hard(prediction=prediction).eval(), a_memory(), queries()
    glance, sampling = looked(attention, memory, query_BTQ)
    assert not any(sampling)
    for b, row in enumerate(soft(attention, memory, query_BTQ)):
        for t, (expected, weight) in enumerate(row):
            best = memory.value_BSE[b, weight.index(max(weight))].tolist()
            wanted = best if prediction == "mode" else expected
            assert glance.context_BTE[b, t].tolist() == pytest.approx(wanted, abs=1e-10)
            assert glance.weight_BTS[b, t].tolist() == pytest.approx(weight, abs=1e-10)  # α itself, not the choice
    assert not glance.choice_BT.any()  # nothing was sampled


# ---------------------------------------------------------------------------------------------------- in training


def test_a_sentence_samples_or_sees_the_expectation() -> None:
    attention, memory, query_BTQ = a_hard(), a_memory(), queries()
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        glance, sampling = looked(attention, memory, query_BTQ)
        for b, row in enumerate(soft(attention, memory, query_BTQ)):
            for t, (expected, weight) in enumerate(row):
                context, choice = glance.context_BTE[b, t].tolist(), glance.choice_BT[b, t].item()
                if sampling[b]:
                    place = [context == one for one in memory.value_BSE[b].tolist()].index(True)
                    assert VALID[b, place]
                    assert choice == pytest.approx(torch.tensor(weight[place], dtype=DOUBLE).log().item(), abs=1e-10)
                else:
                    assert context == pytest.approx(expected, abs=1e-10)
                    assert choice == 0.0
                assert glance.weight_BTS[b, t].tolist() == pytest.approx(weight, abs=1e-10)
                seen.add((b, sampling[b]))
    assert len(seen) == 2 * B  # every sentence did both


def test_samples_follow_the_weights() -> None:
    """χ² of 20,000 draws at each of three queries against α, one sentence with padding on its left."""
    draws = 20_000
    attention = spread(Hard(Q, E, inner=Bahdanau, expectation=0.0))
    with torch.no_grad():
        attention.inner.energy.weight.mul_(0.3)  # no weight so small that its place is never seen
    memory = Memory(torch.randn(1, S, E, dtype=DOUBLE), VALID[2:])
    query_BTQ = queries()[:1]
    many = Memory(memory.value_BSE.expand(draws, S, E), memory.valid_BS.expand(draws, S))
    glance, sampling = looked(attention, many, query_BTQ.expand(draws, T, Q))
    assert all(sampling)
    ((_, weight), *_) = rows = soft(attention, memory, query_BTQ)[0]
    assert weight[0] == 0.0
    for t, (_, weight) in enumerate(rows):
        counts = [int((glance.context_BTE[:, t] == one).all(-1).sum()) for one in memory.value_BSE[0]]
        assert sum(counts) == draws
        assert counts[0] == 0  # padding
        assert stats.chisquare(counts[1:], [draws * one for one in weight[1:]]).pvalue > 0.001
    # Draws at different queries know nothing of each other.
    places = [(glance.context_BTE[:, t].unsqueeze(1) == memory.value_BSE).all(-1).int().argmax(-1) for t in range(2)]
    table = [[int(((places[0] == i) & (places[1] == j)).sum()) for j in range(1, S)] for i in range(1, S)]
    assert stats.chi2_contingency(table).pvalue > 0.001


@pytest.mark.parametrize("expectation", [0.0, 0.2, 0.5, 0.9])
def test_the_share_of_sentences_that_sample(expectation: float) -> None:
    sentences = 20_000
    sampling_B = a_hard(expectation).train().start(torch.ones(sentences, 1, dtype=torch.bool)).sampling_B
    sampled = int(sampling_B.sum())
    assert stats.binomtest(sampled, sentences, 1 - expectation).pvalue > 0.001
    assert expectation > 0 or sampled == sentences


def test_choices_are_the_only_gradient_of_a_sampled_score() -> None:
    """Where a sentence samples, context knows nothing of the scores; log α of the choice does (REINFORCE's term)."""
    attention, memory, query_BTQ = a_hard(), a_memory(), queries()
    state = attention.start(VALID)._replace(sampling_B=torch.tensor([True, True, True]))
    glance, _ = attention.step(query_BTQ, attention.precompute(memory), state)
    scorer = attention.inner.energy.weight
    (none,) = torch.autograd.grad(glance.context_BTE.sum(), scorer, retain_graph=True)
    assert not none.any()
    (gradient,) = torch.autograd.grad(glance.choice_BT.sum(), scorer)
    assert gradient.any()

    # The same by finite differences of the sampled places' log-weights.
    places_BT = (glance.context_BTE.unsqueeze(2) == memory.value_BSE.unsqueeze(1)).all(-1).int().argmax(-1)

    def log_prob() -> float:
        looks = soft(attention, memory, query_BTQ)
        chosen = [looks[b][t][1][int(places_BT[b, t])] for b in range(B) for t in range(T)]
        return torch.tensor(chosen, dtype=DOUBLE).log().sum().item()

    weight, step = scorer.data, 1e-6
    for place in range(weight.shape[1]):
        weight[0, place] += step
        above = log_prob()
        weight[0, place] -= 2 * step
        below = log_prob()
        weight[0, place] += step
        assert gradient[0, place].item() == pytest.approx((above - below) / (2 * step), abs=1e-6)


def test_memory_gets_the_gradient_of_what_was_chosen() -> None:
    attention, memory = a_hard().eval(), a_memory()
    memory.value_BSE.requires_grad_()
    keys = attention.precompute(memory)
    keys = keys._replace(inner=attention.inner.precompute(Memory(memory.value_BSE.detach(), VALID)))
    glance, _ = attention.step(queries()[:, :1], keys, attention.start(VALID))
    glance.context_BTE.sum().backward()
    wanted_BS = torch.nn.functional.one_hot(glance.weight_BTS[:, 0].argmax(-1), S)
    assert torch.equal(memory.value_BSE.grad, wanted_BS.unsqueeze(-1).expand(B, S, E).to(DOUBLE))


# --------------------------------------------------------------------------------------------------- compositions


@pytest.mark.parametrize("training", [True, False])
def test_coverage_within_adds_up_weights_not_choices(training: bool) -> None:
    attention = spread(Hard(Q, E, inner=lambda q, e: LinguisticCoverage(q, e, fertility=None))).train(training)
    assert attention.sequential
    memory, query_BTQ = a_memory(), queries()
    glance, state = attention.step(query_BTQ, attention.precompute(memory), attention.start(VALID))
    alone, covered = attention.inner.step(query_BTQ, attention.inner.precompute(memory), attention.inner.start(VALID))
    torch.testing.assert_close(glance.weight_BTS, alone.weight_BTS, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.inner, covered, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.inner[..., 0], glance.weight_BTS.sum(1), rtol=0, atol=1e-12)


def test_what_is_not_summed_up_cannot_be_chosen_from() -> None:
    with pytest.raises(ValueError, match="Hard sums up none of the memory; put gatt around hard"):
        Hard(Q, E, inner=lambda q, e: Hard(q, e, inner=Bahdanau))
