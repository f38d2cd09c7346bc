"""Hindsight: what versions said, or would have said, of sessions that came after their data ended, and what serving them was worth.

A version is only ever asked about sessions behind the retraining that made it: what it learned from ended before them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from longshort import sessions
from longshort.config import Params
from longshort.errors import DataRefused
from longshort.evaluation import forecasts, metrics
from longshort.registry import ledger, versions
from longshort.serving import read_tidy
from longshort.windows.prices import make_series, part_windows
from longshort.windows.stage import session_numbers, tidy_columns

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from longshort.evaluation.forecasts import Array, Outcomes
    from longshort.models.artefact import Model

    Day = np.datetime64

NAIVE, NEVER, NEWEST, SERVED = "naive", "never retrained", "always the newest", "served"


@dataclass(frozen=True)
class Era:
    """From one retraining to the next: sessions behind ``after``, up to ``until``.

    newest  the version that the retraining made; champion: the one that served in that time, None: there was none
    entry   the ledger's, of the retraining
    """

    after: Day
    until: Day
    newest: str
    champion: str | None
    entry: dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What came and what each policy said of it: a row a ticker and session, oldest session first.

    days     (rows,) datetime64; naive, came: (rows,) levels
    said     policy -> (rows,) levels; where no model served, the naive forecast
    """

    days: NDArray[np.datetime64]
    naive: Array
    came: Array
    said: dict[str, Array]

    def losses(self, policy: str) -> Array:
        """(sessions,) the mean squared error of each session, as shares of the level: tickers of one session share its news."""
        levels = self.naive if policy == NAIVE else self.said[policy]
        numbers = np.unique(self.days, return_inverse=True)[1]
        return np.asarray(np.bincount(numbers, np.square((levels - self.came) / self.naive)) / np.bincount(numbers))

    def only(self, rows: NDArray[np.bool_]) -> Told:
        """The same for some of the rows."""
        return Told(self.days[rows], self.naive[rows], self.came[rows], {name: each[rows] for name, each in self.said.items()})

    def skill(self, policy: str) -> float:
        """1 - RMSE / RMSE of naive; 0 is naive's, above is better."""
        return 1 - float(np.sqrt(self.losses(policy).mean() / self.losses(NAIVE).mean()))

    def p_value(self, policy: str, other: str) -> float | None:
        """How probable so large a difference of two policies' losses is by chance (Diebold and Mariano); None: they said the same."""
        difference = self.losses(policy) - self.losses(other)
        try:
            return metrics.loss_difference_test(difference, 1)[1] if difference.any() else None
        except DataRefused:  # too few sessions to tell
            return None


def eras(entries: list[dict[str, Any]], newest: Day) -> list[Era]:
    """A model's retrainings and the times behind them, oldest first; of several over data that end at one session the last counts.

    entries  the ledger's of this model, oldest first
    newest   the last session that is known
    """
    found: list[Era] = []
    places = [place for place, entry in enumerate(entries) if entry["event"] == ledger.RETRAINED and "cut_off" in entry]
    for place, following in zip(places, [*places[1:], len(entries)], strict=True):
        entry = entries[place]
        after = np.datetime64(entry["cut_off"])
        until = np.datetime64(entries[following]["cut_off"]) if following < len(entries) else newest
        if until > after:
            champion = ledger.stand(entries[:following]).champion
            found.append(Era(after, until, entry["version"], champion, entry))
    return found


def tell(client: MlflowClient, root: Path, params: Params, dataset: str) -> tuple[list[Era], Told | None]:
    """The eras of a price data set, and what each policy said in them; None while no session has come behind the first retraining.

    raises  CorruptArtefact
    """
    model = versions.model_name("forecast", dataset)
    rows = tidy_columns(read_tidy(root, dataset))
    calendar = sessions.of_dataset(root / "data/ingestion" / dataset, params.validation.forecast.calendar)
    entries = [entry for entry in ledger.history(root) if entry["model"] == model]
    found = eras(entries, rows["date"].max())
    if not found:
        return [], None
    opened: dict[str, Model] = {}

    def said(version: str, after: Day, until: Day) -> Outcomes:
        if version not in opened:
            opened[version] = versions.open_version(client, versions.find(client, model, version))
        return says(opened[version], rows, calendar, after, until)

    pieces = []
    for era in found:
        asked = {NEVER: found[0].newest, NEWEST: era.newest, **({SERVED: era.champion} if era.champion else {})}
        outcomes = {policy: said(version, era.after, era.until) for policy, version in asked.items()}
        if (piece := _aligned(outcomes)) is not None:
            pieces.append(piece)
    if not pieces:
        return found, None
    return found, Told(
        np.concatenate([piece.days for piece in pieces]),
        np.concatenate([piece.naive for piece in pieces]),
        np.concatenate([piece.came for piece in pieces]),
        {policy: np.concatenate([piece.said[policy] for piece in pieces]) for policy in (NEVER, NEWEST, SERVED)},
    )


def says(model: Model, rows: dict[str, NDArray[Any]], calendar: str, after: Day, until: Day) -> Outcomes:
    """One step ahead forecasts of the sessions behind ``after``, up to ``until``."""
    spec = forecasts.spec_of(model)
    series = make_series(rows, spec, session_numbers(calendar, rows["date"]))
    first = after + 1  # a day, or a second where rows are intraday
    return forecasts.outcomes(model, series, part_windows(series, spec.model_copy(update={"horizon": 1}), first, until))


def _aligned(outcomes: dict[str, Outcomes]) -> Told | None:
    """Policies side by side, on the tickers and sessions that all of them forecast."""
    places = [
        {(str(t), d): row for row, (t, d) in enumerate(zip(each.tickers, each.targets.tolist(), strict=True))} for each in outcomes.values()
    ]
    common = sorted(set(places[0]).intersection(*places[1:]), key=lambda key: (key[1], key[0]))
    if not common:
        return None
    aligned = {
        policy: each.only(np.array([own[key] for key in common])) for (policy, each), own in zip(outcomes.items(), places, strict=True)
    }
    one = aligned[NEVER]
    said = {policy: each.forecast[:, 0] for policy, each in aligned.items()}
    return Told(one.targets, one.last, one.actual[:, 0], {SERVED: one.last, **said})
