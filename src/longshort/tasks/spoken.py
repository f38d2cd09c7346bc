"""Spoken: what tasks share whose answer is a row of words, said one by one; what comes before the first is the task's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self, cast

import torch
from torch import Tensor

from longshort.tasks.cross_entropy import IGNORED, summed_cross_entropy
from longshort.tasks.rows import PADDING, padded
from longshort.tasks.speech import Speech
from longshort.tasks.task import Charge, Network, Numbers
from longshort.windows.labelled import Sequences

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


class SpokenTask(ABC):
    """Targets, and how a network is taught to say them; the loss is the cross-entropy in nats a word, the end counted."""

    judged: ClassVar[bool] = False
    padding: ClassVar[float] = PADDING
    uncharged: ClassVar[float] = IGNORED
    carried: ClassVar[bool] = False
    smoothing: float  # the share of each training target that is spread over all words (Szegedy et al., 2016)

    @property
    @abstractmethod
    def targets(self) -> Sequences:
        """What is to be said to each example, of all parts together, without start and end."""

    @property
    @abstractmethod
    def start(self) -> int:
        """The id that every target begins with."""

    @property
    @abstractmethod
    def end(self) -> int:
        """The id that every target ends with."""

    @abstractmethod
    def lengths(self, read: Tensor) -> Tensor | None:
        """How many steps of each row of a batch are its own, (K, batch); None: all."""

    def asked(self, numbers: Numbers) -> Tensor:
        """The targets of some examples, each with its end: (rows, words), `IGNORED` behind."""
        targets = padded(self.targets, numbers, IGNORED)
        lengths = (targets != IGNORED).sum(1, keepdim=True)
        room = torch.cat([targets, torch.full_like(lengths, IGNORED)], dim=1)
        return room.scatter(1, lengths, self.end)

    def fed(self, target: Tensor) -> Tensor:
        """What a decoder is fed that is taught: at each word the true one before it. target: (K, batch, words)."""
        begun = torch.full_like(target[..., :1], self.start)
        return torch.cat([begun, target[..., :-1].clamp(min=0)], dim=-1)

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's cross-entropy in nats, summed over the targets' words and ends."""
        heard = *network.encode(read, draw), self.lengths(read)
        said, _ = network.decode(self.fed(target), heard, draw)
        smoothing = self.smoothing if draw is not None else 0.0
        head, words, asked = cast(Speech, network.head), said.flatten(1, 2), target.flatten(1)
        sums = [smoothed(words[k], *head.of_member(k), asked[k], smoothing) for k in range(len(read))]
        return Charge(torch.stack(sums), (target != IGNORED).flatten(1).sum(1))

    def earlier(self) -> list[Self]:
        """None: examples have no order in time."""
        return []


def smoothed(states: Tensor, weight: Tensor, bias: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """`summed_cross_entropy` against targets of which a share is spread over all words.

    What smoothing adds is linear in the scores, ε·(z of the target - the mean of z), so the scores need not be held for it.
    """
    total = summed_cross_entropy(states, weight, bias, target)
    if smoothing == 0:
        return total
    states, target = states[target != IGNORED], target[target != IGNORED]
    of_right = (states * weight.t()[target]).sum() + bias[target].sum()
    of_all = (states @ weight.mean(1)).sum() + len(target) * bias.mean()
    return total + smoothing * (of_right - of_all)
