"""Sessions: the days on which an exchange trades.

Holidays come from exchange_calendars, whose default span hangs on today's date; here the span always
comes from the dates that are asked about, so that an answer is the same in any year.
"""

from __future__ import annotations

import difflib
import functools
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import storage
from longshort.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def sessions(calendar: str, first: date, last: date) -> pd.DatetimeIndex:
    """The sessions of an exchange from ``first`` to ``last``, both included, oldest first.

    calendar  a name of exchange_calendars, such as XNYS
    returns   midnights without a time zone; empty when the exchange was closed all the while
    raises    ConfigError when there is no such calendar, or it does not reach that far

    >>> [str(day.date()) for day in sessions("XNYS", date(2004, 9, 3), date(2004, 9, 7))]
    ['2004-09-03', '2004-09-07']
    """
    _refuse_beyond(calendar, first, last)
    days = _years(calendar, first.year, last.year)
    return days[(days.date >= first) & (days.date <= last)]


def next_session(calendar: str, after: date) -> date:
    """The first session later than a day, which need not be a session itself.

    raises  ConfigError, as `sessions` does

    >>> next_session("XNYS", date(2004, 9, 3))
    datetime.date(2004, 9, 7)
    """
    tomorrow = after + timedelta(days=1)
    _refuse_beyond(calendar, tomorrow, tomorrow)
    days = _years(calendar, tomorrow.year, tomorrow.year + 1)
    later = days[days.date > after]
    if not len(later):
        raise ConfigError(_too_short(calendar, tomorrow))
    return later[0].date()


def version() -> str:
    """The version of exchange_calendars: a list of holidays changes with it, so outputs record it."""
    from importlib.metadata import version

    return version("exchange-calendars")


EVERY_ROW = "none"  # the calendar of series whose every row is a step: monthly ones, counts, rates
_SURE = 0.995  # a share of common days that no second calendar is asked at
_YEARS_LOOKED_AT = 3  # the newest; calendars differ by holidays, which come back


def best(days: NDArray[Any]) -> tuple[str, float]:
    """The calendar whose sessions fit days best, and how well.

    days     as datetime64[D], sorted, each once
    returns  its name, and the days in common as a share of those that are either a day or a session; XNYS first, where
             several fit alike

    Only holidays and weekdays are looked at, from the calendars' own rules; building each calendar whole would take half a minute.
    """
    from exchange_calendars.calendar_utils import global_calendar_dispatcher as catalogue

    newest = days[days > days[-1] - np.timedelta64(365 * _YEARS_LOOKED_AT, "D")]
    span = np.arange(newest[0], newest[-1] + 1)
    present = np.isin(span, newest)
    found: list[tuple[float, str]] = []
    for name in _by_likelihood(catalogue._calendar_factories, newest):
        closed = _closed_days(name, days[0].item().year, days[-1].item().year)  # of all years: `trading_days` asks for them next
        if closed is None or not len(within_reach(name, days)):
            continue
        weekdays, holidays, _ = closed
        expected = weekdays[(span.astype(int) + 3) % 7] & ~np.isin(span, holidays)
        score = float((present & expected).sum() / (present | expected).sum())
        found.append((score, name))
        if score >= _SURE:
            break
    score, name = max(found, key=lambda entry: entry[0])
    return name, round(score, 4)


def _by_likelihood(factories: dict[str, Any], days: NDArray[Any]) -> list[str]:
    """Every calendar: the largest markets first, and first of all the one of every day where weekends are traded."""
    weekend = float(np.isin((days.astype(int) + 3) % 7, (5, 6)).mean())
    first = ["24/7"] if weekend > 0.2 else ["XNYS", "XLON", "XTKS", "XETR", "XBOM", "XHKG", "XSHG", "BVMF", "XTSE", "XPAR", "24/5", "24/7"]
    slow = ["XKRX"]  # its lunar holidays take three seconds
    return [*first, *(name for name in sorted(factories) if name not in (*first, *slow)), *slow]


@functools.cache
def _closed_days(name: str, first: int, last: int) -> tuple[NDArray[np.bool_], NDArray[Any], bool] | None:
    """A calendar's weekdays, Monday first, and its holidays in whole years, by its own rules; None where it has none.

    The last of the three is whether that is all: in some the weekdays have changed (Bombay, Seoul, Moscow).
    """
    from exchange_calendars.calendar_utils import global_calendar_dispatcher as catalogue

    kind: Any = catalogue._calendar_factories[name]
    rules = kind.__new__(kind)  # its rules are properties of the class; to make one whole is what takes long
    try:
        regular = rules.regular_holidays
        weekdays = np.array([sign == "1" for sign in rules.weekmask])
        special = [np.datetime64(day, "D") for day in rules.adhoc_holidays]
        found = [] if regular is None else list(regular.holidays(date(first, 1, 1), date(last, 12, 31)).values.astype("datetime64[D]"))
    except NotImplementedError:  # such calendars cannot be asked at all, or pandas cannot work out their Easter
        return None
    return weekdays, np.array([*found, *special], "datetime64[D]"), not getattr(rules, "special_weekmasks", None)


def trading_days(calendar: str, first: date, last: date) -> NDArray[Any]:
    """The sessions of an exchange as datetime64[D], by the calendar's holidays; as `sessions`, and ten times as fast.

    Openings and closings, which take the time, are not made. A calendar whose weekdays changed is asked as a whole.
    """
    _refuse_beyond(calendar, first, last)
    closed = _closed_days(_kind_name(calendar), first.year, last.year)
    if closed is None or not closed[2]:
        return sessions(calendar, first, last).to_numpy("datetime64[D]")
    weekdays, holidays, _ = closed
    span = np.arange(np.datetime64(first, "D"), np.datetime64(last, "D") + 1)
    return span[weekdays[(span.astype(int) + 3) % 7] & ~np.isin(span, holidays)]


def _kind_name(calendar: str) -> str:
    from exchange_calendars.calendar_utils import global_calendar_dispatcher as catalogue

    return str(catalogue.resolve_alias(calendar))


def zone(calendar: str) -> str | None:
    """The time zone of an exchange, None for what is no exchange's.

    >>> zone("XASX"), zone("none")
    ('Australia/Sydney', None)
    """
    return None if calendar in (EVERY_ROW, "auto") else str(_kind(calendar).tz)


def of_dataset(folder: Path, stated: str) -> str:
    """The calendar of a data set: what ingestion found or was told, else what params.yaml states for all.

    folder  data/ingestion/<dataset>
    """
    account = folder / "account.json"
    found = storage.read_json(account).get("calendar") if account.exists() else None
    return str(found["name"]) if found else stated


def within_reach(calendar: str, days: NDArray[Any]) -> NDArray[Any]:
    """The days that a calendar knows, where that is nearly all of them; none where it does not reach back or on to the others.

    days  as datetime64[D]; one among a hundred may be a misprint
    """
    earliest, latest = (np.datetime64(end, "D") for end in _reach(calendar))
    inside = days[(days >= earliest) & (days <= latest)]
    return inside if len(inside) >= 0.99 * len(days) else days[:0]


def last_closed(calendar: str, moment: datetime) -> date:
    """The last session that was over at a moment (with a time zone)."""
    import exchange_calendars
    import pandas as pd

    first, last = moment.date() - timedelta(days=30), moment.date() + timedelta(days=30)
    _refuse_beyond(calendar, first, last)
    closes = exchange_calendars.get_calendar(calendar, start=first.isoformat(), end=last.isoformat()).closes
    return closes[closes <= pd.Timestamp(moment)].index[-1].date()


@functools.lru_cache(maxsize=16)
def _years(calendar: str, first: int, last: int) -> pd.DatetimeIndex:
    """All sessions of whole years, as far as the calendar reaches."""
    import exchange_calendars

    earliest, latest = _reach(calendar)
    # a month more at both ends, so that no span begins or ends within a closure or is a single day
    start = max(date(first - 1, 12, 1), earliest)
    end = min(date(last + 1, 1, 31), latest)
    try:
        return exchange_calendars.get_calendar(calendar, start=start.isoformat(), end=end.isoformat()).sessions
    except ValueError as error:
        raise ConfigError(
            f"exchange_calendars {version()} cannot build '{calendar}' from {start} to {end} ({str(error)[:80]}); name another with "
            "--calendar, or take every row as a step with --calendar none."
        ) from None


def _reach(calendar: str) -> tuple[date, date]:
    """The first and the last day of which a calendar knows whether it was a session."""
    bounds = _kind(calendar).bound_min(), _kind(calendar).bound_max()
    # pandas counts nanoseconds, from 1677 to 2262; exchange_calendars needs a little room at both ends
    return bounds[0].date() if bounds[0] is not None else date(1680, 1, 1), bounds[1].date() if bounds[1] is not None else date(2260, 1, 1)


def _kind(calendar: str) -> Any:
    from exchange_calendars.calendar_utils import global_calendar_dispatcher as catalogue

    names = catalogue.get_calendar_names()
    if calendar not in names:
        nearest = difflib.get_close_matches(calendar.upper(), names, n=1, cutoff=0)[0]
        raise ConfigError(
            f"params.yaml: `validation.forecast.calendar` is '{calendar}', or --calendar is, which exchange_calendars {version()} "
            f"does not hold. Did you mean '{nearest}'? Write the exchange's code (ISO 10383) there."
        )
    # the class, not a calendar: only the class can say how far it reaches without building a span that hangs on today
    return catalogue._calendar_factories[catalogue.resolve_alias(calendar)]


def _refuse_beyond(calendar: str, first: date, last: date) -> None:
    earliest, latest = _reach(calendar)
    if first < earliest or last > latest:
        raise ConfigError(_too_short(calendar, first if first < earliest else last))


def _too_short(calendar: str, day: date) -> str:
    earliest, latest = _reach(calendar)
    return (
        f"params.yaml: `validation.forecast.calendar` is '{calendar}', which exchange_calendars {version()} knows "
        f"from {earliest} to {latest}, but {day} is asked for. Name another calendar there, drop the rows beyond, "
        "or upgrade exchange_calendars."
    )
