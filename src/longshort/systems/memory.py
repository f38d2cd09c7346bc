"""Memory: how far apart a fact and its question may lie. "I stayed in Spain … I can speak fluent ___", with more and more words between."""

from __future__ import annotations

import random

import numpy as np

from longshort.config import ClassifyTask as Settings
from longshort.config import ClassifyWindows, Variant
from longshort.evaluation.pictures import NAIVE, NAIVE_LINE, as_png, house_style, label_ends, new_figure
from longshort.evaluation.tables import Table
from longshort.systems import varied
from longshort.systems.fitting import fit, named
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.systems.pictures import LINES
from longshort.tasks.classify import ClassifyTask
from longshort.windows.labelled import classify_data

LANGUAGES = {
    "spain": "spanish",
    "france": "french",
    "norway": "norwegian",
    "japan": "japanese",
    "greece": "greek",
    "turkey": "turkish",
    "finland": "finnish",
    "poland": "polish",
}
BETWEEN = (
    "the days were long and we walked along rivers past old houses while it rained or snowed and every evening somebody made soup for all "
    "of us so that nobody went hungry though few had money"
)
DISTANCES = (5, 10, 20, 40, 80, 160, 320)  # words between the fact and the question
RECALLED = 0.9  # the accuracy that counts as remembering
ROWS = {"train": 1600, "validation": 200, "test": 400}
SETTINGS = Settings(embedding_size=16, dropout=0.0, pooling="final")


def run(occasion: Occasion) -> Outcome:
    """Train each cell at each distance.

    raises  TrainingDiverged, UsageError
    """
    distances = DISTANCES[:3] if occasion.fast else DISTANCES
    rows = {part: count // 4 for part, count in ROWS.items()} if occasion.fast else ROWS
    epochs = 2 if occasion.fast else 40
    how = occasion.optimisation(optimizer="adam", learning_rate=0.003, batch_size=32, max_epochs=epochs, patience=epochs)
    accuracies: dict[str, list[float]] = {}
    furthest: dict[str, list[float]] = {}  # at the greatest distance, in percent, one a seed
    for label, variant in _networks(occasion, max(distances)).items():
        accuracies[label] = []
        for distance in distances:
            task = _task(distance, rows)
            first, end = task.range_of("test")
            labels = task.data.labels[first:end]
            fitted, _ = fit(occasion, f"{label.replace(' ', '-').replace(',', '')}-{distance}", [task], variant, how)
            shares = [float(np.mean(named(one, task, "test") == labels)) for one in fitted]
            accuracies[label].append(float(np.mean(shares)))
            furthest[label] = [100 * share for share in shares]
            occasion.say(f"memory: {label}, {distance} words between: {accuracies[label][-1]:.0%} recalled")
    chance = 1 / len(LANGUAGES)
    reach = {label: _reach(distances, shares) for label, shares in accuracies.items()}
    naive = {"guessing": 100 * chance}
    figures = [Figure(f"{label}: words between, {RECALLED:.0%} recalled", float(far)) for label, far in reach.items()]
    for label, last in furthest.items():
        figures.append(Figure.over(f"{label}: recalled over {distances[-1]} words", last, "%", naive=naive))
    table = [[distance, *(shares[k] for shares in accuracies.values())] for k, distance in enumerate(distances)]
    said = "; ".join(f"{label} as far as {far} words" if far else f"{label} not at all" for label, far in reach.items())
    return Outcome(
        data=f"made sentences, {rows['train']:,} to learn from, {len(LANGUAGES)} answers",
        real=not occasion.fast,
        figures=figures,
        settings={"optimisation": how.model_dump(), "task": SETTINGS.model_dump(), "distances": list(distances)},
        tables={"recall": Table(["words between", *accuracies], table)},
        pictures={"recall": _picture(distances, accuracies, chance)},
        said=f"recalled in {RECALLED:.0%} of the cases: {said}",
    )


def _networks(occasion: Occasion, furthest: int) -> dict[str, Variant]:
    """By what they are called: the three cells, and an LSTM that begins with long memories; or the cell that a person named."""
    if "cell" in occasion.settings:
        variant = occasion.variant(hidden_size=64)
        return {f"{variant.cell}, chrono" if variant.chrono_steps else variant.cell: variant}
    varied.refuse(occasion, "one of the four networks is begun so, and the others are not; name a cell as well to set it", "chrono_steps")
    cells = {name: occasion.variant(cell=name, hidden_size=64) for name in ("rnn", "gru", "lstm")}
    return cells | {"lstm, chrono": occasion.variant(cell="lstm", hidden_size=64, chrono_steps=2 * furthest)}


def _task(distance: int, rows: dict[str, int]) -> ClassifyTask:
    """Sentences with so many words between the country and the question; which words they are says nothing."""
    draw, words = random.Random(distance), BETWEEN.split()
    texts, labels, parts = [], [], []
    for part, count in rows.items():
        for number in range(count):
            country = list(LANGUAGES)[number % len(LANGUAGES)]
            texts.append(" ".join([country, *draw.choices(words, k=distance), "fluent"]))
            labels.append(LANGUAGES[country])
            parts.append(part)
    spec = ClassifyWindows(min_count=1, max_vocabulary=1000, max_length=distance + 2, validation=0.1, test=0.1, seed=0)
    return ClassifyTask.of(classify_data(texts, labels, parts, spec), SETTINGS)


def _reach(distances: tuple[int, ...], shares: list[float]) -> int:
    """The furthest distance up to which everything is recalled; 0 where not even the nearest is."""
    reached = 0
    for distance, share in zip(distances, shares, strict=True):
        if share < RECALLED:
            break
        reached = distance
    return reached


def _picture(distances: tuple[int, ...], accuracies: dict[str, list[float]], chance: float) -> bytes:
    with house_style():
        figure = new_figure("How far apart a fact and its question may lie", height=4.2)
        axes = figure.subplots()
        ends = [(100 * chance, "guessing", NAIVE)]
        axes.axhline(100 * chance, **NAIVE_LINE)
        for (label, shares), colour in zip(accuracies.items(), LINES, strict=False):
            axes.plot(distances, [100 * share for share in shares], color=colour, linewidth=1.8, marker="o", markersize=4)
            ends.append((100 * shares[-1], label, colour))
        axes.set_xscale("log")
        axes.set_xticks(distances, list(map(str, distances)))
        axes.minorticks_off()
        axes.set(xlabel="words between", ylabel="recalled (%)", ylim=(0, 104))
        label_ends(figure, {axes: ends})
        return as_png(figure)
