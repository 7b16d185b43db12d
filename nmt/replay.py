"""The gradient of a batch, recorded for each shape and replayed: CUDA graphs.

A GPU does the many small operations of a recurrent step faster than a program can ask for them. What an update asks
for depends on the shape of its batch alone (``training.multiple`` makes these few); so all operations of the forward
and backward pass are recorded once, and for later batches of the shape asked for at once. They then read and write the
same memory again: the batch is copied into that of the recorded one, and gradients are added where they were.

What a recording cannot repeat is a decision of the program: a number read back from the device, a branch on the
contents of a batch. ``tests/test_replay.py`` records and replays on a CPU, operation by operation, for every attention,
cell, loss and kind of model. **No GPU has run this yet.**
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from nmt.batching import Batch

# Shapes that are recorded; batches of others are computed as they come. Each costs the graph, thousands of nodes, and
# its input; they share the memory that they compute in.
MOST = 200


class Figures(NamedTuple):
    """What a batch tells besides its gradient: the parts of its objective and sums over what attention sampled."""

    parts: dict[str, Tensor]
    sampling: dict[str, Tensor]


# From a batch, the number of tokens of its update and what else decides the operations: figures; gradients are added.
Compute = Callable[[Batch, Tensor, Any], Figures]


class Recorder(Protocol):
    """Two ways to have work done that reads and writes the same tensors whenever it is done."""

    def warm(self, work: Callable[[], Figures]) -> Figures:
        """Do it once, as it must be before :meth:`record`."""
        ...

    def record(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]:
        """The memory of its figures, and what does it and fills them; when this returns it has not been done."""
        ...


class CudaGraphs:
    """Recordings as graphs of CUDA, all of which compute in the same memory: they are never replayed at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def warm(self, work: Callable[[], Figures]) -> Figures:
        # On the stream of the recording: autograd keeps in mind on which it first met a parameter.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            figures = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return figures

    def record(self, work: Callable[[], Figures]) -> tuple[Figures, Callable[[], None]]:
        gc.collect()  # a graph of autograd that is still about would tie the recording to what was not recorded
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            figures = work()
        return figures, graph.replay


class _Recorded(NamedTuple):
    batch: Batch
    tokens: Tensor
    figures: Figures
    again: Callable[[], None]


class Replayed:
    """``compute``, recorded when a shape comes the second time and replayed from then on.

    The gradients of ``parameters`` must stay the tensors that they are from here on: set them to 0, never to None.
    """

    def __init__(self, compute: Compute, parameters: Iterable[nn.Parameter], recorder: Recorder) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        self._gradients = [parameter.grad for parameter in self._parameters]
        self._compute, self._recorder = compute, recorder
        self._seen: set[Hashable] = set()
        self._recorded: dict[Hashable, _Recorded] = {}

    def __call__(self, batch: Batch, tokens: Tensor, key: Hashable) -> Figures:
        """The figures, to be read before the next call, which may write over them.

        Raises ``RuntimeError`` where a gradient is no longer the tensor that recordings add to.
        """
        if any(parameter.grad is not one for parameter, one in zip(self._parameters, self._gradients, strict=True)):
            raise RuntimeError("a gradient has been replaced, and recordings would add to the one before")
        shape = (*(part.shape for part in batch), key)
        if shape not in self._recorded:
            if shape not in self._seen or len(self._recorded) >= MOST:
                self._seen.add(shape)
                return self._recorder.warm(lambda: self._compute(batch, tokens, key))
            self._recorded[shape] = self._record(batch, tokens, key)
        found = self._recorded[shape]
        for mine, given in zip((*found.batch, found.tokens), (*batch, tokens), strict=True):
            mine.copy_(given)
        found.again()
        return found.figures

    def _record(self, batch: Batch, tokens: Tensor, key: Hashable) -> _Recorded:
        batch, tokens = Batch(*(part.clone() for part in batch)), tokens.clone()
        return _Recorded(batch, tokens, *self._recorder.record(lambda: self._compute(batch, tokens, key)))
