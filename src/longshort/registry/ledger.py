"""Ledger: the registry's memory, an append-only journal that is on the disk before anything goes on.

What it says about who serves is the truth. A move of the champion is two entries: `intended`, before anything is touched, and
what became of it: the move's own name, or `abandoned`. So a crash between them leaves a question that `promotion.reconcile` answers.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshort import clock, journal

# what moves the champion; adopted: it was there when this project first saw the server
PROMOTED, ROLLED_BACK, ROLLED_FORWARD, ADOPTED = "promoted", "rolled-back", "rolled-forward", "adopted"
MOVES = (PROMOTED, ROLLED_BACK, ROLLED_FORWARD, ADOPTED)
REGISTERED, REFUSED, INTENDED, ABANDONED, PUT_BACK = "registered", "refused", "intended", "abandoned", "put-back"
RETRAINED = "retrained"  # what a retraining came to before it was judged, and why there was one


@dataclass(frozen=True)
class Standing:
    """What the ledger says of a model now.

    champion  the version that serves; None before the first
    earlier   the champions that a rollback goes back to, the next one last
    later     those that were gone back from, the next one last
    intent    a move that was begun and not ended
    """

    champion: str | None = None
    earlier: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    intent: dict[str, Any] | None = None


def place(root: Path) -> Path:
    """Where the registry's decisions are written."""
    return root / "mlflow/store/ledger.jsonl"


def history(root: Path) -> list[dict[str, Any]]:
    """Every entry, oldest first."""
    return journal.read(place(root))


def note(root: Path, event: str, model: str, **facts: Any) -> None:
    """Write an entry, and return when it is on the disk. In a replay its time is the one replayed, and ``written`` the clock's."""
    written = {"written": clock.stamp(dt.datetime.now(dt.UTC))} if clock.is_replayed() else {}
    journal.append(place(root), {"event": event, "model": model, "time": clock.stamp(clock.now()), **written, **facts})


def written(root: Path, event: str, model: str, facts: dict[str, Any]) -> bool:
    """Whether there is an entry of that kind with these facts."""
    same = [entry for entry in history(root) if (entry["event"], entry["model"]) == (event, model)]
    return any(all(entry.get(key) == value for key, value in facts.items()) for entry in same)


def lines(entries: list[dict[str, Any]]) -> list[str]:
    """The entries for a person: what happened, and under a decision by which data, code and run. Of intents only those left open."""
    models = {entry["model"] for entry in entries}
    open_ones = [stand([entry for entry in entries if entry["model"] == model]).intent for model in models]
    return [line for entry in entries if entry["event"] != INTENDED or entry in open_ones for line in _lines(entry)]


def _lines(entry: dict[str, Any]) -> list[str]:
    who = f"{entry['model']} v{entry['version']}" if entry.get("version") else entry["model"]
    said = [f"{entry['time']}  {entry['event']:<16}{who}  {entry.get('reason', '')}".rstrip()]
    if entry["event"] in (PROMOTED, REFUSED):
        names = {"data_sha256": "data", "git_commit": "code", "run_id": "run", "windows_sha256": "windows"}
        by = [f"{name} {entry[key][:8]}" for key, name in names.items() if entry.get(key)]
        said += [f"{'':38}{' · '.join(by)}"] if by else []
    return said


def serving(entries: list[dict[str, Any]]) -> list[str]:
    """A line a model: which version serves, and since when."""
    said = []
    for model in dict.fromkeys(entry["model"] for entry in entries):
        own = [entry for entry in entries if entry["model"] == model]
        champion = stand(own).champion
        since = next((entry["time"] for entry in reversed(own) if entry["event"] in MOVES), None)
        said.append(f"{model}: v{champion} serves since {since}" if champion else f"{model}: no champion yet")
    return said


def standing(root: Path, model: str) -> Standing:
    """How a model stands after all entries."""
    return stand([entry for entry in history(root) if entry["model"] == model])


def stand(entries: list[dict[str, Any]]) -> Standing:
    """How a model stands after these entries of its own, oldest first.

    >>> moves = [("promoted", "1"), ("promoted", "2"), ("rolled-back", "1")]
    >>> stand([{"event": event, "version": version} for event, version in moves])
    Standing(champion='1', earlier=(), later=('2',), intent=None)
    """
    now = Standing()
    for entry in entries:
        event, version = entry["event"], entry.get("version")
        before = (now.champion,) if now.champion else ()
        if event == INTENDED:
            now = Standing(now.champion, now.earlier, now.later, entry)
        elif event == ABANDONED:
            now = Standing(now.champion, now.earlier, now.later)
        elif event in (PROMOTED, ADOPTED):
            now = Standing(version, now.earlier + before)
        elif event == ROLLED_BACK:
            now = Standing(version, now.earlier[:-1], now.later + before)
        elif event == ROLLED_FORWARD:
            now = Standing(version, now.earlier + before, now.later[:-1])
    return now
