"""Align: a row of symbols for a longer row of steps, where nobody says which step belongs to which symbol (Graves et al., 2006)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from longshort.config import Task as TaskName
from longshort.tasks.layers import Generators
from longshort.tasks.paths import collapsed
from longshort.tasks.rows import PADDING, UNCHARGED, at_random, in_order, padded
from longshort.tasks.tag import TagHead
from longshort.tasks.task import Batch, Charge, Network, Numbers
from longshort.windows.strips import StripData

if TYPE_CHECKING:
    from longshort.models.encoder import Carried
    from longshort.models.masks import Masks


@dataclass(frozen=True)
class AlignShape:
    """What an aligner's front and head are built from; enough to build them again beside saved weights.

    inputs   features of a step, none of which is less than 0
    symbols  that can be said; the blank is one more, behind them
    dropout  on what the recurrent layers read, and on the states before the head
    """

    inputs: int
    symbols: int
    dropout: float

    @property
    def blank(self) -> int:
        """What a step says that says no symbol."""
        return self.symbols

    def lengths(self, read: Tensor) -> Tensor:
        """Steps of each row, (K, batch); a row that holds none is read as one."""
        return (read[..., 0] != PADDING).sum(-1).clamp(min=1)

    def front(self, generators: Generators) -> nn.Module:
        """Steps are numbers as they come."""
        return nn.Identity()

    def head(self, front: nn.Module, width: int, final_width: int, generators: Generators) -> nn.Module:
        """From each state to the symbols and the blank."""
        return TagHead(width, self.symbols + 1, generators)


@dataclass(frozen=True)
class AlignTask(AlignShape):
    """Strips of images; the loss is -ln of the chance of all paths that come to a strip's labels, in nats a strip."""

    data: StripData = field(kw_only=True)
    name: TaskName = "tag"
    judged: ClassVar[bool] = True
    padding: ClassVar[float] = PADDING
    uncharged: ClassVar[float] = UNCHARGED
    carried: ClassVar[bool] = False

    @classmethod
    def of(cls, data: StripData, dropout: float) -> AlignTask:
        """The task over one data set."""
        return cls(data.rows, len(data.names), dropout, data=data)

    def batches(self, part: str, size: int, seed: int, epoch: int) -> Iterator[Batch]:
        """Batches of columns (batch, steps, rows), `PADDING` behind, and of labels (batch, labels), `UNCHARGED` behind."""
        first, end = self.data.parts[part]
        widths = self.data.widths()[first:end]
        for some in at_random(widths, size, seed, epoch) if part == "train" else in_order(end - first, size):
            yield self.read(first + some), padded(self.data.labels, first + some, UNCHARGED)

    def read(self, numbers: Numbers) -> Tensor:
        """Some of the strips, by their numbers in all parts together, as a network reads them."""
        return torch.from_numpy(self.data.padded(numbers, PADDING))

    def loss(self, network: Network, read: Tensor, target: Tensor, draw: Masks | None = None, carried: Carried | None = None) -> Charge:
        """Each member's loss, summed over strips; and how many were read rightly by their likeliest path."""
        logits, lengths = cast(nn.Module, network)(read, draw), self.lengths(read)
        each = [charge(*own, self.blank) for own in zip(logits, lengths, target, strict=True)]
        return Charge(*(torch.stack(sums) for sums in zip(*each, strict=True)))

    def description(self) -> dict[str, Any]:
        """Labels and the size of a column."""
        return self.data.description()

    def extent(self) -> dict[str, dict[str, Any]]:
        """How many strips each part holds."""
        return {part: {"rows": end - first} for part, (first, end) in self.data.parts.items()}

    def earlier(self) -> list[AlignTask]:
        """None: strips have no order in time."""
        return []


def charge(logits: Tensor, lengths: Tensor, target: Tensor, blank: int) -> tuple[Tensor, Tensor, Tensor]:
    """One member's loss, summed over rows that have symbols; how many these are; and how many of them the likeliest path comes to.

    logits  (batch, steps, symbols + 1); lengths (batch,); target (batch, symbols of the longest), `UNCHARGED` behind the end of each
    """
    asked = (target != UNCHARGED).sum(1)
    losses = nn.functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1), target.clamp(min=0), lengths, asked, blank=blank, reduction="none"
    )
    said = collapsed(logits.argmax(-1), lengths, blank, int(UNCHARGED))
    wide = nn.functional.pad(said, (0, max(target.shape[1] - said.shape[1], 0)), value=int(UNCHARGED))
    same = (wide[:, : target.shape[1]] == target).all(1) & ((wide != UNCHARGED).sum(1) == asked)
    charged = asked > 0
    return torch.where(charged, losses, 0.0).sum(), charged.sum(), (same & charged).sum()
