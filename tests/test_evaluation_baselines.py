"""Evaluation, baselines of prices: each is what its definition says, knows nothing of the test part, and is the same each time."""

import dataclasses

import numpy as np
import pytest

from longshort import config
from longshort.evaluation.baselines import PENALTIES, Baselines, Constants, last_value, places, training_levels
from longshort.windows import prices
from longshort.windows.files import PriceData

SPEC = config.PriceWindows(
    lookback=8, horizon=3, target="log_return", features=["log_return"], scaler="standard", gap=3, max_gap=5, validation=0.2, test=0.2
)
NAMES = ["last_value", "drift", "mean_return", "seasonal_naive", "ar1", "ridge", "lightgbm"]


def walk(count, seed, share=0.0, mean=0.0):
    """Levels whose log-returns follow one another by ``share``."""
    shocks = np.random.default_rng(seed).normal(mean, 0.02, count)
    returns = np.zeros(count)
    for step in range(1, count):
        returns[step] = share * returns[step - 1] + shocks[step]
    return 100 * np.exp(np.cumsum(returns))


def data_of(levels, spec=SPEC):
    """A data set from the levels of each ticker, as `windows` would cut it."""
    days = {ticker: np.arange(len(own)) + np.datetime64("2020-01-01") for ticker, own in levels.items()}
    table = {
        "ticker": np.concatenate([np.full(len(own), ticker) for ticker, own in levels.items()]),
        "date": np.concatenate(list(days.values())).astype("datetime64[D]"),
        **{name: np.concatenate(list(levels.values())) for name in ("open", "high", "low", "close", "volume")},
    }
    series = prices.make_series(table, spec, lambda dates: dates.astype(np.int64))
    parts = prices.make_parts(series, spec)
    return PriceData(spec, series, parts, prices.fit_scaler(series, parts["train"], spec), "none")


@pytest.fixture(scope="module")
def data():
    return data_of({"AAA": walk(400, 1, share=0.6), "BBB": walk(400, 2, mean=0.005)})


@pytest.fixture(scope="module")
def fitted(data):
    return Baselines.fit(data)


@pytest.fixture(scope="module")
def said(data, fitted):
    return fitted.forecast(data.parts["test"])


def origins(data):
    windows = data.parts["test"]
    return windows.origins(np.arange(len(windows)))


def test_the_last_value_is_the_forecast_of_every_step():
    assert last_value([3.0, 5.0], horizon=3).tolist() == [[3.0] * 3, [5.0] * 3]


def test_every_baseline_names_a_level_for_each_step_of_each_window(data, said):
    assert list(said) == NAMES
    for levels in said.values():
        assert levels.shape == (len(data.parts["test"]), 3) and np.isfinite(levels).all()


def test_drift_goes_on_by_the_mean_change_of_its_own_tickers_training_part(data, said):
    last, whose = data.series.price[origins(data)], places(data.series, origins(data))
    for place, ticker in enumerate(("AAA", "BBB")):
        (train,) = training_levels(data)[ticker]
        change = (train[-1] - train[0]) / (len(train) - 1)
        rows = whose == place
        assert said["drift"][rows] == pytest.approx(last[rows, None] + change * np.array([1, 2, 3]))
        rate = (train[-1] / train[0]) ** (1 / (len(train) - 1))
        assert said["mean_return"][rows] == pytest.approx(last[rows, None] * rate ** np.array([1, 2, 3]))


def test_the_seasonal_naive_repeats_the_session_of_a_week_before(data, said):
    price, at = data.series.price, origins(data)
    assert (said["seasonal_naive"] == price[at[:, None] + np.array([1, 2, 3]) - 5]).all()


def test_beyond_a_week_the_seasonal_naive_repeats_the_newest_one_again():
    data = data_of({"AAA": walk(400, 1)}, SPEC.model_copy(update={"horizon": 12, "gap": 12}))
    at = origins(data)
    offsets = np.array([-4, -3, -2, -1, 0] * 3)[:12]
    assert (Baselines.fit(data).forecast(data.parts["test"])["seasonal_naive"] == data.series.price[at[:, None] + offsets]).all()


def test_ar1_is_the_line_that_least_squares_draws_through_returns_and_those_before_them(data, fitted, said):
    (train,) = training_levels(data)["AAA"]
    returns = np.diff(np.log(train))
    slope, constant = np.polyfit(returns[:-1], returns[1:], 1)
    own = fitted.constants["AAA"]
    assert (own.share, own.begin) == pytest.approx((slope, constant)) and slope > 0.3
    at = origins(data)[0]
    newest, level = np.log(data.series.price[at] / data.series.price[at - 1]), data.series.price[at]
    for step in range(3):
        newest = constant + slope * newest
        level *= np.exp(newest)
        assert said["ar1"][0, step] == pytest.approx(level)


def test_ridge_is_the_penalised_line_of_the_normal_equations(data, said):
    def cut(part):
        windows = data.parts[part]
        numbers = np.arange(len(windows))
        at = windows.origins(numbers)
        came = data.series.price[at[:, None] + np.array([1, 2, 3])] / data.series.price[at][:, None] - 1
        return data.scaler.apply(windows.gather(data.series.values, numbers)[0]).reshape(len(numbers), -1).astype(float), came

    seen, came = cut("train")
    middle, mean = seen.mean(axis=0), came.mean(axis=0)
    lines = []
    for penalty in PENALTIES:
        weights = np.linalg.solve((seen - middle).T @ (seen - middle) + penalty * np.eye(seen.shape[1]), (seen - middle).T @ (came - mean))
        lines.append(lambda windows, weights=weights: mean + (windows - middle) @ weights)
    later, came_later = cut("validation")
    best = min(lines, key=lambda line: np.square(line(later) - came_later).mean())
    last = data.series.price[origins(data)][:, None]
    assert said["ridge"] == pytest.approx(last * (1 + best(cut("test")[0])), rel=1e-9)


@pytest.mark.parametrize("name", ["ar1", "ridge", "lightgbm"])
def test_what_learns_beats_the_last_value_where_returns_follow_one_another(name):
    data = data_of({"AAA": walk(2_000, 5, share=0.8)})
    actual = data.series.price[origins(data)[:, None] + np.array([1, 2, 3])]
    said = Baselines.fit(data).forecast(data.parts["test"])
    wrong = {key: np.square(levels - actual).mean() for key, levels in said.items()}
    assert wrong[name] < 0.9 * wrong["last_value"]


def test_fitting_twice_gives_the_same_bits(data, said):
    again = Baselines.fit(data).forecast(data.parts["test"])
    assert all((again[name] == said[name]).all() for name in NAMES)


@pytest.mark.parametrize(("part", "names"), [("test", NAMES), ("validation", ["drift", "mean_return", "ar1"])])
def test_what_comes_after_a_part_changes_nothing_that_is_fitted_before_it(data, fitted, part, names):
    values, price = data.series.values.copy(), data.series.price.copy()
    first = data.series.dates[origins_of(data, part)[0] + 1]
    later = data.series.dates >= first
    values[later], price[later] = 0.5, 1.0
    other = Baselines.fit(dataclasses.replace(data, series=dataclasses.replace(data.series, values=values, price=price)))
    before, after = (each.forecast(data.parts["train"]) for each in (fitted, dataclasses.replace(other, data=data)))
    assert all((before[name] == after[name]).all() for name in names)


def origins_of(data, part):
    windows = data.parts[part]
    return windows.origins(np.arange(len(windows)))


def test_a_ticker_with_hardly_a_training_part_has_no_constants():
    assert Constants.fit([walk(31, 0)]) != Constants()
    assert Constants.fit([walk(30, 0)]) == Constants() == Constants.fit([])
    late = data_of({"AAA": walk(400, 1), "NEW": walk(400, 2)})
    young = dataclasses.replace(Baselines.fit(late), constants={"AAA": Constants(change=1.0)})
    said = young.forecast(late.parts["test"])
    new = places(late.series, origins(late)) == 1
    assert all((said[name][new] == said["last_value"][new]).all() for name in ("drift", "mean_return", "ar1"))
    assert (said["drift"][~new] > said["last_value"][~new]).all()


def test_a_lookback_of_one_session_is_enough():
    data = data_of({"AAA": walk(400, 1)}, SPEC.model_copy(update={"lookback": 1}))
    said = Baselines.fit(data).forecast(data.parts["test"])
    assert all(np.isfinite(levels).all() for levels in said.values())
    assert (said["seasonal_naive"] == said["last_value"]).all()
