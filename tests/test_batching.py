"""Batches: every pair once, within the limits, in an order of seed and epoch alone; tensors as they are named."""

from __future__ import annotations

import math
import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nmt import tree
from nmt.batching import Batch, collate, plan, plan_sorted
from nmt.bitext import Bitext, prepare_bitext
from nmt.train import gather
from nmt.vocabulary import BOS, EOS, PAD, VocabularySettings, train_vocabulary

lengths = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=80)
limits = st.one_of(
    st.fixed_dictionaries({"tokens": st.integers(1, 200)}),
    st.fixed_dictionaries({"sentences": st.integers(1, 20)}),
    st.fixed_dictionaries({"tokens": st.integers(1, 200), "sentences": st.integers(1, 20)}),
)


def sides(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([a for a, _ in pairs], np.int64), np.array([b for _, b in pairs], np.int64)


@given(pairs=lengths, limit=limits, seed=st.integers(0, 5), epoch=st.integers(0, 5), bucket=st.integers(1, 9))
def test_every_pair_once_and_within_the_limits(
    pairs: list[tuple[int, int]], limit: dict[str, int], seed: int, epoch: int, bucket: int
) -> None:
    source, target = sides(pairs)
    batches = plan(source, target, **limit, seed=seed, epoch=epoch, bucket=bucket)
    assert sorted(chain.from_iterable(batch.tolist() for batch in batches)) == list(range(len(pairs)))
    for batch in batches:
        assert 1 <= len(batch) <= limit.get("sentences", len(pairs))
        for side in (source, target):
            padded = len(batch) * (side[batch].max() + 1)
            assert len(batch) == 1 or padded <= limit.get("tokens", padded)


@given(pairs=lengths, tokens=st.integers(1, 200))
def test_sorted_batches(pairs: list[tuple[int, int]], tokens: int) -> None:
    source, _ = sides(pairs)
    batches = plan_sorted(source, tokens=tokens)
    order = list(chain.from_iterable(batch.tolist() for batch in batches))
    assert order == sorted(range(len(pairs)), key=lambda n: (-source[n], n))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (source[batch].max() + 1) <= tokens
    for batch in batches[:-1]:  # could not have taken one more
        assert (len(batch) + 1) * (source[batch[0]] + 1) > tokens


@pytest.fixture(scope="module")
def mixed() -> tuple[np.ndarray, np.ndarray]:
    """Lengths as of real text: many short, few long, the two sides alike but not equal."""
    random = np.random.default_rng(3)
    source = np.minimum(random.geometric(0.06, 40_000) + 3, 80)
    return source, np.maximum(np.round(source * random.normal(1.1, 0.2, len(source))), 1).astype(np.int64)


def flat(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


def test_the_order_is_of_seed_and_epoch_alone(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return flat(plan(*mixed, tokens=4096, seed=seed, epoch=epoch))

    first = order(1, 0)
    np.random.seed(99)
    torch.manual_seed(99)
    assert order(1, 0) == first
    others = [order(1, 1), order(2, 0), order(0, 1)]
    assert all(other != first for other in others)
    assert others[0] != others[2]


def test_batches_differ_between_epochs(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = ({frozenset(batch) for batch in flat(plan(*mixed, tokens=4096, seed=1, epoch=e))} for e in (0, 1))
    assert len(first & second) < 0.1 * len(first)  # not only their order


def test_no_length_comes_first(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    means = [mixed[1][batch].mean() for batch in plan(*mixed, tokens=4096, seed=1, epoch=0)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_little_padding(mixed: tuple[np.ndarray, np.ndarray]) -> None:
    batches = plan(*mixed, tokens=4096, seed=1, epoch=0)
    source, target = (
        sum(len(batch) * (side[batch].max() + 1) for batch in batches) / (side + 1).sum() for side in mixed
    )
    assert target < 1.05
    assert source < 1.15
    assert len(batches) < 1.15 * (mixed[1] + 1).sum() / 4096


multiples = st.integers(1, 8)


@given(pairs=lengths, limit=limits, seed=st.integers(0, 5), multiple=multiples)
def test_every_pair_once_in_multiples(
    pairs: list[tuple[int, int]], limit: dict[str, int], seed: int, multiple: int
) -> None:
    source, target = sides(pairs)
    batches = plan(source, target, **limit, seed=seed, epoch=1, multiple=multiple)
    assert sorted(chain.from_iterable(batch.tolist() for batch in batches)) == list(range(len(pairs)))
    for batch in batches:
        assert 1 <= len(batch) <= limit.get("sentences", len(pairs))
        for side in (source, target):
            padded = len(batch) * math.ceil((side[batch].max() + 1) / multiple) * multiple
            assert len(batch) == 1 or padded <= limit.get("tokens", padded)
    odd = [batch for batch in batches if len(batch) > multiple and len(batch) % multiple]
    assert len(odd) <= 1  # the last


def test_multiples_by_hand() -> None:
    """Seven of eight fit; six of these are a batch, and the seventh goes with the eighth and ninth."""
    short, long = np.full(8, 4), np.array([9])
    batches = plan(np.concatenate([short, long]), np.concatenate([short, long]), tokens=42, seed=1, epoch=0, multiple=2)
    assert sorted(map(len, batches)) == [3, 6]
    assert sorted(map(len, plan(short, short, sentences=3, seed=1, epoch=0, multiple=2))) == [2, 2, 2, 2]


@given(
    pairs=st.lists(
        st.tuples(st.lists(st.integers(4, 99), max_size=7), st.lists(st.integers(4, 99), max_size=7)),
        min_size=1,
        max_size=6,
    ),
    multiple=multiples,
)
def test_filled_up_to_multiples(pairs: list[tuple[list[int], list[int]]], multiple: int) -> None:
    """The same batch, and more padding on the right."""
    sources, targets = [a for a, _ in pairs], [b for _, b in pairs]
    links = [np.array([[0, 0, 1]] * (n % 3), np.int64).reshape(-1, 3) for n in range(len(pairs))]
    plain = collate(sources, targets, range(len(pairs)), links)
    filled = collate(sources, targets, range(len(pairs)), links, multiple=multiple)
    filling = Batch(PAD, False, PAD, PAD, False, None, -1)  # type: ignore[arg-type]
    for name in set(Batch._fields) - {"number_B"}:
        one, other = getattr(plain, name), getattr(filled, name)
        assert other.shape[1] == math.ceil(one.shape[1] / multiple) * multiple
        assert torch.equal(other[:, : one.shape[1]], one)
        assert (other[:, one.shape[1] :] == getattr(filling, name)).all()


def test_a_limit_is_needed() -> None:
    with pytest.raises(ValueError, match="tokens or sentences"):
        plan(np.array([1]), np.array([1]), seed=0, epoch=0)


def test_a_batch_by_hand() -> None:
    batch = collate([[7, 8, 9], np.array([5], np.int32)], [[], [6, 4]], [12, 3])
    assert batch.source_BS.tolist() == [[7, 8, 9, EOS], [5, EOS, PAD, PAD]]
    assert batch.source_valid_BS.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.input_BT.tolist() == [[BOS, PAD, PAD], [BOS, 6, 4]]
    assert batch.target_BT.tolist() == [[EOS, PAD, PAD], [6, 4, EOS]]
    assert batch.target_valid_BT.tolist() == [[True, False, False], [True, True, True]]
    assert batch.number_B.tolist() == [12, 3]
    assert {tensor.dtype for tensor in batch} == {torch.int64, torch.bool}


ids = st.lists(st.integers(4, 99), max_size=7)


@given(pairs=st.lists(st.tuples(ids, ids), min_size=1, max_size=6))
def test_collated_ids_come_back(pairs: list[tuple[list[int], list[int]]]) -> None:
    sources, targets = [a for a, _ in pairs], [b for _, b in pairs]
    batch = collate(sources, targets, range(len(pairs)))
    for n in range(len(pairs)):
        assert batch.source_BS[n][batch.source_valid_BS[n]].tolist() == [*sources[n], EOS]
        assert batch.target_BT[n][batch.target_valid_BT[n]].tolist() == [*targets[n], EOS]
        assert batch.input_BT[n][batch.target_valid_BT[n]].tolist() == [BOS, *targets[n]]
        assert (batch.source_BS[n][~batch.source_valid_BS[n]] == PAD).all()
    assert batch.source_BS.shape == batch.source_valid_BS.shape
    assert batch.source_BS.shape[1] == max(map(len, sources)) + 1  # no column of padding alone


def test_vectorised_equals_plain_loops(tmp_path: Path) -> None:
    """Pairs of any lengths in any order, empty ones and links among them: every tensor, to the bit."""
    draw = random.Random(3)
    sides = ["\n".join(" ".join(draw.choices("abcdef", k=draw.randrange(9))) for _ in range(60)) for _ in range(2)]
    paths = [tmp_path / name for name in ("source", "target", "links")]
    rows = list(zip(*(side.split("\n") for side in sides), strict=True))
    links = [
        " ".join(
            f"{i}{draw.choice('-p')}{j}"
            for i in range(len(a.split()))
            for j in range(len(b.split()))
            if draw.random() < 0.3
        )
        for a, b in rows
    ]
    for path, text in zip(paths, [*sides, "\n".join(links)], strict=True):
        path.write_text(text + "\n")
    vocabulary = train_vocabulary("abcde", VocabularySettings(kind="words"), "letters")
    bitext = prepare_bitext(*paths[:2], (vocabulary, vocabulary), None, tmp_path / "cache", links=paths[2])
    assert bitext.link_count > 100
    numbers = np.array(draw.choices(range(len(bitext)), k=200) + list(range(len(bitext))))
    for chosen in (numbers, numbers[:7], np.array([0]), np.array([len(bitext) - 1, 0])):
        for one, wanted in zip(gather(bitext, chosen), plain_batch(bitext, chosen), strict=True):
            assert one.dtype == wanted.dtype
            assert torch.equal(one, wanted)
    for beyond in (-1, len(bitext)):
        with pytest.raises(IndexError):
            gather(bitext, np.array([0, beyond]))


def plain_batch(bitext: Bitext, numbers: np.ndarray) -> list[torch.Tensor]:
    """What a batch is, written down number by number."""

    def filled(rows: list[list], filling: object, least: int) -> list[list]:
        width = max(least, *map(len, rows))
        return [row + [filling] * (width - len(row)) for row in rows]

    sources = [bitext.source(n).tolist() for n in numbers]
    targets = [bitext.target(n).tolist() for n in numbers]
    links = filled([bitext.links(n).tolist() for n in numbers], [-1, -1, -1], 0)
    return [
        torch.tensor(filled([[*row, EOS] for row in sources], PAD, 1)),
        torch.tensor(filled([[True] * (len(row) + 1) for row in sources], False, 1)),
        torch.tensor(filled([[BOS, *row] for row in targets], PAD, 1)),
        torch.tensor(filled([[*row, EOS] for row in targets], PAD, 1)),
        torch.tensor(filled([[True] * (len(row) + 1) for row in targets], False, 1)),
        torch.tensor(numbers),
        torch.tensor(links, dtype=torch.int64).reshape(len(numbers), -1, 3),
    ]


def test_links_stay_with_their_pair() -> None:
    links = [np.array([[0, 1, 1], [1, 0, 0]], np.int32), np.empty((0, 3), np.int32), np.array([[0, 0, 1]], np.int32)]
    batch = collate([[7, 8], [5], [4]], [[6, 4], [5], [4]], range(3), links)
    nothing = [-1, -1, -1]
    assert batch.link_BL3.tolist() == [[[0, 1, 1], [1, 0, 0]], [nothing, nothing], [[0, 0, 1], nothing]]
    assert batch.link_BL3.dtype == torch.int64
    assert collate([[7]], [[6]], [0]).link_BL3.shape == (1, 0, 3)
    assert collate([[7]], [[6]], [0], [np.empty((0, 3), np.int32)]).link_BL3.shape == (1, 0, 3)


def test_a_batch_is_repeated_and_reordered_as_a_state_is() -> None:
    links = [np.array([[0, 1, 1]]), np.array([[1, 0, 0], [0, 0, 1]])]
    batch = collate([[7, 8], [5]], [[6, 4], [5, 5]], [3, 9], links)
    twice = tree.repeat(batch, 2)
    assert isinstance(twice, Batch)
    assert twice.number_B.tolist() == [3, 3, 9, 9]
    assert torch.equal(twice.link_BL3, batch.link_BL3[[0, 0, 1, 1]])
    assert torch.equal(tree.select(batch, torch.tensor([1, 0])).link_BL3, batch.link_BL3[[1, 0]])
    without = tree.repeat(collate([[7, 8]], [[6]], [0]), 3)
    assert without.link_BL3.shape == (3, 0, 3)


def test_to_a_device() -> None:
    batch = collate([[4]], [[5]], [0]).to("meta")
    assert isinstance(batch, Batch)
    assert {tensor.device.type for tensor in batch} == {"meta"}


@pytest.mark.parametrize("arguments", [([], [], []), ([[1]], [], [0]), ([[1]], [[1]], [])])
def test_sides_of_different_sizes_are_a_bug(arguments: tuple[list[list[int]], list[list[int]], list[int]]) -> None:
    with pytest.raises(ValueError, match="one each"):
        collate(*arguments)


def test_links_of_other_pairs_are_a_bug() -> None:
    with pytest.raises(ValueError, match="1 rows of links"):
        collate([[4], [4]], [[5], [5]], [0, 1], [np.empty((0, 3), np.int32)])
