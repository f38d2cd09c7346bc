"""Windows of many series: how soon they are found, what memory that takes, and how soon they are cut out."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
from stock import prices

from longshort.windows.prices import Segment, Series, make_parts

SERIES, DAYS, FEATURES, GATHERED = 5_000, 5_000, 5, 1_024


def windows(times: int) -> dict[str, Any]:
    """windows."""
    values = np.zeros((SERIES * DAYS, FEATURES), np.float32)
    values += np.arange(FEATURES, dtype=np.float32)  # touched, so that the memory is there
    dates = np.tile(np.datetime64("2000-01-01") + np.arange(DAYS), SERIES)
    segments = tuple(Segment(f"S{n}", n * DAYS, (n + 1) * DAYS) for n in range(SERIES))
    series = Series(values, values[:, 0], dates, segments)
    spec = prices(["close", "open", "high", "low", "volume"])
    before, own = _most_memory(), {"found": float("inf"), "gathered": float("inf")}
    for _ in range(times):
        began = time.perf_counter()
        parts = make_parts(series, spec)
        own["found"] = min(own["found"], time.perf_counter() - began)
        train = parts["train"]
        began = time.perf_counter()
        for first in range(0, 100 * GATHERED, GATHERED):
            train.gather(values, np.arange(first, first + GATHERED) * 7919 % len(train))
        own["gathered"] = min(own["gathered"], time.perf_counter() - began)
    count = sum(len(part) for part in parts.values())
    told = {"windows": count, "more_memory_MB": (_most_memory() - before) / 2**20, "gathered_a_second": 100 * GATHERED / own["gathered"]}
    return {"unit": "s to find all windows", "value": own["found"], "ratio_vs": {}, **told}


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
