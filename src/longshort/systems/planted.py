"""Planted anomalies: made series with a rhythm of days, in which some stretches are out of order, and it is known which."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from longshort.ingestion.watched import Watched

Array = NDArray[np.float64]
DAY = 48  # steps of half an hour
LENGTH = 40  # steps that are out of order; their window has as many on both sides together
FIRST = np.datetime64("2024-01-01T00:00:00", "us")


def _spike(values: Array, draw: np.random.Generator) -> Array:
    values[LENGTH // 2] += 5.0 * draw.choice([-1, 1])
    return values


def _flat(values: Array, draw: np.random.Generator) -> Array:
    return np.full_like(values, values[0])


def _shift(values: Array, draw: np.random.Generator) -> Array:
    return values + 2.5 * draw.choice([-1, 1])


def _hurry(values: Array, draw: np.random.Generator) -> Array:
    return values[(4 * np.arange(len(values))) % len(values)]


KINDS: dict[str, Callable[[Array, np.random.Generator], Array]] = {"spike": _spike, "flat": _flat, "shift": _shift, "hurry": _hurry}


def series(steps: int, seed: int) -> list[Watched]:
    """A series a kind of anomaly, four of these in each, none in the first quarter of its steps; the seed says all of it."""
    made = []
    for number, (kind, put) in enumerate(KINDS.items()):
        draw = np.random.Generator(np.random.Philox(key=[seed, number]))
        time = np.arange(steps) / DAY
        values = 2 * np.sin(2 * np.pi * time) + np.sin(4 * np.pi * time + number) + 0.5 * np.sin(2 * np.pi * time / 7)
        noise = 0.2 * draw.standard_normal(steps)
        for step in range(1, steps):  # what is left over of one step is there at the next
            noise[step] += 0.5 * noise[step - 1]
        values += noise
        windows = []
        for quarter in range(4):
            low = steps * (4 + 3 * quarter) // 16 + LENGTH
            first = int(draw.integers(low, steps * (7 + 3 * quarter) // 16 - 2 * LENGTH))
            values[first : first + LENGTH] = put(values[first : first + LENGTH].copy(), draw)
            windows.append((first - LENGTH // 2, first + LENGTH + LENGTH // 2))
        times = FIRST + np.arange(steps) * np.timedelta64(30, "m")
        made.append(Watched(kind, times, values, tuple(windows)))
    return made
