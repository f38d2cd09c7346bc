"""Rows of different lengths side by side in a batch: what is behind a row's end is marked, and no network ever sees it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from longshort.tasks.layers import Embeddings
from longshort.tasks.task import Numbers
from longshort.windows.labelled import UNSEEN, Sequences
from longshort.windows.order import shuffled

PADDING = -1  # an id behind a row's end
UNCHARGED = UNSEEN  # a target that nobody can name, or that stands where no row is
ALIKE = 32  # batches whose rows are sorted by length before they are cut, so that few steps are padding


class PaddedEmbeddings(Embeddings):
    """Embeddings of rows that may end early; what stands behind their end is some vector, which lengths keep from being read."""

    def forward(self, ids: Tensor) -> Tensor:
        """ids (K, batch, steps), `PADDING` behind a row's end, to (K, batch, steps, size)."""
        return super().forward(ids.clamp(min=0))


def lengths_of(ids: Tensor) -> Tensor:
    """(..., steps) to (...): how many ids stand before the padding; a row that holds none is read as one unknown word."""
    return (ids != PADDING).sum(-1).clamp(min=1)


def in_order(count: int, size: int) -> Iterator[Numbers]:
    """The numbers of the rows of each batch of a pass that is not shuffled."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def at_random(lengths: Numbers, size: int, seed: int, epoch: int) -> Iterator[Numbers]:
    """The numbers of the rows of each batch of a shuffled pass: a pure function of seed and epoch, every row once.

    lengths  of the rows. Rows of like length come together, out of so many batches as `ALIKE` says, and batches in an order of their own
    """
    count, many = len(lengths), size * ALIKE
    for first in range(0, count, many):
        rows = shuffled(count, seed, epoch, np.arange(first, min(first + many, count)))
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches = -(-len(rows) // size)
        for number in shuffled(batches, seed, epoch, np.arange(batches)).tolist():
            yield rows[number * size : (number + 1) * size]


def padded(found: Sequences, rows: Numbers, beyond: int = PADDING) -> Tensor:
    """Some rows as one array: (rows, steps of the longest), at least one step; ``beyond`` behind the end of each."""
    starts = found.offsets[rows]
    lengths = found.offsets[rows + 1] - starts
    steps = np.arange(max(int(lengths.max()), 1))
    there = steps < lengths[:, None]
    ids = found.ids[np.where(there, starts[:, None] + steps, 0)] if len(found.ids) else np.zeros(there.shape, np.int64)
    return torch.from_numpy(np.where(there, ids, beyond).astype(np.int64))
