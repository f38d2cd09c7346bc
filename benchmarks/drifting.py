"""How often a watch of shared stocks calls for a retraining where nothing was planted, and how often where prices began to move more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from banding import STOCKS

from longshort.monitoring import drift, watch

MONTH, REFERENCE, UNSEEN = 21, 500, 200  # sessions: a month; before it for returns; before it that a model has not learned from
DRAWS, TICKERS = 6, 20
TIMES = (1.0, 1.5, 2.0, 3.0)

Array = np.ndarray[Any, Any]


def drift_stocks(_: int) -> dict[str, Any]:
    """Every month of 2015-03 to 2018-02 for six draws of 20 tickers; errors are those of the naive forecast."""
    table = pd.read_csv(STOCKS).pivot(index="date", columns="Name", values="close").dropna(axis=1)
    draw, months = np.random.default_rng(0), 0
    alarms = {(name, times): 0 for name in ("PSI of returns", "KS distance of returns", "errors", "any") for times in TIMES}
    for _draw in range(DRAWS):
        returns = np.log(table[draw.choice(table.columns, TICKERS, replace=False)]).diff().dropna().to_numpy()
        for end in range(REFERENCE + MONTH, len(returns), MONTH):
            months += 1
            for times in TIMES:
                found = _looked(returns[: end - MONTH], returns[end - MONTH : end] * times)
                for name, alarm in {**found, "any": any(found.values())}.items():
                    alarms[name, times] += alarm
    told = {f"{name}, x {times:g}": f"{count / months:.1%}" for (name, times), count in alarms.items()}
    return {"months": months, **told}


def _looked(before: Array, newest: Array) -> dict[str, bool]:
    sessions = (list(before[-REFERENCE:]), list(newest))
    errors = (np.abs(before[-UNSEEN:]).mean(axis=1), np.abs(newest).mean(axis=1))
    return {
        "PSI of returns": _drifted(drift.psi, *sessions, watch.SHIFTED),
        "KS distance of returns": _drifted(drift.ks, *sessions),
        "errors": _drifted(drift.page_hinkley, *errors),
    }


def _drifted(statistic: Callable[..., drift.Found], reference: Any, newest: Any, least: float = 0.0) -> bool:
    found = statistic(reference, newest)
    return found.value > max(found.usual * watch.MARGIN, least)
