"""Sentiment: words in, one label out; how good it is comes from ten folds, each tested by networks that learned the other nine."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np

from longshort.config import ClassifyTask as Settings
from longshort.config import ClassifyWindows
from longshort.errors import DataRefused
from longshort.evaluation.tables import Table, spread
from longshort.systems import pictures, texts
from longshort.systems.fitting import described, fit, named
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.classify import ClassifyTask
from longshort.windows.labelled import ClassifyData

WINDOWS = ClassifyWindows(min_count=1, max_vocabulary=20000, max_length=400, validation=0.1, test=0.1, seed=0)
SETTINGS = Settings(embedding_size=128, dropout=0.5, pooling="max", label_smoothing=0.1)
FOLDS = 10
LEAST = 10  # rows of a fold
SHUFFLE = 0  # the seed of the folds


def run(occasion: Occasion) -> Outcome:
    """Train a classifier a fold.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = texts.read(occasion, texts.opinions(), ("rt-polarity", "SMS spam"))
    folds = folds_of(found, 2 if occasion.fast else FOLDS)
    tasks = [ClassifyTask.of(data, SETTINGS) for data in folds]
    variant = occasion.variant(cell="lstm", hidden_size=128, bidirectional=True)
    epochs = 2 if occasion.fast else 12
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=50, max_epochs=epochs, patience=3)
    fitted, seconds = fit(occasion, "sentiment", tasks, variant, how)
    linear, most, own = [], [], []
    rows = []
    for number, (task, data) in enumerate(zip(tasks, folds, strict=True)):
        labels, naive = texts.asked(data), texts.rivals(data)
        most.append(100 * naive[texts.MAJORITY])
        linear.append(100 * naive[texts.LINEAR])
        networks = fitted[number * len(occasion.seeds) : (number + 1) * len(occasion.seeds)]
        own.append(float(np.mean([100 * np.mean(named(one, task, "test") == labels) for one in networks])))
        rows.append([number + 1, len(labels), most[-1], linear[-1], own[-1]])
    naive = {texts.MAJORITY: float(np.mean(most)), texts.LINEAR: float(np.mean(linear))}
    accuracy = Figure(f"accuracy over {len(folds)} folds, {described(variant)}", float(np.mean(own)), "%", naive=naive)
    shares = {name: value / 100 for name, value in naive.items()}
    title = f"{found.name}: {accuracy.value:.2f} % over {len(folds)} folds, TF-IDF {naive[texts.LINEAR]:.2f} %"
    return Outcome(
        data=found.name,
        real=found.real,
        figures=[accuracy],
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "task": SETTINGS.model_dump(),
            "windows": WINDOWS.model_dump(),
            "sd over folds": round(spread(own), 2),
            "seconds": round(seconds),
        },
        tables={"by-fold": Table(["fold", "rows", "majority", "linear", "network"], rows)},
        pictures={"accuracy": pictures.accuracy_curves({"each fold": [one.history for one in fitted]}, shares, [], title)},
    )


def folds_of(found: texts.Texts, count: int) -> list[ClassifyData]:
    """The rows cut into folds with the same shares of labels; each the test part once, its validation part drawn from the others.

    Where the files say the parts, those are the one fold.

    raises  DataRefused when there are too few rows for folds, or one of a label
    """
    from sklearn.model_selection import StratifiedKFold

    if found.parts is not None:
        return [texts.divided(found, found.parts, WINDOWS)]
    counts, rows = Counter(found.labels), len(found.labels)
    most = max(counts.values())
    if rows < LEAST * count or most < count:
        raise DataRefused(
            f"{found.name}: {rows:,} rows, at most {most:,} of one label; {count} folds take {LEAST * count} rows, and {count} of a label. "
            "Give more rows, or files that are called train, validation and test."
        )
    if alone := [label for label, count in counts.items() if count == 1]:
        raise DataRefused(
            f"{found.name}: the label {alone[0]!r} has one row, so the fold that asks for it cannot have learned it. "
            "Give each label two rows, or leave it out."
        )
    with warnings.catch_warnings():  # scikit-learn's, that some folds lack a label of fewer rows than there are folds: they are still fair
        warnings.simplefilter("ignore", UserWarning)
        cut = list(StratifiedKFold(count, shuffle=True, random_state=SHUFFLE).split(found.texts, found.labels))
    folds = []
    for _, test in cut:
        parts = ["train"] * len(found.texts)
        for row in test.tolist():
            parts[row] = "test"
        folds.append(texts.divided(found, parts, WINDOWS))
    return folds
