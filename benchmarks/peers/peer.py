"""What every peer says and hears: it sets itself up, and then works whenever it is asked: an epoch, or a round of forecasts.

A peer runs in an environment of its own, so this file needs Python alone. The benchmark starts all peers, asks one after
the other, again and again, and takes the shortest of each: so a noisy neighbour slows all of them alike.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator

WINDOWS, STEPS, LAYERS, HIDDEN, BATCH, DROPOUT = 1198, 60, 4, 50, 32, 0.2  # the tutorial's stock network
STORY_LOOKBACK, STORY_LAYERS, STORY_HIDDEN, STORY_WORDS = 3, 2, 512, 112  # another tutorial's, of a short story
STORY_STEPS = 100  # of a round


ROUND = 200  # forecasts


def answer(work: Callable[[], object], version: str) -> None:
    """Say the version, work once without its counting, and then once for each line that comes in: what it says it took, or its seconds."""
    between = asked(version)
    next(between)
    while True:
        between.send(work())


def asked(version: str) -> Generator[None, object, None]:
    """The same for a training that is one call of a library and does not end: ``next`` of it where each epoch begins. So what is counted
    lies between two beginnings, with all that the library does there, and what surrounds a training is not. It ends the process where
    nobody asks any more: a library may take StopIteration for the end of its batches.
    """
    yield  # compiles, and sets things up
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        own = yield
        told = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
        print(json.dumps(own if isinstance(own, dict) else told), flush=True)
    sys.exit()


def latencies(forecast: Callable[[], object], before: Callable[[], object] = lambda: None) -> dict[str, float]:
    """Microseconds of a forecast, the median and the 99th percentile of a round; ``before`` is called before each, and not counted."""
    found = []
    for _ in range(ROUND):
        before()
        began = time.perf_counter_ns()
        forecast()
        found.append(time.perf_counter_ns() - began)
    found.sort()
    return {"p50": found[ROUND // 2] / 1000, "p99": found[ROUND * 99 // 100] / 1000}
