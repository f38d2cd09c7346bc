"""Trend: skill by calendar date across retrainings, why each took place, and what the whole policy was worth against doing less.

Written as a picture and a page in reports/, and as a run in the data set's experiment of MLflow, its steps the days since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import storage
from longshort.config import Params
from longshort.evaluation import tables
from longshort.monitoring import hindsight, pictures
from longshort.monitoring.hindsight import NAIVE, NEVER, NEWEST, SERVED, Era, Told
from longshort.monitoring.pictures import Point
from longshort.registry import ledger, versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from longshort.tracking import Origin


@dataclass(frozen=True)
class Policy:
    """What came of forecasting by one policy, over all sessions since the first retraining.

    rmse       of relative errors: 0.012 is 1.2 % of the level
    skill      1 - rmse / that of naive
    p_naive    how probable so large a difference to naive is by chance; p_never: to the model that was never retrained
    """

    name: str
    rmse: float
    skill: float
    p_naive: float | None
    p_never: float | None


@dataclass(frozen=True)
class Trend:
    """A data set's retrainings, oldest first, and the policies side by side; no policies while no session has come."""

    dataset: str
    sessions: int
    forecasts: int
    points: list[Point]
    policies: list[Policy]


def read(client: MlflowClient, root: Path, params: Params, dataset: str) -> Trend:
    """The trend of a price data set as it stands; every version is asked again, a tenth of a second each.

    raises  CorruptArtefact
    """
    eras, told = hindsight.tell(client, root, params, dataset)
    entries = [entry for entry in ledger.history(root) if entry["model"] == versions.model_name("forecast", dataset)]
    points = [_point(entry, entries, eras, told) for entry in entries if entry["event"] == ledger.RETRAINED and "cut_off" in entry]
    if told is None:
        return Trend(dataset, 0, 0, points, [])
    policies = [
        Policy(
            name,
            float(np.sqrt(told.losses(name).mean())),
            told.skill(name),
            None if name == NAIVE else told.p_value(name, NAIVE),
            None if name == NEVER else told.p_value(name, NEVER),
        )
        for name in (NAIVE, NEVER, NEWEST, SERVED)
    ]
    return Trend(dataset, len(np.unique(told.days)), len(told.days), points, policies)


def _point(entry: dict[str, Any], entries: list[dict[str, Any]], eras: list[Era], told: Told | None) -> Point:
    day = np.datetime64(entry["cut_off"])
    era = next((era for era in eras if era.entry == entry), None)
    own = told.only((told.days > era.after) & (told.days <= era.until)) if told and era else None
    place = entries.index(entry)
    following = next((at for at in range(place + 1, len(entries)) if entries[at]["event"] == ledger.RETRAINED), len(entries))
    standing = ledger.stand(entries[:following]).champion
    return Point(
        day,
        era.until if era else day,
        entry["skills"],
        own.skill(SERVED) if own and len(own.days) else None,
        standing is not None and standing != ledger.stand(entries[:place]).champion,
        f"v{standing}" if standing else "nobody",
        entry["reason"],
    )


# --- what a person sees -----------------------------------------------------------------------


def lines(trend: Trend) -> list[str]:
    """The trend for a person: a line a retraining, and a table of the policies."""
    said = [f"{'data until':<12}{'on test, seeds':>20}{'then, served':>14}  {'serves':<8}{'verdict':<10}why"]
    for point in trend.points:
        spread = f" ± {100 * tables.spread(point.skills):.2f}" if len(point.skills) > 1 else ""
        tested, live = f"{100 * np.mean(point.skills):+.2f}{spread} %", "" if point.live is None else f"{100 * point.live:+.2f} %"
        done = "promoted" if point.promoted else "kept out"
        said.append(f"{point.day!s:<12}{tested:>20}{live:>14}  {point.serves:<8}{done:<10}{point.reason}")
    if trend.policies:
        said += ["", f"{trend.forecasts:,} forecasts of {trend.sessions:,} sessions since the first retraining:"]
        said.append(f"{'policy':<20}{'RMSE':>10}{'skill':>10}{'p, naive':>12}{'p, never':>12}")
        for own in trend.policies:
            chances = [f"{'' if p is None else f'{p:.2g}':>12}" for p in (own.p_naive, own.p_never)]
            said.append(f"{own.name:<20}{100 * own.rmse:>8.4f} %{100 * own.skill:>+8.2f} %{''.join(chances)}".rstrip())
    return said


def as_json(trend: Trend) -> dict[str, Any]:
    """The trend as JSON."""
    points = [{**vars(point), "day": str(point.day), "until": str(point.until), "skills": list(point.skills)} for point in trend.points]
    return {**vars(trend), "points": points, "policies": [vars(policy) for policy in trend.policies]}


def write(root: Path, trend: Trend) -> Path:
    """Write the picture and the page in reports/trend; returns the page's place. There must be a retraining."""
    folder = root / "reports/trend"
    title = f"{trend.dataset}: skill across {len(trend.points)} retraining{'s' if len(trend.points) > 1 else ''}"
    storage.write_bytes(folder / f"{trend.dataset}.png", pictures.trend(trend.points, title))
    storage.write_bytes(folder / f"{trend.dataset}.md", _page(trend).encode())
    return folder / f"{trend.dataset}.md"


def keep(client: MlflowClient, root: Path, params: Params, trend: Trend, origin: Origin) -> None:
    """Write picture and page, and from the second retraining on bring MLflow up to date; origin: of the last one."""
    from longshort import tracking

    page = write(root, trend)
    if len(trend.points) < 2:
        return
    days = [int(point.day.astype("datetime64[D]").astype(int)) for point in trend.points]
    curves = [("retrained_skill", day, float(np.mean(point.skills))) for day, point in zip(days, trend.points, strict=True)]
    curves += [("retrained_skill_sd", day, tables.spread(point.skills)) for day, point in zip(days, trend.points, strict=True)]
    # an era's figure moves until the next retraining, so only those that have ended are points for ever
    curves += [("served_skill", day, point.live) for day, point in zip(days, trend.points[:-1], strict=False) if point.live is not None]
    tracking.record_trend(client, root, params, trend.dataset, curves, [page, page.with_suffix(".png")], origin)


ABOUT = """Skill is 1 - RMSE / RMSE of naive. `on test` is of the retraining's own test part, mean and standard deviation over seeds;
`then, served` is of what served, on the sessions that came until the next retraining. Errors are shares of the level; p-values are those
of Diebold and Mariano over session means.
"""


def _page(trend: Trend) -> str:
    picture, table = f"![skill by date]({trend.dataset}.png)", "\n".join(lines(trend))
    return f"# {trend.dataset}: retrainings and what they were worth\n\n{picture}\n\n```\n{table}\n```\n\n{ABOUT}"
