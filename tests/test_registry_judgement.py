"""The judge: a challenger that is not better by what params.yaml asks is refused, in one sentence with its numbers."""

import dataclasses
import math

import pytest

from longshort.evaluation.contest import Contender, Contest, Mark
from longshort.registry.judgement import judge

LEARNED, FIRST, END = Mark(10, "2007-12-13"), Mark(11, "2007-12-17"), Mark(20, "2008-10-14")
OF_TODAY = Contender(error=0.9, windows_sha256="ab" * 32, variation=0.05, learned_until=LEARNED, cut_off=END)


def contest(challenger=0.8, champion=0.9, naive=1.0, p_naive=0.01, p_champion=0.01, count=209):
    """A contest of these errors, fair and of models of one day; champion None: there is none."""
    one = dataclasses.replace(OF_TODAY, error=challenger)
    other = None if champion is None else dataclasses.replace(OF_TODAY, error=champion)
    said = {"measure": "RMSE", "naive": naive, "naive_name": "last value", "count": count, "first": FIRST, "windows_sha256": "ab" * 32}
    return Contest(challenger=one, champion=other, p_naive=p_naive, p_champion=None if champion is None else p_champion, **said)


def with_(measured, who, **changes):
    return dataclasses.replace(measured, **{who: dataclasses.replace(getattr(measured, who), **changes)})


def verdict(measured, min_gain=0.0, min_windows=30, significance=0.05):
    return judge(measured, min_gain, min_windows, significance)


@pytest.mark.parametrize(
    ("challenger", "champion", "naive", "min_gain", "promoted", "reason"),
    [
        (0.9, None, 1.0, 0.0, True, "promoted: RMSE 0.9, naive 1, no champion yet"),
        (1.0, None, 1.0, 0.0, False, "kept out: RMSE 1, naive 1"),
        (1.1, None, 1.0, 0.0, False, "kept out: RMSE 1.1, naive 1"),
        (0.8, 0.9, 1.0, 0.0, True, "promoted: RMSE 0.8, champion 0.9, naive 1"),
        (0.9, 0.9, 1.0, 0.0, False, "kept out: RMSE 0.9, champion 0.9, needed below 0.9"),
        (0.95, 0.9, 1.0, 0.0, False, "kept out: RMSE 0.95, champion 0.9, needed below 0.9"),
        (1.1, 1.2, 1.0, 0.0, False, "kept out: RMSE 1.1, naive 1"),
        (0.89, 0.9, 1.0, 0.02, False, "kept out: RMSE 0.89, champion 0.9, needed below 0.882"),
        (0.88, 0.9, 1.0, 0.02, True, "promoted: RMSE 0.88, champion 0.9, naive 1"),
        (0.9, None, 1.0, 0.5, True, "promoted: RMSE 0.9, naive 1, no champion yet"),
        (math.nan, None, 1.0, 0.0, False, "kept out: RMSE is nan, the run diverged"),
        (math.inf, 0.9, 1.0, 0.0, False, "kept out: RMSE is inf, the run diverged"),
        (-math.inf, 0.9, 1.0, 0.0, False, "kept out: RMSE is -inf, the run diverged"),
        (0.8, math.nan, 1.0, 0.0, False, "kept out: naive 1 and champion nan cannot be compared with"),
        (0.8, math.inf, 1.0, 0.0, False, "kept out: naive 1 and champion inf cannot be compared with"),
        (0.8, None, math.nan, 0.0, False, "kept out: naive nan and champion None cannot be compared with"),
        (0.8, 0.9, math.inf, 0.0, False, "kept out: naive inf and champion 0.9 cannot be compared with"),
    ],
)
def test_a_challenger_must_be_finite_and_beat_naive_and_the_champion_by_the_gain(challenger, champion, naive, min_gain, promoted, reason):
    found = verdict(contest(challenger, champion, naive), min_gain)
    assert (found.promote, found.reason) == (promoted, reason)


CHANCE = "asked below 0.05 (`registry.significance`)"
OF_BOTH = "the challenger learned from data until 2007-12-13 and the champion learned from data until 2007-12-13"
REFUSED = {
    "a lead over naive that may be chance": (
        contest(champion=None, p_naive=0.31),
        f"RMSE 0.8, naive 1, which may be chance: p 0.31, {CHANCE}",
    ),
    "a lead over the champion that may be chance": (
        contest(p_champion=0.05),
        f"RMSE 0.8, champion 0.9, which may be chance: p 0.05, {CHANCE}",
    ),
    "a lead that cannot be tested": (contest(p_champion=None), f"RMSE 0.8, champion 0.9, which may be chance: p cannot be had, {CHANCE}"),
    "few windows": (contest(count=29), f"not enough to judge by: 29 unseen, asked 30 (`registry.min_windows`); {OF_BOTH}"),
    "no window, so no error": (
        with_(contest(challenger=math.nan, champion=None, count=0), "challenger", learned_until=None),
        "not enough to judge by: 0 unseen, asked 30 (`registry.min_windows`); where the data end that the challenger learned from is not "
        "known of this data set",
    ),
    "other windows": (
        with_(contest(), "champion", windows_sha256="cd" * 32),
        "an unfair contest: the champion was scored on windows cdcdcdcd, asked abababab",
    ),
    "windows that the challenger learned from": (
        with_(contest(), "challenger", learned_until=FIRST),
        "an unfair contest: the challenger learned from data until 2007-12-17, and the windows begin at 2007-12-17",
    ),
    "windows that the champion stopped by": (
        with_(contest(), "champion", learned_until=END),
        "an unfair contest: the champion learned from data until 2008-10-14, and the windows begin at 2007-12-17",
    ),
    "a constant": (
        with_(contest(), "challenger", variation=0.0),
        "a constant forecast: it varies by 0 of what came, asked 0.0001",
    ),
    "a variation that is not a number": (
        with_(contest(), "challenger", variation=math.nan),
        "a constant forecast: it varies by nan of what came, asked 0.0001",
    ),
    "older data": (
        with_(contest(), "challenger", cut_off=Mark(19, "2008-10-13")),
        "its data end at 2008-10-13, the champion's at 2008-10-14",
    ),
}


@pytest.mark.parametrize(("measured", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_unproved_unfair_constant_or_stale_is_refused_with_its_numbers(measured, reason):
    found = verdict(measured)
    assert (found.promote, found.reason) == (False, f"kept out: {reason}")


def test_a_lead_may_be_chance_where_significance_is_not_asked():
    assert verdict(contest(p_naive=0.9, p_champion=None), significance=None).promote


def test_a_constant_champion_can_be_replaced():
    assert verdict(with_(contest(), "champion", variation=0.0)).promote


def test_newer_data_may_replace_older():
    assert verdict(with_(contest(), "champion", cut_off=Mark(19, "2008-10-13"))).promote


def test_a_verdict_says_on_which_windows_it_was_reached():
    assert {verdict(measured).windows_sha256 for measured in (contest(), contest(1.1))} == {"ab" * 32}
