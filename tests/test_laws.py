"""What every attention and every model keeps to, over the tables: a new class is tested by being listed."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pydantic
import pytest
import torch
from torch import Tensor

from nmt.attention import ATTENTIONS, Attention, Glance, Memory
from nmt.batching import collate
from nmt.cells import CELLS, DROPOUTS
from nmt.decoder import STARTS, WIRINGS
from nmt.layers import READOUTS
from nmt.losses.likelihood import CrossEntropy
from nmt.model import EncoderDecoder, ModelSettings, build_model
from nmt.positions import POSITIONS
from nmt.recurrent import Dropout, RecurrentSettings
from nmt.settings import Choice, choice
from nmt.sublayers import FEED_FORWARDS, NORMS
from nmt.tree import State, map_tensors, repeat, select
from nmt.vocabulary import BOS

DOUBLE = torch.float64
SETTINGS: pydantic.TypeAdapter = pydantic.TypeAdapter(ModelSettings)
TRANSFORMER: dict[str, Any] = {"kind": "transformer", "embedding": 4, "heads": 2, "hidden": 16}
RECURRENT: dict[str, Any] = {"kind": "recurrent", "embedding": 3, "layers": 2}


# What stands inside in the laws for every member that wraps another, where it can.
INNERS = ["bahdanau", "coverage-linguistic", "hard", "gatt"]
WRAPPERS = [
    "local-p",
    "fertility-bound",
    "gatt",
    "gatt-inv",
    "gatt-reset-after",
    "gatt-cell",
    "gatt-inv-cell",
    "hard",
]
NESTS: dict[str, Any] = {
    "fertility-bound(general)": {"kind": "fertility-bound", "inner": "general"},
    "fertility-bound(dot)": {"kind": "fertility-bound", "inner": "dot"},
    "gatt(hard(coverage-linguistic))": {"kind": "gatt", "inner": {"kind": "hard", "inner": "coverage-linguistic"}},
    "gatt-inv(gatt(multi-head))": {
        "kind": "gatt-inv",
        "inner": {"kind": "gatt", "inner": {"kind": "multi-head", "heads": 1}},
    },
    "gatt, recomputed": {"kind": "gatt", "recompute": True},
    **{f"gatt-cell by {cell}": {"kind": "gatt-cell", "cell": cell} for cell in CELLS},
    **{f"gatt-inv-cell by {cell}": {"kind": "gatt-inv-cell", "cell": cell} for cell in CELLS},
    "gatt-cell, recomputed": {"kind": "gatt-cell", "recompute": True},
    "gatt-reset-after(hard(coverage-neural)), recomputed": {
        "kind": "gatt-reset-after",
        "recompute": True,
        "inner": {"kind": "hard", "inner": "coverage-neural"},
    },
    "hard(fertility-bound(local-p))": {"kind": "hard", "inner": {"kind": "fertility-bound", "inner": "local-p"}},
}
# Their queries and memory must be of one size.
OF_ONE_SIZE = {"dot", "fertility-bound(dot)"}
# Nests that cannot be, and what is said of them.
REFUSED = {
    "hard(hard)": "Hard sums up none of the memory",
    "hard(gatt)": "GAtt sums up none of the memory; put gatt around hard",
    "hard(gatt-inv)": "GAttInv sums up none of the memory",
    "hard(multi-head)": "MultiHead sums up none of the memory",
    **{f"local-p({inner})": "local attention needs an inner one that gives scores" for inner in INNERS[1:]},
    **{
        f"fertility-bound({inner})": "bounds by fertility need an inner attention that gives scores"
        for inner in INNERS[1:]
    },
}


def wraps(kind: str) -> bool:
    return any(isinstance(one.default, Choice) for one in inspect.signature(ATTENTIONS[kind]).parameters.values())


def attentions() -> dict[str, Choice]:
    """Every attention of the table, those that wrap another around some of the table, and some deeper nests."""
    found: dict[str, Any] = {kind: kind for kind in ATTENTIONS}
    for kind in filter(wraps, ATTENTIONS):
        found |= {f"{kind}({inner})": {"kind": kind, "inner": inner} for inner in INNERS}
    found |= NESTS
    return {name: choice(ATTENTIONS).validate(value) for name, value in found.items() if name not in REFUSED}


EVERY_ATTENTION = attentions()


def test_a_wrapper_is_recognised() -> None:
    assert "gatt(bahdanau)" in EVERY_ATTENTION
    assert "gatt(gatt)" in EVERY_ATTENTION
    assert [kind for kind in ATTENTIONS if wraps(kind)] == WRAPPERS


@pytest.mark.parametrize("name", REFUSED)
def test_a_nest_that_cannot_be_is_refused(name: str) -> None:
    kind, inner = name.removesuffix(")").split("(")
    with pytest.raises(pydantic.ValidationError, match=REFUSED[name]):
        RecurrentSettings(attention={"kind": kind, "inner": inner})


def leaves(state: State) -> list[Tensor]:
    """The tensors of a state; ``TypeError`` where it holds anything else."""
    found: list[Tensor] = []
    map_tensors(lambda one: found.append(one) or one, state)
    return found


class Unchanged:
    """The block leaves every tensor of these trees as it was: the same numbers in the same places of memory."""

    def __init__(self, *trees: State) -> None:
        self.tensors = [one for tree in trees for one in leaves(tree)]
        self.before = [one.detach().clone() for one in self.tensors]
        self.places = [one.data_ptr() for one in self.tensors]

    def __enter__(self) -> None:
        assert self.tensors

    def __exit__(self, *exception: object) -> None:
        assert [one.data_ptr() for one in self.tensors] == self.places
        assert all(torch.equal(one, other) for one, other in zip(self.tensors, self.before, strict=True))


def same(found: State, wanted: State, tolerance: float = 1e-12) -> None:
    for one, other in zip(leaves(found), leaves(wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def spread(module: Any) -> Any:
    """Weights of a size at which every part matters: nothing saturates, nothing is nearly 0."""
    with torch.no_grad():
        for one in module.parameters():
            one.uniform_(-1, 1)
    return module


# ---------------------------------------------------------------------------------------------------- attentions

Q, E = 8, 4
# Sources of 5, 3, 2 and 1 positions: no padding, on the right, on the left, on both sides.
VALID = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 0, 1, 0, 0]]).bool()
B, S = VALID.shape
T = 4

every_attention = pytest.mark.parametrize("name", EVERY_ATTENTION)


class Looked(NamedTuple):
    attention: Attention
    memory: Memory
    query_BTQ: Tensor

    def run(self, rows: Any = slice(None), places: Any = slice(None)) -> tuple[Glance, State]:
        """All looks, with these rows of the batch and these source positions only."""
        memory = Memory(self.memory.value_BSE[rows][:, places], self.memory.valid_BS[rows][:, places])
        keys = self.attention.precompute(memory)
        return self.attention.step(self.query_BTQ[rows], keys, self.attention.start(memory.valid_BS))


def a_look(name: str) -> Looked:
    query_size = E if name in OF_ONE_SIZE else Q
    attention: Attention = spread(EVERY_ATTENTION[name].build(ATTENTIONS, query_size, E).double()).eval()
    value_BSE = torch.randn(B, S, E, dtype=DOUBLE).masked_fill(~VALID.unsqueeze(-1), 1e3)
    return Looked(attention, Memory(value_BSE, VALID), torch.randn(B, T, query_size, dtype=DOUBLE))


@every_attention
def test_weights_are_a_distribution_over_the_valid_source(name: str) -> None:
    glance, _ = a_look(name).run()
    assert glance.weight_BTS.shape == (B, T, S)
    assert bool((glance.weight_BTS >= 0).all())
    torch.testing.assert_close(glance.weight_BTS.sum(dim=-1), torch.ones(B, T, dtype=DOUBLE), rtol=0, atol=1e-12)
    assert not glance.weight_BTS.masked_select(~VALID.unsqueeze(1)).any()  # exactly 0
    assert bool((glance.weight_BTS[0] > 0).any(dim=0).all())  # and somewhere above 0


@every_attention
def test_the_shapes_of_a_glance(name: str) -> None:
    looked = a_look(name)
    glance, _ = looked.run()
    assert glance.context_BTE.shape == (B, T, looked.attention.context_size)
    assert glance.choice_BT.shape == (B, T)


@every_attention
def test_padding_and_batch_mates_change_nothing(name: str) -> None:
    looked = a_look(name)
    together, _ = looked.run()
    for row in range(B):
        alone, _ = looked.run([row], VALID[row])
        same(together.context_BTE[[row]], alone.context_BTE)
        same(together.weight_BTS[[row]][:, :, VALID[row]], alone.weight_BTS)
        same(together.choice_BT[[row]], alone.choice_BT)


@every_attention
def test_the_order_in_the_batch_changes_nothing(name: str) -> None:
    looked, order = a_look(name), torch.tensor([2, 0, 3, 1])
    straight, straight_state = looked.run()
    permuted, permuted_state = looked.run(order)
    same(permuted, select(straight, order))
    same(permuted_state, select(straight_state, order))


@every_attention
def test_looks_in_pieces_equal_looks_at_once(name: str) -> None:
    looked = a_look(name)
    whole, end = looked.run()
    keys = looked.attention.precompute(looked.memory)
    for pieces in ([1, 1, 1, 1], [2, 2], [1, 3], [3, 1]):
        state, glances = looked.attention.start(VALID), []
        for query in torch.split(looked.query_BTQ, pieces, dim=1):
            glance, state = looked.attention.step(query, keys, state)
            glances.append(glance)
        same(Glance(*(torch.cat(parts, dim=1) for parts in zip(*glances, strict=True))), whole)
        same(state, end)


@every_attention
def test_selecting_and_then_looking_is_looking_and_then_selecting(name: str) -> None:
    looked, order = a_look(name), torch.tensor([3, 1, 1, 0, 2, 3])
    attention, first_B1Q, rest_BTQ = looked.attention, looked.query_BTQ[:, :1], looked.query_BTQ[:, 1:]
    keys = attention.precompute(looked.memory)
    _, state = attention.step(first_B1Q, keys, attention.start(VALID))
    assert all(len(one) == B for one in [*leaves(keys), *leaves(state)])
    after = attention.step(rest_BTQ, keys, state)
    same(attention.step(rest_BTQ[order], select(keys, order), select(state, order)), select(after, order))


@every_attention
def test_looking_leaves_its_arguments_alone(name: str) -> None:
    looked = a_look(name)
    attention, memory, query_BTQ = looked
    with Unchanged(memory):
        keys = attention.precompute(memory)
        start = attention.start(memory.valid_BS)
    with Unchanged(memory, query_BTQ, keys, start):
        _, state = attention.step(query_BTQ, keys, start)
    with Unchanged(memory, query_BTQ, keys, start, state):
        attention.step(query_BTQ, keys, state)


def in_training(name: str) -> Looked:
    looked = a_look(name)
    looked.memory.value_BSE.clamp_(-1, 1)
    looked.attention.train()
    return looked


@every_attention
def test_every_parameter_of_an_attention_gets_a_gradient(name: str) -> None:
    """By what is seen and by what was chosen: no gradient is lent by the weights themselves."""
    looked = in_training(name)
    glance, _ = looked.run()
    if list(looked.attention.parameters()):
        (torch.randn_like(glance.context_BTE) * glance.context_BTE).sum().add(glance.choice_BT.sum()).backward()
    parameters = dict(looked.attention.named_parameters())
    assert not [key for key, one in parameters.items() if one.grad is None or not one.grad.any()]
    assert all(bool(one.grad.isfinite().all()) for one in parameters.values())


@every_attention
def test_training_is_the_same_for_the_same_seed(name: str) -> None:
    looked = in_training(name)
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append(looked.run())
    same(runs[0], runs[1], tolerance=0)
    assert bool((runs[0][0].choice_BT <= 0).all())


@every_attention
def test_the_state_keeps_its_shapes_and_types(name: str) -> None:
    looked = a_look(name)
    _, after = looked.run()
    kinds = [[(one.shape, one.dtype) for one in leaves(state)] for state in (looked.attention.start(VALID), after)]
    assert kinds[0] == kinds[1]
    assert looked.attention.sequential == any(dtype == DOUBLE for _, dtype in kinds[0])


# -------------------------------------------------------------------------------------------------------- models


def models() -> Iterator[Mapping[str, Any]]:
    """Every attention, some by wiring; cell by wiring; and start by readout by wiring."""
    for kind, chosen in EVERY_ATTENTION.items():
        sizes = {"encoder_hidden": 2} if kind in OF_ONE_SIZE else {}
        if chosen.build(ATTENTIONS, E, E).sums_memory:
            yield {"name": f"marginal {kind}", "attention": chosen, "wiring": "unfed", "output": "marginal", **sizes}
        for wiring in WIRINGS if kind in {"coverage-neural", "gatt"} else ["conditional"]:
            yield {"name": f"{kind} {wiring}", "attention": chosen, "wiring": wiring, **sizes}
    for cell in CELLS:
        for wiring in WIRINGS:
            yield {"name": f"{cell} {wiring}", "cell": cell, "wiring": wiring}
    for wiring in WIRINGS:
        yield {"name": f"residual {wiring}", "residual": True, "wiring": wiring}
    for mask in DROPOUTS:
        dropout = {"embedding": 0.1, "layer": 0.1, "state": 0.1, "mask": mask}
        yield {"name": f"dropout by {mask}", "cell": "lstm", "dropout": Dropout.model_validate(dropout)}
    for start in STARTS:
        for readout in READOUTS:
            for wiring in WIRINGS if readout != "direct" else ["update-then-look"]:
                yield {"name": f"{start} {readout} {wiring}", "start": start, "readout": readout, "wiring": wiring}
    for kind, chosen in EVERY_ATTENTION.items():
        if not chosen.build(ATTENTIONS, E, E).sequential:
            yield {"name": f"transformer {kind}", **TRANSFORMER, "attention": chosen}
    for norm in NORMS:
        for positions in POSITIONS:
            yield {"name": f"transformer {norm} {positions}", **TRANSFORMER, "norm": norm, "positions": positions}
        for feed_forward in FEED_FORWARDS:
            yield {
                "name": f"transformer {norm} {feed_forward}",
                **TRANSFORMER,
                "norm": norm,
                "feed_forward": feed_forward,
            }
    whole = {"layer": 1, "head": 2, "context": "whole"}
    yield {"name": "transformer shows of a whole target", **TRANSFORMER, "shown": whole}
    for layer in (1, "last", "mean"):
        for head in (1, 2, "mean"):
            yield {"name": f"transformer shows {layer} {head}", **TRANSFORMER, "shown": {"layer": layer, "head": head}}
    yield {"name": "marginal maxout", "readout": "maxout", "wiring": "unfed", "output": "marginal"}
    yield from mixed()


def mixed() -> Iterator[Mapping[str, Any]]:
    """Each attention of the table and each wiring over a Transformer's encoder, each attention of a Transformer's
    decoder over cells, with a memory of another size than the queries'; cells that differ."""

    def sides(name: str, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"name": f"mixed {name}", "kind": "mixed", "encoder": encoder, "decoder": decoder}

    reads_at_once, over_it = {**TRANSFORMER, "layers": 2}, {**RECURRENT, "hidden": 8}
    for kind, chosen in EVERY_ATTENTION.items():
        if kind not in ATTENTIONS:
            continue
        queries = {"hidden": E} if kind in OF_ONE_SIZE else {}
        for wiring in WIRINGS if kind in {"coverage-neural", "gatt"} else ["conditional"]:
            decoder = {**over_it, "attention": chosen, "wiring": wiring, **queries}
            yield sides(f"transformer, recurrent {kind} {wiring}", reads_at_once, decoder)
        if not chosen.build(ATTENTIONS, E, E).sequential:
            encoder = {**RECURRENT, "hidden": 2 if kind in OF_ONE_SIZE else 4}
            yield sides(f"recurrent, transformer {kind}", encoder, {**reads_at_once, "attention": chosen})
    yield sides("recurrent, transformer", {**RECURRENT, "hidden": 3}, {**reads_at_once, "shown": {"head": 2}})
    yield sides("cells", {**RECURRENT, "cell": "lstm", "hidden": 3}, {**over_it, "cell": "janet", "residual": True})
    marginal = {"output": "marginal", "wiring": "unfed"}
    yield sides("marginal", {**TRANSFORMER, "norm": "post", "positions": "rotary"}, {**over_it, **marginal})


EVERY_MODEL = {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in models()}
every_model = pytest.mark.parametrize("changes", EVERY_MODEL.values(), ids=list(EVERY_MODEL))

WORDS = 9
SOURCES = [[4, 5, 6, 7], [8, 4], [6]]  # and EOS
TARGETS = [[5, 4], [6, 7, 8, 8], []]


def a_model(changes: Mapping[str, Any], dtype: torch.dtype = DOUBLE) -> EncoderDecoder:
    sizes: dict[str, Any] = {"embedding": 3, "hidden": 4, "encoder_layers": 2, "decoder_layers": 2}
    settings = SETTINGS.validate_python(changes if changes.get("kind") == "mixed" else {**sizes, **changes})
    return spread(build_model(settings, WORDS, WORDS).to(dtype)).eval()


def decoded(model: EncoderDecoder, source_BS: Tensor, valid_BS: Tensor, token_BT: Tensor) -> Any:
    memory = model.encode(source_BS, valid_BS)
    return model.decode(token_BT, memory, model.start(memory))


@every_model
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_padding_and_batch_mates_change_no_translation(changes: Mapping[str, Any], left: bool) -> None:
    model, batch = a_model(changes), collate(SOURCES, TARGETS, range(3))
    source_BS, valid_BS = batch.source_BS, batch.source_valid_BS
    if left:
        shift = [int((~row).sum()) for row in valid_BS]
        source_BS = torch.stack([row.roll(by) for row, by in zip(source_BS, shift, strict=True)])
        valid_BS = torch.stack([row.roll(by) for row, by in zip(valid_BS, shift, strict=True)])
    source_BS = source_BS.masked_fill(~valid_BS, 8)  # what stands in the padding is nobody's business
    together, _ = decoded(model, source_BS, valid_BS, batch.input_BT)
    for row in range(3):
        real_S, real_T = valid_BS[row], batch.target_valid_BT[row]
        length = int(real_T.sum())
        one = collate([SOURCES[row]], [TARGETS[row]], [row])
        alone, _ = decoded(model, one.source_BS, one.source_valid_BS, one.input_BT)
        same(together.logit_BTV[[row], :length], alone.logit_BTV)
        same(together.weight_BTS[[row], :length][:, :, real_S], alone.weight_BTS)
        assert not together.weight_BTS[row][:, ~real_S].any()


@every_model
def test_the_order_of_sentences_changes_nothing(changes: Mapping[str, Any]) -> None:
    model, batch, order = a_model(changes), collate(SOURCES, TARGETS, range(3)), torch.tensor([2, 0, 1])
    straight = decoded(model, batch.source_BS, batch.source_valid_BS, batch.input_BT)
    permuted = decoded(model, batch.source_BS[order], batch.source_valid_BS[order], batch.input_BT[order])
    same(permuted, select(straight, order))


@every_model
def test_decoding_in_pieces_equals_decoding_at_once(changes: Mapping[str, Any]) -> None:
    model, batch = a_model(changes), collate(SOURCES, TARGETS, range(3))
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    whole, end = model.decode(batch.input_BT, memory, model.start(memory))
    for pieces in ([1, 1, 1, 1, 1], [2, 3], [4, 1]):
        state, traces = model.start(memory), []
        for token_BT in torch.split(batch.input_BT, pieces, dim=1):
            trace, state = model.decode(token_BT, memory, state)
            traces.append(trace)
        *positions, fertilities = zip(*traces, strict=True)  # what is told of each position, and of the source
        same(tuple(torch.cat(parts, dim=1) for parts in positions), tuple(whole[:-1]))
        same(tuple(fertilities), (whole.fertility_BS,) * len(pieces))
        same(state, end)


@every_model
def test_the_gradient_of_a_loop_is_that_of_its_steps(changes: Mapping[str, Any]) -> None:
    """What all steps share gets its gradient in one piece, which equals the sum of autograd's from step to step."""
    model, batch = a_model(changes), collate(SOURCES, TARGETS, range(3))
    chosen = torch.randn(1, WORDS, dtype=DOUBLE, generator=torch.Generator().manual_seed(6))
    found = []
    for pieces in ([5], [1, 1, 1, 1, 1]):
        memory = model.encode(batch.source_BS, batch.source_valid_BS)
        state, total = model.start(memory), torch.zeros((), dtype=DOUBLE)
        for token_BT in torch.split(batch.input_BT, pieces, dim=1):
            trace, state = model.decode(token_BT, memory, state)
            total = total + (trace.logit_BTV * chosen).sum() + trace.weight_BTS.square().sum()
        found.append(torch.autograd.grad(total, list(model.parameters()), materialize_grads=True))
    for whole, pieced in zip(*found, strict=True):
        torch.testing.assert_close(whole, pieced, rtol=1e-9, atol=1e-11)


@every_model
def test_state_is_reordered_without_knowing_what_is_inside(changes: Mapping[str, Any]) -> None:
    """Selected or repeated hypotheses go on as those they were made from."""
    model, batch, order = a_model(changes), collate(SOURCES, TARGETS, range(3)), torch.tensor([1, 1, 2, 0])
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    _, state = model.decode(batch.input_BT[:, :2], memory, model.start(memory))
    assert all(len(one) == 3 for one in [*leaves(memory), *leaves(state)])
    rest_BT = batch.input_BT[:, 2:]
    after = model.decode(rest_BT, memory, state)
    same(model.decode(rest_BT[order], select(memory, order), select(state, order)), select(after, order))
    same(model.decode(repeat(rest_BT, 2), repeat(memory, 2), repeat(state, 2)), repeat(after, 2))


@every_model
def test_a_model_leaves_its_arguments_alone(changes: Mapping[str, Any]) -> None:
    model, batch = a_model(changes), collate(SOURCES, TARGETS, range(3))
    with Unchanged(batch):
        memory = model.encode(batch.source_BS, batch.source_valid_BS)
    with Unchanged(batch, memory):
        state = model.start(memory)
    with Unchanged(batch, memory, state):
        _, after = model.decode(batch.input_BT, memory, state)
    with Unchanged(batch, memory, state, after):
        model.decode(batch.input_BT, memory, after)


def without_gradient(model: EncoderDecoder) -> list[str]:
    return [name for name, one in model.named_parameters() if one.grad is None or not bool(one.grad.any())]


@every_model
def test_every_parameter_gets_a_gradient(changes: Mapping[str, Any]) -> None:
    model, batch = a_model(changes).train(), collate(SOURCES, TARGETS, range(3))
    trace, _ = decoded(model, batch.source_BS, batch.source_valid_BS, batch.input_BT)
    (CrossEntropy()(trace, batch).sum() + trace.choice_BT.sum()).backward()
    assert not without_gradient(model)


@every_model
def test_double_precision_all_through(changes: Mapping[str, Any]) -> None:
    model, batch = a_model(changes), collate(SOURCES, TARGETS, range(3))
    memory = model.encode(batch.source_BS, batch.source_valid_BS)
    trace, state = model.decode(batch.input_BT, memory, model.start(memory))
    kinds = {
        one.dtype for one in [*leaves(memory), *leaves(model.start(memory)), *leaves(tuple(trace)), *leaves(state)]
    }
    assert {one for one in kinds if one.is_floating_point} == {DOUBLE}
    assert CrossEntropy()(trace, batch).dtype == DOUBLE


@every_model
def test_a_model_runs_in_bfloat16(changes: Mapping[str, Any]) -> None:
    model, batch = a_model(changes, torch.float32).train(), collate(SOURCES, TARGETS, range(3))
    torch.manual_seed(5)  # what is sampled is the same
    plain, _ = decoded(model, batch.source_BS, batch.source_valid_BS, batch.input_BT)
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trace, state = decoded(model, batch.source_BS, batch.source_valid_BS, batch.input_BT)
    assert {one.dtype for one in leaves(state.attended) if one.is_floating_point()} <= {torch.float32}
    adds_probabilities = "marginal" in (changes.get("output"), changes.get("decoder", {}).get("output"))
    kind = torch.float32 if adds_probabilities else torch.bfloat16  # adding them up is not for half precision
    assert trace.logit_BTV.dtype == kind
    loss = CrossEntropy()(trace, batch)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(trace.logit_BTV.float(), plain.logit_BTV, rtol=0.1, atol=0.1)
    loss.sum().backward()
    assert not without_gradient(model)
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters())


@every_model
def test_the_word_before_decides(changes: Mapping[str, Any]) -> None:
    model, batch = a_model(changes), collate(SOURCES, TARGETS, range(3))
    one, _ = decoded(model, batch.source_BS, batch.source_valid_BS, torch.full((3, 1), BOS))
    other, _ = decoded(model, batch.source_BS, batch.source_valid_BS, torch.full((3, 1), 5))
    assert not torch.isclose(one.logit_BTV, other.logit_BTV).all(dim=-1).any()
