import math
import random
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr, t
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from longshort.errors import DataRefused
from longshort.evaluation.metrics import (
    bits_per_character,
    diebold_mariano,
    directional_accuracy,
    information_coefficients,
    information_ratio,
    loss_difference_test,
    mae,
    mase,
    perplexity,
    rmse,
    rmsse,
    skill,
    smape,
)

RANDOM = np.random.default_rng(7)
ACTUAL = RANDOM.normal(size=50)
FORECAST = ACTUAL + RANDOM.normal(size=50)
CLOSE, WIDE = RANDOM.normal(size=60), RANDOM.normal(size=60) * 3


def test_mae_and_rmse_agree_with_scikit_learn():
    assert mae(FORECAST, ACTUAL) == pytest.approx(mean_absolute_error(ACTUAL, FORECAST), rel=1e-14)
    assert rmse(FORECAST, ACTUAL) == pytest.approx(root_mean_squared_error(ACTUAL, FORECAST), rel=1e-14)


def test_mae_of_three_forecasts_worked_by_hand():
    assert mae([1.0, 5.0, 3.0], [2.0, 3.0, 3.0]) == 1.0  # (1 + 2 + 0) / 3


def test_a_score_is_the_same_over_windows_by_horizon_as_over_the_flat_array():
    assert rmse(FORECAST.reshape(25, 2), ACTUAL.reshape(25, 2)) == rmse(FORECAST, ACTUAL)


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_place(hole):
    with pytest.raises(DataRefused, match=r"forecast is -?(nan|inf) at \[1\]"):
        mae([1.0, hole], [1.0, 2.0])
    with pytest.raises(DataRefused, match="actual"):
        rmse([1.0, 2.0], [1.0, hole])


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(DataRefused, match="one to one"):
        mae(np.zeros((3, 1)), np.zeros(3))


def test_an_empty_part_is_refused():
    with pytest.raises(DataRefused, match="empty"):
        mae([], [])


def test_scores_leave_their_arguments_as_they_were():
    before = FORECAST.copy()
    mae(FORECAST, ACTUAL), rmse(FORECAST, ACTUAL), diebold_mariano(FORECAST, ACTUAL, 1)
    assert (before == FORECAST).all()


# --- scaled -----------------------------------------------------------------------------------


def test_mase_of_the_last_value_on_its_own_training_part_is_one():
    history = np.cumsum(RANDOM.normal(size=40))
    assert mase(history[:-1], history[1:], history) == pytest.approx(1.0)


def test_mase_divides_by_the_mean_step_of_the_training_part():
    assert mase([12.0, 18.0], [15.0, 15.0], train_history=[10.0, 12.0, 8.0]) == 1.0  # 3 / ((2 + 4) / 2)


def test_rmsse_of_the_last_value_on_its_own_training_part_is_one():
    history = np.cumsum(RANDOM.normal(size=40))
    assert rmsse(history[:-1], history[1:], history) == pytest.approx(1.0)


@pytest.mark.parametrize("score", [mase, rmsse])
def test_a_scaled_error_refuses_a_history_that_never_moves(score):
    with pytest.raises(DataRefused, match="5 at all of its 3 steps"):
        score([1.0], [1.0], train_history=[5.0, 5.0, 5.0])


@pytest.mark.parametrize("score", [mase, rmsse])
def test_a_scaled_error_refuses_a_history_of_one_step(score):
    with pytest.raises(DataRefused, match="two steps or more"):
        score([1.0], [1.0], train_history=[5.0])


# what utilsforecast 0.2.17 (Nixtla) gave for these two series; its smape is half of the M competitions'
LEVELS = {"A": [100.0, 103.0, 101.0, 106.0], "B": [20.0, 19.0, 19.5, 22.0]}
CAME, SAID = {"A": [108.0, 107.0], "B": [21.0, 25.0]}, {"A": [105.0, 109.5], "B": [22.5, 22.0]}


@pytest.mark.parametrize(
    ("score", "a", "b"),
    [
        (mase, 0.825, 1.6875),
        (rmsse, 0.7758696309371351, 1.5),
        (lambda said, came, _: smape(said, came) / 2, 0.012815925576554012, 0.0491562729273661),
    ],
    ids=["mase", "rmsse", "smape"],
)
def test_scaled_errors_are_those_of_another_library(score, a, b):
    assert [score(SAID[name], CAME[name], LEVELS[name]) for name in "AB"] == pytest.approx([a, b], rel=1e-12)


def test_smape_of_the_largest_miss_is_two_and_of_nothing_for_nothing_zero():
    assert (smape([5.0], [0.0]), smape([-1.0], [3.0]), smape([0.0], [0.0])) == (2, 2, 0)


def test_skill_is_zero_for_naive_one_for_perfect_and_negative_below_naive():
    naive = ACTUAL + 1
    assert skill(naive, naive, ACTUAL) == 0
    assert skill(ACTUAL, naive, ACTUAL) == 1
    assert skill(ACTUAL + 2, naive, ACTUAL) == pytest.approx(-1)


def test_skill_refuses_a_naive_forecast_without_error():
    with pytest.raises(DataRefused, match="never move"):
        skill(FORECAST, ACTUAL, ACTUAL)


# --- direction --------------------------------------------------------------------------------


def test_days_without_a_change_are_not_counted():
    share, _, _, n = directional_accuracy([1.0, -1.0, 0.0, 1.0], [2.0, 3.0, 0.0, 0.0], confidence=0.95)
    assert (share, n) == (0.5, 2)


def test_a_forecast_of_no_change_is_a_miss():
    assert directional_accuracy([0.0, 0.0], [1.0, -1.0], confidence=0.95)[0] == 0


def test_only_nothing_moving_has_no_direction():
    with pytest.raises(DataRefused, match="no direction"):
        directional_accuracy([1.0, -1.0], [0.0, 0.0], confidence=0.95)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_one_of_newcombes_table_of_1998(hits, n, low, high):
    named = np.where(np.arange(n) < hits, 1.0, -1.0)
    assert directional_accuracy(named, np.ones(n), confidence=0.95)[1:3] == pytest.approx((low, high), abs=5e-5)


def test_the_interval_follows_wilsons_formula_at_another_confidence():
    named = np.where(np.arange(40) < 25, 1.0, -1.0)
    p, n, z = 25 / 40, 40, NormalDist().inv_cdf(0.95)  # two-sided 90 %
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert directional_accuracy(named, np.ones(40), confidence=0.9)[:3] == pytest.approx((p, middle - half, middle + half))


# --- several tickers ------------------------------------------------------------------------------

DAYS = np.repeat(np.arange(12), 9)
CHANGE, GUESS = RANDOM.normal(size=108), np.round(RANDOM.normal(size=108), 1)  # rounded, so that there are ties


@pytest.mark.parametrize(("ranks", "peer"), [(False, pearsonr), (True, spearmanr)])
def test_information_coefficients_are_scipys_correlations_day_by_day(ranks, peer):
    shuffled = RANDOM.permutation(108)
    found = information_coefficients(GUESS[shuffled], CHANGE[shuffled], DAYS[shuffled], ranks)
    assert found == pytest.approx([peer(GUESS[day == DAYS], CHANGE[day == DAYS]).statistic for day in range(12)], rel=1e-12)


def test_a_day_that_cannot_be_judged_is_left_out():
    days = np.array([1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4])
    guess = np.array([1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0])
    came = np.array([1.0, 2.0, 1.0, 2.0, 3.0, 5.0, 5.0, 5.0, 3.0, 2.0, 1.0])
    assert information_coefficients(guess, came, days).tolist() == pytest.approx([-1.0])


def test_tickers_are_compared_within_a_day_and_not_across_days():
    days, order = np.repeat([1, 2], 3), np.array([1.0, 2.0, 3.0])
    assert information_coefficients(np.tile(order, 2), np.concatenate([order + 100, order - 100]), days) == pytest.approx([1, 1])


def test_the_information_ratio_is_the_mean_over_the_standard_deviation():
    daily = RANDOM.normal(size=20)
    assert information_ratio(daily) == pytest.approx(daily.mean() / daily.std(ddof=1))


@pytest.mark.parametrize("daily", [[0.1], [0.5, 0.5]])
def test_an_information_ratio_without_spread_is_refused(daily):
    with pytest.raises(DataRefused, match="no spread"):
        information_ratio(daily)


# --- Diebold and Mariano ------------------------------------------------------------------------


def written_out(errors_a, errors_b, horizon):
    """Diebold and Mariano's statistic with Harvey, Leybourne and Newbold's factor, in loops."""
    n, h = len(errors_a), horizon
    d = [a * a - b * b for a, b in zip(errors_a, errors_b, strict=True)]
    mean = sum(d) / n
    variance = 0.0
    for lag in range(h):
        covariance = sum((d[i] - mean) * (d[i - lag] - mean) for i in range(lag, n)) / n
        variance += covariance if lag == 0 else 2 * covariance
    statistic = mean / math.sqrt(variance / n) * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    return statistic, 2 * t.cdf(-abs(statistic), n - 1)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5])
def test_the_statistic_is_the_formula_written_out(horizon):
    assert diebold_mariano(CLOSE, WIDE, horizon) == pytest.approx(written_out(CLOSE, WIDE, horizon), rel=1e-10)


@pytest.mark.parametrize(("horizon", "statistic", "p_value"), [(1, -2.6679, 0.07583), (2, -2.0196, 0.1367)])
def test_the_statistic_is_the_published_one(horizon, statistic, p_value):
    """Figures of another implementation's own tests (dm_test in Julia): actual 100, 102, 104, 108, squared loss."""
    actual = np.array([100.0, 102.0, 104.0, 108.0])
    a, b = np.array([98.0, 101.0, 103.0, 109.0]), np.array([97.0, 100.0, 105.0, 110.0])
    assert diebold_mariano(a - actual, b - actual, horizon) == pytest.approx((statistic, p_value), abs=5e-5)


def as_python_2_drew_them(count):
    """random.sample(range(count), count) as Python 2 drew it."""
    pool, drawn = list(range(count)), []
    for place in range(count):
        chosen = int(random.random() * (count - place))
        drawn.append(pool[chosen])
        pool[chosen] = pool[count - place - 1]
    return np.array(drawn, float)


def test_the_statistic_is_the_published_one_of_a_hundred_steps():
    """The worked example in the README of johntwk/Diebold-Mariano-Test (2017), squared loss."""
    before = random.getstate()
    random.seed(123)
    actual, a, b = (as_python_2_drew_them(100) for _ in range(3))
    random.setstate(before)
    assert diebold_mariano(a - actual, b - actual, 1) == pytest.approx((1.2112523589452902, 0.22868210381769466), rel=1e-12)


def test_any_loss_can_be_compared():
    assert loss_difference_test(np.square(CLOSE) - np.square(WIDE), 3) == diebold_mariano(CLOSE, WIDE, 3)
    assert loss_difference_test(np.abs(CLOSE) - np.abs(WIDE), 1)[0] < 0


def test_a_negative_variance_is_weighted_as_forecasts_own_bartlett_estimator_weights_it():
    """R's forecast (8.20 and later, varestimator = "bartlett"): covariances of lag k times 1 - k / h. Written out here."""
    errors, flat, h = np.where(np.arange(20) % 2, 2.0, 1.0), np.full(20, 1.4), 3
    d = np.square(errors) - np.square(flat)
    centred, n = d - d.mean(), 20
    plain = [sum(centred[lag:] * centred[: n - lag]) / n for lag in range(h)]
    assert plain[0] + 2 * plain[1] < 0  # what horizon 2 would divide by
    weighted = (plain[0] + 2 * (1 - 1 / 2) * plain[1]) / n
    expected = d.mean() / math.sqrt(weighted) * math.sqrt((n + 1 - 4 + 2 / n) / n)
    assert diebold_mariano(errors, flat, 2)[0] == pytest.approx(expected)


def test_negative_means_that_the_first_is_better():
    statistic, p_value = diebold_mariano(CLOSE, WIDE, 1)
    assert statistic < 0 and p_value < 0.01


def test_exchanging_the_forecasts_turns_the_sign_and_keeps_p():
    statistic, p_value = diebold_mariano(CLOSE, WIDE, 3)
    assert diebold_mariano(WIDE, CLOSE, 3) == (-statistic, p_value)


def test_identical_errors_give_zero_and_one():
    assert diebold_mariano(CLOSE, CLOSE, 4) == (0.0, 1.0)
    assert diebold_mariano(CLOSE, -CLOSE, 4) == (0.0, 1.0)


def test_p_is_uniform_when_neither_forecast_is_better():
    pairs = np.random.default_rng(0).normal(size=(2, 2000, 40))
    rejected = np.mean([diebold_mariano(a, b, 1)[1] < 0.1 for a, b in zip(*pairs, strict=True)])
    assert rejected == pytest.approx(0.1, abs=0.02)


def test_a_variance_that_would_be_negative_is_weighted_until_it_is_not():
    alternating = np.where(np.arange(20) % 2, 2.0, 1.0)
    statistic, p_value = diebold_mariano(alternating, np.full(20, 1.4), 2)
    assert math.isfinite(statistic) and 0 < p_value < 1


@pytest.mark.parametrize("constant", [1.0, 0.1])
def test_losses_that_differ_by_a_constant_cannot_be_tested(constant):
    with pytest.raises(DataRefused, match="without variance"):
        diebold_mariano(np.full(7, constant), np.full(7, 3 * constant), 1)


@pytest.mark.parametrize("horizon", [0, 3, 9])
def test_fewer_steps_than_the_horizon_needs_are_refused(horizon):
    with pytest.raises(DataRefused, match=r"shape \(3,\)"):
        diebold_mariano([1.0, 2.0, 3.0], [2.0, 2.0, 2.0], horizon)


# --- language models ----------------------------------------------------------------------------


def test_a_uniform_guess_has_the_perplexity_of_its_vocabulary():
    assert perplexity(math.log(10_000)) == pytest.approx(10_000)


@pytest.mark.parametrize("nats", [math.nan, math.inf, -math.inf, 710.0])
def test_a_perplexity_that_is_no_number_is_refused(nats):
    with pytest.raises(DataRefused, match="no finite perplexity"):
        perplexity(nats)


def test_a_fair_bit_for_every_character_is_one_bit_per_character():
    assert bits_per_character(100 * math.log(2), 100) == pytest.approx(1)


@pytest.mark.parametrize(("nats", "characters"), [(math.nan, 3), (math.inf, 3), (1.0, 0)])
def test_bits_per_character_refuses_no_nats_and_no_text(nats, characters):
    with pytest.raises(DataRefused, match="bits per character"):
        bits_per_character(nats, characters)
