"""Folds: where the parts of walk-forward evaluation lie in a series or a text, and data sets that are made of several folds.

The test part is cut into pieces of about one length. A fold tests one piece, and has the training and the validation part right
before it: both lie as far behind those of the oldest fold as its piece lies behind the oldest one (rolling origin, Tashman, 2000).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from longshort import config


@dataclass(frozen=True)
class Folded:
    """A data set of one fold.

    earlier  the same of the folds before this one, the newest, oldest first: each with a scaler or a vocabulary of its own
    """

    earlier: tuple[Self, ...] = field(default=(), kw_only=True)

    @property
    def folds(self) -> tuple[Self, ...]:
        """All folds, oldest first, this one last."""
        return (*self.earlier, self)


Data = TypeVar("Data", bound=Folded)


def newest(make: Callable[[int], Data], count: int) -> Data:
    """The newest of so many folds, and those before it, each made by its number, from 0, the oldest."""
    *earlier, last = map(make, range(count))
    return replace(last, earlier=tuple(earlier))


def walk(validation: int, test: int, end: int, spec: config.Folds, fold: int | None = None) -> dict[str, tuple[int, int]]:
    """Where the parts of a fold begin and end (exclusive), in sessions or words.

    validation, test, end  where the validation and the test part of one split begin, and where the test part ends
    fold                   of ``spec.folds``, from 0, the oldest; None: the newest

    >>> spec = config.Folds(folds=3)
    >>> [walk(60, 70, 100, spec, fold)["test"] for fold in range(3)]
    [(70, 80), (80, 90), (90, 100)]
    >>> walk(60, 70, 100, spec)
    {'train': (0, 80), 'validation': (80, 90), 'test': (90, 100)}
    >>> walk(60, 70, 100, config.Folds(folds=3, origin="sliding"))["train"]
    (20, 80)
    """
    number = spec.folds - 1 if fold is None else fold
    begun, done = (round((end - test) * place / spec.folds) for place in (number, number + 1))
    return {
        "train": (begun if spec.origin == "sliding" else 0, validation + begun),
        "validation": (validation + begun, test + begun),
        "test": (test + begun, test + done),
    }
