import numpy as np

from longshort.evaluation.baselines import last_value


def test_the_last_value_is_the_forecast_of_every_step():
    assert last_value([3.0, 5.0], horizon=3).tolist() == [[3.0] * 3, [5.0] * 3]


def test_the_last_value_forecasts_no_change():
    levels = np.array([3.0, 5.0, 4.0])
    assert (last_value(levels, horizon=1)[:, 0] - levels == 0).all()
