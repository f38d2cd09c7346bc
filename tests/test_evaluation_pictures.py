import struct
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import time_machine
from matplotlib import rc_context, rcParams
from matplotlib.cbook import get_sample_data
from scipy.optimize import isotonic_regression

from longshort.evaluation import pictures

RANDOM = np.random.default_rng(0)
GOOGLE = get_sample_data("goog.npz")["price_data"]
DATES, CLOSE = GOOGLE["date"].astype("datetime64[D]")[-200:], GOOGLE["close"].astype(np.float64)
ACTUAL, NAIVE = CLOSE[-200:], CLOSE[-201:-1]
FORECASTS = NAIVE * np.exp(RANDOM.normal(0, 0.004, (3, 200)))
SEEN = RANDOM.choice([0, 3, 40, 700, 20_000], 500)
TRIGRAM = RANDOM.gamma(2, 2, 500)


def history(epochs):
    return [{"epoch": n, "train_loss": 1 + 1 / n, "validation_loss": 1.1 + 1 / n} for n in range(1, epochs + 1)]


def loss_curves(**changed):
    given = {"histories": {0: history(9), 1: history(6)}, "naive_loss": 1.3, "best_epochs": {0: 9, 1: 6}, "title": "loss", "unit": "MSE"}
    return pictures.loss_curves(**given | changed)


def forecast_against_actual(**changed):
    given = {"dates": DATES, "actual": ACTUAL, "forecasts": FORECASTS, "naive": NAIVE, "title": "RMSE $8.41, naive $8.42", "unit": "$"}
    return pictures.forecast_against_actual(**given | changed)


def residuals(**changed):
    given = {"dates": DATES, "errors": FORECASTS[0] - ACTUAL, "naive_errors": NAIVE - ACTUAL, "title": "errors", "unit": "$"}
    return pictures.residuals(**given | changed)


def token_losses(**changed):
    seeds = np.stack([TRIGRAM * 0.9, TRIGRAM * 0.8])
    given = {"model_nats": seeds, "unigram_nats": TRIGRAM * 2, "trigram_nats": TRIGRAM, "seen": SEEN, "title": "perplexity"}
    return pictures.token_losses(**given | changed)


def around(shape, half):
    return np.stack([np.full(shape, -half), np.full(shape, half)], axis=-1)


def intervals(**changed):
    change = ACTUAL / NAIVE - 1
    seeds = FORECASTS / NAIVE - 1
    given = {"dates": DATES, "came": change, "forecasts": seeds, "bands": around((3, 200), 0.03), "fixed": around((3, 200), 0.02)}
    return pictures.intervals(**given | {"coverage": 0.9, "title": "intervals"} | changed)


PICTURES = [loss_curves, forecast_against_actual, residuals, token_losses, intervals]
every_picture = pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)


@pytest.mark.few(2)
@every_picture
def test_a_picture_is_a_png_of_1600_pixels_width(draw):
    png = draw()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">I", png[16:20])[0] == 1600


@pytest.mark.few(2)
@every_picture
def test_the_same_numbers_give_the_same_bytes_an_hour_later(draw):
    now = datetime(2024, 2, 28, 23, 30, tzinfo=UTC)
    with time_machine.travel(now):
        first = draw()
    with time_machine.travel(now + timedelta(hours=1)):
        assert draw() == first


@pytest.mark.few(2)
@every_picture
def test_a_persons_own_matplotlib_settings_change_nothing_and_stay_as_they_were(draw):
    first = draw()
    with rc_context({"font.size": 22, "axes.facecolor": "pink", "savefig.dpi": 30, "text.parse_math": True}):
        before = dict(rcParams)
        assert draw() == first
        assert dict(rcParams) == before


@pytest.mark.few(2)
@every_picture
def test_another_title_is_another_picture(draw):
    assert draw(title="another") != draw()


@pytest.mark.long
def test_another_naive_line_is_another_picture():
    assert loss_curves(naive_loss=1.2) != loss_curves()
    assert forecast_against_actual(naive=NAIVE + 1) != forecast_against_actual()
    assert residuals(naive_errors=NAIVE - ACTUAL + 1) != residuals()
    assert token_losses(trigram_nats=TRIGRAM + 1) != token_losses()


@pytest.mark.long
def test_other_widths_another_share_and_another_change_are_other_pictures():
    wider, moved = around((3, 200), 0.04), ACTUAL / NAIVE - 0.9
    higher = wider + 0.01
    others = ({"bands": wider}, {"bands": higher}, {"fixed": wider}, {"coverage": 0.8}, {"came": moved})
    assert len({intervals(), *(intervals(**other) for other in others)}) == 6


def test_a_trailing_share_is_of_the_last_fifty_and_says_nothing_of_the_first_nineteen():
    held = np.repeat([1.0, 0.0], 60)
    share = pictures._trailing_share(held)
    assert np.isnan(share[:19]).all() and (share[19:60] == 1).all()
    assert share[[60, 84, 109]].tolist() == [0.98, 0.5, 0.0]
    assert pictures._trailing_share(held[:5]).tolist()[4] == 1


@pytest.mark.long
def test_only_the_newest_120_sessions_of_a_forecast_are_shown():
    older, shown = NAIVE.copy(), NAIVE.copy()
    older[-121] += 30
    shown[-120] += 30
    assert forecast_against_actual(naive=older) == forecast_against_actual()
    assert forecast_against_actual(naive=shown) != forecast_against_actual()


def test_the_smallest_runs_can_be_drawn():
    assert loss_curves(histories={0: history(1)}, best_epochs={0: 1})
    assert forecast_against_actual(dates=DATES[:1], actual=ACTUAL[:1], forecasts=FORECASTS[:1, :1], naive=NAIVE[:1])
    assert residuals(dates=DATES[:1], errors=[1.0], naive_errors=[1.0])
    one = np.full((1, 1), 0.01)
    assert intervals(dates=DATES[:1], came=[0.02], forecasts=one, bands=around((1, 1), 0.01), fixed=around((1, 1), 0.01))
    assert token_losses(model_nats=[[1.0]], unigram_nats=[1.0], trigram_nats=[1.0], seen=[0])


def test_losses_that_span_a_factor_of_ten_can_be_drawn():
    steep = [{"epoch": n, "train_loss": 10.0**-n, "validation_loss": 2 * 10.0**-n} for n in range(1, 6)]
    assert loss_curves(histories={0: steep}, best_epochs={0: 5})


def test_a_title_with_amounts_of_money_is_not_read_as_a_formula():
    assert forecast_against_actual(title=r"RMSE $8.41, \frac$") != forecast_against_actual()


def test_drawing_imports_no_pyplot_and_importing_imports_no_matplotlib():
    code = (
        "import sys; from longshort.evaluation import pictures; assert 'matplotlib' not in sys.modules; "
        "pictures.residuals(['2024-01-02'], [1.0], [2.0], 'errors', '$'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_labels_move_as_little_as_isotonic_regression_says():
    random = np.random.default_rng(0)
    for length in range(1, 7):
        values = random.normal(size=length)
        assert pictures._isotonic(values) == pytest.approx(isotonic_regression(values).x)
