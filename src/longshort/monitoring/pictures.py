"""The trend as a picture: how much better than naive each retraining tested, and how much better what served was when days came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from longshort.evaluation import tables
from longshort.evaluation.pictures import MODEL, MUTED, NAIVE, NAIVE_LINE, TRAINED, as_png, house_style, label_ends, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS = 24  # characters of a reason that stand at a retraining; the page has all of it


@dataclass(frozen=True)
class Point:
    """A retraining, and the time behind it.

    day       the last session that it knew; until: that of the next one, or the last that is known
    skills    of its best item's seeds on the test part, 1 - RMSE / RMSE of naive
    live      the same figure of what served from day to until; None: no session has come, nobody: False, no model served
    promoted  whether it put a new champion in service
    """

    day: np.datetime64
    until: np.datetime64
    skills: Sequence[float]
    live: float | None
    promoted: bool
    serves: str
    reason: str


def trend(points: Sequence[Point], title: str) -> bytes:
    """Above, skill by date: of each retraining's seeds, mean and standard deviation, and of what served; below, why there were retrainings.

    points  oldest first, at least one
    returns PNG
    """
    with house_style():
        figure = new_figure(title, 5.6)
        axes, reasons = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.7))
        _skills(axes, points)
        _reasons(reasons, points)
        axes.set_ylabel("skill, % of naive's RMSE")
        last = [100 * point.live for point in points if point.live is not None]
        ends = [(0.0, "naive", NAIVE)] + ([(last[-1], "what served", MODEL)] if last else [])
        ends.append((100 * float(np.mean(points[-1].skills)), "retrained, on test", TRAINED))
        label_ends(figure, {axes: ends})
        return as_png(figure)


def _skills(axes: Axes, points: Sequence[Point]) -> None:
    axes.axhline(0, **NAIVE_LINE)
    days = [point.day.astype("datetime64[D]").item() for point in points]
    means = [100 * float(np.mean(point.skills)) for point in points]
    spreads = [100 * tables.spread(point.skills) for point in points]
    axes.errorbar(days, means, yerr=spreads, fmt="o", markersize=4, color=TRAINED, elinewidth=1.2, capsize=2.5)
    for point in points:
        if point.live is not None:
            ends = [point.day.astype("datetime64[D]").item(), point.until.astype("datetime64[D]").item()]
            axes.plot(ends, [100 * point.live] * 2, color=MODEL, linewidth=2.4)


def _reasons(axes: Axes, points: Sequence[Point]) -> None:
    """A line a retraining: filled where it put a new champion in service."""
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    for point in points:
        day = point.day.astype("datetime64[D]").item()
        colour = MODEL if point.promoted else MUTED
        axes.plot([day], [0.94], marker="o", markersize=6, color=colour, markerfacecolor=colour if point.promoted else "none")
        words = point.reason.partition(":")[0]
        words = words if len(words) <= WORDS else f"{words[: WORDS - 1].rstrip()}…"
        axes.text(day, 0.84, words, rotation=90, ha="center", va="top", fontsize=7.5, color=colour)
