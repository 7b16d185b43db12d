"""The variance of a gradient: against numpy's, and without a trace in the training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nmt.batching import collate
from nmt.losses import Objective, PartSettings
from nmt.model import EncoderDecoder, RecurrentSettings, build_model
from nmt.variance import gradient_variance, only_sampling

PARTS = [
    PartSettings(loss="cross-entropy"),
    PartSettings(loss={"kind": "reinforce", "baseline": "moving-average"}),
]


def test_the_variance_is_numpys() -> None:
    gradients = torch.randn(5, 7, dtype=torch.float64) + 1
    parameters = [nn.Parameter(torch.zeros(3, dtype=torch.float64)), nn.Parameter(torch.zeros(4, dtype=torch.float64))]
    parameters[0].grad = torch.ones(3, dtype=torch.float64)
    rows = iter(gradients)

    def loss() -> Tensor:
        row = next(rows)
        return (parameters[0] * row[:3]).sum() + (parameters[1] * row[3:]).sum()

    variance, relative = gradient_variance(loss, parameters, 5)
    wanted = np.var(gradients.numpy(), axis=0, ddof=1).sum()
    assert variance == pytest.approx(wanted, rel=1e-12)
    assert relative == pytest.approx(wanted / np.square(gradients.numpy().mean(axis=0)).sum(), rel=1e-12)
    assert torch.equal(parameters[0].grad, torch.ones(3, dtype=torch.float64))
    assert parameters[1].grad is None


def measured(attention: Any) -> tuple[float, Objective, EncoderDecoder]:
    everywhere: Any = {"embedding": 0.5, "output": 0.5}
    model = build_model(RecurrentSettings(embedding=4, hidden=4, attention=attention, dropout=everywhere), 9, 9)
    objective = Objective(PARTS)
    batch = collate([[4, 5, 6], [7]], [[4, 5], [6]], [0, 1])

    def loss() -> Tensor:
        trace = model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
        total: Tensor = objective(trace, batch, objective.started(1))[0]
        return total.sum()

    loss()  # the moving average has begun
    model.decoder.eval()  # whatever was in training, and what was not, is so again
    modes = [one.training for one in model.modules()]
    average, stream = objective.losses[1].baseline.average.clone(), torch.get_rng_state()
    with only_sampling(model, objective):
        variance, _ = gradient_variance(loss, list(model.parameters()), 4)
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.equal(objective.losses[1].baseline.average, average)
    assert [one.training for one in model.modules()] == modes
    assert objective.training
    return variance, objective, model


def test_hard_attention_varies_and_nothing_else_does() -> None:
    assert measured({"kind": "hard", "expectation": 0.0})[0] > 0
    assert measured({"kind": "gatt", "inner": {"kind": "hard", "expectation": 0.0}})[0] > 0
    assert measured("bahdanau")[0] == 0.0


def test_an_error_within_leaves_everything_as_it_was() -> None:
    _, objective, model = measured("hard")
    stream = torch.get_rng_state()

    def fail() -> None:
        with only_sampling(model, objective):
            torch.rand(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), stream)
    assert objective.training
