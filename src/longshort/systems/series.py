"""Series: one step ahead at every step of a window; its training curve, a window forecast, and several features in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.errors import DataRefused
from longshort.evaluation.pictures import INK, MODEL, MUTED, NAIVE, as_png, house_style, label_ends, logarithmic, new_figure
from longshort.evaluation.tables import Table
from longshort.ingestion import embedded, encoding, source
from longshort.systems.fitting import Fitted, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.series import SeriesTask
from longshort.training.loop import means
from longshort.windows.stage import price_data

Values = NDArray[np.float32]
LOOKBACK, STEP, END = 20, 0.1, 30.0  # steps of a window; time between two; where the made series ends
PUBLISHED = {0: 379.6, 100: 14.6, 200: 7.14, 300: 3.99, 400: 2.00}  # step -> MSE of its batch
BATCH, STEPS, EVERY = 50, 10_000, 100  # windows of a step; steps; after how many an epoch is told
CPU = torch.device("cpu")
MISSING = ("", "nan", "na", "n/a", "null", "none", "-")  # cells in which nothing stands, in small letters
LARGEST = 1e30  # of a value: the squares of larger ones leave no room for sums


def made(time: NDArray[np.float64]) -> NDArray[np.float64]:
    """The tutorial's series: a swing that grows, and a quick one."""
    return time * np.sin(time) / 3 + 2 * np.sin(5 * time)


def run(occasion: Occasion) -> Outcome:
    """Train on the made series, or a person's, and on Google's prices with several features.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    task, name = _made(occasion) if occasion.data is None else _read(occasion.data)
    epochs = 3 if occasion.fast else STEPS // EVERY if occasion.data is None else 40
    variant = occasion.variant(cell="rnn_relu", hidden_size=100)
    how = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=BATCH, max_epochs=epochs, patience=epochs, clip_norm=1e9)
    fitted, seconds = fit(occasion, "series", [task], variant, how)
    own = _losses(fitted, task)
    naive = _naive(task)
    prices = _prices(occasion)
    shorter = {"max_epochs": 2 if occasion.fast else 20, "patience": 5}
    several = occasion.optimisation(optimizer="adam", learning_rate=0.001, batch_size=BATCH, **shorter)
    other, _ = fit(occasion, "prices", [prices], occasion.variant(cell="gru", hidden_size=30), several)
    still = {"tomorrow = today": float(np.square(_targets(prices, "test") - _unchanged(occasion)).mean())}
    rows = [[EVERY * (epoch["epoch"] - 1), epoch["train_loss"]] for epoch in fitted[0].history]
    pictures = {"window": _window(fitted[0].network, task, name)}
    if occasion.data is None:
        pictures["curve"] = _curve([one.history for one in fitted])
    return Outcome(
        data=name,
        real=occasion.data is None and not occasion.fast,
        figures=[
            Figure.over("MSE on windows not learned from", own, naive={"the last value": naive}),
            Figure.over(f"MSE on Google's scaled returns, {prices.inputs} features in", _losses(other, prices), naive=still),
        ],
        settings={"variant": variant.model_dump(), "optimisation": how.model_dump(), "seconds": round(seconds)},
        tables={"curve": Table(["after step", "mean MSE of the next 100 steps"], rows)},
        pictures=pictures,
    )


def _losses(fitted: Sequence[Fitted], task: SeriesTask) -> list[float]:
    """The mean squared error on the test part, one a network."""
    return [means(one.network, [task], "test", CPU, [0])[0].loss for one in fitted]


def _made(occasion: Occasion) -> tuple[SeriesTask, str]:
    """Windows of the made series that begin anywhere, as the tutorial draws them; none overlaps with another part's on purpose or not."""
    counts = {"train": BATCH * EVERY if not occasion.fast else 500, "validation": 500, "test": 500}
    draw = np.random.Generator(np.random.Philox(0))
    first = draw.uniform(0, END - LOOKBACK * STEP, sum(counts.values()))
    values = made(first[:, None] + STEP * np.arange(LOOKBACK + 1)).astype(np.float32).reshape(-1, 1)
    places = np.arange(len(first)) * (LOOKBACK + 1)
    edges = np.cumsum([0, *counts.values()])
    starts = {part: places[a:b] for part, a, b in zip(counts, edges, edges[1:], strict=False)}
    return SeriesTask(values, LOOKBACK, starts), "a made series"


def _read(path: Path) -> tuple[SeriesTask, str]:
    """The last column of numbers of a table, scaled by its first 60 %; the next 20 % validate, the last 20 % test.

    raises  DataRefused
    """
    if not path.is_file():
        raise DataRefused(f"{path}: a folder, and a series is one file. Give the file.")
    header, *rows = _rows(source.unpack(path.read_bytes(), path.name), path) or [(1, [])]
    places = reversed(range(len(header[1])))
    name, numbers = next(((header[1][place], found) for place in places if (found := _numbers(rows, place))), ("", []))
    least = 10 * LOOKBACK
    if not numbers:
        raise DataRefused(f"{path}: {len(rows):,} rows, and no column of numbers alone. Give a CSV file with one, such as 12.5 a row.")
    if len(numbers) < least:
        raise DataRefused(f"{path}: {len(numbers)} rows with a number in '{name}'; a series takes {least}. Give a longer one.")
    for line, value in numbers:
        if not abs(value) <= LARGEST:
            raise DataRefused(f"{path}:{line}: '{name}' is {value:g}, and no number that can be scaled. Mend the row, or take it out.")
    values = np.array([value for _, value in numbers])
    edges = [0, *(round(share * len(values)) for share in (0.6, 0.8)), len(values)]
    known = values[: edges[1]]
    scaled = ((values - known.mean()) / (known.std() or 1.0)).astype(np.float32)[:, None]
    # a window of validation and test reads what came before its first target
    ranges = zip(("train", "validation", "test"), edges, edges[1:], strict=False)
    starts = {part: np.arange(max(first - LOOKBACK, 0), end - LOOKBACK) for part, first, end in ranges}
    return SeriesTask(scaled, LOOKBACK, starts), f"{path.name}: {name}, {len(values):,} steps"


def _rows(data: bytes, path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a table that have a cell, each with its line; the first is the header. raises  DataRefused"""
    text, _ = encoding.decode(data, str(path))
    reader = csv.reader(io.StringIO(text, newline=None), strict=True)
    rows: list[tuple[int, list[str]]] = []
    behind = 0  # line of the last row that was read
    try:
        for cells in reader:
            if len(cells) > len(rows[0][1] if rows else cells):
                raise DataRefused(
                    f"{path}:{reader.line_num}: {len(cells)} cells, and the header has {len(rows[0][1])}. Save it with commas between "
                    "cells and points in numbers, such as 12.5."
                )
            behind = reader.line_num
            if cells:
                rows.append((behind, cells))
    except csv.Error as error:
        raise DataRefused(
            f"{path}:{behind + 1}: a row that cannot be read ({error}). Look for a quotation mark that is not closed."
        ) from None
    return rows


def _numbers(rows: list[tuple[int, list[str]]], place: int) -> list[tuple[int, float]]:
    """The numbers of a column with their lines, without cells in which nothing stands; none where there is anything else in it."""
    found = []
    for line, cells in rows:
        cell = cells[place].strip() if place < len(cells) else ""
        if cell.lower() in MISSING:
            continue
        try:
            found.append((line, float(cell)))
        except ValueError:
            return []
        if "_" in cell:  # which Python reads, and nobody writes
            return []
    return found


def _prices(occasion: Occasion) -> SeriesTask:
    """Google's log-returns at every step, with all features of `windows.forecast` in."""
    found = embedded.goog()
    data = price_data(found.table, occasion.params.windows.forecast.model_copy(update={"folds": 1, "lookback": LOOKBACK}), found.calendar)
    scaled = data.scaler.apply(data.series.values)
    starts = {part: windows.first_steps(np.arange(len(windows))) for part, windows in data.parts.items()}
    return SeriesTask(scaled, LOOKBACK, starts)


def _unchanged(occasion: Occasion) -> float:
    """A return of zero, scaled as the series is."""
    found = embedded.goog()
    data = price_data(found.table, occasion.params.windows.forecast.model_copy(update={"folds": 1, "lookback": LOOKBACK}), found.calendar)
    return float(-data.scaler.offset[0] / data.scaler.scale[0])


def _targets(task: SeriesTask, part: str) -> Values:
    steps = task.starts[part][:, None] + np.arange(1, LOOKBACK + 1)
    return task.values[steps, 0]


def _naive(task: SeriesTask) -> float:
    """The MSE of a forecast that repeats the last value."""
    steps = task.starts["test"][:, None] + np.arange(LOOKBACK)
    return float(np.square(task.values[steps + 1, 0] - task.values[steps, 0]).mean())


def _curve(histories: list[list[dict[str, float]]]) -> bytes:
    """Mean MSE of each hundred steps, with the tutorial's own as crosses."""
    with house_style():
        figure = new_figure("The training curve, and the tutorial's own figures as crosses", height=4.2)
        axes = figure.subplots()
        for epochs in histories:
            steps, errors = zip(*((EVERY * (epoch["epoch"] - 0.5), epoch["train_loss"]) for epoch in epochs), strict=True)
            axes.plot(steps, errors, color=MODEL, linewidth=1.5)
        axes.plot(list(PUBLISHED), list(PUBLISHED.values()), "x", color=INK, markersize=7, markeredgewidth=1.8, zorder=4)
        logarithmic(axes)
        axes.set(xlabel="step (a batch of 50 windows each; ours is the mean of a hundred)", ylabel="MSE")
        label_ends(figure, {axes: [(float(np.mean([epochs[-1]["train_loss"] for epochs in histories])), "ours", MODEL)]})
        return as_png(figure)


@torch.inference_mode()
def _window(network: torch.nn.Module, task: SeriesTask, name: str) -> bytes:
    """A window of the test part: what came, and what was named at each step before it."""
    start = int(task.starts["test"][len(task.starts["test"]) // 2])
    read = torch.from_numpy(task.values[start : start + LOOKBACK])[None, None]
    said = network(read)[0, 0].numpy()
    came = task.values[start : start + LOOKBACK + 1, 0]
    with house_style():
        figure = new_figure(f"{name}: a window, and what the network says of the next step at each", height=4.2)
        axes = figure.subplots()
        axes.plot(range(LOOKBACK + 1), came, color=INK, linewidth=1.6, marker="o", markersize=4)
        axes.plot(range(1, LOOKBACK + 1), said, color=MODEL, linewidth=1.4, marker="o", markersize=4, alpha=0.9)
        axes.plot(range(1, LOOKBACK + 1), came[:-1], color=NAIVE, linewidth=1, linestyle=(0, (4, 2)))
        axes.set(xlabel="step of the window", ylabel="value")
        ends = [(float(came[-1]), "came", INK), (float(said[-1]), "said", MODEL), (float(came[-2]), "naive", NAIVE)]
        axes.spines["bottom"].set_color(MUTED)
        label_ends(figure, {axes: ends})
        return as_png(figure)
