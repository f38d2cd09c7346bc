"""Clock: what time it is for the project: now, or the moment that a replay of history is at."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from contextvars import ContextVar

_MOMENT: ContextVar[dt.datetime | None] = ContextVar("moment", default=None)


def now() -> dt.datetime:
    """The moment, in UTC."""
    return _MOMENT.get() or dt.datetime.now(dt.UTC)


def is_replayed() -> bool:
    """Whether it is a moment of the past that is lived through again."""
    return _MOMENT.get() is not None


def stamp(moment: dt.datetime) -> str:
    """As journals write it.

    >>> stamp(dt.datetime(2017, 3, 1, 22, 30, tzinfo=dt.UTC))
    '2017-03-01T22:30:00Z'
    """
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def at(moment: dt.datetime | None) -> Iterator[None]:
    """Let it be that moment, in this thread; None: now. A moment without a time zone is taken as UTC."""
    if moment is not None and moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    token = _MOMENT.set(moment)
    try:
        yield
    finally:
        _MOMENT.reset(token)
