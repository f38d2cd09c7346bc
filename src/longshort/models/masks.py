"""Masks of every kind of dropout: one pure function of where a value stands, whoever asks and in which order.

Philox4x64-10 (Salmon et al., 2011) as in `numpy.random.Philox`, here with the counter that makes a block, which
numpy raises by one before it makes one:

    key      word 0  seed of the member
             word 1  epoch, from 1
    counter  word 0  (place · steps + step) · blocks + unit div 16, with blocks = ceil(units / 16)
             word 1  layer · 256 + direction · 16 + part, where part is which state or product
             word 2  kind, below
             word 3  1; orders and initialisation, under the same keys, have 0 there

A block is four words of 64 bits, so sixteen values of 16 bits, the lowest bits of the first word first: that of
a unit is number (unit mod 16). A value below round(rate · 65536) is dropped, others are multiplied by
65536 / (65536 - round(rate · 65536)).

``place`` is the window's rank in the epoch's order: the first batch holds places 0 to its size - 1. So the
windows of a batch follow one another, each with all its steps, each step with its units filled up to a
multiple of 16, and a batch is one run of blocks. Masks for a whole sequence have one step. Masks of weights
have the place of the batch's first window, the rows of the matrix for steps, and its columns for units. A batch
that is padded counts the steps that it was padded to.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

FRONT: Final = 1  # what the recurrent layers read
OUTPUT: Final = 2  # what a layer gives, each step anew
HEAD: Final = 3  # what the head reads
INPUT: Final = 4  # what a layer reads, the same at every step (variational)
STATE: Final = 5  # what R reads, the same at every step (variational)
UPDATE: Final = 6  # the candidate
WEIGHT: Final = 7  # R itself
ZONEOUT: Final = 8  # states that are kept

VALUES = 16  # of 16 bits each in a block


class Masks(Protocol):
    """Where the masks of a batch come from: `Draw` makes them on the CPU, the engine `cuda` where the network lies, to the same bits."""

    @property
    def seeds(self) -> Sized:
        """One a member of the fleet."""

    def dropped_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """`Draw.dropped`, on the device of a tensor."""

    def factors_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """`Draw.factors`, on the device of a tensor and in its number format."""


@dataclass(frozen=True)
class Draw:
    """Where a batch stands: all that its masks are drawn from.

    seeds  one a member of the fleet
    epoch  from 1
    place  the rank in the epoch of the batch's first window
    first  the place in the batch of the first window that is asked for, where others are computed elsewhere
    """

    seeds: tuple[int, ...]
    epoch: int
    place: int
    first: int = 0

    def dropped(self, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
        """Which values are dropped.

        stream   word 1 of the counter; see `stream`
        shape    (windows, steps, units), of each member
        returns  (members, windows, steps, units)
        """
        place = self.place if kind == WEIGHT else self.place + self.first
        return np.stack([_values(seed, self.epoch, kind, stream, place, shape) for seed in self.seeds]) < threshold(rate)

    def factors(self, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """What values are multiplied by: 0, or what keeps their mean; shapes as in `dropped`."""
        kept = ~self.dropped(kind, stream, rate, shape)
        return kept * np.float32(share(rate))

    def dropped_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """See `Masks`."""
        import torch

        return torch.from_numpy(self.dropped(kind, stream, rate, shape)).to(like.device)

    def factors_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """See `Masks`."""
        import torch

        return torch.from_numpy(self.factors(kind, stream, rate, shape)).to(like)


@dataclass(frozen=True)
class Behind:
    """The masks of layers that stand behind others, a decoder's: of the same draw as theirs, and other ones.

    layers  how many stand before
    """

    masks: Masks
    layers: int

    @property
    def seeds(self) -> Sized:
        """See `Masks`."""
        return self.masks.seeds

    def dropped_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """See `Masks`."""
        return self.masks.dropped_for(like, kind, (self.layers << 8) + stream, rate, shape)

    def factors_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """See `Masks`."""
        return self.masks.factors_for(like, kind, (self.layers << 8) + stream, rate, shape)


def stream(layer: int, direction: int = 0, part: int = 0) -> int:
    """Word 1 of the counter."""
    return layer << 8 | direction << 4 | part


def threshold(rate: float) -> int:
    """Values below it are dropped."""
    return min(round(rate * 65536), 65535)


def share(rate: float) -> float:
    """What values that are kept are multiplied by, so that the mean is kept too."""
    return 65536 / (65536 - threshold(rate))


def _values(seed: int, epoch: int, kind: int, stream: int, place: int, shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    windows, steps, units = shape
    blocks = -(-units // VALUES)
    counter = place * steps * blocks | stream << 64 | kind << 128 | 1 << 192
    generator = np.random.Philox(key=seed | epoch << 64, counter=counter - 1)  # numpy raises it before the first block
    words = generator.random_raw(windows * steps * blocks * 4).astype("<u8", copy=False)
    return words.view("<u2").reshape(windows, steps, blocks * VALUES)[:, :, :units]
