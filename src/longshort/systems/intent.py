"""Intent: a recurrent network reads what was said, and a layer behind it names what is wanted."""

from __future__ import annotations

import numpy as np

from longshort.config import ClassifyTask as Settings
from longshort.config import ClassifyWindows
from longshort.evaluation import classes
from longshort.evaluation.tables import Table
from longshort.systems import pictures, texts
from longshort.systems.digits import figure
from longshort.systems.fitting import described, fit
from longshort.systems.occasion import Occasion, Outcome
from longshort.tasks.classify import ClassifyTask

WINDOWS = ClassifyWindows(min_count=2, max_vocabulary=20000, max_length=400, validation=0.1, test=0.2, seed=0)
SETTINGS = Settings(embedding_size=100, dropout=0.5, pooling="max", label_smoothing=0.1)
SHOWN = 12


def run(occasion: Occasion) -> Outcome:
    """Train a classifier of texts.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = texts.read(occasion, texts.requests(), ("ATIS", "Banking77"))
    data = texts.divided(found, found.parts, WINDOWS)
    task = ClassifyTask.of(data, SETTINGS)
    variant = occasion.variant(cell="lstm", hidden_size=128, bidirectional=True)
    epochs = 2 if occasion.fast else 30
    how = occasion.optimisation(optimizer="adam", learning_rate=0.002, batch_size=32, max_epochs=epochs, patience=6)
    fitted, seconds = fit(occasion, "intent", [task], variant, how)
    own = data.division.parts["test"]
    labels, naive = texts.asked(data), texts.rivals(data)
    accuracy, names = figure(f"test accuracy, {described(variant)}", fitted, task, naive)
    unseen = int(np.sum(labels < 0))
    wrong = np.flatnonzero(names[0] != labels)
    misread = Table(
        ["text", "is", "named"],
        [
            [found.texts[data.division.rows[own.start + k]], found.labels[data.division.rows[own.start + k]], data.names[names[0][k]]]
            for k in wrong[:SHOWN]
        ],
    )
    title = f"{found.name}: {accuracy.value:.2f} % named right, TF-IDF {100 * naive[texts.LINEAR]:.2f} %"
    return Outcome(
        data=found.name,
        real=found.real,
        figures=[accuracy],
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "task": SETTINGS.model_dump(),
            "test rows whose intent train never shows": unseen,
            "seconds": round(seconds),
        },
        tables={"by-intent": classes.by_label(names, labels, data.names), "misread": misread},
        pictures={
            "accuracy": pictures.accuracy_curves({described(variant): [one.history for one in fitted]}, naive, [], title),
            "confusion": pictures.confusion(
                classes.confusion(names[0], labels, len(data.names)), data.names, f"{found.name}: what was taken for what"
            ),
        },
        said="\n".join(f"  {text}  is {label}, named {name}" for text, label, name in misread.rows[:5]),
    )
