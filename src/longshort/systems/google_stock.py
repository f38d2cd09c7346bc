"""Google's stock: four LSTMs read sixty sessions and name the next one's opening price; its training curve, and what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.config import PriceWindows
from longshort.errors import DataRefused
from longshort.evaluation import pictures as house
from longshort.evaluation.tables import Table
from longshort.ingestion import embedded, intake
from longshort.systems import originals, pictures
from longshort.systems.fitting import Fitted, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.forecast import ForecastTask
from longshort.windows.files import PriceData
from longshort.windows.prices import Windows, fit_scaler, make_series
from longshort.windows.stage import session_numbers, tidy_columns

if TYPE_CHECKING:
    import pyarrow as pa

PUBLISHED = (0.0031, 0.0070, 0.0054, 0.0050, 0.0053, 0.0044, 0.0045, 0.0047)  # training loss of epochs 1 to 8
FILES = ("Google_Stock_Price_Train.csv", "Google_Stock_Price_Test.csv")
TEST = 20  # sessions
SPEC = PriceWindows(lookback=60, horizon=1, target="open", features=["open"], scaler="minmax", gap=1, max_gap=10, validation=0.1, test=0.1)


def run(occasion: Occasion) -> Outcome:
    """Train the tutorial's network on all that lies before the last twenty sessions, and forecast those.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    data, name, real = _read(occasion)
    task = ForecastTask.of(data)
    variant = occasion.variant(cell="lstm", hidden_size=50, num_layers=4, dropout=0.2, initialisation="keras")
    epochs = 2 if occasion.fast else 100
    # the tutorial clips nothing, and stops after 100 epochs whatever they bring
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=32, max_epochs=epochs, patience=epochs, clip_norm=1e9)
    fitted, seconds = fit(occasion, "stock", [task], variant, how)
    windows = data.parts["test"]
    origins = windows.origins(np.arange(len(windows)))
    actual, last = data.series.price[origins + 1], data.series.price[origins]
    forecasts = np.stack([_levels(one, task) for one in fitted])
    errors = np.sqrt(np.square(forecasts - actual).mean(axis=1))
    naive = float(np.sqrt(np.square(last - actual).mean()))
    train = data.parts["train"]
    places = train.origins(np.arange(len(train)))
    scale = float(data.scaler.scale[0])
    naive_loss = float(np.square((data.series.price[places + 1] - data.series.price[places]) / scale).mean())
    told = min(len(PUBLISHED), *(len(one.history) for one in fitted))  # epochs: those that are published, or all that each network had
    figures = [
        Figure.over(f"training loss in epoch {told}", [one.history[told - 1]["train_loss"] for one in fitted], "", {"naive": naive_loss}),
        Figure.over("RMSE on the last 20 sessions", errors.tolist(), "$", {"naive, tomorrow = today": naive}),
        Figure("seconds an epoch", seconds / sum(len(one.history) for one in fitted), "s"),
    ]
    better = "worse" if errors.mean() > naive else "better"
    title = f"{name}: RMSE ${errors.mean():.2f}, {better} than tomorrow = today (${naive:.2f})"
    dates = data.series.dates[origins + 1]
    days = zip(dates, actual, last, forecasts.T, strict=True)
    rows = [[str(day), float(came), float(before), *map(float, own)] for day, came, before, own in days]
    losses = np.mean([[epoch["train_loss"] for epoch in one.history[:told]] for one in fitted], axis=0)
    return Outcome(
        data=name,
        real=real,
        figures=figures,
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "validation": "the training windows, dropout off: the tutorial has none, and its test days are not looked at",
        },
        tables={
            "forecasts": Table(["session", "actual", "naive", *(f"seed {one.seed}" for one in fitted)], rows),
            "curve": Table(
                ["epoch", *["published"] * real, "ours"],
                [[k + 1, *[PUBLISHED[k]] * real, float(own)] for k, own in enumerate(losses)],
            ),
        },
        pictures={
            "forecast": house.forecast_against_actual(dates, actual, forecasts, last, title, "$"),
            "curve": pictures.curve_beside_published(
                [one.history for one in fitted],
                PUBLISHED if real else (),
                naive_loss,
                f"{name}: the published curve, ours, and naive",
            ),
        },
        said=f"the network is {better} than tomorrow = today by ${abs(errors.mean() - naive):.2f} of RMSE",
    )


def _read(occasion: Occasion) -> tuple[PriceData, str, bool]:
    """A person's two files one behind the other, else Google 2004 to 2008; the last twenty sessions are the test part.

    returns  also what they are called, and whether they are those of the published figure
    """
    if occasion.data is None:
        found = embedded.goog()
        table, calendar = found.table, found.calendar
    else:
        table, calendar = _table(occasion, occasion.data), "XNYS"
    columns = tidy_columns(table)
    real = originals.is_one(("Google",), columns["date"], columns["open"])
    if occasion.data is None:
        name = "Google 2004 to 2008"
    elif real:
        name = "Google 2012 to 2016"
    else:
        first, last = columns["date"][[0, -1]]
        name = f"{occasion.data.resolve().name}, {len(columns['date']):,} sessions from {first} to {last}"
    series = make_series(columns, SPEC, session_numbers(calendar, columns["date"]))
    count = len(series.price)
    if count < (least := SPEC.lookback + SPEC.horizon + TEST):
        raise DataRefused(
            f"{occasion.data}: {count} sessions behind the first, and {least} are needed: {SPEC.lookback} that are read, one that is "
            f"forecast, and {TEST} that are not learned from. Give longer files."
        )
    train = _piece(0, count - TEST)
    parts = {"train": train, "validation": train, "test": _piece(count - TEST - SPEC.lookback, count)}
    return PriceData(SPEC, series, parts, fit_scaler(series, train, SPEC), calendar), name, real and not occasion.fast


def _piece(first: int, end: int) -> Windows:
    """The windows within a stretch of the series."""
    return Windows(np.array([first]), np.array([end]), SPEC.lookback, SPEC.horizon)


def _table(occasion: Occasion, folder: Path) -> pa.Table:
    """Both files, train before test. raises  DataRefused when one is missing or cannot be read, or test begins before train has ended"""
    import pyarrow as pa

    params = occasion.params
    usual = params.validation.forecast
    short = params.validation.model_copy(update={"forecast": usual.model_copy(update={"min_sessions": 1})})  # the test file holds a month
    tables = []
    for path in (folder / name for name in FILES):
        if not path.is_file():
            both = " and ".join(FILES)
            raise DataRefused(f"{path}: there is no such file; the tutorial's two are {both}. Give the folder that holds them.")
        # its Close stands on another scale until 2014; nothing here reads it, but what is taken in has to be of one
        tables.append(intake.table_of([path], params.model_copy(update={"validation": short}), "forecast", ticker="GOOG", adjust="ratio"))
    (_, ended), (begun, _) = ((min(days), max(days)) for days in (own.column("date").to_pylist() for own in tables))
    if begun <= ended:
        raise DataRefused(
            f"{folder / FILES[1]}: begins on {begun}, and {FILES[0]} goes on to {ended}: what is tested would have been learned from. "
            "Take those sessions out of one of the two, or swap the files."
        )
    return pa.concat_tables(tables)


@torch.inference_mode()
def _levels(fitted: Fitted, task: ForecastTask) -> NDArray[np.float64]:
    """What a network forecasts of the test part, in dollars."""
    torch.set_num_threads(1)
    scaled = np.concatenate([fitted.network(read.unsqueeze(0))[0, :, 0].numpy() for read, _ in task.batches("test", 256, 0, 0)])
    scaler = task.data.scaler
    return scaled.astype(np.float64) * scaler.scale[0] + scaler.offset[0]
