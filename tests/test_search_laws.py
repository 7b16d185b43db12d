"""The search says what the plainest search says, to the last token in float32, over every attention, wiring and output.

Hypotheses that share the memory of their sentence are decoded as those that have one each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from searching import SOURCES, V, a_model, batch_of, plain_search, searched

from nmt.attention import ATTENTIONS
from nmt.decoder import WIRINGS
from nmt.model import Model, TransformerSettings, build_model
from nmt.settings import Choice
from nmt.tabulated import Tabulated
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


def said_plainly(model: Model, asked: Model, beam: int, sources: Sequence[Sequence[int]] = SOURCES) -> None:
    """``model`` says in a search what ``asked`` says in the plainest one."""
    for source, found in zip(sources, searched(model, sources, beam=beam, n_best=beam), strict=True):
        wanted = plain_search(asked, source, beam=beam)[:beam]
        assert [one.tokens for one in found] == [one.tokens for one in wanted]
        assert [one.score for one in found] == pytest.approx([one.score for one in wanted], abs=1e-4)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one.weight_TS, other.weight_TS, rtol=0, atol=1e-4)


@every_model
@pytest.mark.parametrize("beam", [1, 4])
def test_the_same_translations_as_plain_search(changes: Mapping[str, Any], beam: int) -> None:
    model = a_model(torch.float32, **changes)
    said_plainly(model, model, beam)


@every_model
def test_the_same_translations_with_a_table(changes: Mapping[str, Any]) -> None:
    model = a_model(torch.float32, **changes)
    table = model.tabulated(V)
    assert isinstance(table.decoder, Tabulated)
    said_plainly(table, model, 3, SOURCES[:3])


@pytest.mark.parametrize("words", [63, 64, 65, 128, 200])
def test_the_same_translations_of_a_vocabulary_in_pieces(words: int) -> None:
    """The best words are looked for piece by piece: with a whole number of pieces, and with a rest."""
    model = a_model(torch.float32, words=words)
    said_plainly(model, model, 4, [[5, 4, 4], [words - 1, 7]])


@pytest.mark.parametrize("changes", [EVERY_MODEL[kind] for kind in (*WIRINGS, "marginal")], ids=[*WIRINGS, "marginal"])
def test_a_table_is_what_it_spares(changes: Mapping[str, Any]) -> None:
    """All at once and in pieces; of the weights as they are now; not below the words that make it pay."""
    model, batch = a_model(**changes), batch_of(SOURCES)
    token_BT = torch.randint(4, V, (len(SOURCES), 4))
    assert model.tabulated(V - 1) is model
    for _ in range(2):
        memory = model.encode(batch.source_BS, batch.source_valid_BS)
        wanted, _ = model.decode(token_BT, memory, model.start(memory))
        table = model.tabulated(V)
        for width in (4, 2, 1):
            state, parts = table.start(memory), []
            for piece_BT in token_BT.split(width, dim=1):
                trace, state = table.decode(piece_BT, memory, state)
                parts.append(trace.logit_BTV)
            torch.testing.assert_close(torch.cat(parts, dim=1), wanted.logit_BTV, rtol=0, atol=1e-12)
        model.decoder.embedding.weight.mul_(0.5)


def test_a_transformer_has_no_table() -> None:
    settings = TransformerSettings(embedding=8, heads=2, hidden=8, encoder_layers=1, decoder_layers=1)
    model = build_model(settings, V, V).eval()
    assert model.tabulated(10**6) is model
