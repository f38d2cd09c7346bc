"""Strips: images laid side by side, with gaps or over one another, read column by column: a column of pixels is a step. Pure NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.windows.images import ImageData, Pixels
from longshort.windows.labelled import Sequences
from longshort.windows.prices import PARTS

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class StripSpec:
    """How strips are made; both ends of a range count.

    strips  part -> how many it holds
    images  how many lie in a strip
    gap     columns between two images; less than 0: so many columns of theirs lie over one another
    """

    strips: Mapping[str, int]
    images: tuple[int, int]
    gap: tuple[int, int]


@dataclass(frozen=True)
class StripData:
    """Strips in three parts, one behind the other.

    columns  (columns of all strips, rows), 0 to ``white``; strip n is ``columns[offsets[n] : offsets[n + 1]]``, its left end first
    labels   of each strip, from left to right: places in ``names``
    parts    part -> the numbers of its first strip and of the one behind its last
    """

    columns: Pixels
    offsets: Numbers
    white: int
    labels: Sequences
    names: tuple[str, ...]
    parts: Mapping[str, tuple[int, int]]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def rows(self) -> int:
        """Pixels of a column: features of a step."""
        return int(self.columns.shape[1])

    def strip(self, number: int) -> Pixels:
        """The pixels of a strip as a picture has them, (rows, columns), a view."""
        return self.columns[self.offsets[number] : self.offsets[number + 1]].T

    def widths(self) -> Numbers:
        """Columns of each strip."""
        return np.diff(self.offsets)

    def padded(self, numbers: Numbers, beyond: float) -> NDArray[np.float32]:
        """Some strips as one array (strips, columns of the widest, rows), 0 to 1; ``beyond`` behind the end of each."""
        starts, widths = self.offsets[numbers], self.widths()[numbers]
        steps = np.arange(int(widths.max()))
        there = steps < widths[:, None]
        pixels = self.columns[np.where(there, starts[:, None] + steps, 0)].astype(np.float32) / np.float32(self.white)
        return np.where(there[:, :, None], pixels, np.float32(beyond))

    def description(self) -> dict[str, Any]:
        """What a model must know to read strips later, as JSON."""
        return {"labels": list(self.names), "rows": self.rows, "white": self.white}


def strip_data(images: ImageData, spec: StripSpec, seed: int) -> StripData:
    """Lay images side by side; those of a strip are of the part that the strip is in, dealt out so that none comes again before all have.

    Where two lie over one another the brighter pixel counts. No gap takes more than an image is wide.
    """
    draw = np.random.Generator(np.random.Philox(seed))
    strips, labels = [], []
    for part in PARTS:
        first, end = images.parts[part]
        counts = draw.integers(spec.images[0], spec.images[1] + 1, spec.strips[part])
        rounds = -(-int(counts.sum()) // (end - first))
        dealt = np.concatenate([draw.permutation(np.arange(first, end)) for _ in range(rounds)])
        for own in np.split(dealt, np.cumsum(counts))[:-1]:
            gaps = draw.integers(spec.gap[0], spec.gap[1] + 1, len(own) - 1)
            strips.append(_laid(images.pixels[own], gaps))
            labels.append(images.labels[own])
    edges = [0, *itertools.accumulate(spec.strips[part] for part in PARTS)]
    return StripData(
        np.concatenate(strips),
        np.cumsum([0, *map(len, strips)]),
        images.white,
        Sequences(np.concatenate(labels), np.cumsum([0, *map(len, labels)])),
        images.names,
        dict(zip(PARTS, itertools.pairwise(edges), strict=True)),
    )


def _laid(pixels: Pixels, gaps: Numbers) -> Pixels:
    """Images (images, rows, columns) and the gaps between them: (columns of the strip, rows)."""
    rows, width = pixels.shape[1:]
    starts = np.cumsum([0, *(width + gaps)])
    strip = np.zeros((int(starts[-1]) + width, rows), np.uint8)
    for start, image in zip(starts.tolist(), pixels, strict=True):
        there = strip[start : start + width]
        np.maximum(there, image.T, out=there)
    return strip
