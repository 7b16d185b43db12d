"""The benchmarks: the floor by hand, the workload, the tables, and each command on a tiny workload."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as benchmarks
from benchmarks import floor, gpu, lengths, peers, protocol, rounds, table
from benchmarks.floor import Counts, Sizes
from benchmarks.machine import seconds_of_products
from benchmarks.ours import of_batch, recipe_of
from benchmarks.protocol import Child, SystemFailedError
from benchmarks.systems import OURS, SEARCHING, SYSTEMS, TRAINING, sizes_of
from benchmarks.texts import SIDES, SPECIAL, added, counted, sentences, words
from benchmarks.train import Setting
from benchmarks.workload import Workload, generate
from nmt import native
from nmt.batching import collate
from nmt.model import build_model
from nmt.recipe import load_recipe

TINY = Workload(pairs=60, vocabulary=60, mean_length=6.0, deviation=2.0, test_pairs=4, forced_length=3)
OPTIONS = ["--size", "8", "--batch", "8", "--pairs", "60", "--vocabulary", "60", "--rounds", "2"]
PUBLISHED = Sizes(512, 512, 512, 512, 512, 8000)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


# ------------------------------------------------------------------------------------------------------- the floor


def test_the_floor_by_hand() -> None:
    # D = 2, H = 3, He = 5, E = 10, A = 7, R = 11, V = 13, a GRU
    products = floor.ours(Sizes(2, 3, 5, 7, 11, 13), "bahdanau")
    source = 2 * 3 * 5 * (2 + 5) + 10 * 7
    target = 3 * 7 + 3 * 3 * (2 + 10 + 3) + (3 + 2 + 10) * 11 + 11 * 13
    pair = 7 + 10
    assert floor.operations(products, Counts(4, 6, 20)) == 6 * (4 * source + 6 * target + 20 * pair)


def test_gatt_by_hand() -> None:
    sizes = Sizes(2, 3, 5, 7, 11, 13)
    plain = floor.operations(floor.ours(sizes, "bahdanau"), Counts(1, 1, 1)) / 6
    exact = floor.operations(floor.ours(sizes, "gatt"), Counts(1, 1, 1)) / 6
    after = floor.operations(floor.ours(sizes, "gatt-reset-after"), Counts(1, 1, 1)) / 6
    around = floor.operations(floor.ours(sizes, "gatt-reset-after-additive"), Counts(1, 1, 1)) / 6
    # W_z, W_r, W of the query, U_z, U_r once a sentence, U and the scorer's keys for every pair
    assert exact - plain == 3 * 3 * 10 + 2 * 10 * 10 + 10 * 10 + 10 * 7 - 10 * 7
    # U once a sentence; the scorer's W s and, for every pair, its product with h', in place of the additive one's
    assert after - plain == 3 * 3 * 10 + 3 * 10 * 10 + 3 * 10 + 10 - (10 * 7 + 3 * 7 + 7)
    # U once a sentence; the scorer's keys are one of the pair's products as in exact GAtt, whose U is the other
    assert around - plain == 3 * 3 * 10 + 3 * 10 * 10 + 10 * 7 - 10 * 7


def test_the_published_floors(cache: Path) -> None:
    """As counted by hand when the peers were first measured: 74, 365, 67, 77 and 141 MFLOP a target token."""
    directory = generate(Workload(), cache)
    long = [[len(one) + 1 for one in sentences(directory, "train", side)] for side in SIDES]
    counts = Counts(**{name: float(many) for name, many in counted(*long).items()})
    expected = {"ours": 74, "gatt": 365, "joeynmt": 67, "fairseq": 77, "opennmt": 141}
    for name, megaflop in expected.items():
        system = SYSTEMS[name]
        found = floor.megaflop_a_token(system.products(sizes_of(system, 512, 8000)), counts)
        assert found == pytest.approx(megaflop, abs=0.6), name


@pytest.mark.parametrize("name", [name for name, system in SYSTEMS.items() if system.environment is None])
def test_the_floor_is_what_torch_counts_of_the_model(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system, directory = SYSTEMS[name], generate(TINY, cache)
    overrides = [one.replace("SIZE", "16") for one in system.overrides]
    recipe = load_recipe(recipe_of(directory, cache / "recipe", 16, 8, 3), overrides)
    model = build_model(recipe.model, 60, 60).eval()
    batch = collate([[5, 6, 7], [8, 9, 10]], [[5, 6], [7, 8]], [0, 1])
    monkeypatch.setattr(native, "_library", lambda: None)  # whose products torch does not count
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch.source_BS, batch.source_valid_BS, batch.input_BT)
    once_a_sentence = len(batch.source_BS) * 32 * 16  # the start of the decoder
    expected = floor.operations(system.products(sizes_of(system, 16, 60)), Counts(**of_batch(batch))) / 6
    # The context, and with a vector as its other side the energy, may be made without a product that torch counts.
    pairs = of_batch(batch)["pairs"]
    assert counter.get_total_flops() / 2 - once_a_sentence == pytest.approx(expected, abs=pairs * (32 + 16))


def test_shapes_hold_all_operations() -> None:
    counts = Counts(source=80.0, target=60.0, pairs=480.0)
    for attention in floor.ATTENTIONS:
        products = floor.ours(PUBLISHED, attention)
        shapes = floor.shapes(products, counts, sentences=8)
        vectors = sum(counts._asdict()[one.per] * one.inner for one in products if one.outer == 1)
        found = sum(rows * inner * outer * times for rows, inner, outer, times in shapes)
        assert 6 * (found + vectors) == pytest.approx(floor.operations(products, counts))


def test_products_are_timed() -> None:
    operations, seconds = seconds_of_products([(4, 8, 16, 3.0)], "float32", runs=1)
    assert operations == 3 * 2 * 3.0 * 4 * 8 * 16
    assert seconds > 0


# ---------------------------------------------------------------------------------------------------- the workload


def test_the_workload_is_the_same_every_time(tmp_path: Path, cache: Path) -> None:
    one, other = generate(TINY, cache), generate(TINY, tmp_path)
    names = {path.name for path in one.iterdir()}
    assert {f"{part}.{side}" for part in ("train", "dev", "test", "words") for side in SIDES} <= names
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_the_workload_is_what_it_says(cache: Path) -> None:
    directory = generate(Workload(), cache)
    for side in SIDES:
        texts = sentences(directory, "train", side)
        assert len(texts) == 20_000
        assert sum(map(len, texts)) / len(texts) == pytest.approx(24, abs=0.5)
        assert {word for text in texts for word in text} == set(words(directory, side))
        assert len(words(directory, side)) == 8_000 - SPECIAL
    assert {len(text) for text in sentences(directory, "test", "target")} == {30}


def test_the_lengths_can_be_one(tmp_path: Path) -> None:
    directory = generate(TINY._replace(lengths=(20, 7)), tmp_path)
    for side, length in zip(SIDES, (20, 7), strict=True):
        assert {len(text) for part in ("train", "test") for text in sentences(directory, part, side)} == {length}


def test_what_batches_count_for() -> None:
    batch = collate([[5, 6, 7], [8]], [[5], [6, 7]], [0, 1])
    assert of_batch(batch) == {"source": 4 + 2, "target": 2 + 3, "pairs": 4 * 2 + 2 * 3}
    assert added([of_batch(batch)] * 2) == {"source": 12, "target": 10, "pairs": 28}


# -------------------------------------------------------------------------------------------- tables and processes


def test_tables() -> None:
    assert table.table(["system", "tokens/s"], [["a|b", 12345.6], ["c", None], ["d", 0.779], ["e", 12.34]]) == [
        "| system | tokens/s |",
        "| :----- | -------: |",
        "| a\\|b   |   12,346 |",
        "| c      |        – |",
        "| d      |     0.78 |",
        "| e      |     12.3 |",
    ]


def test_the_exponent() -> None:
    assert table.slope([(x, 3 * x**1.5) for x in (10, 20, 200)]) == pytest.approx(1.5)


def test_ratios_are_of_the_same_round() -> None:
    # The machine was half as fast in the second round; nothing of that is seen.
    assert rounds.ratio([100, 50, 100], [40, 20, 50]) == 2.5


def test_a_system_that_fails_tells_why() -> None:
    with pytest.raises(SystemFailedError, match=r"No module named benchmarks\.nothing"):
        Child(sys.executable, "benchmarks.nothing", {"threads": 1})


def test_a_system_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(protocol, "PATIENCE", 0.2)
    monkeypatch.setattr(protocol, "ROOT", tmp_path)
    (tmp_path / "sleeper.py").write_text("import time; time.sleep(60)")
    with pytest.raises(SystemFailedError, match=r"no answer within 0\.2 s"):
        Child(sys.executable, "sleeper", {"threads": 1})


def test_a_process_tells_its_own_peak() -> None:
    before = protocol.peak_memory()
    block = bytearray(200 * 2**20)
    block[::4096] = bytes(len(block[::4096]))
    assert protocol.peak_memory() - before > 100 * 2**20
    assert protocol.peak_memory() < 2**40


# --------------------------------------------------------------------------------------------------- the commands


def run(*arguments: str) -> Result:
    return CliRunner().invoke(benchmarks.main, [*arguments], catch_exceptions=False)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(benchmarks, "CACHE", cache)
    monkeypatch.setenv("NMT_BENCH_PEERS", str(tmp_path / "no-peers"))


def rows_of(result: Result) -> dict[str, list[str]]:
    assert result.exit_code == 0, result.output
    cells = [line.split("|")[1:-1] for line in result.stdout.split("\n") if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_train(tmp_path: Path) -> None:
    out = tmp_path / "results" / "train.md"
    result = run("train", *OPTIONS, "--updates", "2", "--systems", "ours,ours-bf16,joeynmt,gatt", "--out", str(out))
    rows = rows_of(result)
    assert {"ours", "ours-bf16", "gatt"} <= rows.keys()
    assert rows["ours"][1] == "1.00"
    assert float(rows["gatt"][3]) > float(rows["ours"][3])  # MFLOP a token
    assert "joeynmt: skipped, no environment" in out.read_text(encoding="utf-8")
    assert out.read_text(encoding="utf-8") == result.stdout


def test_decode() -> None:
    rows = rows_of(run("decode", *OPTIONS, "--sentences", "4", "--systems", "ours,fairseq"))
    assert rows["ours"][3] == "30.0"  # words a sentence
    assert "fairseq" not in rows


def test_align() -> None:
    rows = rows_of(run("align", *OPTIONS, "--sentences", "4", "--systems", OURS))
    assert float(rows["ours"][2]) > 1


def test_data() -> None:
    rows = rows_of(run("data", *OPTIONS, "--updates", "2", "--processes", "1", "--repeat", "1"))
    assert 0 < float(rows["ours"][2].removesuffix(" %")) < 100
    assert rows["1"][0] == "60"


def test_lengths() -> None:
    arguments = ["--rounds", "1", "--size", "8", "--batch", "2", "--vocabulary", "60"]
    rows = rows_of(run("lengths", *arguments, "--lengths", "4,40", "--sentences", "2"))
    assert rows.keys() > {"ours, train, by target length", "ours, decode, by source length"}
    assert float(rows["ours, decode, by target length"][-1]) > 0.3


@pytest.mark.parametrize("both", [(20, 10), (10, 20), (20, 200)])
def test_every_length_has_the_whole_vocabulary(tmp_path: Path, both: tuple[int, int]) -> None:
    setting = Setting(Workload(vocabulary=800), tmp_path, tmp_path, size=8, batch=2, threads=1, rounds=1)
    directory = generate(lengths.workload_of(setting, both, sentences=2), tmp_path)
    for side in SIDES:
        said = {word for text in sentences(directory, "train", side) for word in text}
        assert said == set(words(directory, side))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so() -> None:
    result = run("gpu")
    assert result.exit_code != 0
    assert "there is no GPU here" in result.output
    assert not result.stdout.startswith("#")


def test_what_would_be_measured_on_a_gpu(cache: Path) -> None:
    """The same on a CPU, of small sizes that all differ."""
    sizes = Sizes(embedding=6, hidden=10, encoder_hidden=7, scorer=9, readout=5, vocabulary=60)
    lines, failures = gpu.measure([8], sizes, TINY, cache, 2, 2, lambda _: None, device="cpu")
    assert failures == []
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    plain, replayed, gatt, gatt_replayed = rows
    assert ["replayed" in row[0] for row in rows] == [False, True] * 2
    assert plain[2] == replayed[2] == "1.00"
    assert float(gatt[3]) > float(plain[3])  # MFLOP a token
    assert float(gatt_replayed[3]) > float(replayed[3])


def test_the_model_on_a_gpu_has_the_sizes_that_are_told(cache: Path, tmp_path: Path) -> None:
    for name in (gpu.RNNSEARCH, gpu.GATT):
        path = recipe_of(generate(TINY, cache), tmp_path, 1000, 80, 3)
        model = load_recipe(path, gpu.overrides(name, gpu.PAPER, "cuda")).model
        assert (model.embedding, model.hidden, model.encoder_hidden, model.readout_size) == (620, 1000, 1000, 620)


def test_peers_are_installed_with_our_torch_and_pinned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(peers.venv, "create", lambda place, with_pip: None)
    monkeypatch.setattr(peers.subprocess, "run", lambda command, **_: commands.append(command))
    result = run("peers", "--peers", str(tmp_path))
    assert result.exit_code == 0, result.output
    wanted = [one for command in commands for one in command[command.index("--no-compile") + 1 :]]
    assert [one for one in wanted if one.startswith("torch")] == [f"torch=={torch.__version__}"] * len(peers.PEERS)
    assert all("==" in one for one in wanted if not one.startswith("--"))
    for peer in peers.PEERS.values():
        assert all(workaround in result.output for workaround in peer.workarounds)


def test_an_unknown_system_is_refused() -> None:
    result = run("train", "--systems", "marian")
    assert result.exit_code == 2
    assert "marian: known here are ours" in result.output


def test_every_group_has_ours_in_it() -> None:
    groups = [*TRAINING.values(), SEARCHING]
    assert all(OURS in names for names in groups)
    assert {name for names in groups for name in names} == SYSTEMS.keys()
