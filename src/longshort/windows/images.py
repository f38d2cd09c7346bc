"""Images with a label each, read row by row: a row of pixels is a step. Pure NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.windows.prices import PARTS

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageData:
    """Images in three parts, one behind the other.

    pixels  (images, rows, columns), 0 to ``white``
    labels  (images,) int32, places in ``names``
    parts   part -> the numbers of its first image and of the one behind its last
    """

    pixels: Pixels
    white: int
    labels: NDArray[np.int32]
    names: tuple[str, ...]
    parts: Mapping[str, tuple[int, int]]

    @property
    def rows(self) -> int:
        """Rows of an image: steps."""
        return int(self.pixels.shape[1])

    @property
    def columns(self) -> int:
        """Pixels of a row: features of a step."""
        return int(self.pixels.shape[2])

    def scaled(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Some of the images, (images, rows, columns), 0 to 1."""
        return self.pixels[numbers].astype(np.float32) / np.float32(self.white)

    def labels_of(self, part: str) -> NDArray[np.int32]:
        """The labels of a part."""
        return self.labels[slice(*self.parts[part])]

    def description(self) -> dict[str, Any]:
        """What a model must know to read images later, as JSON."""
        return {"labels": list(self.names), "rows": self.rows, "columns": self.columns, "white": self.white}


def image_data(pixels: Pixels, white: int, labels: NDArray[Any], counts: Mapping[str, int], seed: int = 0) -> ImageData:
    """Share images out; the test part is the last, as a collection has it, and validation is drawn from what is before it.

    labels  (images,) whose names are their texts
    counts  how many images validation and test hold; the others train
    """
    names, numbers = np.unique(labels, return_inverse=True)
    test = len(labels) - counts["test"]
    order = np.random.Generator(np.random.Philox(seed)).permutation(test)
    order = np.concatenate([np.sort(order[counts["validation"] :]), np.sort(order[: counts["validation"]]), np.arange(test, len(labels))])
    edges = [0, test - counts["validation"], test, len(labels)]
    parts = dict(zip(PARTS, itertools.pairwise(edges), strict=True))
    return ImageData(pixels[order], white, numbers[order].astype(np.int32), tuple(map(str, names)), parts)
