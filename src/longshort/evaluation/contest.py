"""Contest: challenger, champion and naive scored now, by the same code, on the same unseen windows.

The champion may have been trained by other settings: another lookback, other features, another
vocabulary. Each model therefore reads the tidy table in its own way, and only sessions (or words) that
both can answer for are counted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from longshort import storage
from longshort.config import Params
from longshort.errors import SeriesTooShort
from longshort.evaluation import forecasts, metrics, texts
from longshort.evaluation.stage import fit_baselines
from longshort.models.artefact import Model
from longshort.windows import files, prices, text
from longshort.windows.stage import rows, session_numbers, tidy_columns
from longshort.windows.tokens import tokenise


@dataclass(frozen=True)
class Contest:
    """Errors on the same windows, lower is better; ``champion`` is None where there is none yet."""

    measure: str
    challenger: float
    champion: float | None
    naive: float
    naive_name: str
    count: int
    windows_sha256: str


def hold(root: Path, dataset: str, params: Params, challenger: Model, champion: Model | None) -> Contest:
    """Score the contenders on the test part of a data set as it is now.

    raises  CorruptArtefact; SeriesTooShort when there is no window that both can answer for
    """
    source, cut = root / "data/ingestion" / dataset, root / "data/windows" / dataset
    storage.verify(source)
    storage.verify(cut)
    table = storage.read_table(source / "table.parquet")
    models = [challenger] if champion is None else [challenger, champion]
    if challenger.task == "forecast":
        return contest_of_prices(table, files.read_prices(cut), models)
    return contest_of_texts(table, files.read_text(cut), models)


def contest_of_prices(table: pa.Table, data: files.PriceData, models: list[Model]) -> Contest:
    """RMSE of the first step in the unit of the price, on the test sessions that every model can forecast."""
    test = data.parts["test"]
    first, last = (data.series.dates[test.first_steps(np.array([n]))[0] + test.lookback] for n in (0, len(test) - 1))
    columns = tidy_columns(table)
    found = []
    for model in models:
        spec = forecasts.spec_of(model)
        series = prices.make_series(columns, spec, session_numbers(data.calendar, columns["date"]))
        found.append(forecasts.outcomes(model, series, prices.part_windows(series, spec, first, last)))
    # one key a forecast: the ticker and the session; the price itself must be the same too (a close is not an open)
    keys = [[(str(t), str(d), float(a)) for t, d, a in zip(o.tickers, o.targets, o.actual[:, 0], strict=True)] for o in found]
    common = sorted(set(keys[0]).intersection(*keys[1:]))
    if not common:
        raise SeriesTooShort("challenger and champion have no session in common that both can forecast; promote by hand if you mean it.")
    aligned = []
    for key, outcome in zip(keys, found, strict=True):
        place = {entry: row for row, entry in enumerate(key)}
        aligned.append(outcome.only(np.array([place[entry] for entry in common])))
    errors = [metrics.rmse(one.forecast[:, 0], one.actual[:, 0]) for one in aligned]
    naive = metrics.rmse(aligned[0].last, aligned[0].actual[:, 0])
    return Contest("RMSE", errors[0], errors[1] if len(errors) > 1 else None, naive, "last value", len(common), _digest(common))


def contest_of_texts(table: pa.Table, data: files.TextData, models: list[Model]) -> Contest:
    """Bits a character of the test part, unknown words spelled out, so that vocabularies can differ."""
    blocks, spelt = tokenise(rows(table))
    parts, _, _ = text.split(blocks, data.spec)
    words = {part: [spelt[number] for number in own.ids] for part, own in parts.items()}
    before, test = words["train"] + words["validation"], words["test"]
    characters = data.stretches["test"].characters
    stretch = text.Stretch(len(before), len(before) + len(test), characters)
    bits = []
    for model in models:
        ids = text.Vocabulary(tuple(model.card["description"]["vocabulary"])).ids(before + test)
        nats = texts.token_nats(model, ids, stretch).sum() + texts.spelling_nats(test, ids[stretch.start :])
        bits.append(metrics.bits_per_character(float(nats), characters))
    ids = np.asarray(data.ids)
    place = data.stretches["test"]
    spelled = texts.spelling_nats(test, ids[place.start : place.stop])
    naive = {
        name: metrics.bits_per_character(float(fitted.nats(ids[: place.stop], place.start).sum() + spelled), characters)
        for name, fitted in fit_baselines(data).items()
    }
    best = min(naive, key=lambda name: naive[name])
    champion = bits[1] if len(bits) > 1 else None
    return Contest("bits per character", bits[0], champion, naive[best], best, len(test), _digest(test))


def _digest(windows: object) -> str:
    return hashlib.sha256(repr(windows).encode()).hexdigest()
