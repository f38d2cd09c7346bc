"""Slices: the plain way to read a strip, which has to know what a network with CTC finds out: where a digit ends and the next begins."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from longshort.windows.strips import Numbers, StripData

LEARNED = 2000  # strips that it learns from
PASSES = 60  # of logistic regression; see `evaluation.classes`


def read(data: StripData, count_told: bool) -> list[tuple[int, ...]]:
    """What logistic regression names in slices of equal width, of each strip of the test part.

    count_told  whether it is told how many digits a strip holds, or goes by its width
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
    said = []
    for number in range(*data.parts["test"]):
        strip = data.strip(number)
        count = len(data.labels.row(number)) if count_told else max(round(strip.shape[1] / wide), 1)
        said.append(tuple(model.predict(sliced(strip, count, wide) / data.white).tolist()))
    return said


def sliced(strip: NDArray[np.uint8], count: int, wide: int) -> NDArray[np.float64]:
    """A strip (rows, columns) in so many slices, ``wide`` columns each around the middle of its share: (count, rows · wide)."""
    middles = (np.arange(count) + 0.5) * strip.shape[1] / count
    places: Numbers = np.floor(middles[:, None] + np.arange(wide) - wide / 2 + 0.5).astype(np.int64).clip(0, strip.shape[1] - 1)
    return strip[:, places].swapaxes(0, 1).reshape(count, -1).astype(np.float64)
