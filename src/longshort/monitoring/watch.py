"""Watch: is the model that serves still what it was judged to be, and the data what they were? And does that call for a retraining?

Compared is what came behind the last retraining with what came before it, of returns and of the model's errors, and never of price
levels, which drift by nature. A statistic calls for a retraining when it is higher than over any stretch as long before (see `drift`),
by `MARGIN`. Data that are late or lack tickers call for a person, not for a retraining.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort import sessions, storage
from longshort.config import Params
from longshort.errors import UsageError
from longshort.evaluation import forecasts, intervals
from longshort.ingestion import staleness
from longshort.monitoring import drift, record
from longshort.registry import ledger, promotion, versions
from longshort.serving import read_tidy
from longshort.windows.prices import make_series
from longshort.windows.stage import session_numbers, tidy_columns

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from longshort.evaluation.forecasts import Array, Outcomes
    from longshort.windows.prices import Series

    Days = NDArray[np.datetime64]

MARGIN = 1.25  # of the highest that was usual; by it two retrainings a year of 20 real tickers are called for, by 1 five
SHIFTED = 0.25  # of the population stability index: what the field calls a shift
NAMED = 3  # tickers in a sentence


@dataclass(frozen=True)
class Check:
    """One thing looked at: how it is, how it usually was at most, and whether that calls for a retraining."""

    name: str
    said: str
    value: float | None = None
    usual: float | None = None
    drifted: bool = False


@dataclass(frozen=True)
class Watch:
    """What was seen of the model that serves a data set.

    since     the last session that the last retraining knew; until: the last that is known now
    count     sessions between them; written: how many forecasts of them had been written down before they came
    skill     1 - RMSE / RMSE of naive over them, held: the share that intervals held; None where there is too little
    retrain   whether a retraining is called for, and reason: why, or why not
    """

    dataset: str
    model: str
    version: str
    alias: str
    since: str
    until: str
    count: int
    written: int
    skill: float | None
    held: float | None
    checks: list[Check]
    retrain: bool
    reason: str


def place(root: Path, dataset: str) -> Path:
    """Where what was seen is written, look by look."""
    return root / "mlflow/store/watch" / f"{dataset}.jsonl"


def look(client: MlflowClient, root: Path, params: Params, dataset: str, now: dt.datetime) -> Watch:
    """Look at a price data set and the model that serves it.

    raises  UsageError when nothing has been retrained yet; CorruptArtefact
    """
    name = versions.model_name("forecast", dataset)
    version, alias = promotion.serving_version(client, root, name)
    cut_off = last_cut_off(root, name)
    source = root / "data/ingestion" / dataset
    table = read_tidy(root, dataset)
    rows = tidy_columns(table)
    calendar = sessions.of_dataset(source, params.validation.forecast.calendar)
    days = np.unique(rows["date"])
    new = days[days > cut_off]
    stale = staleness.judge(dataset, storage.read_json(source / "account.json"), now, params.ingestion.stale_after)
    checks = [Check("staleness", str(stale) if stale else f"the newest row is of {days[-1]}"), _schema(rows, cut_off)]
    skill, held, written = None, None, 0
    if len(new):
        model = versions.open_version(client, version)
        series = make_series(rows, forecasts.spec_of(model), session_numbers(calendar, rows["date"]))
        before, since = forecasts.since_learning(model, series, 1)
        bands = forecasts.bands(before, since, params.evaluation.coverage, intervals.SHOWN)
        since, bands, written = record.said_before(root, dataset, str(version.version), since, bands)
        skill, held = _figures(since, bands, cut_off)
        if len(new) >= params.monitoring.min_sessions:
            checks += _returns(series, cut_off, params.monitoring.reference)
            checks += _errors(since, bands, cut_off, params.evaluation.coverage, params.monitoring.min_sessions)
    retrain, reason = _verdict(checks, len(new), cut_off, params.monitoring.min_sessions, stale)
    return Watch(
        dataset,
        name,
        str(version.version),
        alias,
        str(cut_off),
        str(days[-1]),
        len(new),
        written,
        skill,
        held,
        checks,
        retrain,
        reason,
    )


def last_cut_off(root: Path, model: str) -> np.datetime64:
    """The last session that the last retraining of a model knew.

    raises  UsageError when there was none
    """
    known = [entry for entry in ledger.history(root) if entry["model"] == model and entry["event"] == ledger.RETRAINED]
    if not known:
        raise UsageError(f"{model}: nothing has been retrained yet, so there is nothing to watch. Run `longshort run` first.")
    return np.datetime64(known[-1]["cut_off"])


def _verdict(checks: list[Check], new: int, cut_off: np.datetime64, needed: int, stale: staleness.Stale | None) -> tuple[bool, str]:
    drifted = [check for check in checks if check.drifted]
    if drifted:
        return True, f"drift ({', '.join(check.name for check in drifted)}): {'; '.join(check.said for check in drifted)}"
    if not new:
        return False, f"no session has come since the last retraining, whose data end at {cut_off}"
    if new < needed:
        return False, f"{new} sessions have come since the last retraining, asked {needed} (`monitoring.min_sessions`)"
    return False, "nothing has drifted" + (f", but {stale}" if stale else "")


def _schema(rows: dict[str, NDArray[Any]], cut_off: np.datetime64) -> Check:
    """Whether every ticker and column that there was before is still there."""
    before, since = rows["date"] <= cut_off, rows["date"] > cut_off
    lacks = []
    if since.any():
        if gone := sorted(set(rows["ticker"][before].tolist()) - set(rows["ticker"][since].tolist())):
            named = f"{', '.join(gone[:NAMED])}{'…' if len(gone) > NAMED else ''}"
            lacks.append(f"{len(gone)} tickers have no row since {cut_off} ({named})")
        for name in ("open", "high", "low", "close", "volume"):
            if np.isnan(rows[name][since]).all() and not np.isnan(rows[name][before]).all():
                lacks.append(f"'{name}' has no value since {cut_off}")
    return Check("schema", "; ".join(lacks) or "every ticker and column is there")


def _figures(since: Outcomes, bands: Array, cut_off: np.datetime64) -> tuple[float | None, float | None]:
    new = since.targets > cut_off
    if not new.any():
        return None, None
    own, ends = since.only(new), bands[new]
    naive = np.square((own.actual - own.naive) / own.last[:, None]).mean()
    there = np.isfinite(ends).all(axis=-1)
    held = float(intervals.held(own.errors[there], ends[there]).mean()) if there.any() else None
    return (1 - float(np.sqrt(np.square(own.errors).mean() / naive)) if naive else None), held


# --- the checks that can call for a retraining ------------------------------------------------


def _returns(series: Series, cut_off: np.datetime64, reference: int) -> list[Check]:
    """Of daily log-returns, all tickers together."""
    places = np.concatenate([np.arange(segment.start + 1, segment.stop) for segment in series.segments])
    returns, days = np.log(series.price[places] / series.price[places - 1]), series.dates[places]
    before, newest = _split(days, cut_off, reference)
    if not len(newest):
        return [Check("returns", f"{len(before)} sessions before the last retraining are too few to compare with")]
    own = [[returns[days == day] for day in part] for part in (before, newest)]
    checks = []
    for statistic, name, least in ((drift.psi, "PSI of returns", SHIFTED), (drift.ks, "KS distance of returns", 0.0)):
        found = statistic(*own)
        said = f"{name} {found.value:.2f} over {len(newest)} sessions, at most {found.usual:.2f} over as many before"
        checks.append(_check(name, said, found, least))
    return checks


def _errors(since: Outcomes, bands: Array, cut_off: np.datetime64, coverage: float, needed: int) -> list[Check]:
    """Of the model's relative errors, their lead over naive's, and the share of sessions that intervals missed."""
    before, newest = _split(since.targets, cut_off, len(since.targets))
    if not len(newest) or len(before) < 4 * needed:
        return [Check("errors", f"{len(before)} sessions that the model has not learned from lie before the last retraining: too few")]
    error, naive = since.errors[:, 0], (since.actual - since.naive)[:, 0] / since.last
    missed = np.where(np.isfinite(bands[:, 0]).all(axis=-1), ~intervals.held(error, bands[:, 0]), np.nan)
    over = f"over {len(newest)} sessions, at most"
    checks = []
    for name, values, what in (
        ("errors", np.abs(error), "errors rose by"),
        ("lead", np.square(error) - np.square(naive), "the lead over naive fell by"),
    ):
        found = drift.page_hinkley(_by_session(since.targets, values, before), _by_session(since.targets, values, newest))
        said = f"{what} {found.value:.1f} standard deviations in all {over} {found.usual:.1f} over as many before"
        checks.append(_check(name, said, found))
    if np.isfinite(missed).all():
        found = drift.mean(_by_session(since.targets, missed, before), _by_session(since.targets, missed, newest))
        said = f"intervals of {coverage:.0%} missed {found.value:.0%} {over} {found.usual:.0%} over as many before"
        checks.append(_check("coverage", said, found, 1 - coverage))
    return checks


def _check(name: str, said: str, found: drift.Found, least: float = 0.0) -> Check:
    return Check(name, said, found.value, found.usual, found.value > max(found.usual * MARGIN, least))


def _split(days: Days, cut_off: np.datetime64, reference: int) -> tuple[Days, Days]:
    """The newest sessions up to the last retraining, and the newest behind it, not more than can be laid beside them."""
    distinct = np.unique(days)
    before, since = distinct[distinct <= cut_off][-reference:], distinct[distinct > cut_off]
    most = drift.longest(len(before))
    return before, since[-most:] if most else since[:0]


def _by_session(days: Days, values: Array, wanted: Days) -> Array:
    """The mean over tickers, a session each."""
    rows = np.isin(days, wanted)
    places = np.searchsorted(wanted, days[rows])
    return np.asarray(np.bincount(places, values[rows], len(wanted)) / np.bincount(places, minlength=len(wanted)))
