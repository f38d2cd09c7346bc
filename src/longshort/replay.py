"""Replay: history lived through again, a month at a time, in a project of its own, by the flows that run every day.

Prices come as an export that grows by a month at a time; at the end of each the model that serves is watched, and retrained when that is
due or called for. Everything is as it would have been on those days: what nobody knew yet is not there. Two things can be planted to see
what comes of them: a change of regime, and a month that comes broken.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import editing, storage
from longshort.errors import DataRefused, UsageError

if TYPE_CHECKING:
    import pandas as pd

DATASET = "prices"
EXPORT = "arriving/prices.csv"
COLUMNS = ["ticker", "date", "open", "high", "low", "close", "volume"]
WILDER = 3.0  # times what prices moved, from the planted change of regime on
CENTS = 100.0  # times the prices of a month whose file is in another unit
CLOSED = dt.time(22, 30)  # UTC, when a session of New York is over
# a retraining must take a minute, not ten: large batches, few epochs. What is written here is printed as a difference of params.yaml
SETTINGS = (
    f"ingestion.datasets={{{DATASET}: {{task: forecast, source: raw}}}}",
    f"ingestion.sources={{{DATASET}: [{EXPORT}]}}",
    f"training.items={{{DATASET}-lstm: {{dataset: {DATASET}, task: forecast, variant: lstm}}}}",
    "training.forecast={optimizer: adam, learning_rate: 0.002, batch_size: 256, max_epochs: 10, patience: 3, clip_norm: 1.0}",
)


@dataclass(frozen=True)
class Arrival:
    """A month: its rows in truth and as they come, and the moment at which they are there.

    planted  what is not as it was, in words
    """

    name: str
    truth: pd.DataFrame
    rows: pd.DataFrame
    moment: dt.datetime
    planted: str = ""


@dataclass(frozen=True)
class Plan:
    """What arrives: all that was known before, and then the months, oldest first."""

    tickers: list[str]
    known: Arrival
    months: list[Arrival]


def plan(table: Any, tickers: int, months: int, regime: int | None = None, broken: int | None = None) -> Plan:
    """Cut a tidy price table into what is known before the first of the last ``months`` and those months.

    table    tidy columns of daily prices
    tickers  how many of those whose every session is there: spread evenly over the alphabet, so that nobody chose them
    regime   the number of the month, from 1, from which on prices move `WILDER` times as much
    broken   the number of the month that comes with prices in cents first; the export of a month later has it right
    raises   UsageError when there are fewer tickers or months
    """
    frame = table.to_pandas()[COLUMNS]
    counts = frame.groupby("ticker").size()
    whole = sorted(counts.index[counts == counts.max()])
    if len(whole) < tickers:
        raise UsageError(f"{len(whole):,} tickers have all of {counts.max():,} sessions, asked {tickers:,}: lower --tickers.")
    chosen = [whole[place] for place in np.linspace(0, len(whole) - 1, tickers).round().astype(int)]
    frame = frame[frame["ticker"].isin(chosen)].sort_values(["date", "ticker"], ignore_index=True)
    names = frame["date"].map(lambda day: f"{day:%Y-%m}")
    found = sorted(names.unique())
    if len(found) <= months:
        raise UsageError(f"the prices span {len(found)} months, asked {months} and what was known before them: lower --months.")
    for number in (regime, broken):
        if number is not None and not 1 <= number <= months:
            raise UsageError(f"month {number}: there are {months}, counted from 1.")
    last = found[-months:]
    if regime is not None:
        frame = _wilder(frame, names >= last[regime - 1])
    arrivals = [_arrival(name, rows) for name, rows in frame[names.isin(last)].groupby(names)]
    if regime is not None:
        arrivals[regime - 1] = _planted(arrivals[regime - 1], f"from here on prices move {WILDER:g} times as much")
    if broken is not None:
        of = _planted(arrivals[broken - 1], "its prices are in cents; the next export has them mended")
        prices = {name: of.truth[name] * CENTS for name in ("open", "high", "low", "close")}
        arrivals[broken - 1] = dataclasses.replace(of, rows=of.truth.assign(**prices))
    return Plan(chosen, _arrival("known before", frame[~names.isin(last)]), arrivals)


def _arrival(name: str, rows: pd.DataFrame) -> Arrival:
    return Arrival(name, rows, rows, dt.datetime.combine(rows["date"].max(), CLOSED, dt.UTC))


def _planted(arrival: Arrival, said: str) -> Arrival:
    return dataclasses.replace(arrival, planted="; ".join(filter(None, [arrival.planted, said])))


def _wilder(frame: pd.DataFrame, later: pd.Series[bool]) -> pd.DataFrame:
    """Let every ticker's prices move more from its last close before on; high and low stay where they were between."""
    frame = frame.copy()
    base = frame[~later].groupby("ticker")["close"].last()
    start = frame["ticker"].map(base)
    for name in ("open", "high", "low", "close"):
        moved = (start * (frame[name] / start) ** WILDER).round(4)
        frame[name] = frame[name].where(~later, moved)
    return frame


def lay_out(source: Path, folder: Path, settings: list[str], say: Callable[[str], None]) -> None:
    """Make the project: this one's files, committed, without its data and state.

    raises  UsageError when the folder holds something, or this project is in no git repository
    """
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty: a replay begins with nothing. Remove it, or name another folder with --into.")
    try:
        listed = _git(source, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    except (OSError, subprocess.CalledProcessError):
        raise UsageError(f"{source} is in no git repository, from which the replay's project is made: `git init` there.") from None
    for name in listed:
        if name and (source / name).is_file() and name != "dvc.lock" and not name.startswith(("data/raw/", "tests/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, folder / name)
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    storage.write_bytes(folder / ".gitignore", (source / ".gitignore").read_bytes() + b"/arriving/\n")
    say(editing.assign(folder / "params.yaml", [*SETTINGS, *settings]).rstrip())
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--all")
    author = ("-c", "user.name=longshort", "-c", "user.email=longshort@localhost")
    _git(folder, *author, "commit", "--quiet", "--message", "A project for a replay of history")


def walk(folder: Path, made: Plan, every: int, run: Callable[..., None], say: Callable[[str], None]) -> None:
    """Live through the months.

    every  a retraining is due after so many months
    run    runs a flow by its name with the parameters of it that are not the root
    """
    import pandas as pd

    retrained = _retrainings(folder)
    held = made.known.truth
    _export(folder, held)
    say(f"{made.known.moment:%Y-%m-%d}  {len(made.tickers)} tickers: {', '.join(made.tickers)}")
    run("retraining", reason="the first", as_of=made.known.moment)
    run("forecasting", as_of=made.known.moment)
    waited = 0
    for month in made.months:
        say(f"{month.moment:%Y-%m-%d}  {month.name} arrives" + (f": {month.planted}" if month.planted else ""))
        _export(folder, held, month.rows)
        waited, before = waited + 1, retrained()
        try:
            run("watching", as_of=month.moment)
            if waited >= every and retrained() == before:
                run("retraining", reason="scheduled", as_of=month.moment)
            run("forecasting", as_of=month.moment)
        except DataRefused as refused:
            say(f"refused, and what serves stays: {refused}")
        held = pd.concat([held, month.truth])
        if retrained() > before:
            waited = 0


def _retrainings(folder: Path) -> Callable[[], int]:
    from longshort.registry import ledger

    return lambda: sum(entry["event"] == ledger.RETRAINED for entry in ledger.history(folder))


def _export(folder: Path, *rows: pd.DataFrame) -> None:
    import pandas as pd

    (folder / EXPORT).parent.mkdir(exist_ok=True)
    storage.write_bytes(folder / EXPORT, pd.concat(rows).to_csv(index=False).encode())


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout
