"""What an engine offers, and what it is handed.

In memory a sequence is (members, steps, batch, features): what one step reads lies in one piece, and the
input's product for all steps is one product a member without moving anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from longshort.config import Precision, Variant
from longshort.models.cells import Cell

if TYPE_CHECKING:
    from longshort.models.network import Network
    from longshort.tasks.task import Task

States = Mapping[str, Tensor]  # name of a state -> (K, batch, size)


AT_ONCE = 2**16  # windows whose order is held at a time: one of 25 million is not, and Ctrl-C is heard between two stretches
SCORING_BATCH = 256  # windows; where nothing is learned from a batch, its size is a matter of memory alone


@dataclass(frozen=True)
class Inside:
    """Options that act inside the loop over time, with their masks of one layer and direction.

    state_mask    (K, batch, size of h), factors on what R reads, at every step the same; None: off
    update_mask   (K, steps, batch, hidden), factors on the candidate; None: off
    zoneout       the share of a state that keeps its old value; without masks the mean is taken, as in evaluation
    zoned         state -> (K, steps, batch, size), true where the old value is kept
    """

    state_mask: Tensor | None = None
    update_mask: Tensor | None = None
    zoneout: float = 0.0
    zoned: Mapping[str, Tensor] = field(default_factory=dict)

    def of_member(self, k: int) -> Inside:
        """The same for one member alone, its axis kept."""
        return Inside(
            None if self.state_mask is None else self.state_mask[k : k + 1],
            None if self.update_mask is None else self.update_mask[k : k + 1],
            self.zoneout,
            {name: mask[k : k + 1] for name, mask in self.zoned.items()},
        )


@dataclass(frozen=True)
class Learning:
    """What a pass of training is told of one member.

    clip_norm     the largest norm of a gradient
    mean_keeps    the share that Adam's average of gradients keeps; square_keeps: that of squares, also RMSProp's
    precision     of what products are made of
    """

    seed: int
    epoch: int
    batch_size: int
    optimizer: str
    learning_rate: float
    clip_norm: float
    mean_keeps: float
    square_keeps: float
    epsilon: float
    precision: Precision = "float32"


@dataclass(frozen=True)
class Passed:
    """What a pass came to.

    loss    summed over so many terms
    right   of a language model, the words that were scored highest
    steps   that the optimiser has taken in all
    failed  the number, from 1, of the step whose loss or gradient is not finite, with which the pass ended before it moved
            anything; 0: none. failed_loss, its mean, and failed_norm: of that step
    """

    loss: float
    terms: int
    steps: int
    failed: int = 0
    failed_loss: float = 0.0
    failed_norm: float = 0.0
    right: int = 0

    @property
    def accuracy(self) -> float:
        """The share of the terms that were answered rightly."""
        return self.right / max(self.terms, 1)

    @property
    def mean(self) -> float:
        """The loss of a term."""
        return self.loss / max(self.terms, 1)


class Epochs(Protocol):
    """Whole passes inside an engine, for a fleet and its tasks. Masks, order and rules are those of the loop in `training`."""

    def learn(self, weights: Tensor, averages: tuple[Tensor, ...], steps: Sequence[int], hows: Mapping[int, Learning]) -> dict[int, Passed]:
        """One pass over ``train`` for the members that ``hows`` has; their batch size and optimiser are one.

        weights   a row a member, of which the network's parameters are views; changed in place, as are averages
        steps     that each member has taken before
        """

    def score(self, weights: Tensor, part: str, members: Sequence[int]) -> dict[int, Passed]:
        """One pass over a part, nothing dropped and nothing changed."""


class OwnEpochs(Protocol):
    """Whole passes of one member."""

    def learn(self, weights: Tensor, averages: tuple[Tensor, ...], steps: int, how: Learning) -> Passed:
        """See `Epochs`; weights and averages are the member's rows."""

    def score(self, weights: Tensor, part: str) -> Passed:
        """See `Epochs`."""


class OneByOne:
    """Whole passes of a fleet whose members have nothing to gain side by side."""

    def __init__(self, members: Sequence[OwnEpochs]) -> None:
        self._members = members

    def learn(self, weights: Tensor, averages: tuple[Tensor, ...], steps: Sequence[int], hows: Mapping[int, Learning]) -> dict[int, Passed]:
        """See `Epochs`."""
        rows = {k: tuple(average[k] for average in averages) for k in hows}
        return {k: self._members[k].learn(weights[k], rows[k], steps[k], how) for k, how in hows.items()}

    def score(self, weights: Tensor, part: str, members: Sequence[int]) -> dict[int, Passed]:
        """See `Epochs`."""
        return {k: self._members[k].score(weights[k], part) for k in members}


class Engine(Protocol):
    """Carries one layer in one direction over a whole sequence; gradients come by autograd."""

    def runs(self, variant: Variant) -> str | None:
        """None when it can run the variant, else the reason why not, as the rest of a sentence."""

    def absent(self) -> str | None:
        """None when it is there on this machine, else the reason why not, as the rest of a sentence that says how to get it."""

    def epochs(self, network: Network, tasks: Sequence[Task]) -> Epochs | None:
        """Whole passes over the examples of tasks, one a member, where the engine can make them; None: batch by batch with `forward`."""

    def forward(self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside) -> Tensor:
        """Read whole sequences.

        weights  those of `cells.shapes`, and start_h and so on where initial states are learned, each with
                 the axis of members in front
        steps    (K, steps, batch, inputs)
        returns  h at every step, (K, steps, batch, size of h)
        """

    def carry(
        self, cell: Cell, activation: str, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States
    ) -> tuple[Tensor, States]:
        """Read on where an earlier stretch of the same sequences stopped.

        before   all states of the cell after it; no gradient goes into them. Empty: the initial ones
        returns  as `forward`, and all states after the last step
        """


Run = Callable[[Mapping[str, Tensor], Tensor, Inside, States], tuple[Tensor, States]]


def member_by_member(run: Run, weights: Mapping[str, Tensor], steps: Tensor, inside: Inside, before: States) -> tuple[Tensor, States]:
    """Run a fleet as lone networks. On a CPU this is as fast as together, and gives each member the bits that it has alone."""
    if len(steps) == 1:
        return run(weights, steps, inside, before)
    alone = [[{name: tensor[k : k + 1] for name, tensor in each.items()} for each in (weights, before)] for k in range(len(steps))]
    found = [run(alone[k][0], steps[k : k + 1], inside.of_member(k), alone[k][1]) for k in range(len(steps))]
    return torch.cat([own for own, _ in found]), {name: torch.cat([after[name] for _, after in found]) for name in found[0][1]}


def start(cell: Cell, weights: Mapping[str, Tensor], name: str, like: Tensor, size: int, before: States) -> Tensor:
    """A state before the first step, (K, batch, size): what it was ``before``, else the initial one; ``like`` is (K, batch, ...)."""
    if name in before:
        return before[name]
    learned = weights.get(f"start_{name}")
    if learned is not None:
        return learned.unsqueeze(1).expand(-1, like.shape[1], -1)
    return like.new_full((*like.shape[:2], size), cell.states[name].start)
