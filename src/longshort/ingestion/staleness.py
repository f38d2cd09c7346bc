"""Staleness: whether the sources of a schedule have stopped bringing rows, so that old data would be trained on for ever.

Sessions are counted, not days: weekends and holidays are no fault. A data set without an exchange (texts, monthly
series) has no day on which a row is due, and is never stale; nor is an embedded one, which is no source.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshort import sessions, storage

ALARM = 3  # runs in a row
_NOTE = ".state/stale.json"


@dataclass(frozen=True)
class Stale:
    """A data set whose newest row is of ``newest``; its exchange has closed ``missed`` sessions since then."""

    dataset: str
    newest: dt.date
    missed: int
    calendar: str

    def __str__(self) -> str:
        return f"no new rows since {self.newest} in {self.dataset} ({self.missed:,} sessions of {self.calendar} missed)"


def judge(dataset: str, account: dict[str, Any], now: dt.datetime, most: int | None) -> Stale | None:
    """Whether a data set lacks more than ``most`` sessions that were over by now; None means that nobody asked.

    account  as in data/ingestion/<dataset>/account.json
    now      with a time zone
    """
    calendar = account.get("calendar", {}).get("name", sessions.EVERY_ROW)
    ends = [dt.date.fromisoformat(file["read_as"]["last"]) for file in account.get("files", []) if "last" in file.get("read_as", {})]
    if most is None or calendar == sessions.EVERY_ROW or not ends:
        return None
    newest, closed = max(ends), sessions.last_closed(calendar, now)
    if closed <= newest:
        return None
    missed = len(sessions.trading_days(calendar, newest + dt.timedelta(days=1), closed))
    return Stale(dataset, newest, missed, calendar) if missed > most else None


def skipped(root: Path, stale: Sequence[Stale]) -> str:
    """Why a scheduled run is skipped, for a person; from the third in a row on it begins with an alarm.

    The count lies in .state and begins anew with `resumed`.
    """
    note = root / _NOTE
    times = (storage.read_json(note)["skipped"] if note.exists() else 0) + 1
    storage.write_json(note, {"skipped": times})
    said = "; ".join(map(str, stale))
    return said if times < ALARM else f"ALARM, skipped {times} times in a row: {said}. Mend what writes the sources of `ingestion.sources`."


def resumed(root: Path) -> None:
    """A run was not skipped: what is skipped next is the first again."""
    (root / _NOTE).unlink(missing_ok=True)
