"""Staleness: sessions that are missing are counted by the exchange, and runs that are skipped by the row."""

import datetime as dt

import pytest

from longshort.ingestion import staleness

FRIDAY = dt.date(2026, 9, 4)  # before Labor Day
NEWS = {"calendar": {"name": "XNYS"}, "files": [{"read_as": {"last": "2026-08-01"}}, {"read_as": {"last": FRIDAY.isoformat()}}]}


def at(day: int, hour: int = 22) -> dt.datetime:
    return dt.datetime(2026, 9, day, hour, tzinfo=dt.UTC)


@pytest.mark.parametrize(("now", "missed"), [
    (at(4), None),  # Friday's session was the last
    (at(7), None),  # a weekend and a holiday
    (at(9, 19), None),  # Tuesday is missing; Wednesday's session goes on
    (at(9), 2),
    (at(15), 6),
])  # fmt: skip
def test_only_sessions_that_were_over_are_missed(now, missed):
    found = staleness.judge("aapl", NEWS, now, most=1)
    assert (found.missed if found else None) == missed


def test_as_many_sessions_as_are_allowed_are_no_fault():
    assert staleness.judge("aapl", NEWS, at(9), most=2) is None
    assert str(staleness.judge("aapl", NEWS, at(9), most=1)) == "no new rows since 2026-09-04 in aapl (2 sessions of XNYS missed)"


@pytest.mark.parametrize("account", [
    {"files": [{"read_as": {"layout": "running text"}}]},
    {**NEWS, "calendar": {"name": "none"}},
    {"embedded": {"from": "matplotlib"}, "calendar": {"name": "XNYS"}},
], ids=["text", "every row a step", "embedded"])  # fmt: skip
def test_what_no_exchange_owes_is_never_stale(account):
    assert staleness.judge("x", account, at(15), most=1) is None


def test_nobody_asked_nothing_is_stale():
    assert staleness.judge("aapl", NEWS, at(15), most=None) is None


def test_the_third_skipped_run_in_a_row_is_an_alarm_and_a_run_that_was_not_skipped_begins_anew(tmp_path):
    stale = [staleness.Stale("aapl", FRIDAY, 7, "XNYS")]
    said = [staleness.skipped(tmp_path, stale) for _ in range(4)]
    assert [one.startswith("ALARM") for one in said] == [False, False, True, True] and "skipped 4 times" in said[3]
    staleness.resumed(tmp_path)
    assert staleness.skipped(tmp_path, stale) == said[0]
