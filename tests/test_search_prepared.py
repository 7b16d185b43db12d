"""What a search prepares: linear layers in integers against loops over the definition, and nothing stale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from searching import SOURCES, V, a_model, batch_of, plain_search, searched

from nmt.ensemble import Ensemble
from nmt.errors import InputError
from nmt.model import EncoderDecoder, Model
from nmt.optim import OPTIMISERS
from nmt.quantised import Int8Linear, quantised
from nmt.search import Prepared, SearchSettings, refuse_precision
from nmt.tabulated import Tabulated


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


FLOAT, INT8 = SearchSettings(), SearchSettings(precision="int8")
WIDE = {"hidden": 32, "embedding": 32}  # sizes that are quantised


def plain_integers(row: list[float]) -> tuple[list[int], float]:
    scale = max(map(abs, row)) / 127
    return [round(number / scale) for number in row], scale


@pytest.mark.parametrize("rows_read", [1, 2, 7])
@pytest.mark.parametrize("sizes", [(32, 32), (64, 33), (33, 64), (100, 40)])
def test_integers_by_the_definition(sizes: tuple[int, int], rows_read: int) -> None:
    read, given = sizes
    linear = torch.nn.Linear(read, given)
    x = torch.randn(rows_read, 3, read) * torch.tensor([1e-3, 1.0, 50.0]).reshape(1, 3, 1)
    found = Int8Linear(linear)(x)
    assert found.shape == (rows_read, 3, given)
    rows = [plain_integers(row) for row in linear.weight.tolist()]
    for x_I, found_O in zip(x.flatten(0, 1), found.flatten(0, 1), strict=True):
        numbers, t = plain_integers(x_I.tolist())
        for o, (weights, s) in enumerate(rows):
            total = sum(a * b for a, b in zip(weights, numbers, strict=True))
            wanted = total * s * t + float(linear.bias[o])
            # a number half-way between two integers may be rounded to either in float32
            assert float(found_O[o]) == pytest.approx(wanted, rel=1e-4, abs=1e-4 + 130 * s * t)
        error = (found_O - linear(x_I)).abs().max()
        assert error < 0.02 * float(x_I.norm() * linear.weight.norm(dim=1).max()) + 1e-6


def test_zeros_are_zeros() -> None:
    linear = torch.nn.Linear(40, 32)
    linear.weight[3] = 0.0
    found = Int8Linear(linear)(torch.zeros(2, 40))
    assert torch.equal(found, linear.bias.expand(2, -1))


def test_batch_mates_change_nothing() -> None:
    layer, x = Int8Linear(torch.nn.Linear(48, 32)), torch.randn(5, 48)
    mates = layer(torch.cat([x, 1000 * torch.randn(3, 48)]))
    assert torch.equal(layer(x), mates[:5])


def test_a_quantised_model_shares_its_weights_and_leaves_the_other_alone() -> None:
    model = a_model(torch.float32, **WIDE)
    names = list(model.state_dict())
    copy = quantised(model)
    assert [type(one) for one in model.modules() if isinstance(one, torch.nn.Linear)].count(Int8Linear) == 0
    quick = [one for one in copy.modules() if isinstance(one, Int8Linear)]
    assert quick
    assert list(copy.state_dict()) == names
    for one, other in zip(model.parameters(), copy.parameters(), strict=True):
        assert one is other
    assert all(one.out_features >= 32 for one in quick)


@pytest.mark.parametrize("attention", ["bahdanau", "gatt", "coverage-neural", "multi-head"])
def test_int8_says_what_plain_search_says_with_it_and_nearly_what_the_model_says(attention: str) -> None:
    model = a_model(torch.float32, words=40, attention={"kind": attention}, **WIDE)
    for weight in model.parameters():
        weight.mul_(0.4)
    with Prepared(model)(INT8, 0) as quick:
        found = searched(quick, SOURCES[:3], beam=3)
        plain = [plain_search(quick, source, beam=3)[0] for source in SOURCES[:3]]
    exact = searched(model, SOURCES[:3], beam=3)
    for (one,), wanted, (other,) in zip(found, plain, exact, strict=True):
        assert one.tokens == wanted.tokens
        assert one.score == pytest.approx(wanted.score, abs=1e-4)
        assert one.score == pytest.approx(other.score, abs=0.05 * abs(other.score))
        assert one.score != other.score  # it did multiply in integers


def logits(model: Model) -> torch.Tensor:
    batch = batch_of(SOURCES[:2], [[4, 5], [5]])
    return model(batch.source_BS, batch.source_valid_BS, batch.input_BT).logit_BTV


@pytest.mark.parametrize("settings", [FLOAT, INT8], ids=["float32", "int8"])
def test_nothing_is_stale_when_weights_change(settings: SearchSettings) -> None:
    """In place, by an optimiser, by loading: what was prepared is prepared anew."""
    model = a_model(torch.float32, words=40, **WIDE)
    prepared, other = Prepared(model), a_model(torch.float32, words=40, **WIDE)

    def step(kind: str) -> None:
        with torch.enable_grad():
            optimiser = OPTIMISERS[kind](model.parameters(), rate=0.1)
            logits(model).square().mean().backward()
            optimiser.step()

    changes = [
        lambda: None,
        lambda: model.decoder.embedding.weight.mul_(0.5),
        *(partial(step, kind) for kind in OPTIMISERS),
        lambda: model.load_state_dict(other.state_dict()),
        lambda: setattr(model.decoder.embedding, "weight", torch.nn.Parameter(torch.randn(40, 32))),
    ]
    before = None
    for change in changes:
        change()
        with prepared(settings, 1000) as ready:
            assert isinstance(ready.decoder, Tabulated)
            found = logits(ready)
        with Prepared(model)(settings, 1000) as fresh:
            assert torch.equal(found, logits(fresh))
        assert before is None or not torch.equal(found, before)
        before = found


def test_a_table_is_made_when_it_pays_and_once() -> None:
    model = a_model(torch.float32)
    prepared = Prepared(model)
    with prepared(FLOAT, V - 1) as ready:
        assert ready is model
    with prepared(FLOAT, 1) as ready:
        assert isinstance(ready, EncoderDecoder)
        assert isinstance(ready.decoder, Tabulated)
        assert not model.training
    with prepared(FLOAT, 1) as again:
        assert again is ready


def test_the_members_of_an_ensemble_are_prepared() -> None:
    model = Ensemble([a_model(), a_model()], "geometric")
    with Prepared(model)(FLOAT, V) as ready:
        assert all(isinstance(one.decoder, Tabulated) for one in ready.models)
        for found, wanted in zip(searched(ready, SOURCES), searched(model, SOURCES), strict=True):
            assert found[0].tokens == wanted[0].tokens
            assert math.isclose(found[0].score, wanted[0].score, abs_tol=1e-10)


def test_int8_is_refused_elsewhere() -> None:
    refuse_precision(INT8, torch.device("cpu"))
    refuse_precision(FLOAT, torch.device("cuda"))
    with pytest.raises(InputError, match=r"search.precision int8 is for the CPU, not for cuda; choose bfloat16"):
        refuse_precision(INT8, torch.device("cuda"))
