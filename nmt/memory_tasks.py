"""Long-memory problems for recurrent cells: a sequence at whose end something from its beginning is asked for.

No translation and no text: one layer of a cell of ``CELLS`` reads vectors and a linear layer answers. The published
problems, as in the JANET authors' code (van der Westhuizen and Lasenby 2018), which follows Hochreiter and
Schmidhuber 1997 and Arjovsky, Shah and Bengio 2016; sequences are drawn anew for every update.

Shapes: B sequences, T steps, X input size, H hidden size, Y output size.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nmt.cells import CELLS, Unit, run
from nmt.checkpoint import Checkpoints, read_state
from nmt.errors import InputError
from nmt.initialisation import initialise_default
from nmt.journal import Journal
from nmt.machine import peak_memory
from nmt.optim import OPTIMISERS
from nmt.settings import Choice, Settings, choice
from nmt.train import Interrupted, asked_to_stop
from nmt.translator import CHECKPOINTS, choose_device

Count = Annotated[int, Field(ge=1)]

SYMBOLS, REMEMBERED = 8, 10  # of the copy problem
BLANK, DELIMITER = 0, SYMBOLS + 1
CLOSE = 0.04  # a sum that is off by less is right (Hochreiter and Schmidhuber 1997)


class Drawn(NamedTuple):
    """Sequences of a problem and their answers."""

    input_BTX: Tensor
    answer: Tensor  # copy: symbols (B, T); adding: sums (B,)


class Copy:
    """Ten symbols of eight, ``length`` blanks, a delimiter, ten blanks; at the last ten steps the symbols are asked for
    in their order, at all others a blank. The loss is the mean cross-entropy a step.

    Who remembers nothing is right to guess: 10 ln 8 / (length + 21), the baseline.
    """

    input_size, output_size = SYMBOLS + 2, SYMBOLS + 1

    @staticmethod
    def steps(length: int) -> int:
        """Steps of a sequence."""
        return length + 1 + 2 * REMEMBERED

    @classmethod
    def baseline(cls, length: int) -> float:
        """The lowest loss without memory."""
        return REMEMBERED * math.log(SYMBOLS) / cls.steps(length)

    @classmethod
    def draw(cls, sequences: int, length: int, randomness: torch.Generator) -> Drawn:
        """So many sequences."""
        symbol_BR = torch.randint(1, SYMBOLS + 1, (sequences, REMEMBERED), generator=randomness)
        input_BT = torch.full((sequences, cls.steps(length)), BLANK)
        answer_BT = input_BT.clone()
        input_BT[:, :REMEMBERED] = symbol_BR
        input_BT[:, length + REMEMBERED] = DELIMITER
        answer_BT[:, -REMEMBERED:] = symbol_BR
        return Drawn(F.one_hot(input_BT, cls.input_size).float(), answer_BT)

    @staticmethod
    def loss(output_BTY: Tensor, answer_BT: Tensor) -> Tensor:
        """What is minimised."""
        return F.cross_entropy(output_BTY.flatten(0, 1), answer_BT.flatten())

    @staticmethod
    def right(output_BTY: Tensor, answer_BT: Tensor) -> Tensor:
        """The share of the ten symbols that are right; 1 in 8 by chance."""
        told_BR = output_BTY[:, -REMEMBERED:].argmax(dim=-1)
        return (told_BR == answer_BT[:, -REMEMBERED:]).float().mean()


class Adding:
    """Each step a number of U[0, 1] and a mark, which is 1 at one step of the first half and one of the second. After
    the last step the sum of the two marked numbers is asked for. The loss is the mean squared error.

    Who remembers nothing says 1, and errs by the variance of the sum of two uniform numbers, 1/6: the baseline.
    """

    input_size, output_size = 2, 1

    @staticmethod
    def steps(length: int) -> int:
        """Steps of a sequence."""
        return length

    @staticmethod
    def baseline(length: int) -> float:
        """The lowest loss without memory."""
        return 1 / 6

    @staticmethod
    def draw(sequences: int, length: int, randomness: torch.Generator) -> Drawn:
        """So many sequences."""
        number_BT = torch.rand(sequences, length, generator=randomness)
        half = length // 2
        first_B = torch.randint(0, half, (sequences, 1), generator=randomness)
        second_B = torch.randint(half, length, (sequences, 1), generator=randomness)
        mark_BT = torch.zeros(sequences, length).scatter_(1, torch.cat([first_B, second_B], dim=1), 1.0)
        return Drawn(torch.stack([number_BT, mark_BT], dim=-1), (number_BT * mark_BT).sum(dim=1))

    @staticmethod
    def loss(output_BTY: Tensor, answer_B: Tensor) -> Tensor:
        """What is minimised."""
        return F.mse_loss(output_BTY[:, -1, 0], answer_B)

    @staticmethod
    def right(output_BTY: Tensor, answer_B: Tensor) -> Tensor:
        """The share of the sums that are off by less than 0.04."""
        return ((output_BTY[:, -1, 0] - answer_B).abs() < CLOSE).float().mean()


PROBLEMS: dict[str, type[Copy] | type[Adding]] = {"copy": Copy, "adding": Adding}


class MemoryTask(Settings):
    """A cell and the problem it is to learn."""

    problem: Literal["copy", "adding"] = "copy"
    length: Annotated[int, Field(ge=2)] = 200
    cell: Annotated[Choice, choice(CELLS, "gru")] = Choice("gru")  # JANET's longest is that of the sequences
    hidden: Count = 128
    updates: Count = 10000
    batch: Count = 50  # sequences
    optimiser: Annotated[Choice, choice(OPTIMISERS, "adam")] = Choice("adam")
    clip: Annotated[float, Field(gt=0)] | None = 5.0  # largest norm of the gradient
    tests: Count = 1000  # sequences that are judged in the end
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Count | None = None  # of the CPU; null: all cores
    log_every: Count = 100  # updates
    save_minutes: Annotated[float, Field(gt=0)] = 10.0
    seed: Annotated[int, Field(ge=0)] = 1


class Rememberer(nn.Module):
    """A cell over the sequence from a state of 0, and a linear layer on its hidden vectors."""

    def __init__(self, cell: Unit, output_size: int) -> None:
        super().__init__()
        self.cell, self.output = cell, nn.Linear(cell.hidden_size, output_size)

    def forward(self, input_BTX: Tensor) -> Tensor:
        valid_BT = torch.ones(input_BTX.shape[:2], dtype=torch.bool, device=input_BTX.device)
        output_BTY: Tensor = self.output(run(self.cell, input_BTX, valid_BT))
        return output_BTY


def build_rememberer(task: MemoryTask) -> Rememberer:
    """The model of a task with freshly drawn weights, as those of a translation model are drawn."""
    problem = PROBLEMS[task.problem]
    settings: Mapping[str, Any] = task.cell.settings
    if "longest" in settings:
        settings = {**settings, "longest": float(problem.steps(task.length))}
    cell: Unit = Choice(task.cell.kind, settings).build(CELLS, problem.input_size, task.hidden)
    model = Rememberer(cell, problem.output_size)
    initialise_default(model)
    cell.initialise()
    return model


def draw(task: MemoryTask, sequences: int, update: int) -> Drawn:
    """The sequences of an update, the same whenever they are asked for; those of update 0 are the test's."""
    randomness = torch.Generator().manual_seed(task.seed * 1_000_003 + update)
    return PROBLEMS[task.problem].draw(sequences, task.length, randomness)


def judge(task: MemoryTask, model: Rememberer, device: torch.device) -> dict[str, float]:
    """Over the test's sequences: the loss, its ratio to the baseline (1: no memory, 0: solved), and percent right."""
    problem, losses, right = PROBLEMS[task.problem], 0.0, 0.0
    drawn = draw(task, task.tests, 0)
    with torch.inference_mode():
        for some in zip(torch.split(drawn.input_BTX, task.batch), torch.split(drawn.answer, task.batch), strict=True):
            input_BTX, answer = (part.to(device) for part in some)
            output_BTY = model(input_BTX)
            losses += float(problem.loss(output_BTY, answer)) * len(answer)
            right += float(problem.right(output_BTY, answer)) * len(answer)
    loss = losses / task.tests
    return {"loss": loss, "ratio": loss / problem.baseline(task.length), "right": 100 * right / task.tests}


def learn(task: MemoryTask, directory: Path, journal: Journal) -> dict[str, float]:
    """Train the cell of a task, going on from the last checkpoint in a run directory; what :func:`judge` says then, the
    number of parameters, the speed in steps of sequences a second and the peak memory.

    Raises :class:`~nmt.train.Interrupted` after Ctrl-C or SIGTERM, when a checkpoint has been kept, and ``InputError``
    when the loss is no longer a number.
    """
    device, problem = choose_device(task.device), PROBLEMS[task.problem]
    if task.threads:
        torch.set_num_threads(task.threads)
    torch.manual_seed(task.seed)
    model = build_rememberer(task).to(device)
    optimiser = task.optimiser.build(OPTIMISERS, model.parameters())
    checkpoints, nothing = Checkpoints(directory / CHECKPOINTS, journal.say), nn.Module()
    update, seconds = 0, 0.0
    if (place := checkpoints.latest()) is not None:
        checkpoints.resume(place, model, optimiser, nothing)
        update, seconds = read_state(place)["update"], read_state(place)["seconds"]
        journal.say(f"going on from update {update}")
        journal.record("resume", update, {})

    def save() -> None:
        checkpoints.save(update, model, optimiser, nothing, {"update": update, "seconds": seconds, "progress": {}}, 1)

    saved_at, told, since = time.monotonic(), torch.zeros((), device=device), update
    with asked_to_stop(journal.say) as asked:
        while update < task.updates:
            started = time.monotonic()
            input_BTX, answer = (part.to(device) for part in draw(task, task.batch, update + 1))
            loss = problem.loss(model(input_BTX), answer)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), task.clip or math.inf)
            optimiser.step()
            update, seconds = update + 1, seconds + time.monotonic() - started
            told = told + loss.detach()
            if update % task.log_every == 0:
                mean, told, since = float(told) / (update - since), torch.zeros_like(told), update
                if not math.isfinite(mean):
                    raise InputError(f"training diverged: at update {update} the loss is no longer a finite number")
                journal.record("train", update, {"loss": mean, "ratio": mean / problem.baseline(task.length)})
                journal.say(f"update {update}  loss {mean:.4g}")
            if asked or time.monotonic() - saved_at > 60 * task.save_minutes:
                save()
                saved_at = time.monotonic()
            if asked:
                raise Interrupted
    save()
    steps = task.updates * task.batch * problem.steps(task.length)
    return {
        **judge(task, model, device),
        "parameters": sum(one.numel() for one in model.parameters()),
        "seconds": seconds,
        "steps/s": steps / seconds,
        "peak memory": peak_memory(device.type),
    }
