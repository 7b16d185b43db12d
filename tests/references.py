"""The papers' equations in plain Python: loops over lists of numbers, no tensor algebra.

A vector is a list of floats, a matrix a list of rows; tensors come in by ``.tolist()``. Nothing here imports the
package, so it agrees with it only when both agree with the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

Vector = list[float]
Matrix = list[Vector]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    assert len(a) == len(b)
    return sum(x * y for x, y in zip(a, b, strict=True))


def times(matrix: Matrix, vector: Vector) -> Vector:
    """The product of a matrix and a vector."""
    return [dot(row, vector) for row in matrix]


def plus(*vectors: Vector) -> Vector:
    return [sum(column) for column in zip(*vectors, strict=True)]


def affine(matrix: Matrix, bias: Vector, vector: Vector) -> Vector:
    return plus(times(matrix, vector), bias)


def each(function: Callable[[float], float], vector: Vector) -> Vector:
    return [function(x) for x in vector]


def thirds(rows: list) -> tuple[list, list, list]:
    """Three equal pieces of the rows of a matrix (or the entries of a bias) that holds three."""
    size = len(rows) // 3
    return rows[:size], rows[size : 2 * size], rows[2 * size :]


def softmax(energy: Vector, valid: Sequence[bool]) -> Vector:
    """Over the valid places; 0 at the others."""
    exponential = [math.exp(e) if real else 0.0 for e, real in zip(energy, valid, strict=True)]
    return [x / sum(exponential) for x in exponential]


def log_softmax(logit: Vector) -> Vector:
    total = math.log(sum(math.exp(x) for x in logit))
    return [x - total for x in logit]


def weighted_sum(weight: Vector, rows: Matrix) -> Vector:
    return [sum(a * row[k] for a, row in zip(weight, rows, strict=True)) for k in range(len(rows[0]))]


# -------------------------------------------------------------------------------------------------------- cells


class Products(NamedTuple):
    """W and U of a cell with their biases; the gates' rows stand on one another, in torch's order."""

    input_weight: Matrix
    input_bias: Vector
    hidden_weight: Matrix
    hidden_bias: Vector


def gru_reset_before(p: Products, x: Vector, h: Vector) -> Vector:
    """Cho et al. 2014, Bahdanau et al. 2015 A.1.1: h̄ = tanh(W x + U [r ⊙ h]). Here z keeps the old state."""
    w_r, w_z, w_h = thirds(p.input_weight)
    b_r, b_z, b_h = thirds(p.input_bias)
    u_r, u_z, u_h = thirds(p.hidden_weight)
    d_r, d_z, d_h = thirds(p.hidden_bias)
    r = each(sigmoid, plus(times(w_r, x), b_r, times(u_r, h), d_r))
    z = each(sigmoid, plus(times(w_z, x), b_z, times(u_z, h), d_z))
    gated = [r_k * h_k for r_k, h_k in zip(r, h, strict=True)]
    candidate = each(math.tanh, plus(times(w_h, x), b_h, times(u_h, gated), d_h))
    return [z_k * h_k + (1 - z_k) * c_k for z_k, h_k, c_k in zip(z, h, candidate, strict=True)]


# --------------------------------------------------------------------------------------------------- attentions


def bahdanau(
    w: Matrix, u: Matrix, v: Vector, query: Vector, source: Matrix, valid: Sequence[bool]
) -> tuple[Vector, Vector]:
    """Bahdanau et al. 2015, A.1.2: e_j = v · tanh(W s + U h_j); α = softmax(e); c = Σ α_j h_j. Gives (c, α)."""
    energy = [dot(v, each(math.tanh, plus(times(w, query), times(u, h)))) for h in source]
    weight = softmax(energy, valid)
    return weighted_sum(weight, source), weight


class Gate(NamedTuple):
    """Equation 7 of Zhang et al. 2017: W and b act on the input s, U on the history h."""

    w_z: Matrix
    w_r: Matrix
    w: Matrix
    b_z: Vector
    b_r: Vector
    b: Vector
    u_z: Matrix
    u_r: Matrix
    u: Matrix


def gate(p: Gate, h: Vector, s: Vector) -> Vector:
    """Equation 7: z multiplies the new candidate, r acts on h before U."""
    z = each(sigmoid, plus(times(p.w_z, s), times(p.u_z, h), p.b_z))
    r = each(sigmoid, plus(times(p.w_r, s), times(p.u_r, h), p.b_r))
    candidate = each(
        math.tanh, plus(times(p.w, s), times(p.u, [r_k * h_k for r_k, h_k in zip(r, h, strict=True)]), p.b)
    )
    return [(1 - z_k) * h_k + z_k * c_k for z_k, h_k, c_k in zip(z, h, candidate, strict=True)]


# ------------------------------------------------------------------------------------------------------- losses


def cross_entropy(logits: Matrix, targets: Sequence[int], smoothing: float) -> float:
    """−Σ_t Σ_k q_t(k) log p_t(k), with q = (1 − ε) [k = y_t] + ε / V (Szegedy et al. 2016, section 7)."""
    loss = 0.0
    for logit, target in zip(logits, targets, strict=True):
        for word, log_p in enumerate(log_softmax(logit)):
            loss -= ((1 - smoothing) * (word == target) + smoothing / len(logit)) * log_p
    return loss


# ------------------------------------------------------------------------------------------------------- search


def every_translation(
    log_prob: Callable[[tuple[int, ...]], Vector], words: Sequence[int], end: int, shortest: int, longest: int
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every sequence of ``shortest`` to ``longest`` words with its log-probability, ``end`` counted.

    ``log_prob`` gives the log-probability of every next word after a prefix.
    """
    prefixes: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for length in range(longest + 1):
        following = []
        for prefix, total in prefixes:
            after = log_prob(prefix)
            if length >= shortest:
                yield prefix, total + after[end]
            following += [((*prefix, word), total + after[word]) for word in words]
        prefixes = following
