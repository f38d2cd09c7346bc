"""Digits, row by row: a plain RNN reads an image from the top to the bottom and names the digit; and our best network."""

from __future__ import annotations

import numpy as np

from longshort.evaluation import classes
from longshort.systems import digits, pictures
from longshort.systems.fitting import described, fit
from longshort.systems.occasion import Occasion, Outcome

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
    better, best_said = digits.figure(f"test accuracy, {described(best_variant)}", best, task, {})
    labels = found.data.labels_of("test").astype(np.int64)
    wrong = np.flatnonzero(best_said[0] != labels)[:SHOWN]
    first = found.data.parts["test"][0]
    misread = pictures.images(
        found.data.pixels[first + wrong],
        [f"{found.data.names[labels[k]]} as {found.data.names[best_said[0][k]]}" for k in wrong],
        f"{len(np.flatnonzero(best_said[0] != labels)):,} of {len(labels):,} digits that the best network misreads",
    )
    curves = {described(variant): [one.history for one in fitted], described(best_variant): [one.history for one in best]}
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
            **({"misread": misread} if len(wrong) else {}),
        },
    )
