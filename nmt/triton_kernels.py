"""The innermost loops of attention on a GPU: the functions of ``native.c``, of the same names and arguments, in Triton.

:mod:`nmt.kernels` calls this; nmt/attention says what is computed. B sentences, T queries, S source positions, E (or A)
numbers. ``rows`` are a tensor of four axes: float32 vectors v_bts and the steps from one to the next, None where all
source positions share one. Other arrays are dense; what is per pair of a query and a source position is float32 or
bfloat16, and all is computed in float32. A program computes tiles of ROWS source positions by BLOCK numbers:

* where every pair has its own result, programs share out queries, source positions and numbers;
* where gradients are sums, a program has all queries and source positions of one sentence, and a few numbers of each.
  It alone adds to what stands there, so that no atomic addition is needed and every run adds in the same order.

The softmax over the energies and the context stay torch's. They are the same for every score, so that a kernel for all
three would belong to one attention alone; one program a query would leave most of a GPU idle; and the context is a
product of matrices, whose gradient for the source :mod:`nmt.loops` makes in one piece after the loop.

This file cannot be imported where there is no Triton, which comes with torch's builds for CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS, BLOCK = 4, 128  # of a tile
# The compiler must not fetch what a later round of a loop reads before an earlier one has added to it: one stage.
OPTIONS = {"num_warps": 4, "num_stages": 1, "enable_fp_fusion": True}


# Lengths change from batch to batch; nothing is to be compiled anew for one that is a multiple of 16.
_kernel = triton.jit(do_not_specialize=["S"])


def run(name: str, sizes: tuple[int, int, int, int], *arguments: Tensor, wide: torch.dtype | None = None) -> None:
    """Call a kernel with B, T, S, E and its arrays, of whatever type they are."""
    batch, queries, length, size = sizes
    kernel, summed = KERNELS[name]
    blocks, rows = triton.cdiv(size, BLOCK), triton.cdiv(length, ROWS)
    grid = (batch, blocks) if summed else (batch * queries, rows, blocks)
    with torch.cuda.device_of(arguments[0]):
        kernel[grid](queries, length, size, *map(_argument, arguments), ROWS=ROWS, BLOCK=BLOCK, **OPTIONS)


def _argument(tensor: Tensor) -> Any:
    if tensor.dim() != 4:
        assert tensor.is_contiguous()
        return tensor
    assert tensor.dtype == torch.float32
    assert tensor.stride(-1) == 1 or tensor.shape[-1] == 1
    b, t, s = (0 if size == 1 else step for size, step in zip(tensor.shape[:3], tensor.stride()[:3], strict=True))
    return tensor, b, t, (s if tensor.shape[2] > 1 else None)


# ------------------------------------------------------------------------------------------------------------- tiles


@triton.jit
def _tanh(x):
    """As in native.c: x P(x²) / Q(x²). What is no number stays none."""
    most = 7.90531110763549805
    x = tl.where(x > most, most, x)
    x = tl.where(x < -most, -most, x)
    y = x * x
    p = -2.76076847742355e-16
    p = p * y + 2.00018790482477e-13
    p = p * y - 8.60467152213735e-11
    p = p * y + 5.12229709037114e-08
    p = p * y + 1.48572235717979e-05
    p = p * y + 6.37261928875436e-04
    p = p * y + 4.89352455891786e-03
    q = 1.19825839466702e-06
    q = q * y + 1.18534705686654e-04
    q = q * y + 2.26843463243900e-03
    q = q * y + 4.89352518554385e-03
    return x * p / q


@triton.jit
def _at(rows, b, t, s_R1, e_1X):
    """Where a tile's numbers stand: (ROWS, BLOCK), or (1, BLOCK) if its source positions share them."""
    at = rows[0] + b * rows[1] + t * rows[2] + e_1X
    if rows[3] is not None:
        at = at + s_R1 * rows[3]
    return at


@triton.jit
def _real(rows, s_R1, e_1X, S, E):
    """True where a tile is not over the edge."""
    real = e_1X < E
    if rows[3] is not None:
        real = real & (s_R1 < S)
    return real


@triton.jit
def _load(rows, b, t, s_R1, e_1X, S, E):
    return tl.load(_at(rows, b, t, s_R1, e_1X), mask=_real(rows, s_R1, e_1X, S, E), other=0.0)


@triton.jit
def _add(rows, part_RX, held_RX, b, t, s_R1, e_1X, S, E):
    """Add a part of a gradient where it belongs, or to what is ``held`` until all source positions have been seen."""
    if rows[3] is None:
        held_RX = held_RX + part_RX
    else:
        at, real = _at(rows, b, t, s_R1, e_1X), _real(rows, s_R1, e_1X, S, E)
        tl.store(at, tl.load(at, mask=real, other=0.0) + part_RX, mask=real)
    return held_RX


@triton.jit
def _release(rows, held_RX, b, t, e_1X, E):
    """Add what was held."""
    if rows[3] is None:
        at = rows[0] + b * rows[1] + t * rows[2] + e_1X
        tl.store(at, tl.load(at, mask=e_1X < E, other=0.0) + tl.sum(held_RX, axis=0)[None, :], mask=e_1X < E)


@triton.jit
def _tile(T, S, E, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Of a program whose results are of pairs: sentence, query, source positions, numbers, places, which are real."""
    row = tl.program_id(0).to(tl.int64)
    s_R1 = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None]
    e_1X = (tl.program_id(2) * BLOCK + tl.arange(0, BLOCK))[None, :]
    return row // T, row % T, s_R1, e_1X, (row * S + s_R1) * E + e_1X, (s_R1 < S) & (e_1X < E)


@triton.jit
def _numbers(BLOCK: tl.constexpr):
    """Of a program whose results are sums over pairs: sentence and numbers."""
    return tl.program_id(0).to(tl.int64), (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]


# ------------------------------------------------------------------------------------------------------------- energy


@_kernel
def additive_forward(T, S, E, q, k, v, e, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """e_ts = v · tanh(q_t + k_s)"""
    row = tl.program_id(0).to(tl.int64)
    s_R1 = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None]
    sum_RX = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for first in range(0, E, BLOCK):
        e_1X = (first + tl.arange(0, BLOCK))[None, :]
        q_1X = tl.load(q + row * E + e_1X, mask=e_1X < E, other=0.0)
        v_1X = tl.load(v + e_1X, mask=e_1X < E, other=0.0)
        k_RX = tl.load(k + (row // T * S + s_R1) * E + e_1X, mask=(s_R1 < S) & (e_1X < E), other=0.0)
        sum_RX += v_1X * _tanh(q_1X + k_RX)
    tl.store(e + row * S + s_R1, tl.sum(sum_RX, axis=1)[:, None], mask=s_R1 < S)


@_kernel
def additive_backward(T, S, E, de, q, k, v, dq, dk, dv, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """de: gradient of e. dv is (B, A): each sentence's."""
    b, e_1X = _numbers(BLOCK)
    v_1X = tl.load(v + e_1X, mask=e_1X < E, other=0.0)
    dv_RX = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for t in range(T):
        row = b * T + t
        q_1X = tl.load(q + row * E + e_1X, mask=e_1X < E, other=0.0)
        dq_RX = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
        for first in range(0, S, ROWS):
            s_R1 = (first + tl.arange(0, ROWS))[:, None]
            at, real = (b * S + s_R1) * E + e_1X, (s_R1 < S) & (e_1X < E)
            d_R1 = tl.load(de + row * S + s_R1, mask=s_R1 < S, other=0.0)
            hidden_RX = _tanh(q_1X + tl.load(k + at, mask=real, other=0.0))
            inner_RX = d_R1 * v_1X * (1 - hidden_RX * hidden_RX)
            dq_RX += inner_RX
            dv_RX += d_R1 * hidden_RX
            tl.store(dk + at, tl.load(dk + at, mask=real, other=0.0) + inner_RX, mask=real)
        at_1X = row * E + e_1X
        dq_1X = tl.load(dq + at_1X, mask=e_1X < E, other=0.0) + tl.sum(dq_RX, axis=0)[None, :]
        tl.store(dq + at_1X, dq_1X, mask=e_1X < E)
        tl.debug_barrier()  # the next query adds to the same dk
    dv_1X = tl.load(dv + b * E + e_1X, mask=e_1X < E, other=0.0) + tl.sum(dv_RX, axis=0)[None, :]
    tl.store(dv + b * E + e_1X, dv_1X, mask=e_1X < E)


# -------------------------------------------------------------------------------------------------------------- gates


@_kernel
def reset_forward(T, S, E, qr, kr, h, x, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """x = r ⊙ h, r = σ(qr + kr)"""
    b, t, s, e, pair, real = _tile(T, S, E, ROWS, BLOCK)
    r = tl.sigmoid(_load(qr, b, t, s, e, S, E) + _load(kr, b, t, s, e, S, E))
    tl.store(x + pair, (r * _load(h, b, t, s, e, S, E)).to(x.dtype.element_ty), mask=real)


@_kernel
def reset_backward(T, S, E, dx, qr, kr, h, dqr, dkr, dh, x, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """dx: gradient of x, which is computed once more"""
    b, e = _numbers(BLOCK)
    zero_RX = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for t in range(T):
        sum_qr, sum_kr, sum_h = zero_RX, zero_RX, zero_RX
        for first in range(0, S, ROWS):
            s = (first + tl.arange(0, ROWS))[:, None]
            pair, real = ((b * T + t) * S + s) * E + e, (s < S) & (e < E)
            h_, d = _load(h, b, t, s, e, S, E), tl.load(dx + pair, mask=real, other=0.0).to(tl.float32)
            r = tl.sigmoid(_load(qr, b, t, s, e, S, E) + _load(kr, b, t, s, e, S, E))
            dr = d * h_ * r * (1 - r)
            tl.store(x + pair, (r * h_).to(x.dtype.element_ty), mask=real)
            sum_h = _add(dh, d * r, sum_h, b, t, s, e, S, E)
            sum_qr = _add(dqr, dr, sum_qr, b, t, s, e, S, E)
            sum_kr = _add(dkr, dr, sum_kr, b, t, s, e, S, E)
        _release(dh, sum_h, b, t, e, E)
        _release(dqr, sum_qr, b, t, e, E)
        _release(dkr, sum_kr, b, t, e, E)
        tl.debug_barrier()  # the next query adds to the same source positions


@_kernel
def mix_forward(T, S, E, qz, kz, h, c, p, out, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """out = (1 − z) ⊙ h + z ⊙ tanh(c + p), z = σ(qz + kz)"""
    b, t, s, e, pair, real = _tile(T, S, E, ROWS, BLOCK)
    h_, product = _load(h, b, t, s, e, S, E), tl.load(p + pair, mask=real, other=0.0).to(tl.float32)
    candidate = _tanh(_load(c, b, t, s, e, S, E) + product)
    z = tl.sigmoid(_load(qz, b, t, s, e, S, E) + _load(kz, b, t, s, e, S, E))
    tl.store(out + pair, (h_ + z * (candidate - h_)).to(out.dtype.element_ty), mask=real)


@_kernel
def mix_backward(T, S, E, g, qz, kz, h, c, p, dqz, dkz, dh, dc, dp, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """g: gradient of out; dp: of p"""
    b, e = _numbers(BLOCK)
    zero_RX = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for t in range(T):
        sum_qz, sum_kz, sum_h, sum_c = zero_RX, zero_RX, zero_RX, zero_RX
        for first in range(0, S, ROWS):
            s = (first + tl.arange(0, ROWS))[:, None]
            pair, real = ((b * T + t) * S + s) * E + e, (s < S) & (e < E)
            h_, product = _load(h, b, t, s, e, S, E), tl.load(p + pair, mask=real, other=0.0).to(tl.float32)
            candidate = _tanh(_load(c, b, t, s, e, S, E) + product)
            z = tl.sigmoid(_load(qz, b, t, s, e, S, E) + _load(kz, b, t, s, e, S, E))
            d = tl.load(g + pair, mask=real, other=0.0).to(tl.float32)
            inner = d * z * (1 - candidate * candidate)
            dz = d * (candidate - h_) * z * (1 - z)
            tl.store(dp + pair, inner.to(dp.dtype.element_ty), mask=real)
            sum_c = _add(dc, inner, sum_c, b, t, s, e, S, E)
            sum_h = _add(dh, d * (1 - z), sum_h, b, t, s, e, S, E)
            sum_qz = _add(dqz, dz, sum_qz, b, t, s, e, S, E)
            sum_kz = _add(dkz, dz, sum_kz, b, t, s, e, S, E)
        _release(dc, sum_c, b, t, e, E)
        _release(dh, sum_h, b, t, e, E)
        _release(dqz, sum_qz, b, t, e, E)
        _release(dkz, sum_kz, b, t, e, E)
        tl.debug_barrier()  # the next query adds to the same source positions


@_kernel
def after_forward(T, S, E, qz, kz, qr, kr, qc, kc, h, out, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """out = (1 − z) ⊙ h + z ⊙ tanh(qc + r ⊙ kc), z = σ(qz + kz), r = σ(qr + kr)"""
    b, t, s, e, pair, real = _tile(T, S, E, ROWS, BLOCK)
    r = tl.sigmoid(_load(qr, b, t, s, e, S, E) + _load(kr, b, t, s, e, S, E))
    z = tl.sigmoid(_load(qz, b, t, s, e, S, E) + _load(kz, b, t, s, e, S, E))
    candidate = _tanh(_load(qc, b, t, s, e, S, E) + r * _load(kc, b, t, s, e, S, E))
    h_ = _load(h, b, t, s, e, S, E)
    tl.store(out + pair, (h_ + z * (candidate - h_)).to(out.dtype.element_ty), mask=real)


@_kernel
def after_backward(
    T, S, E, g, qz, kz, qr, kr, qc, kc, h, dqz, dkz, dqr, dkr, dqc, dkc, dh, ROWS: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """g: gradient of out"""
    b, e = _numbers(BLOCK)
    zero_RX = tl.zeros([ROWS, BLOCK], dtype=tl.float32)
    for t in range(T):
        sum_qz, sum_kz, sum_qr, sum_kr = zero_RX, zero_RX, zero_RX, zero_RX
        sum_qc, sum_kc, sum_h = zero_RX, zero_RX, zero_RX
        for first in range(0, S, ROWS):
            s = (first + tl.arange(0, ROWS))[:, None]
            pair, real = ((b * T + t) * S + s) * E + e, (s < S) & (e < E)
            r = tl.sigmoid(_load(qr, b, t, s, e, S, E) + _load(kr, b, t, s, e, S, E))
            z = tl.sigmoid(_load(qz, b, t, s, e, S, E) + _load(kz, b, t, s, e, S, E))
            kc_, h_ = _load(kc, b, t, s, e, S, E), _load(h, b, t, s, e, S, E)
            candidate = _tanh(_load(qc, b, t, s, e, S, E) + r * kc_)
            d = tl.load(g + pair, mask=real, other=0.0).to(tl.float32)
            inner = d * z * (1 - candidate * candidate)
            dr = inner * kc_ * r * (1 - r)
            dz = d * (candidate - h_) * z * (1 - z)
            sum_h = _add(dh, d * (1 - z), sum_h, b, t, s, e, S, E)
            sum_qz = _add(dqz, dz, sum_qz, b, t, s, e, S, E)
            sum_kz = _add(dkz, dz, sum_kz, b, t, s, e, S, E)
            sum_qr = _add(dqr, dr, sum_qr, b, t, s, e, S, E)
            sum_kr = _add(dkr, dr, sum_kr, b, t, s, e, S, E)
            sum_qc = _add(dqc, inner, sum_qc, b, t, s, e, S, E)
            sum_kc = _add(dkc, inner * r, sum_kc, b, t, s, e, S, E)
        _release(dh, sum_h, b, t, e, E)
        _release(dqz, sum_qz, b, t, e, E)
        _release(dkz, sum_kz, b, t, e, E)
        _release(dqr, sum_qr, b, t, e, E)
        _release(dkr, sum_kr, b, t, e, E)
        _release(dqc, sum_qc, b, t, e, E)
        _release(dkc, sum_kc, b, t, e, E)
        tl.debug_barrier()  # the next query adds to the same source positions


# The kernel of each name, and whether its results are sums over pairs.
KERNELS = {
    "additive_forward": (additive_forward, False),
    "additive_backward": (additive_backward, True),
    "reset_forward": (reset_forward, False),
    "reset_backward": (reset_backward, True),
    "mix_forward": (mix_forward, False),
    "mix_backward": (mix_backward, True),
    "after_forward": (after_forward, False),
    "after_backward": (after_backward, True),
}
