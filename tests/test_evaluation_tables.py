"""Evaluation, tables: each row is what the whole would be of its windows alone."""

import numpy as np
import pytest

from longshort.evaluation import metrics, tables, texts
from longshort.evaluation.forecasts import Outcomes

DRAW = np.random.default_rng(0)
COUNT = 40
TICKERS = np.repeat(["A", "B"], COUNT // 2)
LAST = DRAW.uniform(50, 150, COUNT)
ACTUAL = LAST[:, None] * (1 + DRAW.normal(0, 0.02, (COUNT, 2)))
DAYS = np.tile(np.arange(COUNT // 2), 2) + np.datetime64("2020-01-01")


def outcomes(seed):
    return Outcomes(TICKERS, DAYS, LAST, ACTUAL, LAST[:, None] * (1 + np.random.default_rng(seed).normal(0, 0.01, (COUNT, 2))))


HALVES = {seed: np.linspace(0.005, 0.03 + seed / 100, 2 * COUNT).reshape(COUNT, 2) for seed in (1, 2)}
SEEDS = [tables.Scored(outcomes(seed), np.stack([-half, 1.5 * half], axis=-1)) for seed, half in HALVES.items()]


def named(table):
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_a_row_a_step_holds_the_figures_of_that_step_mean_and_spread_over_seeds():
    rows = named(tables.by_step(SEEDS, 0.9))
    assert [row["step"] for row in rows] == [1, 2] and [row["windows"] for row in rows] == [COUNT, COUNT]
    for step, row in enumerate(rows):
        each = [metrics.rmse(seed.found.forecast[:, step], ACTUAL[:, step]) for seed in SEEDS]
        assert (row["rmse"], row["rmse_sd"]) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
        naive = metrics.rmse(LAST, ACTUAL[:, step])
        assert (row["naive_rmse"], row["skill"]) == pytest.approx((naive, 1 - np.mean(each) / naive))


def test_a_row_a_ticker_holds_the_figures_of_its_windows():
    rows = named(tables.by("ticker", TICKERS, SEEDS, 0.9))
    assert [row["ticker"] for row in rows] == ["A", "B"]
    for row in rows:
        own = row["ticker"] == TICKERS
        each = [seed.found.only(own) for seed in SEEDS]
        assert row["mae"] == pytest.approx(np.mean([metrics.mae(one.forecast, one.actual) for one in each]))
        shares = [metrics.directional_accuracy(one.forecast - one.naive, one.actual - one.naive, 0.95)[0] for one in each]
        assert row["directional_accuracy"] == pytest.approx(np.mean(shares))
        errors = [(each.found.errors[own], half[own]) for each, half in zip(SEEDS, HALVES.values(), strict=True)]
        held = [np.mean((-half <= error) & (error <= 1.5 * half)) for error, half in errors]
        assert (row["coverage"], row["coverage_sd"]) == pytest.approx((np.mean(held), np.std(held, ddof=1)))


def test_a_fold_is_one_more_grouping_in_the_order_asked_for():
    folds = np.tile([2, 1], COUNT // 2)
    assert [row[0] for row in tables.by("fold", folds, SEEDS, 0.9).rows] == [1, 2]
    assert [row[0] for row in tables.by("fold", folds, SEEDS, 0.9, order=(2, 3, 1)).rows] == [2, 1]


def test_one_seed_has_no_spread():
    assert {value for name, value in named(tables.by_step(SEEDS[:1], 0.9))[0].items() if name.endswith("_sd")} == {0.0}


def test_seeds_that_say_the_same_have_no_spread():
    assert tables.spread([0.1 + 0.2] * 3) == 0.0 and np.isnan(tables.spread([np.nan, np.nan]))


def test_what_is_not_defined_is_not_a_number():
    still = Outcomes(TICKERS, DAYS, LAST, np.repeat(LAST[:, None], 2, axis=1), ACTUAL)
    (row, _) = named(tables.by_step([tables.Scored(still, np.full((COUNT, 2, 2), np.nan))], 0.9))
    assert all(np.isnan(row[name]) for name in ("skill", "directional_accuracy", "coverage", "interval_score"))


def test_volatility_is_the_root_mean_square_of_the_returns_that_the_window_saw():
    price = np.exp(np.cumsum(DRAW.normal(0, 0.1, 60)))
    returns = np.diff(np.log(price))
    assert tables.volatility(price, np.array([30, 40]), lookback=9) == pytest.approx(
        [np.sqrt(np.mean(returns[at - 8 : at] ** 2)) for at in (30, 40)]
    )
    assert tables.volatility(price, np.array([30]), lookback=60) == pytest.approx(np.sqrt(np.mean(returns[10:30] ** 2)))
    assert np.isnan(tables.volatility(price, np.array([30]), lookback=1)).all()


def test_volatility_does_not_see_what_comes_after_the_origin():
    price = np.exp(np.cumsum(DRAW.normal(0, 0.1, 60)))
    other = price.copy()
    other[31:] = 1
    assert tables.volatility(price, np.array([30]), 20) == tables.volatility(other, np.array([30]), 20)


def test_regimes_are_the_thirds_of_the_training_part_and_of_nothing_else():
    then = np.arange(1.0, 10.0)
    assert tables.regimes(np.array([0.1, 3.0, 5.0, 7.0, 99.0]), then).tolist() == ["calm", "calm", "middle", "rough", "rough"]
    assert tables.regimes(np.array([5.0, 5.1, 5.2]), then).tolist() == ["middle"] * 3
    assert set(tables.regimes(np.ones(2), np.empty(0))) == set(tables.regimes(np.array([np.nan]), then)) == {"unknown"}


def test_the_methods_of_intervals_stand_beside_one_another_one_step_ahead():
    bands = {name: {0: np.tile([-half, half], (COUNT, 1, 1))} for name, half in (("narrow", 0.01), ("wide", 0.05))}
    narrow, wide = named(tables.of_methods({0: SEEDS[0].found}, bands, 0.9))
    assert (narrow["method"], narrow["interval_width"], wide["interval_width"]) == ("narrow", pytest.approx(0.02), pytest.approx(0.1))
    assert narrow["coverage"] == np.mean(np.abs(SEEDS[0].found.errors[:, 0]) <= 0.01) < wide["coverage"]


def test_the_backtest_holds_what_each_forecasts_first_step_says_rises():
    one = SEEDS[0].found
    falls = one.saying(one.naive * [0.9, 1.1])
    rows = {row["strategy"]: row for row in named(tables.of_backtest({0: falls}, {"drift": one, "last_value": one}, 0.0))}
    assert list(rows) == ["networks", "drift", "always held"]
    assert rows["networks"]["held"] == 0 and 0 < rows["drift"]["held"] < 1 and rows["always held"]["held"] == 1


def test_a_texts_losses_are_by_how_often_a_word_was_seen_in_training():
    seen = np.array([0, 1, 9, 10, 99, 2_000])
    seeds = {0: np.arange(6.0), 1: np.arange(6.0) + 1}
    rows = named(texts.by_frequency(seeds, {"unigram": np.full(6, 7.0)}, seen))
    assert [(row["seen_at_least"], row["tokens"]) for row in rows] == [(0, 1), (1, 2), (10, 2), (1_000, 1)]
    assert [row["loss"] for row in rows] == [0.5, 2.0, 4.0, 5.5]
    assert {row["unigram"] for row in rows} == {7.0} and rows[0]["loss_sd"] == pytest.approx(np.sqrt(0.5))
