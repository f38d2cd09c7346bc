"""Dates: phrases that people say for a day, and the day as ISO 8601 writes it; made by code, so that there is no end of them."""

from __future__ import annotations

import datetime as dt

import numpy as np

FIRST, DAYS = dt.date(1950, 1, 1), 36525  # a hundred years, so that a year of two digits names one: 50 is 1950, 49 is 2049
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
UNITS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
TEENS = ("tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth")
TWENTIES = "twentieth", *(f"twenty-{one}" for one in UNITS)
SPOKEN = *UNITS, *TEENS, *TWENTIES, "thirtieth", "thirty-first"  # days of a month
WORDINGS = (
    "the {spoken} of {month} {year}",
    "{month} the {spoken}, {year}",
    "{month} {ordinal}, {year}",
    "{ordinal} of {month} {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday} {month} {ordinal} {year}",
    "{day} {short} {year}",
    "{day} {short} {two}",
    "{short} {day}, {year}",
    "{day}.{number}.{year}",
    "in {year}, on the {ordinal} of {month}",
)


def phrases(count: int, seed: int) -> tuple[list[str], list[str]]:
    """So many phrases, none of them twice, and the day that each names.

    >>> said, iso = phrases(2, seed=0)
    >>> len(set(said)), all(dt.date.fromisoformat(day) >= FIRST for day in iso)
    (2, True)
    """
    draw = np.random.Generator(np.random.Philox(seed))
    made: dict[str, str] = {}
    while len(made) < count:
        day = FIRST + dt.timedelta(int(draw.integers(DAYS)))
        made.setdefault(said(day, WORDINGS[draw.integers(len(WORDINGS))]), day.isoformat())
    return list(made), list(made.values())


def said(day: dt.date, wording: str) -> str:
    """A day in one of `WORDINGS`.

    >>> [said(dt.date(2004, 3, 3), wording) for wording in WORDINGS[:3]]
    ['the third of march 2004', 'march the third, 2004', 'march 3rd, 2004']
    """
    month = MONTHS[day.month - 1]
    return wording.format(
        spoken=SPOKEN[day.day - 1],
        ordinal=f"{day.day}{'th' if 10 < day.day < 20 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day.day % 10, 'th')}",
        weekday=WEEKDAYS[day.weekday()],
        month=month,
        short=month[:3],
        day=day.day,
        number=day.month,
        year=day.year,
        two=f"{day.year % 100:02}",
    )
