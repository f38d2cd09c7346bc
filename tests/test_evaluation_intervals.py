"""Evaluation, intervals: what they hold, what they cost, and that none knows what comes."""

import itertools

import numpy as np
import pytest

from longshort.errors import DataRefused
from longshort.evaluation import intervals
from longshort.evaluation.intervals import METHODS, RATE, adaptive, ewma_gaussian, interval_score, pid, split_conformal

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
every_distance = pytest.mark.parametrize("ahead", [1, 5])
DRAW = np.random.default_rng(3)
CALM = DRAW.normal(size=3_000) * 0.01
SHAKEN = CALM * np.repeat([1.0, 3.0, 0.5], 1_000)


def share_held(errors, widths):
    return np.mean(np.abs(errors[-len(widths) :]) <= widths)


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
@pytest.mark.parametrize("method", [ewma_gaussian, adaptive, pid])
def test_an_interval_knows_all_that_has_come(method, ahead):
    changed = SHAKEN[:600].copy()
    changed[350] = 5.0
    before, after = (method(errors, 200, 0.9, ahead) for errors in (SHAKEN[:600], changed))
    assert before[350 + ahead - 200] != after[350 + ahead - 200]


def test_what_comes_between_calibration_and_the_first_target_is_learned_from_too():
    changed = SHAKEN[:600].copy()
    changed[198] = 5.0
    before, after = (adaptive(errors, 200, 0.9, 5) / ewma_gaussian(errors, 200, 0.9, 5) for errors in (SHAKEN[:600], changed))
    assert before[2] == after[2] and abs(before[3] - after[3]) > 1e-6


@every_method
@every_distance
def test_an_interval_a_step_ahead_is_the_last_of_a_shorter_series(method, ahead):
    whole = method(SHAKEN[:300], 200, 0.9, ahead)
    assert method(SHAKEN[:260], 200, 0.9, ahead).tolist() == whole[:60].tolist()


@every_method
def test_intervals_do_not_depend_on_the_sign_of_errors_and_grow_with_them(method):
    widths = method(SHAKEN, 500, 0.9, 1)
    assert (method(-SHAKEN, 500, 0.9, 1) == widths).all()
    assert method(4 * SHAKEN, 500, 0.9, 1) == pytest.approx(4 * widths)
    assert (method(SHAKEN, 500, 0.99, 1) >= widths).mean() > 0.95


@every_method
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_where_nothing_changes_each_holds_its_share(method, coverage):
    assert share_held(CALM, method(CALM, 1_000, coverage, 1)) == pytest.approx(coverage, abs=0.025)


@pytest.mark.parametrize("method", [adaptive, pid])
@every_distance
def test_where_the_volatility_jumps_the_online_ones_still_hold_their_share(method, ahead):
    assert share_held(SHAKEN, method(SHAKEN, 500, 0.9, ahead)) == pytest.approx(0.9, abs=0.01)


def test_where_the_volatility_jumps_split_conformal_does_not_and_costs_more():
    fixed, moving = (method(SHAKEN, 500, 0.9, 1) for method in (split_conformal, pid))
    assert share_held(SHAKEN, fixed) < 0.8
    costs = [interval_score(SHAKEN[500:], widths, 0.9).mean() for widths in (fixed, moving)]
    assert costs[1] < 0.6 * costs[0]


def test_errors_without_a_normal_tail_are_held_by_the_adaptive_ones_and_not_by_the_gaussian():
    errors = np.random.default_rng(0).choice([1.0, 3.0], p=[0.75, 0.25], size=4_000)
    gaussian, *moving = (share_held(errors, method(errors, 500, 0.9, 1)) for method in (ewma_gaussian, adaptive, pid))
    assert gaussian < 0.83
    assert moving == pytest.approx([0.9, 0.9], abs=0.02)


@pytest.mark.parametrize(("count", "width"), [(9, 9.0), (10, 10.0), (11, 10.0)])
def test_split_conformal_leaves_a_place_for_the_next_error(count, width):
    errors = np.array([1.0, -9.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 2.0, 10.0, -0.5, 100.0])
    assert split_conformal(errors, count, 0.9).tolist() == [width] * (12 - count)


def test_the_gaussian_is_the_recursion_of_the_squares_written_out():
    widths = ewma_gaussian(CALM[:60], 30, 0.9)
    variance = np.mean(CALM[:20] ** 2)
    for error in CALM[:40]:
        variance = 0.97 * variance + 0.03 * error**2
    assert widths[10] == pytest.approx(1.6448536269514722 * np.sqrt(variance))


def test_a_miss_widens_by_nine_times_what_a_hit_narrows():
    errors = np.where(np.arange(200) % 10 == 0, 1.0, 0.5) * np.resize([1, -1], 200)
    scaled = pid(errors, 100, 0.9) / ewma_gaussian(errors, 100, 0.9)
    steps = np.diff(scaled) * 1.6448536269514722
    missed = np.abs(errors[100:-1]) > pid(errors, 100, 0.9)[:-1]
    assert missed.any() and not missed.all()
    assert steps[missed].min() > 0.85 * RATE * 0.9 and steps[~missed].max() < 0


def test_misses_that_add_up_widen_by_more_than_their_steps(monkeypatch):
    growing = CALM[:300] * 1.1 ** np.maximum(np.arange(300) - 100, 0)
    whole = pid(growing, 100, 0.9)
    monkeypatch.setattr(intervals, "INTEGRAL", 0.0)
    assert whole[:1] == pid(growing, 100, 0.9)[:1] and (whole > 1.001 * pid(growing, 100, 0.9)).any()


@every_method
def test_a_series_that_never_moves_has_intervals_all_the_same(method):
    assert np.isfinite(method(np.zeros(100), 50, 0.9, 1)).all()


def test_the_interval_score_of_the_true_quantile_is_the_least():
    errors = np.random.default_rng(1).normal(size=200_000)
    costs = [interval_score(errors, np.full(200_000, z), 0.9).mean() for z in (1.5, 1.6449, 1.8)]
    assert costs[1] == min(costs) and costs[1] == pytest.approx(4.126, abs=0.02)  # 2 z + 40 (φ(z) - z (1 - Φ(z)))


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
