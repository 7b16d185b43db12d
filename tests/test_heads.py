"""Which layer and head aligns best: rates by hand, those of a model that shows each head, and the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Trained, prepared, write_project
from test_cli_align import Text, cells, invoke, links_of, refused

from nmt import best_head
from nmt.errors import InputError
from nmt.heads import Head, parse_head
from nmt.links import parse_links, read_links
from nmt.metrics import aer
from nmt.readings import best_reading_of_run
from nmt.sublayers import Shown
from nmt.text import read_lines
from nmt.translator import Translation, Translator

MODELS = {
    "transformer": "model={kind: transformer, embedding: 8, heads: 2, encoder_layers: 1, decoder_layers: 2}",
    "mixed": "model={kind: mixed, encoder: {kind: recurrent, embedding: 8, hidden: 6}, decoder: {kind: transformer, "
    "embedding: 8, heads: 2, layers: 2}}",
}


class Run(Text):
    """A run whose decoder has two layers of two heads."""

    def __init__(self, directory: Path, model: str) -> None:
        recipe = write_project(directory / "project")
        self.run = directory / "run"
        Trained(*prepared(recipe, MODELS[model], "training.updates=3"), self.run).run()
        self.source, self.target, self.gold = (recipe.parent / f"test.{end}" for end in ("src", "trg", "gold"))
        self.lines = [list(read_lines(path)) for path in (self.source, self.target)]
        self.links = read_links(self.gold, base=0).links


@pytest.fixture(scope="module", params=MODELS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("heads"), request.param)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Text:
    return Text(tmp_path_factory.mktemp("recurrent"))


class Known:
    """What :func:`best_head` asks of a translator, with attention written by hand: one sentence of two words."""

    def __init__(self, weight_LHTS: Any) -> None:
        self.weight_LHTS = np.array(weight_LHTS, np.float32)

    def head_weights(self, lines: Any, translations: Any) -> list[Any]:
        return [self.weight_LHTS]

    def align(self, lines: Any, translations: Any) -> list[Translation]:
        words = [line.split() for line in (*lines, *translations)]
        nothing = np.zeros((3, 3), np.float32)
        return [Translation("", 0, 0, words[0], words[1], nothing, words[0], words[1], [0, 1], [0, 1])]


STRAIGHT = [[0.8, 0.2, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0]]
LATE = [[0.0, 0.0, 1.0], *STRAIGHT[:2]]
CROSSED = [[0.4, 0.6, 0.0], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]]


def test_rates_by_hand() -> None:
    gold = [parse_links("0-0 1-1")]
    found = best_head(Known([[CROSSED, STRAIGHT], [CROSSED, LATE]]), ["a b"], ["x y"], gold)
    assert found.best == Head(1, 2, "produced")
    assert found.aer[Head(2, 2, "fed")] == found.aer[Head(1, 2, "produced")] == 0
    assert found.aer[Head(1, 1, "produced")] == 100
    assert found.aer[Head(1, 1, "fed")] == pytest.approx(100 / 3)  # 0-0 of two links: the end has nothing for 1
    assert found.aer[Head(1, "mean", "produced")] == 0  # 0.8 + 0.4 against 0.2 + 0.6
    assert len(found.aer) == 2 * (2 * 3 + 1)
    late = best_head(Known([[CROSSED, STRAIGHT], [CROSSED, LATE]]), ["a b"], ["x y"], gold, readings=["fed"])
    assert late.best == Head(2, 2, "fed")


def test_the_mean_of_all_is_the_mean_over_layers_and_heads() -> None:
    found = best_head(Known([[STRAIGHT], [CROSSED]]), ["a b"], ["x y"], [parse_links("0-0 1-1")])
    assert Head("mean", "mean", "produced") in found.aer
    assert Head(1, "mean", "produced") not in found.aer  # of one head
    assert found.aer[Head("mean", "mean", "produced")] == 0


def test_rates_are_those_of_a_model_that_shows_the_head(trained: Run) -> None:
    found = best_head(trained.run, *trained.lines, trained.links)
    places = [(layer, head) for layer in (1, 2) for head in (1, 2, "mean")] + [("mean", "mean")]
    assert {(one.layer, one.head) for one in found.aer} == set(places)
    for layer, head in places:
        showing = Translator.load(trained.run, "cpu", shown=Shown(layer=layer, head=head))
        readings = best_reading_of_run(showing, *trained.lines, trained.links)
        for reading, rate in readings.aer.items():
            assert found.aer[Head(layer, head, reading)] == pytest.approx(rate)
    assert found.aer[found.best] == min(found.aer.values()) < max(found.aer.values())


def test_empty_lines_have_no_links(trained: Run) -> None:
    sources, targets = trained.lines
    plain = best_head(trained.run, sources, targets, trained.links)
    gold = [parse_links(""), *trained.links, parse_links("")]
    assert best_head(trained.run, ["", *sources, "a"], ["a", *targets, ""], gold) == plain


def test_another_decoder_has_one_head(recurrent: Text) -> None:
    lines = [list(read_lines(path)) for path in (recurrent.source, recurrent.target)]
    gold = read_links(recurrent.gold, base=0).links
    found = best_head(recurrent.run, *lines, gold)
    assert {(one.layer, one.head) for one in found.aer} == {(1, 1)}
    rates = best_reading_of_run(recurrent.run, *lines, gold).aer
    assert {one.reading: rate for one, rate in found.aer.items()} == pytest.approx(rates)


# ------------------------------------------------------------------------------------------------------- the command


def test_a_head_by_number(trained: Run) -> None:
    for text, shown in (("2.1", Shown(layer=2, head=1)), ("1", Shown(layer=1)), ("mean", Shown(layer="mean"))):
        found = links_of(invoke(trained.run, trained.source, trained.target, "--head", text))
        said = Translator.load(trained.run, "cpu", shown=shown).align(*trained.lines)
        assert found == [one.links() for one in said]


def test_the_best_head_of_a_gold_set(trained: Run) -> None:
    common = [trained.run, trained.source, trained.target, "--gold", trained.gold, "--head", "best"]
    result = invoke(*common)
    found = best_head(trained.run, *trained.lines, trained.links)
    assert aer(links_of(result), trained.links).value == pytest.approx(found.aer[found.best])
    assert cells(result, "run", found.best.reading)[1] == f"{found.aer[found.best]:.2f}"
    for layer, head, reading in found.aer:
        row = next(line for line in result.stderr.split("\n") if line.split()[1:4:2] == [str(layer), str(head)])
        assert row.split()[5 if reading == "produced" else 7] == f"{found.aer[Head(layer, head, reading)]:.2f}"
    fed = best_head(trained.run, *trained.lines, trained.links, readings=["fed"])
    again = links_of(invoke(*common, "--reading", "fed"))
    assert aer(again, trained.links).value == pytest.approx(fed.aer[fed.best])


def test_the_best_head_of_both_directions(trained: Run) -> None:
    """Source and target have the same words here, so one run does for both."""
    common = [trained.run, trained.source, trained.target, "--gold", trained.gold, "--head", "best"]
    result = invoke(*common, "--symmetrise", trained.run)
    turned = best_head(trained.run, *trained.lines[::-1], [one.turned() for one in trained.links])
    assert cells(result, "run, turned", turned.best.reading)[1] == f"{turned.aer[turned.best]:.2f}"


def test_the_best_head_where_there_is_one(recurrent: Text) -> None:
    result = invoke(recurrent.run, recurrent.source, recurrent.target, "--gold", recurrent.gold, "--head", "best")
    lines = [list(read_lines(path)) for path in (recurrent.source, recurrent.target)]
    gold = read_links(recurrent.gold, base=0).links
    readings = best_reading_of_run(recurrent.run, *lines, gold)
    assert cells(result, "run", readings.best)[1] == f"{readings.aer[readings.best]:.2f}"


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("text", ["", "0", "1.0", "1.", ".1", "1.2.3", "last", "-1", "²"])
def test_what_is_no_head_is_told(text: str) -> None:
    with pytest.raises(InputError, match="give best, mean, a layer such as 2, or a layer and a head"):
        parse_head(text)


def test_what_cannot_be_is_told(trained: Run, recurrent: Text) -> None:
    both = trained.source, trained.target
    assert "shown.layer is 3, but the decoder's attention has 2" in refused(invoke(trained.run, *both, "--head", "3"))
    assert "shown.head is 3, but the decoder's attention has 2" in refused(invoke(trained.run, *both, "--head", "1.3"))
    assert "--head best is the one that gold links like" in refused(invoke(trained.run, *both, "--head", "best"))
    told = refused(invoke(recurrent.run, recurrent.source, recurrent.target, "--head", "1.1"))
    assert told.startswith(f"{recurrent.run}: which layer and head is shown can be chosen where")
    with pytest.raises(InputError, match="5 source lines, 4 target lines and the gold links of 5"):
        best_head(trained.run, trained.lines[0], trained.lines[1][1:], trained.links)
    with pytest.raises(InputError, match="on no sentence at all"):
        best_head(trained.run, [], [], [])
