"""Pictures of alarms in series: where they were, one of them closely, and what rates come to; PNG bytes, in the style of the house."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from longshort.evaluation.pictures import BARS, INK, MODEL, MUTED, NAIVE, NAIVE_LINE, as_png, house_style, label_ends, new_figure
from longshort.evaluation.tables import Table
from longshort.ingestion.watched import Watched

Array = NDArray[np.float64]
WINDOW = "#e69f00"


def alarms_over_time(series: Sequence[Watched], alarms: Sequence[NDArray[np.bool_]], title: str) -> bytes:
    """A panel a series: its values, windows in yellow, alarms as dots, and a line where alarms may begin."""
    with house_style():
        figure = new_figure(title, height=0.9 + 1.5 * len(series))
        grid = figure.subplots(len(series), 1, squeeze=False)[:, 0]
        for own, raised, axes in zip(series, alarms, grid, strict=True):
            steps = np.arange(len(own.values))
            axes.plot(steps, own.values, color=MUTED, linewidth=0.5)
            for first, end in own.windows:
                axes.axvspan(first, end, color=WINDOW, alpha=0.3, linewidth=0)
            axes.plot(steps[raised], own.values[raised], "o", color=NAIVE, markersize=3, linestyle="none")
            axes.set_title(own.name, loc="left", fontsize=9.5, color=INK, pad=3)
            axes.margins(x=0.005)
        grid[-1].set_xlabel("step; yellow: known to be out of order; dots: alarms, which may begin behind the first 15 %")
        return as_png(figure)


def window(name: str, times: NDArray[np.datetime64], values: Array, errors: Array, limit: float, inside: tuple[int, int]) -> bytes:
    """A stretch of a series, and below how far off the forecast of each step was.

    inside  the first step of the window and the one behind its last; limit: the error above which there is an alarm
    """
    over = errors > limit
    with house_style():
        figure = new_figure(f"{name}: an alarm is an error that is larger than those before", height=5.0)
        above, below = figure.subplots(2, 1, sharex=True)
        for axes in (above, below):
            axes.axvspan(times[inside[0]], times[min(inside[1], len(times)) - 1], color=WINDOW, alpha=0.25, linewidth=0)
            axes.margins(x=0.01)
        above.plot(times, values, color=INK, linewidth=1)
        above.plot(times[over], values[over], "o", color=NAIVE, markersize=4, linestyle="none")
        below.vlines(times, 0, errors, color=[NAIVE if each else MODEL for each in over], linewidth=max(0.6, min(1.6, 400 / len(times))))
        below.axhline(limit, **NAIVE_LINE)
        above.set_ylabel("value")
        below.set(ylabel="error of the forecast (scaled)", xlabel="yellow: known to be out of order")
        below.set_ylim(bottom=0)
        label_ends(figure, {below: [(limit, "threshold", NAIVE)]})
        return as_png(figure)


def rates(found: Table, windows: int) -> bytes:
    """What comes of a rate that is set: false alarms as they came, and windows found beside how many there are.

    found  as `anomaly` makes it: set, false alarms, found, found elsewhen, false alarms of the rival, found by it
    """
    wanted, came, own, elsewhen, rival_came, rival = np.array(found.rows, np.float64).T
    with house_style():
        figure = new_figure("A rate that is set, what came of it, and what it finds", height=4.0)
        left, right = figure.subplots(1, 2)
        left.plot(wanted, wanted, color=BARS, linewidth=4)
        for line, colour in ((came, MODEL), (rival_came, NAIVE)):
            left.plot(wanted, line, "o-", color=colour, linewidth=1.5, markersize=4)
        left.set(xlabel="false alarms a 1,000 steps, set", ylabel="false alarms a 1,000 steps, as they came")
        right.axhline(windows, color=BARS, linewidth=4)
        right.plot(came, own, "o-", color=MODEL, linewidth=1.5, markersize=4)
        right.plot(came, elsewhen, "o--", color=MUTED, linewidth=1.2, markersize=3)
        right.plot(rival_came, rival, "o-", color=NAIVE, linewidth=1.5, markersize=4)
        right.set(xlabel="false alarms a 1,000 steps, as they came", ylabel=f"windows found (grey: all {windows})")
        right.set_ylim(bottom=0)
        label_ends(
            figure,
            {
                left: [(came[-1], "network", MODEL), (rival_came[-1], "z-score", NAIVE), (wanted[-1], "set", MUTED)],
                right: [
                    (own[-1], "network", MODEL),
                    (elsewhen[-1], "shifted", MUTED),
                    (rival[-1], "z-score", NAIVE),
                ],
            },
        )
        return as_png(figure)
