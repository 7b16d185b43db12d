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


def gru_reset_after(p: Products, x: Vector, h: Vector) -> Vector:
    """cuDNN's GRU: h̄ = tanh(W x + b + r ⊙ (U h + d)). Here z keeps the old state."""
    w_r, w_z, w_h = thirds(affine(p.input_weight, p.input_bias, x))
    u_r, u_z, u_h = thirds(affine(p.hidden_weight, p.hidden_bias, h))
    r, z = each(sigmoid, plus(w_r, u_r)), each(sigmoid, plus(w_z, u_z))
    candidate = [math.tanh(w_k + r_k * u_k) for w_k, r_k, u_k in zip(w_h, r, u_h, strict=True)]
    return [z_k * h_k + (1 - z_k) * c_k for z_k, h_k, c_k in zip(z, h, candidate, strict=True)]


def lstm(p: Products, x: Vector, h: Vector, c: Vector) -> tuple[Vector, Vector]:
    """i, f, o = σ(W x + U h), g = tanh(W x + U h), c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'), in the order i, f, g, o."""
    size, both = len(h), product(p, x, h)
    i, f, g, o = (both[k * size : (k + 1) * size] for k in range(4))
    i, f, o, g = each(sigmoid, i), each(sigmoid, f), each(sigmoid, o), each(math.tanh, g)
    c = [f_k * c_k + i_k * g_k for f_k, c_k, i_k, g_k in zip(f, c, i, g, strict=True)]
    return [o_k * math.tanh(c_k) for o_k, c_k in zip(o, c, strict=True)], c


def halves(p: Products) -> tuple[Products, Products]:
    """The gate's products and the candidate's, of a cell that has these two."""
    size = len(p.input_bias) // 2
    return Products(*(rows[:size] for rows in p)), Products(*(rows[size:] for rows in p))


def product(p: Products, x: Vector, h: Vector) -> Vector:
    """W x + U h and their biases."""
    return plus(affine(p.input_weight, p.input_bias, x), affine(p.hidden_weight, p.hidden_bias, h))


def elman(p: Products, x: Vector, h: Vector) -> Vector:
    """Elman 1990, with tanh: h' = tanh(W x + U h + b)."""
    return each(math.tanh, product(p, x, h))


def gru_without_reset(p: Products, x: Vector, h: Vector) -> Vector:
    """A GRU whose r is 1: h̄ = tanh(W x + U h). Here z keeps the old state."""
    gate, candidate = halves(p)
    z, c = each(sigmoid, product(gate, x, h)), each(math.tanh, product(candidate, x, h))
    return [z_k * h_k + (1 - z_k) * c_k for z_k, h_k, c_k in zip(z, h, c, strict=True)]


def janet(p: Products, beta: float, x: Vector, c: Vector) -> Vector:
    """van der Westhuizen and Lasenby 2018: c' = σ(s) ⊙ c + (1 − σ(s − β)) ⊙ tanh(U_c h + W_c x + b_c), h = c."""
    forget, candidate = halves(p)
    s, new = product(forget, x, c), each(math.tanh, product(candidate, x, c))
    return [sigmoid(s_k) * c_k + (1 - sigmoid(s_k - beta)) * n_k for s_k, c_k, n_k in zip(s, c, new, strict=True)]


def minimal_gated_unit(p: Products, x: Vector, h: Vector) -> Vector:
    """Zhou et al. 2016, from memory: f is the reset and the update gate, h' = (1 − f) ⊙ h + f ⊙ h̄."""
    gate, candidate = halves(p)
    f = each(sigmoid, product(gate, x, h))
    c = each(math.tanh, product(candidate, x, [f_k * h_k for f_k, h_k in zip(f, h, strict=True)]))
    return [(1 - f_k) * h_k + f_k * c_k for f_k, h_k, c_k in zip(f, h, c, strict=True)]


# --------------------------------------------------------------------------------------------------- attentions


Look = tuple[Vector, Vector]  # (c, α)


def look(energy: Vector, source: Matrix, valid: Sequence[bool]) -> Look:
    """α = softmax(e) over the valid places; c = Σ α_j h_j."""
    weight = softmax(energy, valid)
    return weighted_sum(weight, source), weight


def additive(w: Matrix, u: Matrix, v: Vector, query: Vector, h: Vector, *more: Vector) -> float:
    """v · tanh(W s + U h + …): Bahdanau et al. 2015, A.1.2; with V β, Tu et al. 2016, equation 11."""
    return dot(v, each(math.tanh, plus(times(w, query), times(u, h), *more)))


def bahdanau(w: Matrix, u: Matrix, v: Vector, query: Vector, source: Matrix, valid: Sequence[bool]) -> Look:
    """Bahdanau et al. 2015, A.1.2: e_j = v · tanh(W s + U h_j); α = softmax(e); c = Σ α_j h_j. Gives (c, α)."""
    return look([additive(w, u, v, query, h) for h in source], source, valid)


def local_p(w_p: Matrix, v_p: Vector, window: float, query: Vector, energy: Vector, valid: Sequence[bool]) -> Vector:
    """Luong et al. 2015, equations 9 and 10, over the valid places alone: α(i) ∝ exp(e_i) exp(−(i − p)² / (2 σ²))."""
    real = [place for place, one in enumerate(valid) if one]
    centre = len(real) * sigmoid(dot(v_p, each(math.tanh, times(w_p, query))))
    sigma = window / 2
    weight = [0.0] * len(valid)
    for i, place in enumerate(real):
        weight[place] = math.exp(energy[place]) * math.exp(-((i - centre) ** 2) / (2 * sigma**2))
    return [one / sum(weight) for one in weight]


def constrained_softmax(energy: Vector, bound: Vector) -> Vector:
    """Martins and Kreutzer 2017: α_i = min(exp(z_i) / Z, u_i), with the Z at which Σ α = 1 found by halving."""

    def weight(log_z: float) -> Vector:
        return [min(math.exp(min(z - log_z, 700.0)), u) for z, u in zip(energy, bound, strict=True)]

    low, high = min(energy) - 1e3, max(energy) + 1e3
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(weight(middle)) > 1 else (low, middle)
    return weight(low)


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


def gate_reset_after(p: Gate, h: Vector, s: Vector) -> Vector:
    """The same, but r acts on U h: the candidate of cuDNN's GRU, without its second bias."""
    z = each(sigmoid, plus(times(p.w_z, s), times(p.u_z, h), p.b_z))
    r = each(sigmoid, plus(times(p.w_r, s), times(p.u_r, h), p.b_r))
    gated = [r_k * u_k for r_k, u_k in zip(r, times(p.u, h), strict=True)]
    candidate = each(math.tanh, plus(times(p.w, s), gated, p.b))
    return [(1 - z_k) * h_k + z_k * c_k for z_k, h_k, c_k in zip(z, h, candidate, strict=True)]


class CoverageGate(NamedTuple):
    """One of the three sums of Tu et al. 2016, section 3.2.2: U β + V α + B h + W s."""

    u: Matrix
    v: Matrix
    b: Matrix
    w: Matrix

    def of(self, beta: Vector, alpha: float, h: Vector, s: Vector) -> Vector:
        return plus(times(self.u, beta), times(self.v, [alpha]), times(self.b, h), times(self.w, s))


def gated_coverage(
    z: CoverageGate, r: CoverageGate, c: CoverageGate, beta: Vector, alpha: float, h: Vector, s: Vector
) -> Vector:
    """Tu et al. 2016, section 3.2.2: β' = (1 − z) β + z β̄, β̄ = tanh(U [r ⊙ β] + V α + B h + W s)."""
    update = each(sigmoid, z.of(beta, alpha, h, s))
    reset = each(sigmoid, r.of(beta, alpha, h, s))
    candidate = each(math.tanh, c.of([r_k * b_k for r_k, b_k in zip(reset, beta, strict=True)], alpha, h, s))
    return [(1 - z_k) * b_k + z_k * c_k for z_k, b_k, c_k in zip(update, beta, candidate, strict=True)]


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
