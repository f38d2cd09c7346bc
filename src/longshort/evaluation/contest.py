"""Contest: challenger, champion and naive scored now, by the same code, on the same windows that neither model has seen.

The champion may have been trained by other settings: another lookback, other features, another
vocabulary. Each model therefore reads the tidy table in its own way, and only sessions (or words) that
both can answer for are counted, and of these only what lies behind all that either has learned from:
its training part, and the validation part that said when it stopped. Of labelled rows, which have no
order in time, those that neither has learned from, told by their words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longshort import storage
from longshort.config import Params
from longshort.config import Task as TaskName
from longshort.errors import DataRefused
from longshort.evaluation import answers, forecasts, metrics, texts
from longshort.evaluation import rows as labelled
from longshort.evaluation.stage import fit_baselines
from longshort.models.artefact import Model
from longshort.windows import files, prices, text
from longshort.windows.labelled import keys_in
from longshort.windows.stage import rows, session_numbers, tidy_columns
from longshort.windows.tokens import Ids, Paragraphs, tokenise

Array = NDArray[np.float64]


class Mark(NamedTuple):
    """A place in a data set's time: the later, the larger ``rank``; and what a person calls it."""

    rank: int
    name: str


@dataclass(frozen=True)
class Contender:
    """A model as it was scored.

    error           on the windows, lower is better; NaN where an answer is not finite
    windows_sha256  of the windows that it was scored on, and what came in them
    variation       how much its answers vary, as a share of how much what came did: 0 is a constant forecast
    learned_until   where its training and validation data end; None where that is not known of this data set
    cut_off         where the data set that it was made from ends; None likewise
    """

    error: float
    windows_sha256: str
    variation: float
    learned_until: Mark | None
    cut_off: Mark | None


@dataclass(frozen=True)
class Contest:
    """What was measured on the same windows; ``champion`` is None where there is none yet.

    naive           the error of the best baseline, ``naive_name``
    count           windows that lie behind what the models learned from: forecasts of a session, or stretches of a lookback of words
    first           the first thing that is asked for in them; None where there is no window
    windows_sha256  of the windows
    p_naive         that challenger and naive differ no more than by chance (two-sided), None where that cannot be tested
    p_champion      likewise of challenger and champion
    """

    measure: str
    challenger: Contender
    champion: Contender | None
    naive: float
    naive_name: str
    count: int
    first: Mark | None
    windows_sha256: str
    p_naive: float | None
    p_champion: float | None


def hold(root: Path, dataset: str, params: Params, challenger: Model, champion: Model | None) -> Contest:
    """Score the contenders on the test part of a data set as it is now.

    raises  CorruptArtefact
    """
    source, cut = root / "data/ingestion" / dataset, root / "data/windows" / dataset
    storage.verify(source)
    storage.verify(cut)
    table = storage.read_table(source / "table.parquet")
    models = [challenger] if champion is None else [challenger, champion]
    if challenger.task == "forecast":
        return contest_of_prices(table, files.read_prices(cut), models)
    if challenger.task == "language-model":
        return contest_of_texts(table, files.read_text(cut), models)
    return contest_of_rows(table, files.read_rows(cut, challenger.task), models)


# --- prices -----------------------------------------------------------------------------------


def contest_of_prices(table: pa.Table, data: files.PriceData, models: list[Model]) -> Contest:
    """RMSE of the first step in the unit of the price, on the test sessions that every model can forecast and none has learned from.

    models  the challenger, then the champion if there is one
    """
    first, last = (np.datetime64(data.extent()["test"][end]) for end in ("first_target", "last_target"))
    columns = tidy_columns(table)
    found, learned = [], [_session(model, "validation") for model in models]
    for model in models:
        spec = forecasts.spec_of(model)
        series = prices.make_series(columns, spec, session_numbers(data.calendar, columns["date"]))
        found.append(forecasts.outcomes(model, series, prices.part_windows(series, spec, first, last)))
    # one key a forecast: the ticker and the session; the price itself must be the same too (a close is not an open)
    keys = [
        [(str(t), str(d), float(a)) for t, d, a in zip(o.tickers, o.targets, o.actual[:, 0], strict=True) if _is_unseen(d, learned)]
        for o in found
    ]
    common = sorted(set(keys[0]).intersection(*keys[1:]), key=lambda key: (key[1], key[0]))
    aligned = []
    for outcome in found:
        place = {(str(t), str(d)): row for row, (t, d) in enumerate(zip(outcome.tickers, outcome.targets, strict=True))}
        aligned.append(outcome.only(np.array([place[entry[:2]] for entry in common], np.int64)))
    digests = [_digest([(str(t), str(d), float(a)) for t, d, a in zip(o.tickers, o.targets, o.actual[:, 0], strict=True)]) for o in aligned]
    contenders = [
        Contender(_rmse(o.forecast[:, 0] - o.actual[:, 0]), digest, _price_variation(model, o), until, _session(model, "test"))
        for model, o, digest, until in zip(models, aligned, digests, learned, strict=True)
    ]
    # tickers of one session rise and fall together, so a session is one observation
    days = np.unique(aligned[0].targets, return_inverse=True)[1]
    losses = [_means(np.square(o.forecast[:, 0] - o.actual[:, 0]), days) for o in aligned]
    of_naive = aligned[0].naive[:, 0] - aligned[0].actual[:, 0]
    return Contest(
        measure="RMSE",
        challenger=contenders[0],
        champion=contenders[1] if len(models) > 1 else None,
        naive=_rmse(of_naive),
        naive_name="last value",
        count=len(common),
        first=_mark(aligned[0].targets.min()) if common else None,
        windows_sha256=_digest(common),
        p_naive=_p_value(losses[0], _means(np.square(of_naive), days)),
        p_champion=_p_value(*losses) if len(models) > 1 else None,
    )


def _session(model: Model, part: str) -> Mark | None:
    """The last session that a part of a model's data asks for."""
    extent = model.card.get("extent", {}).get(part)
    return _mark(np.datetime64(extent["last_target"])) if extent else None


def _mark(session: np.datetime64) -> Mark:
    return Mark(int(session.astype("datetime64[s]").astype(np.int64)), str(session))


def _is_unseen(session: np.datetime64, learned: list[Mark | None]) -> bool:
    """Whether a session lies behind what every model has learned from, as far as that is known."""
    return all(until is not None and _mark(session) > until for until in learned)


def _price_variation(model: Model, found: forecasts.Outcomes) -> float:
    """In the unit of what the model names: a network that always says the same fall forecasts a price that moves."""

    def named(level: Array) -> Array:
        return np.log(level / found.last) if forecasts.spec_of(model).target == "log_return" else level

    return _share(float(np.std(named(found.forecast[:, 0]))), float(np.std(named(found.actual[:, 0])))) if len(found.last) else np.nan


def _rmse(errors: Array) -> float:
    """NaN where an error is not finite, or there is none: `metrics.rmse` refuses what the judge must be told of."""
    return float(np.sqrt(np.square(errors).mean())) if len(errors) else np.nan


def _means(values: Array, groups: NDArray[np.int64]) -> Array:
    """The mean of each group, in the order of the groups."""
    return np.bincount(groups, values) / np.maximum(np.bincount(groups), 1)


# --- texts ------------------------------------------------------------------------------------


def contest_of_texts(table: pa.Table, data: files.TextData, models: list[Model]) -> Contest:
    """Bits a character of what no model has read, unknown words spelled out, so that vocabularies can differ.

    models  the challenger, then the champion if there is one
    """
    blocks, spelt = tokenise(rows(table))
    parts, _, _ = text.split(blocks, data.spec)
    learned = [_reach(model, "validation", blocks, spelt) for model in models]
    first = _first_unseen(blocks, data, learned)
    skipped = int(parts["test"].lengths[:first].sum())  # of the test part, since one of them has read it
    asked = parts["test"].between(first, len(parts["test"]))
    words = {part: [spelt[number] for number in own.ids] for part, own in parts.items()}
    before, test = words["train"] + words["validation"] + words["test"][:skipped], words["test"][skipped:]
    characters = int(asked.characters.sum())
    stretch = text.Stretch(len(before), len(before) + len(test), characters)
    count = len(test) // data.spec.lookback
    if not count:
        test = []
    costs, contenders, digest = [], [], _digest(test)
    for model, until in zip(models, learned, strict=True):
        nats, variation = np.zeros(0), np.nan
        if test:
            ids = text.Vocabulary(tuple(model.card["description"]["vocabulary"])).ids(before + test)
            own = texts.token_nats(model, ids, stretch)
            nats, variation = own + _spelling(test, ids[stretch.start :]), _text_variation(own, ids[stretch.start :])
        costs.append(nats)
        contenders.append(Contender(_bits(nats, characters), digest, variation, until, _words_in_all(model)))
    naive = _naive_costs(data, test, skipped) if test else {"none": np.zeros(0)}
    best = min(naive, key=lambda name: float(naive[name].sum()))
    groups = np.arange(len(test)) // data.spec.lookback  # words of a passage hang together, so a window is one observation
    losses = [_means(own, groups) for own in [*costs, naive[best]]]
    begins = int(blocks.lengths[: text.bounds(blocks, data.spec)["test"][0]].sum()) + skipped
    return Contest(
        measure="bits per character",
        challenger=contenders[0],
        champion=contenders[1] if len(models) > 1 else None,
        naive=_bits(naive[best], characters),
        naive_name=best,
        count=count,
        first=_word(begins + 1) if test else None,
        windows_sha256=digest,
        p_naive=_p_value(losses[0], losses[-1]),
        p_champion=_p_value(losses[0], losses[1]) if len(models) > 1 else None,
    )


def _reach(model: Model, part: str, blocks: Paragraphs, words: Sequence[str]) -> Mark | None:
    """The last word of this text that a model's part reaches to; None where its text began otherwise, so that nobody knows."""
    extent: dict[str, Any] | None = model.card.get("extent", {}).get(part)
    if not extent or extent["words"] > len(blocks.ids) or text.beginning_sha256(blocks, words, extent["words"]) != extent["sha256"]:
        return None
    return _word(extent["words"])


def _words_in_all(model: Model) -> Mark | None:
    """Where the text that a model was made from ended."""
    extent = model.card.get("extent", {}).get("test")
    return _word(extent["words"]) if extent else None


def _word(number: int) -> Mark:
    return Mark(number, f"word {number:,}")


def _first_unseen(blocks: Paragraphs, data: files.TextData, learned: list[Mark | None]) -> int:
    """The first paragraph of the test part behind what every model has read; behind the last where that is not known."""
    first, last = text.bounds(blocks, data.spec)["test"]
    known = [until.rank for until in learned if until is not None]
    if len(known) < len(learned):
        return last - first
    begins = np.cumsum(blocks.lengths) - blocks.lengths
    return int(np.searchsorted(begins[first:last], max(known)))


def _spelling(words: Sequence[str], ids: Ids) -> Array:
    """What each word costs to spell out, in nats; 0 where it is known. Their sum is `texts.spelling_nats`."""
    costs = np.zeros(len(words))
    for k in np.flatnonzero(ids == texts.UNKNOWN_ID).tolist():
        costs[k] = texts.spelling_nats([words[k]], ids[k : k + 1])
    return costs


def _text_variation(nats: Array, ids: Ids) -> float:
    """How much what a model charges for one and the same word varies with what stands before it: not at all, if it does not read."""
    means = _means(nats, ids.astype(np.int64))
    return _share(float(np.sqrt(np.square(nats - means[ids]).mean())), float(np.std(nats)))


def _naive_costs(data: files.TextData, test: list[str], skipped: int) -> dict[str, Array]:
    """What each baseline charges for each word, its spelling with it."""
    place, ids = data.stretches["test"], np.asarray(data.ids)
    start = place.start + skipped
    spelled = _spelling(test, ids[start : place.stop])
    return {name: fitted.nats(ids[: place.stop], start) + spelled for name, fitted in fit_baselines(data).items()}


def _bits(nats: Array, characters: int) -> float:
    """NaN where a word has no finite cost, or there is none."""
    return metrics.bits_per_character(float(nats.sum()), characters) if len(nats) and np.isfinite(nats).all() else np.nan


# --- rows -------------------------------------------------------------------------------------

MEASURES: dict[TaskName, str] = {
    "classify": "share named wrong",
    "tag": "share of words tagged wrong",
    "translate": "1 - chrF",
    "caption": "1 - chrF",
}


def contest_of_rows(table: pa.Table, data: labelled.Data, models: list[Model]) -> Contest:
    """How far answers are off, on average, on the test rows whose words no model has learned from, each counted once.

    models  the challenger, then the champion if there is one
    """
    task = models[0].task
    asked = labelled.Part.of(task, table, data)
    learned = [keys_in(model.card.get("extent", {})) for model in models]
    unseen = np.ones(len(asked.texts), bool)
    for model, read in zip(models, learned, strict=True):
        keys = asked.keys_for(model)
        unseen &= False if read is None or keys is None else ~np.isin(keys, read)
    plain = labelled.naive(task, table, data)
    asked, plain = asked.only(unseen), {name: [said[k] for k in np.flatnonzero(unseen)] for name, said in plain.items()}
    _, places = np.unique(asked.keys, return_inverse=True)
    copies = np.bincount(places)

    def once(errors: Array) -> Array:
        # a row that stands several times is no more evidence than one
        return np.bincount(places, weights=errors) / copies

    told = asked.texts if isinstance(asked.texts, list) else asked.keys.tolist()
    digest, count = _digest(list(zip(told, asked.wanted, strict=True))), len(copies)
    errors, contenders = [], []
    for model, own in zip(models, learned, strict=True):
        said = answers.said(model, asked.texts)
        errors.append(once(answers.errors(task, said, asked.wanted)))
        variation = _share(answers.variety(task, said), answers.variety(task, asked.wanted)) if count else np.nan
        # rows have no order in time: which a model learned from is known by their words, and a rank only says whether that is known
        until = None if own is None else Mark(0, f"the last of its {len(own):,} rows")
        contenders.append(Contender(_mean(errors[-1]), digest, variation, until, _rows_in_all(model)))
    naive = {name: once(answers.errors(task, said, asked.wanted)) for name, said in plain.items()}
    best = min(naive, key=lambda name: _mean(naive[name])) if count else next(iter(naive))
    return Contest(
        measure=MEASURES[task],
        challenger=contenders[0],
        champion=contenders[1] if len(models) > 1 else None,
        naive=_mean(naive[best]),
        naive_name=best,
        count=count,
        first=Mark(1, f"row {int(asked.rows.min()) + 1:,}") if count else None,
        windows_sha256=digest,
        p_naive=_p_value(errors[0], naive[best]),
        p_champion=_p_value(*errors) if len(models) > 1 else None,
    )


def _rows_in_all(model: Model) -> Mark | None:
    """How many rows the data set had that a model was made from: rows are added, so the fewer the older."""
    extent = model.card.get("extent", {})
    count = sum(part.get("rows", 0) for part in extent.values())
    return Mark(count, f"{count:,} rows") if count else None


def _mean(errors: Array) -> float:
    return float(errors.mean()) if len(errors) else np.nan


# --- all ---------------------------------------------------------------------------------------


def _p_value(losses: Array, others: Array) -> float | None:
    """Diebold and Mariano's, with the correction for small samples; on independent observations the paired t-test."""
    try:
        return metrics.loss_difference_test(losses - others, horizon=1)[1]
    except DataRefused:  # not finite, too few, or apart by one constant
        return None


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else np.nan


def _digest(windows: object) -> str:
    return hashlib.sha256(repr(windows).encode()).hexdigest()
