"""Classes: what a classifier is worth on a test part, beside the most frequent label and a linear model. scikit-learn stands behind it."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.evaluation.tables import Table, spread
from longshort.windows.images import ImageData
from longshort.windows.labelled import ClassifyData

Labels = NDArray[np.integer[Any]]
BEYOND = 1000  # passes after which a linear model is taken as it is


def score(named: Labels, labels: Labels) -> dict[str, float]:
    """Accuracy, and the mean of the labels' F1, where each counts alike; those that train never showed are one, missed by everybody.

    named, labels  (rows,) places among the labels; `labelled.UNSEEN` where train never shows the label
    """
    from sklearn.metrics import f1_score

    return {
        "accuracy": float(np.mean(named == labels)),
        "macro_f1": float(f1_score(labels, named, labels=np.unique(labels), average="macro", zero_division=0)),
    }


def majority(train: Labels, count: int) -> Labels:
    """The most frequent label of the training part, for so many rows."""
    return np.full(count, np.bincount(train).argmax())


class LinearOfTexts:
    """Logistic regression on TF-IDF of words and of pairs of words; it learns from the training part alone."""

    def __init__(self, data: ClassifyData) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        self._data = data
        features = TfidfVectorizer(analyzer=_words_and_pairs, sublinear_tf=True)
        self._model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=BEYOND))
        self._model.fit(self._texts("train"), self._labels("train"))

    def named(self, part: str) -> Labels:
        """What it names in a part: places among the labels."""
        return np.asarray(self._model.predict(self._texts(part)), np.int64)

    def loss(self, part: str) -> float:
        """Its cross-entropy in nats over the rows of a part whose label train shows."""
        labels = self._labels(part)
        chances = self._model.predict_log_proba(self._texts(part))[labels >= 0]
        return float(-chances[np.arange(len(chances)), np.searchsorted(self._model.classes_, labels[labels >= 0])].mean())

    def _texts(self, part: str) -> list[list[str]]:
        own = self._data.division.parts[part]
        return [[str(number) for number in self._data.texts.row(row)] for row in range(own.start, own.stop)]

    def _labels(self, part: str) -> Labels:
        own = self._data.division.parts[part]
        return self._data.labels[own.start : own.stop]


def _words_and_pairs(words: Sequence[str]) -> list[str]:
    return [*words, *(f"{first} {second}" for first, second in itertools.pairwise(words))]


def linear_of_images(data: ImageData) -> Labels:
    """What logistic regression on the pixels names in the test part."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    def flat(part: str) -> NDArray[np.float32]:
        return data.scaled(np.arange(*data.parts[part])).reshape(-1, data.rows * data.columns)

    # its loss is convex, so what is left after some passes is little: 92.41 % on MNIST after 60, 92.50 % after 150
    model = LogisticRegression(max_iter=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(flat("train"), data.labels_of("train"))
    return np.asarray(model.predict(flat("test")), np.int64)


def by_label(named: Sequence[Labels], labels: Labels, names: Sequence[str]) -> Table:
    """A row a label: how often it stands in the test part, and precision, recall and F1, the mean over seeds with the standard deviation
    of F1.
    """
    from sklearn.metrics import precision_recall_fscore_support

    known = np.arange(len(names))
    each = np.array([precision_recall_fscore_support(labels, own, labels=known, zero_division=0)[:3] for own in named])
    means, support = each.mean(axis=0), np.bincount(labels[labels >= 0], minlength=len(names))
    rows: list[list[Any]] = [
        [name, int(support[k]), *means[:, k].tolist(), spread(each[:, 2, k].tolist())] for k, name in enumerate(names) if support[k]
    ]
    return Table(["label", "rows", "precision", "recall", "f1", "f1_sd"], rows)


def confusion(named: Labels, labels: Labels, count: int) -> NDArray[np.int64]:
    """(labels, labels): how often a row of the label of the line was named that of the column."""
    counts = np.zeros((count, count), np.int64)
    there = labels >= 0
    np.add.at(counts, (labels[there], named[there]), 1)
    return counts
