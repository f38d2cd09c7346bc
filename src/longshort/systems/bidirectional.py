"""Bidirectional: one layer reads forwards, one backwards, and both are joined; refused where it would read the answer."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch

from longshort.config import Cell, Variant, unfit
from longshort.errors import ConfigError
from longshort.evaluation.pictures import MODEL, MUTED, as_png, house_style, new_figure
from longshort.evaluation.tables import Table
from longshort.ingestion import embedded
from longshort.models.encoder import Encoder, at_hand
from longshort.systems.fitting import fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.forecast import ForecastTask
from longshort.training.loop import means
from longshort.windows.stage import price_data

CPU = torch.device("cpu")


def run(occasion: Occasion) -> Outcome:
    """Join two directions of every cell, and train one pair of networks to see what it brings on prices.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    found = embedded.goog()
    task = ForecastTask.of(price_data(found.table, occasion.params.windows.forecast.model_copy(update={"folds": 1}), found.calendar))
    epochs = 1 if occasion.fast else 30
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=32, max_epochs=epochs, patience=5)
    errors = {}
    for both in (False, True):
        variant = occasion.variant(cell="lstm", hidden_size=50).model_copy(update={"bidirectional": both})
        fitted, _ = fit(occasion, "both" if both else "one", [task], variant, how)
        errors[both] = float(np.mean([means(one.network, [task], "test", CPU, [0])[0].loss for one in fitted]))
    windows = task.data.parts["test"]
    _, future = windows.gather(task.scaled, np.arange(len(windows)))
    still = (0 - task.data.scaler.offset[0]) / task.data.scaler.scale[0] if task.data.spec.target == "log_return" else np.nan
    naive = {"tomorrow = today": float(np.square(future - still).mean())}
    rows = [_row(cell) for cell in get_args(Cell)]
    refusal = unfit("language-model", occasion.variant(cell="lstm", hidden_size=50, bidirectional=True), None)
    accepted = sum(row[3] == "yes" for row in rows)
    return Outcome(
        data="Google 2004 to 2008; thirty cells",
        real=not occasion.fast,
        figures=[
            Figure("cells that read both ways", float(accepted)),
            Figure("squared error on test, forwards", errors[False], "", naive=naive),
            Figure("squared error on test, both ways", errors[True]),
        ],
        settings={"optimisation": how.model_dump()},
        tables={"cells": Table(["cell", "weights, one way", "weights, both ways", "reads both ways"], rows)},
        pictures={"weights": _picture(rows)},
        said=f"As a language model it is refused: it {refusal}.",
    )


def _row(cell: str) -> list[Any]:
    """A cell, its weights in one direction and in two, and whether what is far ahead reaches the first step's state."""
    sizes: list[int] = []
    reached = "yes"
    for both in (False, True):
        settings = {"cell": cell, "hidden_size": 8, "num_layers": 1, "bidirectional": both, "dropout": 0.0, **_more(cell)}
        variant = Variant.model_validate(settings)
        try:
            encoder = Encoder(3, variant, at_hand("reference", variant), [torch.Generator().manual_seed(0)])
        except ConfigError as error:
            return [cell, *sizes, "", str(error)]
        sizes.append(sum(parameter.numel() for parameter in encoder.parameters()))
        if both:
            # many rows: rectified units may all be shut in two of them
            steps = torch.randn(1, 32, 5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
            states, _ = encoder.eval()(steps)
            (gradient,) = torch.autograd.grad(states[:, :, 0].sum(), steps)
            reached = "yes" if bool((gradient[:, :, -1] != 0).any()) else "no: its last step does not reach its first state"
    return [cell, *sizes, reached]


def _more(cell: str) -> dict[str, Any]:
    return {"projection_size": 4} if cell == "lstmp" else {}


def _picture(rows: list[list[Any]]) -> bytes:
    with house_style():
        figure = new_figure("Two directions take twice the weights; thirty cells can", height=6.4)
        axes = figure.subplots()
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        places = np.arange(len(rows))
        axes.barh(places, [row[2] for row in rows], color=MODEL, height=0.7, label="both ways")
        axes.barh(places, [row[1] for row in rows], color=MUTED, height=0.7, label="one way")
        axes.set_yticks(places, [str(row[0]) for row in rows], fontsize=7.5)
        axes.invert_yaxis()
        axes.set_xlabel("weights of a layer of 8 units that reads 3 numbers a step (grey: one way, blue: both)")
        return as_png(figure)
