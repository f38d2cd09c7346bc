"""Evaluation, intervals: what they hold, what they cost, and that none knows what comes."""

import itertools

import numpy as np
import pytest

from longshort.errors import DataRefused
from longshort.evaluation import intervals
from longshort.evaluation.intervals import (
    METHODS,
    OF_QUANTILES,
    RATE,
    adaptive,
    ewma_gaussian,
    held,
    interval_score,
    pid,
    quantile,
    quantile_adaptive,
    quantile_pid,
    split_conformal,
)

every_distance = pytest.mark.parametrize("ahead", [1, 5])
DRAW = np.random.default_rng(3)
CALM = DRAW.normal(size=3_000) * 0.01
SHAKEN = CALM * np.repeat([1.0, 3.0, 0.5], 1_000)
# a band that is too narrow, not in the middle, and of another width each day
NAMED = np.stack([-0.5 - DRAW.random(3_000), 1 + DRAW.random(3_000)], axis=-1) * 0.01


def with_band(method, named=NAMED):
    """A method of quantiles as one of errors: the band is known at each origin, whatever comes."""
    return lambda errors, *asked: method(errors, named[: len(errors)], *asked)


EVERY = METHODS | {name: with_band(method) for name, method in OF_QUANTILES.items()}
every_method = pytest.mark.parametrize("method", EVERY.values(), ids=EVERY)
every_symmetric_one = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_online_one = pytest.mark.parametrize(
    "method",
    [adaptive, pid, EVERY["quantile_adaptive"], EVERY["quantile_pid"]],
    ids=["adaptive", "pid", "quantile_adaptive", "quantile_pid"],
)


def share_held(errors, bands):
    return held(errors[-len(bands) :], bands).mean()


def half(bands):
    """Of intervals that reach as far below as above."""
    assert (bands[:, 0] == -bands[:, 1]).all()
    return bands[:, 1]


@every_method
@every_distance
def test_what_comes_changes_no_interval_before_it_by_a_bit(method, ahead):
    before = method(SHAKEN[:600], 200, 0.9, ahead)
    for place, by in itertools.product((200, 201, 350, 599), (0.0, 30.0)):
        changed = SHAKEN[:600].copy()
        changed[place:] *= by
        after = method(changed, 200, 0.9, ahead)
        first = place + ahead - 200  # the first origin that knows of it
        assert (after[:first] == before[:first]).all()


@every_distance
@pytest.mark.parametrize("name", ["ewma_gaussian", "adaptive", "pid", "quantile_adaptive", "quantile_pid"])
def test_an_interval_knows_all_that_has_come(name, ahead):
    method = EVERY[name]
    changed = SHAKEN[:600].copy()
    changed[350] = 5.0
    before, after = (method(errors, 200, 0.9, ahead) for errors in (SHAKEN[:600], changed))
    assert (before[350 + ahead - 200] != after[350 + ahead - 200]).all()


def test_what_comes_between_calibration_and_the_first_target_is_learned_from_too():
    changed = SHAKEN[:600].copy()
    changed[198] = 5.0
    before, after = (half(adaptive(errors, 200, 0.9, 5)) / half(ewma_gaussian(errors, 200, 0.9, 5)) for errors in (SHAKEN[:600], changed))
    assert before[2] == after[2] and abs(before[3] - after[3]) > 1e-6


@every_method
@every_distance
def test_an_interval_a_step_ahead_is_the_last_of_a_shorter_series(method, ahead):
    whole = method(SHAKEN[:300], 200, 0.9, ahead)
    assert method(SHAKEN[:260], 200, 0.9, ahead).tolist() == whole[:60].tolist()


@every_symmetric_one
def test_intervals_do_not_depend_on_the_sign_of_errors_and_grow_with_them(method):
    bands = method(SHAKEN, 500, 0.9, 1)
    assert (method(-SHAKEN, 500, 0.9, 1) == bands).all()
    assert method(4 * SHAKEN, 500, 0.9, 1) == pytest.approx(4 * bands)
    assert (half(method(SHAKEN, 500, 0.99, 1)) >= half(bands)).mean() > 0.95


@pytest.mark.parametrize("name", [name for name in EVERY if name != "quantile"])
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_where_nothing_changes_each_holds_its_share(name, coverage):
    assert share_held(CALM, EVERY[name](CALM, 1_000, coverage, 1)) == pytest.approx(coverage, abs=0.025)


@every_online_one
@every_distance
def test_where_the_volatility_jumps_the_online_ones_still_hold_their_share(method, ahead):
    assert share_held(SHAKEN, method(SHAKEN, 500, 0.9, ahead)) == pytest.approx(0.9, abs=0.01)


def test_where_the_volatility_jumps_split_conformal_does_not_and_costs_more():
    fixed, moving = (method(SHAKEN, 500, 0.9, 1) for method in (split_conformal, pid))
    assert share_held(SHAKEN, fixed) < 0.8
    costs = [interval_score(SHAKEN[500:], bands, 0.9).mean() for bands in (fixed, moving)]
    assert costs[1] < 0.6 * costs[0]


def test_errors_without_a_normal_tail_are_held_by_the_adaptive_ones_and_not_by_the_gaussian():
    errors = np.random.default_rng(0).choice([1.0, 3.0], p=[0.75, 0.25], size=4_000)
    gaussian, *moving = (share_held(errors, method(errors, 500, 0.9, 1)) for method in (ewma_gaussian, adaptive, pid))
    assert gaussian < 0.83
    assert moving == pytest.approx([0.9, 0.9], abs=0.02)


@pytest.mark.parametrize(("count", "width"), [(9, 9.0), (10, 10.0), (11, 10.0)])
def test_split_conformal_leaves_a_place_for_the_next_error(count, width):
    errors = np.array([1.0, -9.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 2.0, 10.0, -0.5, 100.0])
    assert split_conformal(errors, count, 0.9).tolist() == [[-width, width]] * (12 - count)


def test_the_gaussian_is_the_recursion_of_the_squares_written_out():
    widths = half(ewma_gaussian(CALM[:60], 30, 0.9))
    variance = np.mean(CALM[:20] ** 2)
    for error in CALM[:40]:
        variance = 0.97 * variance + 0.03 * error**2
    assert widths[10] == pytest.approx(1.6448536269514722 * np.sqrt(variance))


def test_a_miss_widens_by_nine_times_what_a_hit_narrows():
    errors = np.where(np.arange(200) % 10 == 0, 1.0, 0.5) * np.resize([1, -1], 200)
    widths = half(pid(errors, 100, 0.9))
    steps = np.diff(widths / half(ewma_gaussian(errors, 100, 0.9))) * 1.6448536269514722
    missed = np.abs(errors[100:-1]) > widths[:-1]
    assert missed.any() and not missed.all()
    assert steps[missed].min() > 0.85 * RATE * 0.9 and steps[~missed].max() < 0


def test_misses_that_add_up_widen_by_more_than_their_steps(monkeypatch):
    growing = CALM[:300] * 1.1 ** np.maximum(np.arange(300) - 100, 0)
    whole = half(pid(growing, 100, 0.9))
    monkeypatch.setattr(intervals, "INTEGRAL", 0.0)
    less = half(pid(growing, 100, 0.9))
    assert whole[0] == less[0] and (whole > 1.001 * less).any()


@every_method
def test_a_series_that_never_moves_has_intervals_all_the_same(method):
    assert np.isfinite(method(np.zeros(100), 50, 0.9, 1)).all()


def test_the_interval_score_of_the_true_quantile_is_the_least():
    errors = np.random.default_rng(1).normal(size=200_000)
    costs = [interval_score(errors, np.tile([-z, z], (200_000, 1)), 0.9).mean() for z in (1.5, 1.6449, 1.8)]
    assert costs[1] == min(costs) and costs[1] == pytest.approx(4.126, abs=0.02)  # 2 z + 40 (φ(z) - z (1 - Φ(z)))


def test_an_interval_costs_its_width_and_what_falls_outside_of_the_end_that_it_passed():
    bands = np.array([[-1.0, 3.0]] * 4)
    assert interval_score([-2.0, -1.0, 3.0, 5.0], bands, 0.9) == pytest.approx([4 + 20, 4, 4, 4 + 40])
    assert held([-2.0, -1.0, 3.0, 5.0], bands).tolist() == [False, True, True, False]


# --- quantiles that a network names -----------------------------------------------------------

# errors with a long tail above, of a scale that moves from day to day and is known the day before; the true quantiles
SCALE = 0.01 * np.exp(0.5 * DRAW.normal(size=4_000))
SKEWED = (DRAW.exponential(size=4_000) - 1) * SCALE
TRUE = (-np.log1p([-0.05, -0.95]) - 1) * SCALE[:, None]


def test_the_band_is_taken_as_it_is_named():
    assert (quantile(SKEWED, TRUE, 500, 0.9) == TRUE[500:]).all()


@pytest.mark.parametrize(("method", "plain"), [(quantile_adaptive, adaptive), (quantile_pid, pid)])
def test_a_band_that_knows_what_comes_is_kept_and_costs_less_than_one_of_errors_alone(method, plain):
    bands = method(SKEWED, TRUE, 500, 0.9)
    assert share_held(SKEWED, bands) == pytest.approx(0.9, abs=0.01)
    costs = [interval_score(SKEWED[500:], each, 0.9).mean() for each in (TRUE[500:], bands, plain(SKEWED, 500, 0.9))]
    assert costs[0] < costs[1] < 1.2 * costs[0] and costs[1] < 0.8 * costs[2]


@pytest.mark.parametrize("method", [quantile_adaptive, quantile_pid])
@pytest.mark.parametrize("wrong", [0.3, 3.0])
def test_a_band_that_is_too_narrow_or_too_wide_is_mended_evenly_on_both_sides(method, wrong):
    middle = TRUE.mean(axis=1, keepdims=True)
    named = middle + wrong * (TRUE - middle)
    bands = method(SKEWED, named, 500, 0.9)
    assert share_held(SKEWED, bands) == pytest.approx(0.9, abs=0.01)
    assert (bands.mean(axis=1) == pytest.approx(middle[500:, 0])) and np.ptp(bands, axis=1).mean() == pytest.approx(
        np.ptp(TRUE[500:], axis=1).mean(), rel=0.15
    )


def test_widths_go_half_of_the_way_from_what_the_band_says_to_what_its_newest_errors_say(monkeypatch):
    monkeypatch.setattr(intervals, "RATE", 0.0)
    monkeypatch.setattr(intervals, "INTEGRAL", 0.0)
    errors = np.resize([1.0, -1.0], 500) * np.repeat([1.0, 4.0], [400, 100])
    band = np.tile([-1.0, 1.0], (500, 1))
    ours, theirs = (np.ptp(bands, axis=1) for bands in (quantile_pid(errors, band, 300, 0.9), pid(errors, 300, 0.9)))
    assert (ours / ours[0]) ** 2 == pytest.approx(theirs / theirs[0]) and theirs[-1] > 3 * theirs[0]


@pytest.mark.parametrize("method", [quantile_adaptive, quantile_pid])
def test_what_is_named_later_changes_no_interval_before_it_by_a_bit(method):
    other = TRUE.copy()
    other[700:] *= 5
    before, after = (method(SKEWED, named, 500, 0.9) for named in (TRUE, other))
    assert (before[:200] == after[:200]).all() and (before[200] != after[200]).all()


@pytest.mark.parametrize("method", [quantile_adaptive, quantile_pid])
def test_a_band_that_collapses_once_does_not_spoil_the_intervals_behind_it(method):
    once = TRUE.copy()
    once[700] = once[700].mean()
    whole, after = (np.ptp(method(SKEWED, named, 500, 0.9), axis=1) for named in (TRUE, once))
    assert after[200] > 0 and (after[201:] < 3 * whole[201:]).all()


@pytest.mark.parametrize("method", OF_QUANTILES.values(), ids=OF_QUANTILES)
def test_a_quantile_that_is_not_finite_is_refused_with_its_origin(method):
    named = NAMED.copy()
    named[40, 1] = np.nan
    with pytest.raises(DataRefused, match=r"the quantiles of origin 40 are \[.*nan\]"):
        method(CALM[:60], named[:60], 30, 0.9)


@every_method
def test_too_few_errors_to_calibrate_by_are_refused(method):
    method(CALM[:20], 9, 0.9, 1)
    with pytest.raises(DataRefused, match=r"8 errors are known.*90% need 9.*windows\.forecast\.validation"):
        method(CALM[:20], 8, 0.9, 1)
    with pytest.raises(DataRefused, match=r"8 errors are known"):
        method(CALM[:20], 10, 0.9, 3)


@every_method
def test_an_error_that_is_not_finite_is_refused_with_its_place(method):
    errors = CALM[:60].copy()
    errors[40] = np.nan
    with pytest.raises(DataRefused, match=r"errors\[40\] is nan"):
        method(errors, 30, 0.9, 1)
