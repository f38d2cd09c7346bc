"""Rules: which observations of a ticker make sense together, and what is said of those that do not.

Pure arithmetic over arrays, the same however the cells were read. A row is kept, set aside with its reason, or
merged into the one that it repeats; a ticker is refused when the export as a whole is wrong, not a row of it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from longshort.ingestion.cells import LEAST_PRICE, MOST_PRICE
from longshort.ingestion.columns import LABELS, PRICES
from longshort.ingestion.rows import NO_TRADE, VALUES, Fault, Observations, Tally, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from longshort.ingestion.rows import Steps

MOST_CONTRADICTORY = 0.001  # share of a ticker's rows that may share a date with other values
SPLITS = (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 1.5)  # shares for one; and their inverses
SPARSE = 6  # days from row to row, from which on a series is not daily
SPLIT_WITHIN = 0.02  # how near the first price of the day comes to the factor
SPLIT_DAY = 0.05  # and the others, which have had a day to move
MOST_MOVE = 0.8  # of a day; beyond it a person should look
STALE_SESSIONS = 10
MOST_STALE = 0.5
MOST_INVERTED = 0.05
EARLIEST = (dt.date(1900, 1, 1) - dt.date(1970, 1, 1)).days
_USUAL = 1.3  # a day's move below which no price has split, changed its unit or surprised anybody
_DAY = dt.date(1970, 1, 1)
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Limits:
    """What a person set, in params.yaml or on the command line.

    tolerance    how far Open and Close may lie outside [Low, High], as a share of the price
    most_bad     share of a ticker's rows that may be set aside; most_together: of them in a row
    needed       sessions that a series must have
    max_gap      sessions that may be missing in a row before it is told
    adjust       what to do about splits: refuse (None), repair (auto), repair only columns of two scales (ratio), nothing (none)
    on_duplicate what to do about rows of one date that contradict one another: set all aside (None), or keep the last
    """

    tolerance: float = 0.005
    most_bad: float = 0.01
    most_together: int = 50
    needed: int = 1
    max_gap: int = 10
    adjust: Literal["auto", "ratio", "none"] | None = None
    on_duplicate: Literal["last"] | None = None


@dataclass
class Settled:
    """What became of one ticker's observations, by their places in the file.

    kept     oldest first; day: theirs, in the unit of the observations; values: theirs, adjusted where a person asked for it
    refused  why the ticker is not taken in, or ''
    """

    ticker: str
    kept: NDArray[np.int64]
    day: Steps
    values: dict[str, NDArray[np.float64]]
    faults: dict[int, Fault]
    merged: set[int]
    warnings: Tally
    repairs: Tally
    refused: str = ""
    at: tuple[int, int] = (1, 1)  # line and place that a refusal points at
    factors: list[dict[str, str | float]] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, line: int, place: int, what: str) -> None:
        super().__init__(what)
        self.line, self.place, self.what = line, place, what


@dataclass(frozen=True)
class Calendar:
    """The days that count.

    sessions  days since 1970, sorted, or None when every day of the file counts (`--calendar none`)
    complete  the last session that was over when the file was taken in, None when nobody knows
    """

    name: str
    sessions: NDArray[np.int32] | None
    complete: int | None = None


NO_LIMITS = Limits()
EVERY_ROW = Calendar("none", None)


def is_intraday(seen: Observations) -> bool:
    """Whether some ticker has several rows on a day of its own, at other times, in half of its days and more."""
    if seen.time is None:
        return False
    sound = np.ones(len(seen.day), bool)
    sound[[*seen.faults, *seen.merged]] = False
    owner, day, time = seen.owner[sound], seen.day[sound], seen.time[sound]
    if not len(time) or (time == time[0]).all():
        return False
    return any(_rows_a_day(day[owner == own]) > 1 for own in np.unique(owner).tolist())


def _rows_a_day(day: Steps) -> float:
    """The median over the days of a ticker; 1 where there are too few rows to tell."""
    return float(np.median(np.unique(day, return_counts=True)[1])) if len(day) >= 3 else 1.0


def settle(
    seen: Observations, owner: int, rows: NDArray[np.int64], places: dict[str, int], date_place: int, limits: Limits, calendar: Calendar
) -> Settled:
    """Judge one ticker.

    rows    its places among the observations, in the file's order
    places  meaning -> place of its columns
    """
    state = Settled(
        seen.tickers[owner],
        rows,
        seen.day[rows],
        {},
        {place: seen.faults[place] for place in rows.tolist() if place in seen.faults} if seen.faults else {},
        set(seen.merged.intersection(rows.tolist())) if seen.merged else set(),
        Tally(),
        Tally(),
    )
    try:
        _settle(seen, state, rows, places, date_place, limits, calendar)
    except _Refused as refusal:
        state.refused, state.at = refusal.what, (refusal.line, refusal.place)
    return state


def as_it_is(seen: Observations, owner: int, rows: NDArray[np.int64]) -> Settled:
    """A `calm` ticker: every row is kept."""
    own = slice(int(rows[0]), int(rows[-1]) + 1) if rows[-1] - rows[0] == len(rows) - 1 else rows  # a slice copies nothing
    values = {meaning: seen.values[meaning][own] for meaning in VALUES}
    return Settled(seen.tickers[owner], rows, seen.day[own], values, {}, set(), Tally(), Tally())


def _settle(
    seen: Observations, state: Settled, rows: NDArray[np.int64], places: dict[str, int], date_place: int, limits: Limits, calendar: Calendar
) -> None:
    alive = np.ones(len(rows), bool)
    if state.faults or state.merged:
        gone = np.fromiter((*state.faults, *state.merged), np.int64)
        alive[np.searchsorted(rows, gone)] = False
    view = _View(seen, state, rows[alive], places, date_place)
    view.a_row_a_session(calendar)
    view.prices_in_limits()
    view.days_in_limits(calendar)
    view.in_order()
    view.once_a_day(limits)
    view.two_scales(limits)
    view.hundredfold()
    view.consistent(limits)
    view.on_sessions(calendar)
    view.splits(limits)
    _refuse_when_too_many(seen, state, rows, limits)
    view.worth_training(limits)
    view.worth_a_look(limits, calendar)
    state.kept, state.day, state.values = view.rows, view.day, view.values


def calm(
    day: Steps,
    values: dict[str, NDArray[np.float64]],
    starts: NDArray[np.int64],
    places: Mapping[str, int],
    limits: Limits,
    calendar: Calendar,
) -> NDArray[np.bool_]:
    """Which tickers no rule has anything to say of: all their rows are kept as they are, and `settle` need not be asked.

    Each condition here is at least as strict as the rule that it stands for; most tickers of a clean export meet all.

    day, values  of all tickers, one after the other, each with a row or more
    starts       the first row of each; a last entry for the end
    """
    odd = np.zeros(len(day), bool)
    for meaning in (*PRICES, "adj_close"):
        if meaning in places:
            column = values[meaning]
            right = (column >= LEAST_PRICE) & (column <= MOST_PRICE)
            odd |= ~(right | np.isnan(column)) if meaning == "adj_close" else ~right
    odd |= day < EARLIEST
    if calendar.complete is not None:
        odd |= day > calendar.complete
    low, high, close = values["low"], values["high"], values["close"]
    if "low" in places and "high" in places:
        odd |= high < low
    for meaning in ("open", "close"):
        if meaning in places and "high" in places:
            odd |= values[meaning] > high * (1 + limits.tolerance)
        if meaning in places and "low" in places:
            odd |= values[meaning] < low * (1 - limits.tolerance)
    odd |= values["volume"] == 0
    # from a row to the next one; what crosses from one ticker to another counts for neither
    within = np.ones(max(len(day) - 1, 0), bool)
    within[starts[1:-1] - 1] = False
    step, same = np.diff(day), close[1:] == close[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = close[1:] / close[:-1]
    strange = (step <= 0) | ~((ratio < _USUAL) & (ratio > 1 / _USUAL))
    if calendar.sessions is not None and len(day):
        number = np.searchsorted(calendar.sessions, day)
        odd |= calendar.sessions[np.minimum(number, len(calendar.sessions) - 1)] != day if len(calendar.sessions) else True
        strange |= np.diff(number) - 1 > limits.max_gap
    odd[1:] |= strange & within
    sizes = np.diff(starts)
    still = np.concatenate([[False], same & within])
    moved = np.flatnonzero(np.concatenate([~still, [True]]))
    odd[moved[:-1][np.diff(moved) >= STALE_SESSIONS]] = True
    far = np.concatenate([[False], (step >= SPARSE) & within])
    lively = np.add.reduceat(still, starts[:-1], dtype=np.int64) * 2 <= sizes
    daily = np.add.reduceat(far, starts[:-1], dtype=np.int64) * 2 < sizes - 1
    found: NDArray[np.bool_] = ~np.logical_or.reduceat(odd, starts[:-1]) & lively & daily & (sizes >= max(limits.needed, 3))
    return found


class _View:
    """The rows of a ticker that still stand, as arrays that shrink together."""

    def __init__(self, seen: Observations, state: Settled, rows: NDArray[np.int64], places: dict[str, int], date_place: int) -> None:
        self.state, self.rows, self.places, self.date_place = state, rows, places, date_place
        whole = len(rows) == len(seen.line)
        self.line = seen.line if whole else seen.line[rows]
        self.day = seen.day if whole else seen.day[rows]
        self.values = {meaning: seen.values[meaning] if whole else seen.values[meaning][rows] for meaning in VALUES}
        self.prices = [meaning for meaning in PRICES if meaning in places]
        self.unit, self.time = seen.unit, None if seen.time is None else seen.time[rows]
        # what a row is told apart by, and what the row before it is
        self.step, self.before = ("date", "the day before") if seen.unit == "D" else ("time", "the row before")

    def keep(self, standing: NDArray[np.bool_] | NDArray[np.int64]) -> None:
        """Go on with these."""
        self.rows, self.line, self.day = self.rows[standing], self.line[standing], self.day[standing]
        self.values = {meaning: column[standing] for meaning, column in self.values.items()}

    def set_aside(self, bad: NDArray[np.bool_], rule: str, place: int, what: str) -> None:
        """Quarantine rows; ``what`` may name {date} and the prices."""
        if not bad.any():
            return
        for index in np.flatnonzero(bad).tolist():
            told = {meaning: _short(self.values[meaning][index]) for meaning in VALUES}
            self.state.faults[int(self.rows[index])] = Fault(rule, place, what.format(date=self.date(index), **told))
        self.keep(~bad)

    def date(self, index: int) -> str:
        return day_name(int(self.day[index]), self.unit)

    # --- one row ------------------------------------------------------------------------------

    def a_row_a_session(self, calendar: Calendar) -> None:
        """Refuse what is not daily, unless every row was asked for as it is."""
        if len(self.day) < 3 or self.unit == "s":
            return
        days, many = np.unique(self.day), _rows_a_day(self.day)
        if many > 1 and (self.time is None or (self.time == self.time[0]).all()):
            raise _Refused(
                int(self.line[0]),
                self.date_place,
                f"{int(many):,} rows a date: are several tickers in one file?; expected a row a session; add a column "
                "Ticker, or split the file",
            )
        if many > 1:
            raise _Refused(
                int(self.line[0]),
                self.date_place,
                f"an intraday series, {int(many):,} rows a day; expected a row a session; take each row as a step of its own with "
                "--calendar none, or make daily rows of it first, such as with the last price of each day",
            )
        between = float(np.median(np.diff(days))) if len(days) > 2 else 1.0
        if between < SPARSE or calendar.sessions is None:
            return
        kind = (
            "weekly"
            if between < 9
            else "monthly"
            if 25 <= between < 40
            else "quarterly"
            if 80 <= between < 100
            else "yearly"
            if between > 350
            else "sparse"
        )
        raise _Refused(
            int(self.line[0]),
            self.date_place,
            f"a {kind} series, {between:g} days from row to row; expected a row a session; take each row as a step of its own with "
            "--calendar none",
        )

    def prices_in_limits(self) -> None:
        for meaning in (*self.prices, "adj_close"):
            if meaning not in self.places:
                continue
            column = self.values[meaning]
            with np.errstate(invalid="ignore"):
                bad = ~((column >= LEAST_PRICE) & (column <= MOST_PRICE))
            if meaning == "adj_close":
                bad &= ~np.isnan(column)
            what = f"{LABELS[meaning]} is {{{meaning}}}; expected a price from {LEAST_PRICE:g} to {MOST_PRICE:g}"
            self.set_aside(bad, "price", self.places[meaning], what)

    def days_in_limits(self, calendar: Calendar) -> None:
        earliest = EARLIEST if self.unit == "D" else EARLIEST * _DAY_SECONDS
        self.set_aside(self.day < earliest, "date", self.date_place, "Date is {date}; expected a day from 1900 on")
        if calendar.complete is not None:
            self.set_aside(
                self.day > calendar.complete + 7, "date", self.date_place, "Date is {date}, in the future; expected a past session"
            )
            bad = self.day > calendar.complete
            if bad.any():
                self.state.warnings.add("the last session was not over when the file was taken in; held back", int(self.line[bad].min()))
            self.set_aside(bad, "session not over", self.date_place, "the session of {date} was not over when the file was taken in")

    # --- rows together ------------------------------------------------------------------------

    def in_order(self) -> None:
        if len(self.day) < 2:
            return
        steps = np.diff(self.day)
        if (steps >= 0).all():
            return
        backwards = int((steps < 0).sum())
        if (steps <= 0).all():
            self.state.repairs.add("newest first, sorted", int(self.line[0]))
        else:
            self.state.repairs.add("rows out of order, sorted", int(self.line[1:][steps < 0][0]), backwards)
            if min(backwards, int((steps > 0).sum())) > MOST_INVERTED * len(steps):
                share = min(backwards, int((steps > 0).sum())) / len(steps)
                what = f"{share:.0%} of the rows are out of order: are day and month read the right way?"
                self.state.warnings.add(what, int(self.line[1:][steps < 0][0]))
        self.keep(np.argsort(self.day, kind="stable"))

    def once_a_day(self, limits: Limits) -> None:
        again = np.flatnonzero(np.diff(self.day) == 0) + 1
        if not len(again):
            return
        total, contradictory = len(self.day), 0
        standing = np.ones(total, bool)
        for first, last in _groups(again):
            same = [tuple(_key(self.values[meaning][index]) for meaning in VALUES) for index in range(first, last + 1)]
            if len(set(same)) == 1:
                self.state.merged.update(self.rows[first + 1 : last + 1].tolist())
                self.state.repairs.add(f"identical rows of one {self.step} merged", int(self.line[first + 1]), last - first)
                standing[first + 1 : last + 1] = False
                continue
            spared = int(first + np.argmax(self.line[first : last + 1])) if limits.on_duplicate == "last" else -1
            lines = ", ".join(map(str, sorted(self.line[first : last + 1].tolist())))
            what = f"{self.step.title()} {self.date(first)} has different values on lines {lines}; expected one row a {self.step}"
            for index in range(first, last + 1):
                if index != spared:
                    contradictory += 1
                    standing[index] = False
                    self.state.faults[int(self.rows[index])] = Fault("contradiction", self.date_place, what)
        if contradictory > max(MOST_CONTRADICTORY * total, 2) and limits.on_duplicate is None:
            index = int(np.flatnonzero(~standing)[0])
            raise _Refused(
                int(self.line[index]),
                self.date_place,
                f"{contradictory:,} of {total:,} rows share a {self.step} with other values; expected one row a {self.step}; mend them, or "
                "keep the last of each with --on-dup last",
            )
        self.keep(standing)

    def two_scales(self, limits: Limits) -> None:
        """Close on another scale than Open, High and Low in the oldest rows: splits applied to some columns only."""
        if len(self.prices) < 4 or not len(self.day):
            return
        low, high, close = self.values["low"], self.values["high"], self.values["close"]
        outside = (close > high * (1 + limits.tolerance)) | (close < low * (1 - limits.tolerance))
        count = int(outside.sum())
        if count <= max(limits.most_bad * len(close), 5):
            return
        ratio = close / ((high + low) / 2)
        end = int(np.flatnonzero(outside)[-1]) + 1
        if outside[:end].mean() < 0.9:
            return
        factor = float(np.median(ratio[:end]))
        if abs(factor - 1) < 0.05 or float(np.quantile(np.abs(ratio[:end] / factor - 1), 0.9)) > 0.05:
            return
        scale = f"{factor:.3f}".rstrip("0").rstrip(".")
        until = self.date(end - 1)
        if limits.adjust not in ("auto", "ratio"):
            raise _Refused(
                int(self.line[0]),
                self.places["close"],
                f"Close looks unadjusted: it is {scale} × the scale of Open, High and Low until {until} ({end:,} rows), as after a "
                "split that "
                "only they were adjusted for; expected one scale; repair it with --adjust ratio, or leave Close out with --price Open",
            )
        self.values["close"] = np.where(np.arange(len(close)) < end, close / factor, close)
        self.state.repairs.add(f"Close divided by {factor:.6g} until {until}", int(self.line[0]), end)
        self.state.factors.append({"column": "Close", "factor": factor, "until": until})

    def hundredfold(self) -> None:
        """Rows in pence among rows in pounds, or the other way."""
        close = self.values["close"]
        if len(close) < 3:
            return
        jumps = np.abs(np.abs(np.diff(np.log10(close))) - 2) < 0.08
        if not jumps.any():
            return
        middle = np.median(np.stack([np.roll(close, 1), np.roll(close, -1), np.roll(close, 2), np.roll(close, -2)]), axis=0)
        odd = np.abs(np.abs(np.log10(close / middle)) - 2) < 0.08
        odd[1:-1] &= jumps[1:] & jumps[:-1]
        odd[0] = jumps[0] and not jumps[1]
        odd[-1] = jumps[-1] and not jumps[-2]
        if (jumps.sum() == 1 and 2 < int(np.flatnonzero(jumps)[0]) + 1 < len(close) - 2) or int(jumps.sum()) > 2 * int(odd.sum()):
            index = int(np.flatnonzero(jumps)[0]) + 1
            raise _Refused(
                int(self.line[index]),
                self.places["close"],
                f"Close goes from {close[index - 1]:g} to {close[index]:g} on {self.date(index)}, a hundredfold, and stays: two "
                "currency units, such as pounds and pence; expected one; convert the rows, or split the file",
            )
        self.set_aside(
            odd,
            "scale",
            self.places["close"],
            "Close is {close}, a hundred times its neighbours or a hundredth; expected one currency unit",
        )

    def consistent(self, limits: Limits) -> None:
        """High, Low, Open and Close as far as a file has them."""
        own = self.values
        if "high" in self.places and "low" in self.places:
            self.set_aside(
                own["high"] < own["low"], "high below low", self.places["high"], "High is {high} and Low {low}; expected High at least Low"
            )
        for meaning in ("open", "close"):
            if meaning not in self.places:
                continue
            own = self.values
            bad = np.zeros(len(self.day), bool)
            if "high" in self.places:
                bad |= own[meaning] > own["high"] * (1 + limits.tolerance)
            if "low" in self.places:
                bad |= own[meaning] < own["low"] * (1 - limits.tolerance)
            what = f"{LABELS[meaning]} is {{{meaning}}}, outside Low {{low}} to High {{high}}"
            self.set_aside(bad, "outside the range", self.places[meaning], what)

    def on_sessions(self, calendar: Calendar) -> None:
        if calendar.sessions is None or not len(self.day):
            return
        known = calendar.sessions
        place = np.searchsorted(known, self.day)
        off = (place == len(known)) | (known[np.minimum(place, len(known) - 1)] != self.day)
        if not off.any():
            return
        close, volume = self.values["close"], self.values["volume"]
        before = np.concatenate([[np.nan], close[:-1]])
        idle = off & ((volume == 0) | np.isnan(volume)) & (close == before)
        if idle.any():
            self.state.merged.update(self.rows[idle].tolist())
            what = "days without a session that repeat the price before, at no volume, merged into it"
            self.state.repairs.add(what, int(self.line[idle].min()), int(idle.sum()))
            self.keep(~idle)
            off = off[~idle]
        self.set_aside(off, "no session", self.date_place, f"{{date}} is no session of {calendar.name}")

    def splits(self, limits: Limits) -> None:
        """Jumps of all prices by the factor of a split."""
        close = self.values["close"]
        if limits.adjust == "none" or len(close) < 3:
            return
        opened = self.values["open"] if "open" in self.places else close
        jump = opened[1:] / close[:-1]
        whole = close[1:] / close[:-1]
        factors = np.array([*SPLITS, *(1 / factor for factor in SPLITS)])
        likely = np.flatnonzero((np.abs(np.log(whole)) > 0.3) & (np.abs(np.log(jump)) > 0.3))
        if self.unit == "s":  # a share splits overnight; what halves within a day is no split
            likely = likely[np.diff(self.day // _DAY_SECONDS)[likely] > 0]
        found: list[tuple[int, float]] = []
        for index in likely.tolist():
            nearest = float(factors[np.argmin(np.abs(np.log(factors / jump[index])))])
            ratios = [self.values[meaning][index + 1] / self.values[meaning][index] for meaning in self.prices]
            if abs(jump[index] / nearest - 1) <= SPLIT_WITHIN and all(abs(ratio / nearest - 1) <= SPLIT_DAY for ratio in ratios):
                found.append((index + 1, nearest))
        if not found:
            return
        if limits.adjust != "auto":
            index, factor = found[0]
            raise _Refused(
                int(self.line[index]),
                self.places["close"],
                f"all prices go to {_factor(factor)} of {self.before} on {self.date(index)} ({close[index - 1]:g} to {close[index]:g})"
                f"{f', and at {len(found) - 1} more places' if len(found) > 1 else ''}, as at a split that is not adjusted for; "
                "expected adjusted prices; repair them with --adjust auto, or keep them as they are with --adjust none",
            )
        scale = np.ones(len(close))
        for index, factor in found:
            scale[:index] *= factor
            self.state.repairs.add(f"prices before {self.date(index)} multiplied by {factor:.6g}", int(self.line[index]))
            self.state.factors.append({"column": "all", "factor": factor, "until": self.date(index - 1)})
        for meaning in self.prices:
            self.values[meaning] = self.values[meaning] * scale
        self.values["volume"] = np.round(self.values["volume"] / scale)

    # --- the series ---------------------------------------------------------------------------

    def worth_training(self, limits: Limits) -> None:
        line = int(self.line[0]) if len(self.line) else 1
        if len(self.day) < limits.needed:
            raise _Refused(
                line,
                0,
                f"{len(self.day):,} {'sessions' if self.unit == 'D' else 'rows'}; expected at least {limits.needed:,} "
                "(`validation.forecast.min_sessions`), "
                f"{limits.needed - len(self.day):,} more; export a longer history, or lower that number",
            )
        close = self.values["close"]
        if len(close) > 1 and (close == close[0]).all():
            raise _Refused(
                line, self.places["close"], f"Close is {close[0]:g} throughout; expected prices that change; there is nothing to learn"
            )
        same = np.concatenate([[False], close[1:] == close[:-1]])
        if len(close) > 20 and same.mean() > MOST_STALE:
            raise _Refused(
                int(self.line[np.flatnonzero(same)[0]]),
                self.places["close"],
                f"Close repeats {self.before} in {same.mean():.0%} of the rows; expected at most {MOST_STALE:.0%}; is this a traded "
                "series?",
            )

    def worth_a_look(self, limits: Limits, calendar: Calendar) -> None:
        close, volume, warn = self.values["close"], self.values["volume"], self.state.warnings
        if len(close) < 2:
            return
        moves = np.abs(close[1:] / close[:-1] - 1)
        for index in (np.flatnonzero(moves > MOST_MOVE) + 1).tolist():
            what = f"Close goes from {close[index - 1]:g} to {close[index]:g} on {self.date(index)}"
            warn.add(what, int(self.line[index]))
        number = self.day if calendar.sessions is None else np.searchsorted(calendar.sessions, self.day)
        gaps = np.flatnonzero(np.diff(number) - 1 > limits.max_gap) if calendar.sessions is not None else np.empty(0, int)
        for index in gaps.tolist():
            missing = int(number[index + 1] - number[index]) - 1
            warn.add(f"{missing} sessions are missing between {self.date(index)} and {self.date(index + 1)}", int(self.line[index + 1]))
        same = np.flatnonzero(np.diff(close) == 0) + 1
        for first, last in _groups(same):
            if last - first + 1 >= STALE_SESSIONS:
                warn.add(
                    f"Close stays {close[first]:g} from {self.date(first)} to {self.date(last)}", int(self.line[first]), last - first + 1
                )
        idle = np.flatnonzero(volume == 0)
        if len(idle):
            warn.add("volume is zero", int(self.line[idle].min()), len(idle))


def _refuse_when_too_many(seen: Observations, state: Settled, rows: NDArray[np.int64], limits: Limits) -> None:
    counted = {place: fault for place, fault in state.faults.items() if fault.rule not in (NO_TRADE, "session not over")}
    if not counted:
        return
    bad = np.zeros(len(rows), bool)
    bad[np.searchsorted(rows, np.fromiter(counted, np.int64))] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]])))
    longest = int((edges[1::2] - edges[::2]).max())
    if bad.sum() > max(limits.most_bad * len(rows), 1):
        share = f"{int(bad.sum()):,} of {len(rows):,} rows ({bad.mean():.1%}) are set aside; expected at most {limits.most_bad:.0%}"
    elif longest > limits.most_together:
        share = f"{longest} rows together are set aside; expected at most {limits.most_together}"
    else:
        return
    first = min(counted, key=lambda place: (int(seen.line[place]), place))
    raise _Refused(
        int(seen.line[first]), counted[first].place, f"{counted[first].what}; {share}; mend these rows, or export the file again"
    )


def _groups(again: NDArray[np.int64]) -> list[tuple[int, int]]:
    """First and last places of runs, where ``again`` are the places that repeat the one before."""
    if not len(again):
        return []
    breaks = np.flatnonzero(np.diff(again) > 1)
    starts = np.concatenate([[0], breaks + 1])
    ends = np.concatenate([breaks, [len(again) - 1]])
    return [(int(again[start]) - 1, int(again[end])) for start, end in zip(starts, ends, strict=True)]


def _key(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _short(value: float) -> str:
    return f"{value:.10g}"


def _factor(factor: float) -> str:
    return f"{factor:g} ×" if factor >= 1 else f"1/{1 / factor:g}"


def day_name(day: int, unit: Unit = "D") -> str:
    """A day since 1970-01-01 as 2024-01-31, or a second as 2024-01-31 09:30:00.

    >>> day_name(0), day_name(86_399, "s")
    ('1970-01-01', '1970-01-01 23:59:59')
    """
    if unit == "s":
        return str(np.datetime64(day, "s")).replace("T", " ")
    return (_DAY + dt.timedelta(days=day)).isoformat() if -719162 <= day <= 2932896 else str(day)
