"""What every peer says and hears: it sets itself up, and then trains an epoch whenever it is asked.

A peer runs in an environment of its own, so this file needs Python alone. The benchmark starts all peers, asks one after
the other for an epoch, again and again, and takes the shortest of each: so a noisy neighbour slows all of them alike.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

WINDOWS, STEPS, LAYERS, HIDDEN, BATCH, DROPOUT = 1198, 60, 4, 50, 32, 0.2  # the tutorial's stock network


def answer(epoch: Callable[[], object], version: str) -> None:
    """Say the version, train an epoch that does not count, and then one for each line that comes in, with its seconds."""
    epoch()  # compiles, and sets things up
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        epoch()
        told = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
        print(json.dumps(told), flush=True)
