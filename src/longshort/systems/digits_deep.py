"""Deep digits: three layers, plain or LSTM, with dropout and without; whether it helped, over seeds."""

from __future__ import annotations

import numpy as np

from longshort.evaluation.pictures import MODEL, NAIVE, as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.systems import digits
from longshort.systems.fitting import described, fit
from longshort.systems.occasion import Figure, Occasion, Outcome

KEPT = 0.5  # of what a layer gives, where it drops
CELLS = ("rnn", "lstm")


def run(occasion: Occasion) -> Outcome:
    """Train both networks with dropout, the tutorial's or a person's, and without.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = digits.read(occasion)
    task, naive = found.task(), found.naive()
    epochs = 2 if occasion.fast else 15 if found.many else 60
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=150, max_epochs=epochs, patience=epochs)
    cells = (occasion.settings["cell"],) if "cell" in occasion.settings else CELLS
    dropouts = sorted({0.0, float(occasion.settings.get("dropout", 1 - KEPT))})
    figures: list[Figure] = []
    each: dict[str, list[float]] = {}
    labels = found.data.labels_of("test")
    for cell in cells:
        for dropout in dropouts:
            variant = occasion.variant(cell=cell, hidden_size=100, num_layers=3).model_copy(update={"dropout": dropout})
            label = f"{described(variant)}, {'no dropout' if dropout == 0 else f'dropout {dropout:g}'}"
            fitted, _ = fit(occasion, f"{cell}-{dropout:g}", [task], variant, how)
            figure, said = digits.figure(f"test accuracy, {label}", fitted, task, {} if figures else naive)
            figures.append(figure)
            each[label] = [100 * float(np.mean(own == labels)) for own in said]
    shares = list(each.values())  # cell by cell, without dropout and with it
    told = [f"{cell}: {_verdict(shares[2 * k], shares[2 * k + 1])}" for k, cell in enumerate(cells) if len(dropouts) > 1]
    verdict = "; ".join(told) or "no dropout"
    rows = [[label, seed, share] for label, shares in each.items() for seed, share in zip(occasion.seeds, shares, strict=True)]
    return Outcome(
        data=found.name,
        real=found.real,
        figures=figures,
        settings={"optimisation": how.model_dump(), "dropouts": dropouts, "epochs": epochs},
        tables={"by-seed": Table(["network", "seed", "accuracy"], rows)},
        pictures={"dropout": _picture(each, f"{found.name}: {verdict}")},
        said=verdict,
    )


def _verdict(without: list[float], given: list[float]) -> str:
    """Whether dropout helped, of the accuracies without it and with it, one a seed."""
    gain = f"{np.mean(given) - np.mean(without):+.2f} points"
    if len(given) == 1:
        return f"{gain} by dropout, one seed each"
    apart = min(given) > max(without) or max(given) < min(without)
    return f"{gain} by dropout" if apart else f"{gain} by dropout, no more than seeds differ"


def _picture(each: dict[str, list[float]], title: str) -> bytes:
    """A line of points a network, one a seed, and a stroke at their mean."""
    with house_style():
        figure = new_figure(title, height=1.6 + 0.6 * len(each))
        axes = figure.subplots()
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        for place, (label, shares) in enumerate(each.items()):
            colour = NAIVE if "no dropout" in label else MODEL
            axes.plot(shares, [place] * len(shares), "o", color=colour, markersize=7, alpha=0.7, clip_on=False)
            axes.plot([np.mean(shares)] * 2, [place - 0.25, place + 0.25], color=colour, linewidth=2)
        axes.set_yticks(range(len(each)), list(each))
        axes.invert_yaxis()
        axes.margins(y=0.15)
        axes.set_xlabel("accuracy on the test part (%), a point a seed; strokes are means")
        return as_png(figure)
