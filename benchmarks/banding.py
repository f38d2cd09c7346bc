"""What intervals hold and what they cost, on made series and on shared stocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from longshort.evaluation.intervals import METHODS, interval_score

COVERAGE = 0.9
STOCKS = Path(__file__).resolve().parents[2] / "shared/data/stocks/all_stocks_5yr.csv.gz"


def intervals_made(_: int) -> dict[str, Any]:
    """AR(1) whose volatility is 3 x the first third's in the second and half of it in the third: 6,000 steps, 20 seeds."""
    series = []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        shocks = draw.normal(size=6_000) * np.repeat([1.0, 3.0, 0.5], 2_000)
        levels = np.zeros(6_000)
        for step in range(1, 6_000):
            levels[step] = 0.5 * levels[step - 1] + shocks[step]
        slope = float(levels[:999] @ levels[1:1000] / (levels[:999] @ levels[:999]))  # fitted on what calibrates
        series.append(levels[1:] - slope * levels[:-1])
    return _measured(series, calibration=1_000)


def intervals_stocks(_: int) -> dict[str, Any]:
    """The next close of every ticker of the shared file by its last one; the first 250 sessions calibrate."""
    table = pd.read_csv(STOCKS).sort_values(["Name", "date"])
    closes = [own["close"].to_numpy() for _, own in table.groupby("Name")]
    return _measured([close[1:] / close[:-1] - 1 for close in closes if len(close) > 300], calibration=250)


def _measured(series: list[np.ndarray[Any, Any]], calibration: int) -> dict[str, Any]:
    rest = [errors[calibration:] for errors in series]
    sizes = [len(own) for own in rest]
    found: dict[str, Any] = {"series": len(series), "steps": sum(sizes)}
    of_split = 0.0
    for name, method in METHODS.items():
        widths = [method(errors, calibration, COVERAGE, 1) for errors in series]
        held = [float(np.mean(np.abs(own) <= half)) for own, half in zip(rest, widths, strict=True)]
        score = float(np.concatenate([interval_score(own, half, COVERAGE) for own, half in zip(rest, widths, strict=True)]).mean())
        of_split = of_split or score  # the first of them
        spread = f"{min(held):.2%} to {max(held):.2%} of a series"
        found[name] = (
            f"  holds {np.average(held, weights=sizes):.2%} ({spread}), score {score:.5g}, {score / of_split:.4f} x split conformal's"
        )
    return found
