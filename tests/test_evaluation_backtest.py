"""Evaluation, backtest: an illustration, whose sums are right."""

import numpy as np
import pytest

from longshort.evaluation.backtest import long_flat

ONE, DAYS = np.full(4, "A"), np.arange(4)
CAME = np.array([0.10, -0.20, 0.05, 0.10])


def test_a_forecast_that_always_rises_is_the_market_less_the_cost_of_buying_it():
    told = long_flat(ONE, DAYS, np.ones(4), CAME, cost=0.01)
    assert told["return"] == pytest.approx(1.1 * 0.8 * 1.05 * 1.1 * 0.99 - 1)
    assert told["turnover"] == 0.25 and told["held"] == 1
    assert told["costs"] == pytest.approx(0.01)


def test_without_a_position_nothing_is_won_lost_or_paid():
    assert long_flat(ONE, DAYS, -np.ones(4), CAME, cost=0.01) == dict.fromkeys(("return", "costs", "drawdown", "turnover", "held"), 0.0)


def test_a_forecast_of_no_change_holds_nothing():
    assert long_flat(ONE, DAYS, np.zeros(4), CAME, cost=0.0)["held"] == 0


def test_each_change_of_position_costs():
    told = long_flat(ONE, DAYS, np.array([1.0, -1.0, 1.0, -1.0]), CAME, cost=0.01)
    assert told["return"] == pytest.approx(1.1 * 0.99 * 0.99 * 1.05 * 0.99 * 0.99 - 1)
    assert told["turnover"] == 1 and told["held"] == 0.5


def test_drawdown_is_the_deepest_fall_from_a_height():
    came = np.array([0.5, -0.5, 1.0, -0.25])
    assert long_flat(ONE, DAYS, np.ones(4), came, cost=0.0)["drawdown"] == pytest.approx(0.5)
    assert long_flat(ONE, DAYS, np.ones(4), -np.abs(came) / 2, cost=0.0)["drawdown"] == pytest.approx(1 - 0.75 * 0.75 * 0.5 * 0.875)


def test_tickers_share_the_capital_of_their_session_in_any_order():
    tickers, days = np.array(["A", "B", "A"]), np.array([0, 0, 1])
    said, came = np.array([1.0, -1.0, 1.0]), np.array([0.2, 9.0, 0.1])
    told = long_flat(tickers, days, said, came, cost=0.0)
    assert told["return"] == pytest.approx(1.1 * 1.1 - 1) and told["turnover"] == pytest.approx(0.5)
    turned = [2, 1, 0]
    assert long_flat(tickers[turned], days[turned], said[turned], came[turned], cost=0.0) == told


def test_a_ticker_that_has_no_forecast_any_more_is_sold():
    tickers, days = np.array(["A", "B", "B"]), np.array([0, 0, 1])
    told = long_flat(tickers, days, np.ones(3), np.zeros(3), cost=0.1)
    assert told["turnover"] == pytest.approx((1 + 1) / 2)  # half each bought; then A sold and the other half of B bought
