"""The masks of `models.masks`, to the bit, as integer arithmetic of torch: they are made on the device that reads them.

torch has no unsigned words of 64 bits to multiply, and none is needed: sums, products and shifts to the left are the same bits
for signed ones, and the upper half of a product is put together from halves of 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longshort.models.masks import VALUES, share, threshold

MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)  # of the words 0 and 2 (Salmon et al., 2011)
STRIDES = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)  # of the key, from round to round
ROUNDS = 10
LOW = (1 << 32) - 1


@dataclass(frozen=True)
class DeviceDraw:
    """`models.masks.Draw` whose place is written in tensors, so that a recorded step reads a new one each time.

    seeds         (members,) int64
    epoch, place  () int64
    constants     of `constants`, on the same device
    """

    seeds: Tensor
    epoch: Tensor
    place: Tensor
    constants: Tensor

    def dropped_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """See `Masks`."""
        return self._values(kind, stream, shape) < threshold(rate) - 2**15

    def factors_for(self, like: Tensor, kind: int, stream: int, rate: float, shape: tuple[int, int, int]) -> Tensor:
        """See `Masks`."""
        kept = self._values(kind, stream, shape) >= threshold(rate) - 2**15
        return (kept.to(torch.float32) * share(rate)).to(like.dtype)

    def _values(self, kind: int, stream: int, shape: tuple[int, int, int]) -> Tensor:
        """The 16 bits of each value, less 2¹⁵, so that int16 compares them: (members, windows, steps, units)."""
        windows, steps, units = shape
        blocks = -(-units // VALUES)
        numbers = self.place * (steps * blocks) + torch.arange(windows * steps * blocks, device=self.place.device)
        words = self._philox(numbers, stream, kind).view(torch.int16) ^ -(2**15)
        return words.view(len(self.seeds), windows, steps, blocks * VALUES)[..., :units]

    def _philox(self, numbers: Tensor, stream: int, kind: int) -> Tensor:
        """Philox4x64-10 of counters (number, stream, kind, 1): (members, numbers, 4) words of 64 bits."""
        zeros = torch.zeros_like(numbers)
        # the words 0 and 2 are multiplied, 1 and 3 only mixed in: two arrays of (2, members, numbers)
        even = torch.stack([numbers, zeros + kind]).unsqueeze(1)
        odd = torch.stack([zeros + stream, zeros + 1]).unsqueeze(1)
        key = torch.stack([self.seeds, self.epoch.expand_as(self.seeds)]).unsqueeze(2)
        multipliers, *strides = self.constants
        for stride in strides:
            high, low = _product(multipliers, even)
            even, odd = high.flip(0) ^ odd ^ (key + stride), low.flip(0)
        return torch.stack([even[0], odd[0], even[1], odd[1]], dim=-1)


def constants(device: torch.device) -> Tensor:
    """The multipliers, and what is added to the key in each round: (1 + rounds, 2, 1, 1) words."""
    rows = [MULTIPLIERS, *((number * STRIDES[0], number * STRIDES[1]) for number in range(ROUNDS))]
    return torch.tensor([[_signed(word) for word in row] for row in rows], device=device).view(-1, 2, 1, 1)


def _signed(word: int) -> int:
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word


def _product(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and lower 64 bits of products of unsigned words."""
    one_high, one_low, other_high, other_low = _upper(one), one & LOW, _upper(other), other & LOW
    first = one_high * other_low + _upper(one_low * other_low)
    second = one_low * other_high + (first & LOW)
    return one_high * other_high + _upper(first) + _upper(second), one * other


def _upper(words: Tensor) -> Tensor:
    """The upper 32 bits as a number; a shift of signed words fills up with the sign."""
    return (words >> 32) & LOW
