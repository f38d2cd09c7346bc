"""Console: what a person sees while a retraining runs. stderr is for progress, stdout for results."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from longshort import journal
from longshort.graph import Outcome

_lock = threading.Lock()
_running: dict[str, float] = {}
_counts = {"planned": 0, "ended": 0}
BAR = 16  # characters


def say(text: str) -> None:
    """One line of progress."""
    with _lock:
        _clear()
        print(text, file=sys.stderr, flush=True)


def planned(stages: int) -> None:
    """Note how many stages there will be."""
    _counts.update(planned=stages, ended=0)


def stage_begun(address: str) -> None:
    """Note that a stage has started."""
    _running[address] = time.monotonic()


def stage_ended(outcome: Outcome) -> None:
    """Say what became of a stage."""
    _running.pop(outcome.address, None)
    _counts["ended"] += 1
    spent = f"{outcome.seconds:6.1f} s" if outcome.ran else "Cached"
    say(f"  {outcome.address:<28}{spent:>10}  {outcome.device}".rstrip())


class Ticker(threading.Thread):
    """On a terminal, one line that moves: which stages run, and the newest epoch of each training. Elsewhere nothing."""

    def __init__(self, root: Path) -> None:
        super().__init__(name="ticker", daemon=True)
        self.root = root
        self._stop_asked = threading.Event()

    def __enter__(self) -> Ticker:
        if sys.stderr.isatty():
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        if self.is_alive():
            self.join()
        with _lock:
            _clear()

    def run(self) -> None:
        """Draw four times a second."""
        import shutil

        while not self._stop_asked.wait(0.25):
            epochs = self._epochs()
            parts = [
                f"{address} {time.monotonic() - began:.0f} s{epochs.get(address.partition('@')[2], '')}"
                for address, began in sorted(_running.items())
            ]
            filled = BAR * _counts["ended"] // max(_counts["planned"], 1)
            bar = f"  {'█' * filled}{'░' * (BAR - filled)} {_counts['ended']}/{_counts['planned']}"
            line = bar + "".join(f"  ▸ {part}" for part in parts) if parts else ""
            with _lock:
                _clear()
                print(line[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)

    def _epochs(self) -> dict[str, str]:
        """The newest epoch of each item that trains now, from the journals."""
        said: dict[str, str] = {}
        recent = time.time() - 60
        for path in (self.root / ".state/journal").glob("*.jsonl"):
            if path.stat().st_mtime > recent and (entries := journal.read(path)):
                begun, last = entries[0], entries[-1]
                if last["kind"] == "epoch" and begun["kind"] == "begun":
                    said[begun["item"]] = f" · seed {begun['seed']} epoch {last['epoch']} validation {last['validation_loss']:.4f}"
        return said


def _clear() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
