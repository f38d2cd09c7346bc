"""Digits: images of handwritten digits, read row by row; the data of several systems, and how its classifiers are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from longshort.config import ClassifyTask as Settings
from longshort.config import Variant
from longshort.errors import DataRefused
from longshort.evaluation import classes
from longshort.ingestion import idx
from longshort.systems import originals
from longshort.systems.fitting import Fitted, described, named
from longshort.systems.occasion import Figure, Occasion
from longshort.tasks.classify import ClassifyTask
from longshort.windows.images import ImageData, image_data

VALIDATION = {"mnist": 5000, "embedded": 180}
EMBEDDED_TEST = 360
Answers = Sequence[object]
FAST = 600  # images that train in a run that only shows that everything works


@dataclass(frozen=True)
class Digits:
    """Images.

    name  what they are called
    many  whether they are a whole collection of a person's, from which a network learns enough in fewer epochs
    real  whether they are those of the published figure
    """

    data: ImageData
    name: str
    many: bool
    real: bool

    def task(self) -> ClassifyTask:
        """To name the digit from the state behind the last row."""
        return ClassifyTask.of(self.data, Settings(embedding_size=1, dropout=0.0, pooling="final"))

    def naive(self) -> dict[str, float]:
        """The accuracy of the most frequent digit, and of logistic regression on the pixels."""
        labels = self.data.labels_of("test")
        said = {
            "majority": classes.majority(self.data.labels_of("train"), len(labels)),
            "logistic regression": classes.linear_of_images(self.data),
        }
        return {name: float(np.mean(own == labels)) for name, own in said.items()}


def read(occasion: Occasion) -> Digits:
    """MNIST where a person gives it, else scikit-learn's digits. raises  DataRefused"""
    if occasion.data is not None:
        pixels, labels, test = idx.read_collection(occasion.data)
        if (train := len(labels) - test) < (least := VALIDATION["mnist"] + FAST):
            raise DataRefused(
                f"{occasion.data}: {train:,} images to learn from, and {least:,} are needed, since {VALIDATION['mnist']:,} of them are set "
                "aside to choose the epoch by. Give more images."
            )
        made = image_data(pixels, 255, labels, {"validation": VALIDATION["mnist"], "test": test})
        real = originals.is_one(("MNIST",), pixels, labels, [test])
        called, size = ("MNIST", "") if real else (occasion.data.resolve().name, " of {} × {}".format(*pixels.shape[1:]))
        name = f"{called}, {len(labels) - test:,} + {test:,} images{size}"
    else:
        pixels, labels = idx.digits()
        made = image_data(pixels, 16, labels, {"validation": VALIDATION["embedded"], "test": EMBEDDED_TEST})
        real, name = False, f"scikit-learn's digits, {len(labels) - EMBEDDED_TEST:,} + {EMBEDDED_TEST:,} images of 8 × 8"
    if occasion.fast:
        parts = {part: (first, min(end, first + FAST)) for part, (first, end) in made.parts.items()}
        made = ImageData(made.pixels, made.white, made.labels, made.names, parts)
    if len(shown := np.unique(made.labels_of("train"))) < 2:
        raise DataRefused(
            f"{occasion.data}: all {len(made.labels_of('train')):,} images that are learned from have the label {made.names[shown[0]]}; "
            "a classifier needs two labels to tell apart. Give images of more than one."
        )
    return Digits(made, name, occasion.data is not None and not occasion.fast, real and not occasion.fast)


def exact(said: Sequence[object], asked: Sequence[object]) -> float:
    """The share of answers that are right to the letter or digit, in percent."""
    return 100 * sum(own == wanted for own, wanted in zip(said, asked, strict=True)) / len(asked)


def exact_figures(
    variant: Variant, beam: int, searched: Sequence[Answers], greedy: Sequence[Answers], asked: Answers, rivals: dict[str, Answers]
) -> list[Figure]:
    """The same of each seed's answers, searched by a beam and greedy, and of plain methods'."""
    naive = {name: exact(said, asked) for name, said in rivals.items()}
    return [
        Figure.over(f"exact, beam of {beam}, {described(variant)}", [exact(own, asked) for own in searched], "%", naive),
        Figure.over("exact, greedy", [exact(own, asked) for own in greedy], "%"),
    ]


def figure(name: str, fitted: Sequence[Fitted], task: ClassifyTask, naive: dict[str, float]) -> tuple[Figure, list[NDArray[np.int64]]]:
    """The accuracy on the test part, and what each seed named there."""
    labels = task.data.labels[slice(*task.range_of("test"))]
    said = [named(one, task, "test") for one in fitted]
    shares = [100 * float(np.mean(own == labels)) for own in said]
    beside = {rival: 100 * value for rival, value in naive.items()}
    return Figure.over(name, shares, "%", beside), said
