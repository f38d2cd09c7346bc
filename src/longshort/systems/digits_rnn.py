"""Digits, row by row: a plain RNN reads an image from the top to the bottom and names the digit; and our best network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from longshort.evaluation import classes
from longshort.systems import digits, pictures
from longshort.systems.fitting import described, fit
from longshort.systems.occasion import Occasion, Outcome
from longshort.windows.images import ImageData

PUBLISHED = [(1, 72.99), (2, 79.77), (100, 98.09)]  # epoch and accuracy on MNIST's test part
SHOWN = 24


def run(occasion: Occasion) -> Outcome:
    """Train the tutorial's network and a better one.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = digits.read(occasion)
    task, naive = found.task(), found.naive()
    epochs = 3 if occasion.fast else 100
    variant = occasion.variant(cell="rnn", hidden_size=150, initialisation="keras")
    # the tutorial's rate at first; without its decay the accuracy goes to and fro by a point from the thirtieth epoch on
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, decay=0.97, batch_size=150, max_epochs=epochs, patience=epochs)
    fitted, seconds = fit(occasion, "rnn", [task], variant, how)
    best_variant = occasion.variant(cell="gru", hidden_size=150, bidirectional=True, dropout=0.3)
    best_how = occasion.optimisation(
        optimizer="adam", learning_rate=0.002, decay=0.87, batch_size=150, max_epochs=3 if occasion.fast else 25, patience=8
    )
    best, best_seconds = fit(occasion, "best", [task], best_variant, best_how)
    own, said = digits.figure(f"test accuracy, {described(variant)}", fitted, task, naive)
    # what a person sets both networks get, and they may be alike in all that is told of them but how they are trained
    called = described(best_variant) + (", trained as our best" if described(best_variant) == described(variant) else "")
    better, best_said = digits.figure(f"test accuracy, {called}", best, task, {})
    labels = found.data.labels_of("test").astype(np.int64)
    curves = {described(variant): [one.history for one in fitted], called: [one.history for one in best]}
    return Outcome(
        data=found.name,
        real=found.real,
        figures=[own, better],
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "best_variant": best_variant.model_dump(),
            "best_optimisation": best_how.model_dump(),
            "seconds": round(seconds),
            "best_seconds": round(best_seconds),
        },
        tables={"by-digit": classes.by_label(best_said, labels, found.data.names)},
        pictures={
            "accuracy": pictures.accuracy_curves(
                curves, naive, PUBLISHED if found.real else [], f"{found.name}: {own.value:.2f} %, and {better.value:.2f} %"
            ),
            "confusion": pictures.confusion(
                classes.confusion(said[0], labels, len(found.data.names)), found.data.names, f"{own.value:.2f} %: what was taken for what"
            ),
            **_misread(found.data, best_said[0], labels),
        },
    )


def _misread(data: ImageData, said: NDArray[np.int64], labels: NDArray[np.int64]) -> dict[str, bytes]:
    """Digits of the test part that the best network misreads, if any."""
    wrong = np.flatnonzero(said != labels)
    if not len(wrong):
        return {}
    shown = wrong[:SHOWN]
    captions = [f"{data.names[labels[k]]} as {data.names[said[k]]}" for k in shown]
    title = f"{len(wrong):,} of {len(labels):,} digits that the best network misreads"
    return {"misread": pictures.images(data.pixels[data.parts["test"][0] + shown], captions, title)}
