"""Slices: the plain way to read a strip, which has to know what a network with CTC finds out: where a digit ends and the next begins."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longshort.windows.strips import Numbers, StripData

LEARNED = 2000  # strips that it learns from
PASSES = 60  # of logistic regression; see `evaluation.classes`


def read(data: StripData) -> dict[str, list[tuple[int, ...]]]:
    """What logistic regression names in slices of equal width, of each strip of the test part: as many slices as its width speaks for,
    and as many as there are digits, where it is told.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    first, end = data.parts["train"]
    learned = range(first, min(end, first + LEARNED))
    counts = [len(data.labels.row(number)) for number in learned]
    wide = round(float(data.widths()[learned.start : learned.stop].sum() / sum(counts)))
    model = LogisticRegression(max_iter=PASSES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(
            np.concatenate([sliced(data.strip(number), count, wide) for number, count in zip(learned, counts, strict=True)]) / data.white,
            np.concatenate([data.labels.row(number) for number in learned]),
        )
    tested = range(*data.parts["test"])
    by_width = [max(round(width / wide), 1) for width in data.widths()[tested.start : tested.stop].tolist()]
    told = [len(data.labels.row(number)) for number in tested]

    def named(counts: Sequence[int]) -> list[tuple[int, ...]]:
        slices = np.concatenate([sliced(data.strip(number), count, wide) for number, count in zip(tested, counts, strict=True)])
        labels = np.split(model.predict(slices / data.white), np.cumsum(counts)[:-1])
        return [tuple(own.tolist()) for own in labels]

    return {"equal slices": named(by_width), "equal slices, number told": named(told)}


def sliced(strip: NDArray[np.uint8], count: int, wide: int) -> NDArray[np.float64]:
    """A strip (rows, columns) in so many slices, ``wide`` columns each around the middle of its share: (count, rows · wide)."""
    middles = (np.arange(count) + 0.5) * strip.shape[1] / count
    places: Numbers = np.floor(middles[:, None] + np.arange(wide) - wide / 2 + 0.5).astype(np.int64).clip(0, strip.shape[1] - 1)
    return strip[:, places].swapaxes(0, 1).reshape(count, -1).astype(np.float64)
