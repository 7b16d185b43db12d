"""The search says what the plainest search says, to the last token in float32, over every attention, wiring and output.

Hypotheses that share the memory of their sentence are decoded as those that have one each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from searching import SOURCES, V, a_model, batch_of, plain_search, searched

from nmt.attention import ATTENTIONS
from nmt.decoder import WIRINGS
from nmt.settings import Choice
from nmt.tree import map_tensors, repeat


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def models() -> dict[str, dict[str, Any]]:
    """Every attention, some around a sequential one; every wiring; and the exact marginal."""
    found: dict[str, dict[str, Any]] = {
        kind: {"attention": Choice(kind), "encoder_hidden": 2 if kind == "dot" else 3} for kind in ATTENTIONS
    }
    for kind in ("gatt", "hard"):
        found[f"{kind}(coverage)"] = {"attention": {"kind": kind, "inner": "coverage-linguistic"}}
    found["hard(expectation)"] = {"attention": {"kind": "hard", "prediction": "expectation"}}
    for wiring in WIRINGS:
        readout = {"readout": "direct"} if wiring == "update-then-look" else {}
        found[wiring] = {"attention": Choice("bahdanau"), "wiring": wiring, "decoder_layers": 2, **readout}
    found["marginal"] = {"attention": Choice("bahdanau"), "wiring": "unfed", "output": "marginal"}
    # the heads of the default attention do not divide a memory of 6
    found["multi-head"] |= {"attention": Choice("multi-head", {"heads": 2})}
    return found


EVERY_MODEL = models()
every_model = pytest.mark.parametrize("changes", EVERY_MODEL.values(), ids=list(EVERY_MODEL))


@every_model
def test_hypotheses_may_share_their_sentence(changes: Mapping[str, Any]) -> None:
    model, batch, times = a_model(**changes), batch_of(SOURCES), 3
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    state, own = repeat(model.start(memory), times), repeat(memory, times)
    token_BT = torch.randint(4, V, (len(SOURCES) * times, 2))
    for _ in range(3):
        shared, after = model.decode(token_BT, memory, state)
        apart, other = model.decode(token_BT, own, state)
        for one, wanted in zip(shared[:-1], apart[:-1], strict=True):
            torch.testing.assert_close(one, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(repeat(shared.fertility_BS, times), apart.fertility_BS)
        map_tensors(lambda one, wanted: torch.testing.assert_close(one, wanted) or one, after, other)
        state = after


@every_model
@pytest.mark.parametrize("beam", [1, 4])
def test_the_same_translations_as_plain_search(changes: Mapping[str, Any], beam: int) -> None:
    model = a_model(torch.float32, **changes)
    for source, found in zip(SOURCES, searched(model, SOURCES, beam=beam, n_best=beam), strict=True):
        wanted = plain_search(model, source, beam=beam)[:beam]
        assert [one.tokens for one in found] == [one.tokens for one in wanted]
        assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-4)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one.weight_TS, other.weight_TS, rtol=0, atol=1e-4)
