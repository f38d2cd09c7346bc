"""The order in which an epoch visits its windows: a pure function of seed and epoch.

A permutation of 25 million windows held as an array would take 200 MB. This one is computed number by
number, by a Feistel network over the next power of four with cycle walking (Black and Rogaway, 2002),
so a shuffled epoch costs no memory and can be entered at any place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6


def shuffled(count: int, seed: int, epoch: int, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the shuffle of ``count`` windows sends the given positions.

    numbers  positions in the epoch, each in [0, count)
    returns  window numbers, a bijection of [0, count): every window comes once an epoch

    >>> sorted(shuffled(5, seed=0, epoch=0, numbers=np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    """
    half_bits = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    keys = np.random.Philox(key=[seed, epoch]).random_raw(ROUNDS)
    walked = _feistel(numbers.astype(np.uint64), half_bits, keys)
    while (outside := walked >= count).any():  # the network permutes a larger range: walk on until inside
        walked[outside] = _feistel(walked[outside], half_bits, keys)
    return walked.astype(np.int64)


def _feistel(numbers: NDArray[np.uint64], half_bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = np.uint64((1 << half_bits) - 1)
    left, right = numbers >> np.uint64(half_bits), numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << np.uint64(half_bits)) | right


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
