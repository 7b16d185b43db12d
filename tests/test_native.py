"""The innermost loops in C compute what torch's own operations do, and their absence is not noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from computed import (
    COMPUTED,
    GATES,
    B,
    E,
    S,
    T,
    assert_as_by_torch,
    assert_as_under_autocast,
    assert_nothing_hides,
    backend,
    drawn,
    query,
    source,
    values_and_gradients,
)
from torch import Tensor

from nmt import native
from nmt.attention import after_look
from nmt.attention.base import distribute
from nmt.attention.gates import Operand, after_gate, of_query, of_source
from nmt.cells import GRU, unroll
from nmt.cells.dropout import Dropout
from nmt.cells.gru import reset_after
from nmt.loops import applied
from nmt.losses.likelihood import _CrossEntropy

there = pytest.mark.skipif(not native.usable(), reason="there is no C compiler here, or what it makes does not load")


def gru(product_BG: Tensor, h_BH: Tensor, weight_GH: Tensor) -> Tensor:
    """One step; the input product is that of a position among others."""
    product_BTG = torch.stack([product_BG, product_BG], dim=1)
    return reset_after(product_BTG[:, 1], F.linear(h_BH, weight_GH), h_BH)[0]


def gatt_look(a: Tensor, *given: Tensor) -> Tensor:
    """The context and the weights of a look by a product, of sentences of which one has padding in between."""
    names = ("qz", "kz", "qr", "kr", "qc", "kc", "h")
    operands: dict[str, Operand] = {
        name: of_query(one) if name[0] == "q" else of_source(one) for name, one in zip(names, given, strict=True)
    }
    valid_BS = torch.ones(B, S, dtype=torch.bool)
    valid_BS[1, 1:3] = False
    if native.usable(*given):
        return torch.cat(after_look.look(a, valid_BS, **operands), dim=-1)
    refined_BTSE = after_gate(**operands)
    weight_BTS = distribute((refined_BTSE @ a.unsqueeze(-1)).squeeze(-1), valid_BS)
    return torch.cat([(weight_BTS.unsqueeze(2) @ refined_BTSE).squeeze(2), weight_BTS], dim=-1)


OPERATIONS = COMPUTED | {
    "gatt-look": (
        gatt_look,
        [query, query, source, query, source, query, source, source],
    ),
    "gru": (gru, [lambda: torch.randn(E, 3 * 4), lambda: torch.randn(E, 4), lambda: torch.randn(3 * 4, 4)]),
    "cross-entropy": (
        lambda logit: applied(_CrossEntropy, logit.flatten(0, 1) * 5, torch.arange(B * T), 0.0),
        [query],
    ),
    "smoothed cross-entropy": (
        lambda logit: applied(_CrossEntropy, logit.flatten(0, 1) * 5, torch.arange(B * T), 0.1),
        [query],
    ),
}
every = pytest.mark.parametrize("name", OPERATIONS)


@there
@pytest.mark.parametrize("threads", [1, 2])
@every
def test_the_same_as_by_torch(name: str, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert_as_by_torch(OPERATIONS[name])
    finally:
        torch.set_num_threads(before)


@there
@pytest.mark.parametrize("name", GATES)
def test_the_same_under_autocast(name: str) -> None:
    assert_as_under_autocast(OPERATIONS[name])


@there
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "gru"])  # its input is a step of many
def test_memory_of_any_steps(name: str) -> None:
    """Axes in another order in memory, and a gradient that is one number over and over, as that of a sum is."""
    operation, *_ = OPERATIONS[name]
    results = []
    for order in (False, True):
        leaves = [one.requires_grad_() for one in drawn(OPERATIONS[name])]
        seen = [one.mT.contiguous().mT if order and one.dim() > 1 else one for one in leaves]
        result = operation(*seen)
        results.append([result.detach(), *torch.autograd.grad(result.sum(), leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


@there
@every
def test_what_is_kept_is_what_was_computed_alone(name: str) -> None:
    """A part of a larger memory would keep all of that."""
    result = OPERATIONS[name][0](*drawn(OPERATIONS[name]))
    assert result.untyped_storage().nbytes() == result.numel() * result.element_size()


@there
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torchs_default_type_does_not_matter(dtype: torch.dtype) -> None:
    given = {name: drawn(operation) for name, operation in OPERATIONS.items()}
    wanted = {name: values_and_gradients(OPERATIONS[name], one) for name, one in given.items()}
    x = torch.rand(1000)
    torch.set_default_dtype(dtype)
    try:
        for name, one in given.items():
            found = OPERATIONS[name][0](*one)
            torch.testing.assert_close(found, wanted[name][0])
        dropped = Dropout(0.2).train()(x)
        assert dropped.dtype == torch.float32
        assert bool(((dropped == 0) | torch.isclose(dropped, x / 0.8)).all())
        assert 700 < int((dropped != 0).sum()) < 900
    finally:
        torch.set_default_dtype(torch.float32)


@there
def test_what_c_would_take_for_something_else_is_refused() -> None:
    one = torch.zeros(1, 1, 4)
    with pytest.raises(TypeError, match=r"additive_forward: float32 expected, not .*bfloat16"):
        native.run("additive_forward", (1, 1, 1, 4), one, one, one[0, 0].bfloat16(), one)
    with pytest.raises(ValueError, match="an array with gaps"):
        native.run("additive_forward", (1, 1, 1, 2), one[..., ::2], one, one[0, 0], one)


@there
def test_a_gru_in_bfloat16_stays_in_it() -> None:
    cell, x_BTX = GRU(5, 6).bfloat16(), torch.randn(2, 3, 5).bfloat16()
    found = unroll(cell, x_BTX, torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 6).bfloat16())
    with backend("cpu", None):
        wanted = unroll(cell, x_BTX, torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 6).bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)
    found.float().sum().backward()
    assert cell.hidden.weight.grad is not None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("compiled", [pytest.param(True, marks=there), False])
def test_in_bfloat16_a_word_that_is_nearly_sure_keeps_its_gradient(smoothing: float, compiled: bool) -> None:
    logit_NV = torch.zeros(4, 100, dtype=torch.bfloat16)
    logit_NV[:, 7] = torch.tensor([7.0, 10.5, 12.0, 14.0])  # p from .92 to .99992
    target_N = torch.full((4,), 7)
    plain_NV = logit_NV.float().requires_grad_()
    F.cross_entropy(plain_NV, target_N, reduction="sum", label_smoothing=smoothing).backward()
    with nullcontext() if compiled else backend("cpu", None):
        leaf_NV = logit_NV.clone().requires_grad_()
        applied(_CrossEntropy, leaf_NV, target_N, smoothing).sum().backward()
    assert leaf_NV.grad is not None
    assert plain_NV.grad is not None
    gradients = leaf_NV.grad.float(), plain_NV.grad
    torch.testing.assert_close(*(one[:, 7] for one in gradients), rtol=0.005, atol=0)


@there
@every
def test_what_is_not_a_number_stays_none(name: str) -> None:
    assert_nothing_hides(OPERATIONS[name])


@there
def test_bfloat16_is_rounded_to_the_nearest() -> None:
    """Ties to even, infinities and what is no number: as torch rounds."""
    torch.manual_seed(5)
    h = torch.cat([torch.randn(4000) * 10.0 ** torch.randint(-30, 30, (4000,)), torch.tensor([torch.inf, -torch.inf])])
    h = torch.cat([h, torch.tensor([1.0 + 2**-8, 1.0 + 3 * 2**-8, torch.nan])]).reshape(1, 1, 1, -1)
    open_ = torch.full_like(h, 100.0)  # σ(200) = 1: x = h
    x = torch.empty(1, h.shape[-1], dtype=torch.bfloat16)
    native.run("reset_forward", (1, 1, 1, h.shape[-1]), open_, open_, h, x, wide=torch.bfloat16)
    torch.testing.assert_close(x[0], h.flatten().to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


@there
def test_a_damaged_library_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from nmt import native; print(native._library()._name)"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    places = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        places.append(Path(done.stdout.strip()))
        whole = places[-1].read_bytes()
        places[-1].write_bytes(b"")
    assert places[0] == places[1]
    assert whole


@there
def test_a_thread_of_pythons_own_keeps_to_torchs_number_of_threads() -> None:
    code = (
        "import ctypes, threading, torch; from nmt import native; torch.set_num_threads(1); "
        "one = torch.ones(1, 1, 1, 4); row = torch.empty(4); "
        "say = lambda: print(getattr(ctypes.CDLL(None), 'omp_get_max_threads', lambda: 'unknown')()); "
        "run = lambda: native.run('reset_forward', (1, 1, 1, 4), one, one, one, row, wide=torch.float32); "
        "thread = threading.Thread(target=lambda: (say(), run(), say())); thread.start(); thread.join()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    if done.stdout.startswith("unknown"):
        pytest.skip("OpenMP's functions are not to be asked here")
    assert done.stdout == "3\n1\n", done


def test_without_a_home_nothing_is_kept_and_nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert native._library.__wrapped__() is None


def test_without_a_compiler_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import torch; from nmt import native; from nmt.attention.bahdanau import additive; "
        "print(native.usable(), additive(torch.zeros(1, 1, 2), torch.ones(1, 3, 2), torch.ones(2)).shape)"
    )
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    for name, value in (("PATH", str(tmp_path / "empty")), ("CC", str(broken)), ("NMT_NATIVE", "0")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            patched.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.stdout == "False torch.Size([1, 1, 3])\n", (name, done)
        assert done.stderr == ""


# --------------------------------------------------------------------------------------------------------- dropout


@there
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_drops_its_share_of_places_that_know_nothing_of_each_other(rate: float) -> None:
    """Within five standard deviations: the share of all, of each row and column, of neighbours, and of two seeds."""
    torch.manual_seed(7)
    dropout, one = Dropout(rate).train(), torch.ones(512, 512)
    kept, other = (dropout(one) != 0 for _ in range(2))
    assert torch.equal(dropout(one).unique(), torch.tensor([0.0, 1 / (1 - rate)]))
    keep = 1 - rate

    def near(found: Tensor, share: float, trials: int) -> None:
        assert (found - share).abs().max() < 5 * (share * (1 - share) / trials) ** 0.5

    near(kept.float().mean(), keep, 512**2)
    near(kept.float().mean(dim=0), keep, 512)
    near(kept.float().mean(dim=1), keep, 512)
    for mate in (other, kept.roll(1, 1), kept.roll(1, 0), kept.roll(17, 1), kept.T):
        near((kept & mate).float().mean(), keep**2, 512**2)


@there
@pytest.mark.parametrize("threads", [1, 2])
def test_the_gradient_of_dropout_passes_where_a_number_stayed(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = torch.randn(80, 24, 37, requires_grad=True)
        torch.manual_seed(8)
        y = Dropout(0.2).train()(x)
        y.sum().backward()
        torch.manual_seed(8)
        again = Dropout(0.2).train()(x)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, again), "the random generator decides"
    assert x.grad is not None
    assert torch.equal(x.grad, (y != 0) / torch.tensor(0.8))
    torch.testing.assert_close(y, torch.where(y != 0, x / 0.8, 0.0), rtol=1e-6, atol=0)
