"""Drift: a statistic is what its definition says, and is laid beside every stretch as long of what came before."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from longshort.monitoring import drift
from longshort.monitoring.watch import MARGIN


def sessions(count, tickers=20, scale=1.0, seed=0):
    """Returns of sessions that share their news: (tickers,) each."""
    draw = np.random.default_rng(seed)
    return [scale * (0.7 * draw.normal() + 0.7 * draw.normal(size=tickers)) for _ in range(count)]


def test_psi_is_the_sum_over_tenths_of_the_reference():
    reference = [np.arange(100.0)]
    newest = [np.concatenate([np.full(50, 5.0), np.full(50, 95.0)])]
    nothing = drift.LEAST / (100 + 8 * drift.LEAST)
    half = 50 / (100 + 8 * drift.LEAST)
    by_hand = 2 * (half - 0.1) * math.log(half / 0.1) + 8 * (nothing - 0.1) * math.log(nothing / 0.1)
    assert drift.psi(reference * 4, newest).value == pytest.approx(by_hand)


def test_psi_of_the_same_distribution_is_none():
    assert drift.psi([np.arange(1000.0)] * 4, [np.arange(1000.0)]).value == pytest.approx(0.0, abs=1e-3)


def test_ks_is_that_of_scipy_but_for_what_lies_between_percentiles():
    reference, newest = sessions(200), sessions(20, scale=1.6, seed=1)
    exact = ks_2samp(np.concatenate(reference), np.concatenate(newest)).statistic
    assert exact - 0.02 <= drift.ks(reference, newest).value <= exact + 1e-12


def test_page_hinkley_is_pages_sum_and_its_highest():
    reference, newest = np.random.default_rng(0).normal(size=100), np.random.default_rng(1).normal(0.8, 1, size=15)
    total, highest = 0.0, 0.0
    for value in (newest - reference.mean()) / reference.std():
        total = max(0.0, total + value - drift.SLACK)
        highest = max(highest, total)
    assert drift.page_hinkley(reference, newest).value == pytest.approx(highest)


def test_what_is_usual_is_the_highest_of_every_stretch_as_long():
    reference, newest = sessions(60), sessions(9, seed=1)
    alone = [drift.ks(reference[:at] + reference[at + 9 :], reference[at : at + 9]).value for at in range(52)]
    # the percentiles are those of the whole reference there, so the figures differ a little
    assert drift.ks(reference, newest).usual == pytest.approx(max(alone), abs=0.05)
    means = [np.mean(each) for each in reference]
    stretches = [float(np.mean(means[at : at + 9])) for at in range(52)]
    assert drift.mean(means, [0.5] * 9) == drift.Found(0.5, pytest.approx(max(stretches)))


@pytest.mark.parametrize("statistic", [drift.psi, drift.ks], ids=lambda each: each.__name__)
def test_wilder_sessions_lie_beyond_what_is_usual_and_others_do_not(statistic):
    reference = sessions(250)
    wild, calm = (statistic(reference, sessions(20, scale=scale, seed=2)) for scale in (3.0, 1.0))
    assert wild.value > MARGIN * wild.usual and calm.value < calm.usual


def test_clusters_and_shared_news_are_no_drift_as_they_are_for_a_textbook_p_value():
    """The reason for the whole comparison: a calm month among calm and wild ones, which a p-value calls impossible."""
    scales = np.repeat([0.7, 1.4, 0.7, 1.4, 0.7, 1.4, 0.7, 1.4, 0.7, 1.4], 25)
    reference = [one for place, scale in enumerate(scales) for one in sessions(1, scale=scale, seed=place)]
    newest = [one for place in range(20) for one in sessions(1, scale=1.4, seed=1000 + place)]
    assert ks_2samp(np.concatenate(reference), np.concatenate(newest)).pvalue < 0.001
    found = drift.ks(reference, newest)
    assert found.value < MARGIN * found.usual


def test_a_reference_that_never_moves_is_no_division_by_zero():
    assert drift.page_hinkley(np.zeros(40), np.ones(10)).value == pytest.approx(10 * (1 - drift.SLACK))
