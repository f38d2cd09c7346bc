"""Sessions, asked of real calendars."""

import subprocess
import sys
from datetime import UTC, date, datetime

import numpy as np
import pytest

from longshort.errors import ConfigError
from longshort.sessions import best, last_closed, next_session, sessions, trading_days, version


def days(calendar, first, last):
    return [day.date() for day in sessions(calendar, first, last)]


def test_weekends_and_holidays_are_no_sessions():
    assert days("XNYS", date(2004, 7, 2), date(2004, 7, 6)) == [date(2004, 7, 2), date(2004, 7, 6)]


def test_a_span_includes_both_its_ends():
    assert days("XNYS", date(2004, 8, 19), date(2004, 8, 20)) == [date(2004, 8, 19), date(2004, 8, 20)]


def test_a_span_within_a_closure_is_empty():
    assert days("XNYS", date(2001, 9, 11), date(2001, 9, 16)) == []


def test_sessions_have_no_time_zone():
    assert sessions("XNYS", date(2004, 8, 19), date(2004, 8, 20)).tz is None


def test_the_google_years_and_the_coming_decades_are_known():
    assert len(days("XNYS", date(2004, 8, 19), date(2008, 10, 14))) == 1047
    assert len(days("XNYS", date(1990, 1, 1), date(2040, 12, 31))) > 50 * 250


def test_the_next_session_comes_after_the_weekend_and_the_new_year():
    assert next_session("XNYS", date(2004, 8, 20)) == date(2004, 8, 23)
    assert next_session("XNYS", date(2021, 12, 31)) == date(2022, 1, 3)


def test_the_answer_does_not_hang_on_today():
    ask = (
        "import time_machine\n"
        "with time_machine.travel({today!r}):\n"
        "    from datetime import date\n"
        "    from longshort.sessions import next_session, sessions\n"
        "    days = [sessions('XNYS', date(1990, 1, 1), date(2036, 1, 1)), sessions('XBOM', date(2004, 1, 1), date(2005, 1, 1))]\n"
        "    print([(len(d), d[0], d[-1]) for d in days], next_session('XNYS', date(2035, 12, 31)))\n"
    )
    answers = [
        subprocess.run([sys.executable, "-c", ask.format(today=today)], capture_output=True, text=True, check=True).stdout
        for today in ("2026-01-05", "2035-06-01")
    ]
    assert answers[0] == answers[1]
    assert "datetime.date(2036, 1, 2)" in answers[0] or "2036-01-02" in answers[0]


def test_an_unknown_calendar_is_refused_with_the_key_and_the_nearest_name():
    with pytest.raises(ConfigError, match=r"`validation\.forecast\.calendar` is 'XNYC'.*Did you mean 'XNYS'"):
        sessions("XNYC", date(2004, 1, 1), date(2004, 2, 1))


def test_a_span_beyond_a_calendar_is_refused_with_its_reach():
    with pytest.raises(ConfigError, match=r"knows from 1997-01-01 .* but 1990-01-01 is asked for"):
        sessions("XTKS", date(1990, 1, 1), date(2004, 2, 1))


def test_a_calendar_with_no_later_session_says_so():
    with pytest.raises(ConfigError, match="but 2050-01-01 is asked for"):
        next_session("XHKG", date(2049, 12, 31))


def test_the_version_is_that_of_the_library():
    import exchange_calendars

    assert version() == exchange_calendars.__version__


@pytest.mark.parametrize("name", ["XNYS", "XLON", "XTKS", "XBOM", "BVMF", "XTSE", "24/7", "XTAI"])
def test_the_exchange_is_the_one_whose_sessions_the_days_are(name):
    days = sessions(name, date(2018, 3, 1), date(2020, 11, 30)).to_numpy("datetime64[D]")
    assert best(days) == (name, 1.0)
    halted = np.delete(days, slice(100, 103))
    assert best(halted)[0] == name and 0.99 < best(halted)[1] < 1


@pytest.mark.parametrize("name", ["XNYS", "XLON", "XPAR", "XETR", "XTKS", "XHKG", "XBOM", "XASX", "XTSE", "BVMF", "XTAI", "XJSE"])
def test_the_rules_of_holidays_give_the_sessions_that_the_calendar_gives(name):
    span = date(2005, 3, 1), date(2023, 9, 30)
    assert (trading_days(name, *span) == sessions(name, *span).to_numpy("datetime64[D]")).all()


def test_the_last_session_that_was_over_is_the_day_before_while_the_exchange_is_open():
    friday = datetime(2024, 3, 15, 15, tzinfo=UTC)
    assert last_closed("XNYS", friday) == date(2024, 3, 14)
    assert last_closed("XNYS", friday.replace(hour=21)) == date(2024, 3, 15)
