"""Anomaly: a network forecasts each step of a series from those before it; where it errs by far more than it used to, there is an alarm."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from longshort.errors import DataRefused
from longshort.evaluation import alarms
from longshort.evaluation.tables import Table
from longshort.ingestion import watched
from longshort.ingestion.watched import Watched
from longshort.models.engines.engine import SCORING_BATCH
from longshort.systems import alarm_pictures, originals, planted
from longshort.systems.fitting import Fitted, described, fit
from longshort.systems.occasion import Figure, Occasion, Outcome
from longshort.tasks.series import SeriesTask

Array = NDArray[np.float64]
KNOWN, LEARNED, TRAINED = 0.15, 0.4, 0.75  # of a file, what may be looked at; of that, what is learned from; of that, what moves weights
LOOKBACK = 48
RATE = 0.005  # false alarms a step, as it is set
RATES = (0.002, RATE, 0.01, 0.02, 0.05)
NETWORK, ROLLING, ELSEWHEN = "network", "rolling z-score", "the same alarms at other times"


@dataclass(frozen=True)
class Stretches:
    """What is known of a file when alarms begin: steps that train, that are learned from at all, and all that set its threshold."""

    trained: int
    learned: int
    known: int

    @classmethod
    def of(cls, steps: int) -> Stretches:
        """The first 15 % of so many steps. Two fifths of them are learned from; errors on the rest are such as new steps have."""
        known = math.floor(KNOWN * steps)
        learned = math.floor(LEARNED * known)
        return cls(math.floor(TRAINED * learned), learned, known)

    @property
    def judged(self) -> int:
        """Steps that set the threshold."""
        return self.known - self.learned


# steps of a file, so that the rate can be set: with fewer errors than that the threshold is infinite, and there is never an alarm
LEAST = next(steps for steps in itertools.count() if Stretches.of(steps).judged >= round(1 / RATE) - 1)


@dataclass(frozen=True)
class Count:
    """What alarms came to behind the known steps of all series.

    windows, found, elsewhen  windows that lie there; how many of them have an alarm; and would have, by `alarms.found_elsewhen`
    false, free               alarms outside of windows, and steps there
    """

    windows: int
    found: int
    elsewhen: float
    false: int
    free: int

    @classmethod
    def of(cls, series: Sequence[Watched], scores: Sequence[Array], rate: float) -> Count:
        """Of alarms at a rate that is set."""
        each = [_counted(own, of_own, rate) for own, of_own in zip(series, scores, strict=True)]
        return cls(*(sum(column) for column in zip(*each, strict=True)))

    @property
    def thousand(self) -> float:
        """False alarms a 1,000 steps."""
        return 1000 * self.false / self.free

    def share(self, windows: float) -> float:
        """So many of the windows, in percent; there has to be one."""
        return 100 * windows / self.windows


def run(occasion: Occasion) -> Outcome:
    """Train a forecaster for each series, set its threshold, and count windows found and false alarms behind the first 15 %.

    raises  DataRefused, TrainingDiverged, UsageError
    """
    series, name, real = _read(occasion)
    tasks = [task_of(own.values) for own in series]
    variant = occasion.variant(cell="lstm", hidden_size=16 if occasion.fast else 32)
    epochs = 3 if occasion.fast else 60
    how = occasion.optimisation(optimizer="adam", learning_rate=0.003, batch_size=32, max_epochs=epochs, patience=8)
    fitted, seconds = fit(occasion, "forecaster", tasks, variant, how)
    count = len(occasion.seeds)
    errors = [[errors_of(one, task) for one, task in zip(fitted[seed::count], tasks, strict=True)] for seed in range(count)]
    rolling = [alarms.rolling_z(own.values, LOOKBACK) for own in series]
    counts = {rate: [Count.of(series, own, rate) for own in errors] for rate in RATES}
    plain = {rate: Count.of(series, rolling, rate) for rate in RATES}
    own, rival = counts[RATE], plain[RATE]
    at_rate, found = f"{1000 * RATE:g} false alarms a 1,000 steps set", []
    if rival.windows:  # of none there is no share
        beside = {ROLLING: rival.share(rival.found), ELSEWHEN: float(np.mean([each.share(each.elsewhen) for each in own]))}
        found = [Figure.over(f"windows found, {at_rate}, {described(variant)}", [each.share(each.found) for each in own], "%", beside)]
    came = Figure.over("false alarms a 1,000 steps, as they came", [each.thousand for each in own], "", {ROLLING: rival.thousand})
    figures = [*found, came if found else replace(came, name=f"{came.name}, {at_rate}, {described(variant)}")]
    table = _by_series(series, errors, rolling)
    behind = f"{own[0].found} of {rival.windows} windows found" if rival.windows else "no window to be found"
    title = f"{behind}, {own[0].thousand:.1f} false alarms a 1,000 steps, {1000 * RATE:g} set"
    return Outcome(
        data=name,
        real=real,
        figures=figures,
        settings={
            "variant": variant.model_dump(),
            "optimisation": how.model_dump(),
            "lookback": LOOKBACK,
            "share of steps that is known": KNOWN,
            "share of those that is learned from": LEARNED,
            "windows behind the known steps": rival.windows,
            "windows that begin within them": sum(len(each.windows) for each in series) - rival.windows,
            "seconds": round(seconds),
        },
        tables={"by-series": table, "by-rate": _by_rate(counts, plain)},
        pictures={
            "alarms": alarm_pictures.alarms_over_time(series, [raised(each, RATE) for each in errors[0]], title),
            "rates": alarm_pictures.rates(_by_rate(counts, plain), rival.windows),
            **_closely(series, errors[0]),
        },
        said="\n".join(
            f"  {row[0]}: {row[2]:.3g} of {row[1]} windows found, {row[3]:.1f} false alarms a 1,000 steps" for row in table.rows
        ),
    )


def _read(occasion: Occasion) -> tuple[list[Watched], str, bool]:
    """A person's series, else made ones; what they are called; and whether they are those that our aim names. raises  DataRefused"""
    made = 2400 if occasion.fast else 6000
    series = planted.series(made, seed=0) if occasion.data is None else watched.read_folder(occasion.data)
    for own in series:
        if len(own.values) < LEAST:
            raise DataRefused(
                f"{occasion.data}/{own.name}: {len(own.values):,} steps, and {LEAST:,} are needed: the threshold is set on some of the "
                f"first {KNOWN:.0%}, and fewer cannot set so low a rate as {1000 * RATE:g} false alarms a 1,000 steps. Give a longer "
                "series, or take it out of the labels."
            )
        if not _free(own).any():
            raise DataRefused(
                f"{occasion.data}/{own.name}: every step behind the first {KNOWN:.0%} lies in a window, so no alarm there can be false. "
                "Narrow the windows, or take it out of the labels."
            )
    called = "made series" if occasion.data is None else f"series of {occasion.data.name}"
    held = [content for own in sorted(series, key=lambda own: own.name) for content in (own.times, own.values, own.windows)]
    real = originals.is_one(("NAB",), *held) and not occasion.fast
    return series, f"{len(series)} {called}, {sum(len(own.values) for own in series):,} steps", real


def task_of(values: Array) -> SeriesTask:
    """To forecast how a series changes from each step to the next, from changes and values before.

    A value is mostly the one before it; a network that has seen half a day has that to learn first where it is asked for values.
    """
    stretches = Stretches.of(len(values))
    columns = np.stack([np.diff(values, prepend=values[0]), values], axis=1)
    known = columns[: stretches.learned]
    scaled = ((columns - [0.0, known[:, 1].mean()]) / np.where(known.std(axis=0) > 0, known.std(axis=0), 1.0)).astype(np.float32)
    edges = [0, stretches.trained - LOOKBACK, stretches.learned - LOOKBACK]
    starts = {"train": np.arange(*edges[:2]), "validation": np.arange(*edges[1:]), "test": np.arange(len(values) - LOOKBACK)}
    return SeriesTask(scaled, LOOKBACK, starts)


@torch.inference_mode()
def errors_of(fitted: Fitted, task: SeriesTask) -> Array:
    """How far off a network is at each step: (steps,), scaled, nan for the first ones."""
    torch.set_num_threads(1)
    said = [
        fitted.network(read.unsqueeze(0))[0, :, -1].double().numpy() for read, _ in task.batches("test", SCORING_BATCH, seed=0, epoch=0)
    ]
    return np.abs(np.concatenate([np.full(LOOKBACK, np.nan), *said]) - task.values[:, 0])


def limit(scores: Array, rate: float) -> float:
    """The threshold for a series, from the scores of known steps that were not learned from."""
    stretches = Stretches.of(len(scores))
    return alarms.threshold(scores[stretches.learned : stretches.known], rate)


def raised(scores: Array, rate: float) -> NDArray[np.bool_]:
    """At which steps of a series there is an alarm; at none that is known."""
    over = scores > limit(scores, rate)
    over[: Stretches.of(len(scores)).known] = False
    return over


def _free(own: Watched) -> NDArray[np.bool_]:
    """Which of the steps behind the known ones lie in no window."""
    known = Stretches.of(len(own.values)).known
    return alarms.outside(len(own.values) - known, [(max(first - known, 0), max(end - known, 0)) for first, end in own.windows])


def _counted(own: Watched, scores: Array, rate: float) -> tuple[int, int, float, int, int]:
    """See `Count`; of one series. A window that begins within the known steps is not counted."""
    known = Stretches.of(len(scores)).known
    over = raised(scores, rate)[known:]
    behind = [(first - known, end - known) for first, end in own.windows if first >= known]
    free = _free(own)
    return len(behind), alarms.found(over, behind), alarms.found_elsewhen(over, behind), int((over & free).sum()), int(free.sum())


def _by_series(series: Sequence[Watched], errors: Sequence[Sequence[Array]], rolling: Sequence[Array]) -> Table:
    """A row a series: its windows, those found and false alarms a 1,000 steps by the network, the mean over seeds, and by the rival."""
    rows = []
    for number, own in enumerate(series):
        network = [Count.of([own], [each[number]], RATE) for each in errors]
        plain = Count.of([own], [rolling[number]], RATE)
        means = [float(np.mean([getattr(each, field) for each in network])) for field in ("found", "thousand")]
        rows.append([own.name, plain.windows, *means, plain.found, plain.thousand])
    return Table(["series", "windows", "found", "false alarms", f"found, {ROLLING}", f"false alarms, {ROLLING}"], rows)


def _by_rate(counts: dict[float, list[Count]], plain: dict[float, Count]) -> Table:
    """A row a rate that is set: false alarms a 1,000 steps and windows found by the network, by its alarms at other times, by the rival."""
    rows = []
    for rate, own in counts.items():
        means = [float(np.mean([getattr(each, field) for each in own])) for field in ("thousand", "found", "elsewhen")]
        rows.append([1000 * rate, *means, plain[rate].thousand, plain[rate].found])
    return Table(["set", "false alarms", "found", "found elsewhen", f"false alarms, {ROLLING}", f"found, {ROLLING}"], rows)


def _closely(series: Sequence[Watched], errors: Sequence[Array]) -> dict[str, bytes]:
    """The window in which a network's error was farthest above its threshold, with as many steps around it; none where none was found."""
    best: tuple[float, int, tuple[int, int]] | None = None
    for number, (own, scores) in enumerate(zip(series, errors, strict=True)):
        for first, end in own.windows:
            if raised(scores, RATE)[first:end].any():
                best = max(best or (0.0, 0, (0, 0)), (float(scores[first:end].max() / limit(scores, RATE)), number, (first, end)))
    if best is None:
        return {}
    _, number, (first, end) = best
    own, scores = series[number], errors[number]
    shown = slice(max(first - (end - first), Stretches.of(len(scores)).known), end + (end - first))
    inside = (first - shown.start, end - shown.start)
    name = own.name.rpartition("/")[2].removesuffix(".csv")
    return {"window": alarm_pictures.window(name, own.times[shown], own.values[shown], scores[shown], limit(scores, RATE), inside)}
