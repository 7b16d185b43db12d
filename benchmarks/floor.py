"""The floor of a recurrent model: what its matrix products alone cost.

Of a model with embeddings of size D, an encoder of two directions of He numbers each (memory E = 2 He), a decoder of H,
a scorer of A, a readout of R and V words, whose cells have g gates (3 of a GRU, 4 of an LSTM), each product is counted
in multiplications for one source token, one target token, or one pair of both:

================== =================================== ======================= ===============================
per                ours (look-then-update)             JoeyNMT, OpenNMT-py     fairseq
================== =================================== ======================= ===============================
source token       2 g He (D + He), keys               the same                2 g He (D + He)
target token       g H (D + E + H), R (H + D + E),     g H (D + H + H),        g H (D + H + H), H E,
                   V R, query                          H A, H (H + E), V H     H (H + E), V H
pair               A + E, GAtt's products              A + E                   2 E
================== =================================== ======================= ===============================

Additive attention has keys E A and query H A. GAtt takes 2 E E a source token, 3 H E + H A a target token and E E + E A
a pair more, and the keys E A no more. With the reset gate after the product, around the general scorer, it is 3 E E a
source token, 3 H E + H E a target token and 2 E a pair instead.
A multiplication is 2 operations forward and 4 backward, so a training's floor is 6 times their number; what is
computed once a sentence, activations, embeddings and the optimiser are not counted. It cannot quite be reached.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

TRAINING = 6  # operations a multiplication: 2 forward, 2 for each of the two gradients
MEGA = 1e6

Per = Literal["source", "target", "pairs"]


class Product(NamedTuple):
    """A matrix of ``inner`` × ``outer`` that multiplies a vector of every source token, target token or pair.

    ``stepwise`` where only the rows of one step of a recurrence can be multiplied at once.
    """

    per: Per
    inner: int
    outer: int
    stepwise: bool = False


class Sizes(NamedTuple):
    """The sizes of a model; by default 512 everywhere but in the vocabulary."""

    embedding: int
    hidden: int
    encoder_hidden: int
    scorer: int
    readout: int
    vocabulary: int
    gates: int = 3

    @property
    def memory(self) -> int:
        """E."""
        return 2 * self.encoder_hidden


def encoder(sizes: Sizes) -> list[Product]:
    """A bidirectional layer; what it reads is multiplied for all positions at once."""
    rows = sizes.gates * sizes.encoder_hidden
    return 2 * [
        Product("source", sizes.embedding, rows),
        Product("source", sizes.encoder_hidden, rows, stepwise=True),
    ]


def additive(sizes: Sizes, per: Per = "source") -> list[Product]:
    """Bahdanau's scorer, whose keys are made for every pair where a gate refines the source."""
    return [
        Product(per, sizes.memory, sizes.scorer, stepwise=per == "pairs"),
        Product("target", sizes.hidden, sizes.scorer, stepwise=True),
        Product("pairs", sizes.scorer, 1),
        Product("pairs", sizes.memory, 1),
    ]


def gatt(sizes: Sizes) -> list[Product]:
    """GAtt around the additive scorer."""
    memory = sizes.memory
    return [
        Product("source", memory, 2 * memory),
        Product("target", sizes.hidden, 3 * memory, stepwise=True),
        Product("pairs", memory, memory, stepwise=True),
        *additive(sizes, "pairs"),
    ]


def refined_after(sizes: Sizes) -> list[Product]:
    """What refines the source where the reset gate comes after the product: nothing for a pair."""
    memory = sizes.memory
    return [Product("source", memory, 3 * memory), Product("target", sizes.hidden, 3 * memory, stepwise=True)]


def gatt_reset_after(sizes: Sizes) -> list[Product]:
    """GAtt with the reset gate after the product, around the general scorer (W s) · h'."""
    memory = sizes.memory
    scored = [Product("target", sizes.hidden, memory, stepwise=True), *2 * [Product("pairs", memory, 1)]]
    return refined_after(sizes) + scored


def gatt_reset_after_additive(sizes: Sizes) -> list[Product]:
    """The same around the additive scorer, whose keys are made for every pair."""
    return refined_after(sizes) + additive(sizes, "pairs")


ATTENTIONS = {
    "bahdanau": additive,
    "gatt": gatt,
    "gatt-reset-after": gatt_reset_after,
    "gatt-reset-after-additive": gatt_reset_after_additive,
}


def ours(sizes: Sizes, attention: str) -> list[Product]:
    """The wiring look-then-update with the combined readout."""
    rows = sizes.gates * sizes.hidden
    return [
        *encoder(sizes),
        *ATTENTIONS[attention](sizes),
        Product("target", sizes.embedding, rows),
        Product("target", sizes.memory, rows, stepwise=True),
        Product("target", sizes.hidden, rows, stepwise=True),
        Product("target", sizes.hidden + sizes.embedding + sizes.memory, sizes.readout),
        Product("target", sizes.readout, sizes.vocabulary),
    ]


def input_feeding(sizes: Sizes) -> list[Product]:
    """A decoder that reads the attentional state of the step before, and makes the next of context and state."""
    rows = sizes.gates * sizes.hidden
    return [
        Product("target", sizes.embedding, rows),
        Product("target", 2 * sizes.hidden, rows, stepwise=True),
        Product("target", sizes.hidden + sizes.memory, sizes.hidden, stepwise=True),
        Product("target", sizes.hidden, sizes.vocabulary),
    ]


def joeynmt(sizes: Sizes) -> list[Product]:
    """Additive attention and input feeding; OpenNMT-py's model has the same products."""
    return [*encoder(sizes), *additive(sizes), *input_feeding(sizes)]


def fairseq(sizes: Sizes) -> list[Product]:
    """Dot attention, whose query is brought to the size of the memory."""
    attention = [Product("target", sizes.hidden, sizes.memory, stepwise=True), *2 * [Product("pairs", sizes.memory, 1)]]
    return [*encoder(sizes), *attention, *input_feeding(sizes)]


class Counts(NamedTuple):
    """Source tokens, target tokens (EOS counted) and pairs of positions of a work."""

    source: float
    target: float
    pairs: float


def operations(products: list[Product], counts: Counts) -> float:
    """Of a training on so many tokens and pairs."""
    many = counts._asdict()
    return TRAINING * sum(many[one.per] * one.inner * one.outer for one in products)


def megaflop_a_token(products: list[Product], counts: Counts) -> float:
    """Operations of a training for one target token, in millions."""
    return operations(products, counts) / counts.target / MEGA


def shapes(products: list[Product], counts: Counts, sentences: int) -> list[tuple[int, int, int, float]]:
    """The products of a mean batch of ``sentences`` as rows, inner and outer size, and how often; of vectors, none.

    A stepwise product has a row a sentence, one of pairs a row for each of its source positions.
    """
    many = counts._asdict()
    found: dict[tuple[int, int, int], float] = {}
    for one in products:
        if one.outer == 1:
            continue
        total = many[one.per]
        at_once = sentences * (counts.pairs / counts.target if one.per == "pairs" else 1.0) if one.stepwise else total
        shape = (max(1, round(at_once)), one.inner, one.outer)
        found[shape] = found.get(shape, 0.0) + total / at_once
    return [(*shape, times) for shape, times in found.items()]
