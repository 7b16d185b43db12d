"""Guided alignment and the fertility loss: their equations, and the whole way from a links file, or to Φ's weights."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch
from runs import Trained, prepared, reversals, write_project, write_reversals
from torch import Tensor

from nmt import tree
from nmt.attention import Bahdanau, GAtt, Hard, LinguisticCoverage, Memory
from nmt.batching import Batch, collate
from nmt.errors import InputError
from nmt.links import Links
from nmt.losses import PartSettings
from nmt.losses.coverage import DoublyStochastic, Fertility
from nmt.losses.guided import Guided
from nmt.metrics import aer
from nmt.model import Trace
from nmt.preparation import prepare
from nmt.recipe import load_recipe
from nmt.text import read_lines
from nmt.train import gather
from nmt.translator import Translator

LENGTHS = [(3, 4), (1, 1), (2, 6)]  # source and target words, the ends not counted


def linked(seed: int) -> tuple[Trace, Batch, list[dict[tuple[int, int], bool]]]:
    """Random attention and random links (target, source): sure, with a target position for every case."""
    draw = random.Random(seed)
    links: list[dict[tuple[int, int], bool]] = []
    for source, target in LENGTHS:
        places = [(t, s) for t in range(target) for s in range(source)]
        links.append({place: draw.random() < 0.6 for place in sorted(draw.sample(places, k=len(places) // 2))})
    arrays = [np.array([[*place, sure] for place, sure in one.items()], np.int32).reshape(-1, 3) for one in links]
    batch = collate([[4] * s for s, _ in LENGTHS], [[4] * t for _, t in LENGTHS], range(3), arrays)
    shape = (*batch.target_BT.shape, batch.source_BS.shape[1])
    weight_BTS = torch.softmax(torch.randn(shape, dtype=torch.float64), dim=-1)
    return tracing(weight_BTS, torch.rand(batch.source_BS.shape, dtype=torch.float64)), batch, links


def tracing(weight_BTS: Tensor, fertility_BS: Tensor | None = None) -> Trace:
    batch, targets, sources = weight_BTS.shape
    nothing_BT, fertility_BS = (
        torch.zeros(batch, targets),
        torch.ones(batch, sources) if fertility_BS is None else fertility_BS,
    )
    return Trace(torch.zeros(batch, targets, 5), weight_BTS, nothing_BT, torch.zeros(batch, targets, 2), fertility_BS)


# ------------------------------------------------------------------------------------------------ guided alignment


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("which", ["all", "sure"])
def test_guided_equals_its_equation(seed: int, which: str) -> None:
    trace, batch, links = linked(seed)
    wanted = []
    for row, given in enumerate(links):
        total = 0.0
        for t in range(LENGTHS[row][1] + 1):
            sources = [s for (u, s), sure in given.items() if u == t and (sure or which == "all")]
            for s in sources:
                total -= math.log(float(trace.weight_BTS[row, t, s])) / len(sources)
        wanted.append(total)
    assert Guided(links=which)(trace, batch).tolist() == pytest.approx(wanted, abs=1e-10)  # type: ignore[arg-type]


def test_guided_by_hand() -> None:
    weight_BTS = torch.tensor([[[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.0, 0.0, 1.0]]])
    links = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    batch = collate([[4, 4]], [[4, 4]], [0], [links])
    two = math.log(2)
    assert Guided()(tracing(weight_BTS), batch).tolist() == pytest.approx([(1 * two + 2 * two) / 2 + 3 * two])
    assert Guided(links="sure")(tracing(weight_BTS), batch).tolist() == pytest.approx([1 * two])
    assert Guided()(tracing(weight_BTS), collate([[4, 4]], [[4, 4]], [0])).tolist() == [0.0]


def test_the_gradient_of_guided_is_that_of_finite_differences() -> None:
    trace, batch, _ = linked(0)
    weight_BTS = trace.weight_BTS.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: Guided()(trace._replace(weight_BTS=w), batch), (weight_BTS,))


@pytest.mark.parametrize("energy", [0.0, -20.0, -80.0, -100.0, -1000.0])  # of the linked word, against 0 for another
def test_a_link_that_gets_no_weight_has_a_finite_gradient(energy: float) -> None:
    energy_BTS = torch.tensor([[[energy, 0.0], [0.0, 0.0]]], requires_grad=True)
    batch = collate([[4]], [[4]], [0], [np.array([[0, 0, 1]])])
    loss = Guided()(tracing(torch.softmax(energy_BTS, dim=-1)), batch)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert energy_BTS.grad is not None
    if energy >= -80:  # as the equation says, to the precision of float32
        assert loss.item() == pytest.approx(math.log1p(math.exp(-energy)), rel=1e-5)
        share = 1 / (1 + math.exp(energy))
        assert energy_BTS.grad[0].tolist() == [pytest.approx([-share, share], rel=1e-5), [0.0, 0.0]]
    else:
        assert 87 < loss.item() < 88
        assert energy_BTS.grad.tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_a_repeated_batch_has_the_losses_repeated() -> None:
    trace, batch, _ = linked(1)
    once = Guided()(trace, batch)
    assert torch.equal(Guided()(tree.repeat(trace, 3), tree.repeat(batch, 3)), once.repeat_interleave(3))
    order = torch.tensor([2, 0])
    assert torch.equal(Guided()(tree.select(trace, order), tree.select(batch, order)), once[order])


@pytest.mark.parametrize("links", ["possible", None, 1])
def test_links_are_all_or_sure(links: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        PartSettings(loss={"kind": "guided", "links": links})


# ----------------------------------------------------------------------------------- from a links file to the loss

GUIDED = "training.objective=[{loss: cross-entropy}, {loss: guided, weight: 2.0}]"
SUBWORDS = ("text.source={kind: bpe, size: 16}", "text.target={kind: char}")


def project(directory: Path, gold: bool = True) -> Path:
    """The reversals of other tests, their training text with its links."""
    path = write_project(directory)
    if gold:
        corpus = directory / "corpus.yaml"
        corpus.write_text(corpus.read_text().replace("target: train.trg}", "target: train.trg, gold: train.gold}"))
    return path


def test_the_whole_way_from_a_links_file_with_subwords(tmp_path: Path) -> None:
    path = project(tmp_path)
    draw = random.Random(1)
    words = [["".join(draw.choice("abcd") for _ in range(draw.randint(1, 4))) for _ in range(3)] for _ in range(60)]
    write_reversals(tmp_path, "train", words)
    _, data = prepared(path, GUIDED, *SUBWORDS)
    numbers = np.array([0, 7, 31])
    batch = gather(data.train, numbers)
    weight_BTS = torch.rand(*batch.target_BT.shape, batch.source_BS.shape[1], dtype=torch.float64)
    wanted = []
    for row, n in enumerate(numbers.tolist()):
        spans = []  # the pieces of every word, told by their ▁
        for vocabulary, ids in zip(data.vocabularies, (data.train.source(n), data.train.target(n)), strict=True):
            pieces = vocabulary.pieces(ids.tolist())
            heads = [at for at, piece in enumerate(pieces) if piece.startswith("▁")] + [len(pieces)]
            spans.append([range(*ends) for ends in pairwise(heads)])
        assert [len(one) for one in spans] == [3, 3]
        assert len(data.train.target(n)) > 3
        total = 0.0
        for j, target in enumerate(spans[1]):
            source = spans[0][2 - j]
            for t in target:
                total -= sum(math.log(float(weight_BTS[row, t, s])) for s in source) / len(source)
        wanted.append(total)
    assert Guided()(tracing(weight_BTS), batch).tolist() == pytest.approx(wanted, abs=1e-10)


def test_links_are_prepared_only_for_a_loss_that_reads_them(tmp_path: Path) -> None:
    path, said = project(tmp_path), []
    plain = prepare(load_recipe(path), said.append)
    assert plain.train.link_count == 0
    assert not [line for line in said if "links" in line]
    guided = prepare(load_recipe(path, [GUIDED]), said.append)
    links = sum(len(line.split()) for line in read_lines(tmp_path / "train.gold"))
    assert guided.train.link_count == links
    assert said[-1] == f"training links: {links} between tokens of the vocabularies, from train.gold"
    assert guided.train.key != plain.train.key
    (tmp_path / "train.gold").write_text("nonsense\n")
    assert prepared(path)[1].train.key == plain.train.key  # and nobody reads them


@pytest.mark.parametrize(
    ("gold", "sentence"),
    [
        (None, r'corpus\.yaml: its training text has no word links, which the loss "guided" learns from; name a file'),
        (["x"] * 60, r"train\.gold, line 1: 'x' is no link"),
        (["0-0"] * 41 + ["0-0 9-0"] + ["0-0"] * 18, r"train\.gold, line 42: link 9-0 is out of range, the source has"),
        (["0-0"] * 59, r"train\.gold has 59 lines but .*train\.src has more"),
        ([""] * 60, r"train\.gold: no link in it is of a training pair"),
    ],
)
def test_without_good_links_there_is_no_training(tmp_path: Path, gold: list[str] | None, sentence: str) -> None:
    path = project(tmp_path, gold=gold is not None)
    if gold is not None:
        (tmp_path / "train.gold").write_text("".join(line + "\n" for line in gold))
    with pytest.raises(InputError, match=sentence) as told:
        prepared(path, GUIDED)
    assert "\n" not in str(told.value)


def test_guided_training_finds_the_links(tmp_path: Path) -> None:
    """A few updates, long before the translations are any good: attention is where the links say, as it was not."""
    path = project(tmp_path)
    write_reversals(tmp_path, "train", reversals(600, seed=1))
    sentences = reversals(60, seed=9)
    lines, translations = ([" ".join(words[::step]) for words in sentences] for step in (1, -1))
    gold = [Links((i, len(words) - 1 - i) for i in range(len(words))) for words in sentences]
    found = {}
    for name, overrides in {"plain": (), "guided": (GUIDED,)}.items():
        settings = ("model={embedding: 16, hidden: 16}", "training.batch_tokens=200", "training.epochs=2")
        recipe, data = prepared(path, *settings, *overrides)
        trainer = Trained(recipe, data, tmp_path / name).run()
        translator = Translator(trainer.model, data.vocabularies, recipe.search, trainer.device)
        found[name] = aer([one.links() for one in translator.align(lines, translations)], gold).value
    assert found["guided"] < found["plain"] / 2, found


# ------------------------------------------------------------------------------------------------------- fertility


def test_fertility_equals_its_equation() -> None:
    trace, batch, _ = linked(3)
    wanted = []
    for row, (source, target) in enumerate(LENGTHS):
        total = 0.0
        for j in range(source + 1):
            total += (float(trace.fertility_BS[row, j]) - sum(trace.weight_BTS[row, : target + 1, j].tolist())) ** 2
        wanted.append(total)
    assert Fertility()(trace, batch).tolist() == pytest.approx(wanted, abs=1e-10)


def test_fertility_by_hand() -> None:
    weight_BTS = torch.tensor([[[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]])
    batch = collate([[4]], [[4, 4]], [0])
    assert Fertility()(tracing(weight_BTS, torch.tensor([[2.0, 0.5]])), batch).tolist() == [0.25**2 + 0.75**2]
    # Where nothing is expected it is Xu's with the share 1.
    assert torch.equal(Fertility()(tracing(weight_BTS), batch), DoublyStochastic(share=1.0)(tracing(weight_BTS), batch))


def test_the_gradient_of_fertility_is_that_of_finite_differences() -> None:
    trace, batch, _ = linked(4)

    def of(weight_BTS: Tensor, fertility_BS: Tensor) -> Tensor:
        return Fertility()(trace._replace(weight_BTS=weight_BTS, fertility_BS=fertility_BS), batch)

    assert torch.autograd.gradcheck(of, (trace.weight_BTS.requires_grad_(), trace.fertility_BS.requires_grad_()))


@pytest.mark.parametrize("wrapped", [False, True])
def test_fertility_teaches_the_weights_of_phi(wrapped: bool) -> None:
    """Φ_j = N σ(U_f h_j): dL/dU_f = Σ_j 2 (Φ_j − Σ_i α_ij) Φ_j (1 − Φ_j / N) h_j, were α fixed."""
    memory = Memory(torch.randn(1, 3, 4, dtype=torch.float64), torch.ones(1, 3, dtype=torch.bool))
    coverage = LinguisticCoverage(2, 4, fertility=3.0)
    attention = coverage
    if wrapped:
        hard = Hard(2, 4, inner=lambda query, memory: coverage)
        attention = hard  # type: ignore[assignment]
    attention.double()
    assert attention.expects == "once"
    weight_BTS = torch.rand(1, 2, 3, dtype=torch.float64)
    phi_BS = attention.fertilities(attention.precompute(memory), memory.valid_BS)
    Fertility()(tracing(weight_BTS, phi_BS), collate([[4, 4]], [[4]], [0])).sum().backward()
    assert coverage.fertility is not None
    gradient = coverage.fertility.weight.grad
    assert gradient is not None
    wanted = torch.zeros(4, dtype=torch.float64)
    for j in range(3):
        h = memory.value_BSE[0, j]
        phi = 3.0 * torch.sigmoid(coverage.fertility.weight[0] @ h).item()
        wanted += 2 * (phi - weight_BTS[0, :, j].sum().item()) * phi * (1 - phi / 3.0) * h
    torch.testing.assert_close(gradient[0], wanted, rtol=0, atol=1e-10)


FERTILITY = "training.objective=[{loss: cross-entropy}, {loss: fertility, weight: 0.1}]"


@pytest.mark.parametrize(
    "attention",
    [
        "{kind: gatt, inner: coverage-linguistic}",
        "{kind: gatt-inv, inner: {kind: coverage-linguistic, fertility: 3}}",
        "{kind: gatt, inner: {kind: hard, inner: coverage-linguistic}}",
        "{kind: gatt, inner: {kind: gatt, inner: coverage-linguistic}}",
    ],
)
def test_a_fertility_that_changes_from_step_to_step_is_refused(tmp_path: Path, attention: str) -> None:
    path = write_project(tmp_path)
    load_recipe(path, [f"model.attention={attention}"])  # which is nothing bad in itself
    with pytest.raises(
        InputError, match=r'the loss "fertility" compares .* around coverage expects anew at every step'
    ):
        load_recipe(path, [f"model.attention={attention}", FERTILITY])


@pytest.mark.parametrize(
    "attention",
    [
        "coverage-linguistic",
        "{kind: hard, inner: coverage-linguistic}",
        "{kind: coverage-linguistic, fertility: null}",
        "{kind: gatt, inner: {kind: coverage-linguistic, fertility: null}}",
        "fertility-bound",
        "gatt",
    ],
)
def test_one_fertility_a_source_position_is_trained_with(tmp_path: Path, attention: str) -> None:
    recipe, data = prepared(write_project(tmp_path), f"model.attention={attention}", FERTILITY, "training.updates=1")
    trainer = Trained(recipe, data, tmp_path / "run").run()
    learnt = [one.grad for name, one in trainer.model.named_parameters() if name.endswith("fertility.weight")]
    assert len(learnt) == (attention in ("coverage-linguistic", "{kind: hard, inner: coverage-linguistic}"))
    assert all(one is not None and one.any() for one in learnt)


def test_a_gate_tells_that_it_knows_no_fertility() -> None:
    assert GAtt(4, 6, inner=LinguisticCoverage).expects == "anew"
    assert GAtt(4, 6, inner=Bahdanau).expects == "nothing"
