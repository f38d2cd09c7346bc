"""Dataset: several files become one tidy table and one account. Pure but for reading the files."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort import sessions
from longshort.config import Params, Task
from longshort.errors import DataRefused
from longshort.ingestion import prices, rules, source, text, vocabulary
from longshort.ingestion.columns import PRICES
from longshort.ingestion.encoding import Errors
from longshort.ingestion.prices import Asked
from longshort.ingestion.reading import Counts, Quarantined, Reading, total
from longshort.ingestion.rules import EARLIEST, NO_LIMITS, Calendar, Limits

if TYPE_CHECKING:
    import pyarrow as pa

LATEST = (dt.date(2200, 1, 1) - dt.date(1970, 1, 1)).days
SAMPLED = 20  # files that tell the exchange of a data set

Files = Mapping[str, Path | bytes]


@dataclass(frozen=True)
class Terms:
    """On what terms the files of a data set are read: what a person asked for, and the limits.

    calendar  an exchange, ``none``, or ``auto``
    columns   a person's own column names by meaning
    errors    what to do about bytes that are no character of a text; strict: whether a warning about a text is a refusal
    window    tokens that a text must have
    taken     when the files were taken in, if that is known; a session that was not over then is held back
    """

    asked: Asked = prices.AS_IT_IS
    limits: Limits = NO_LIMITS
    calendar: str = "auto"
    columns: Mapping[str, list[str]] | None = None
    prefer: str | None = None
    errors: Errors = "strict"
    strict: bool = False
    window: int = 1
    taken: dt.datetime | None = None


@dataclass(frozen=True)
class Dataset:
    """What the files became.

    table       tidy: prices by ticker and date, or documents by name
    account     what became of every row, as JSON: rows_in == kept + quarantined + merged, in all and per file
    quarantine  the rows set aside, as JSON lines by file name; empty when there are none
    """

    table: pa.Table
    account: dict[str, Any]
    quarantine: dict[str, bytes]


def terms(params: Params, item: str, taken: dt.datetime | None = None) -> Terms:
    """The terms that params.yaml states for a data set."""
    read, rules = params.ingestion.datasets[item].read, params.validation.forecast
    return Terms(
        Asked(read.ticker, read.date_format, read.decimal, read.price, read.encoding, read.skip_rows),
        Limits(
            rules.tolerance,
            read.most_bad,
            read.most_together,
            rules.min_sessions,
            params.windows.forecast.max_gap,
            read.adjust,
            read.on_duplicate,
        ),
        read.calendar or rules.calendar,
        {str(meaning): names for meaning, names in params.ingestion.columns.items()},
        read.prefer,
        read.errors or "strict",
        read.strict,
        params.windows.language_model.lookback + 1,
        taken,
    )


def assemble(files: Files, task: Task, stated: Terms = Terms()) -> Dataset:
    """Read all files of a data set.

    files   content or place by file name, at least one; their order does not matter
    raises  DataRefused when a file is refused, or files contradict one another
    """
    for name in files:
        if not name.isprintable():
            raise DataRefused(f"{name!r}: the file's name holds characters that cannot be shown; expected printable ones; rename the file.")
    hashes: dict[str, str] = {}
    if task == "forecast":
        warnings: tuple[str, ...] = ()
        calendar = _calendar(files, stated)
        readings = dict(_prices(files, stated, calendar, hashes))
        readings = _one_history_a_ticker(readings, stated.prefer)
    else:
        calendar = None
        readings = {}
        for name in sorted(files):
            data = _bytes(files[name])
            hashes[name] = hashlib.sha256(data).hexdigest()
            readings[name] = text.parse(data, name, stated.asked.encoding, stated.errors, stated.strict)
        documents = [document for reading in readings.values() for document in reading.table["text"].to_pylist()]
        warnings = vocabulary.judge(vocabulary.census(documents), next(iter(readings)), stated.window)
        if warnings and stated.strict:
            raise DataRefused(f"{warnings[0]} A warning is a refusal here because of `--strict`.")
    account: dict[str, Any] = {
        **total(reading.counts for reading in readings.values()).as_json(),
        "files": [{"name": name, "sha256": hashes[name], **reading.as_json()} for name, reading in readings.items()],
    }
    if warnings:
        account["notes"] = list(warnings)
    if calendar is not None:
        account["calendar"] = calendar[1]
        account["prices"] = [price for price in PRICES if all(price in reading.prices for reading in readings.values())]
    quarantine = {
        f"{name}.{hashes[name][:8]}.jsonl": _json_lines(reading.quarantined) for name, reading in readings.items() if reading.quarantined
    }
    return Dataset(_joined([reading.table for reading in readings.values()], task), account, quarantine)


def _bytes(content: Path | bytes) -> bytes:
    return source.read(content) if isinstance(content, Path) else content


def _calendar(files: Files, stated: Terms) -> tuple[Calendar, dict[str, Any]]:
    """The calendar of the data set, and how the account tells of it."""
    names = sorted(files)
    step = max(1, len(names) // SAMPLED)
    seen = [prices.observe(_bytes(files[name]), name, stated.asked, stated.columns or {}).seen for name in names[::step][:SAMPLED]]
    whole = np.unique(np.concatenate([np.delete(one.day, list(one.faults)) if one.faults else one.day for one in seen]))
    days = whole[(whole >= EARLIEST) & (whole <= LATEST)]  # a row of the year 9999 is set aside later
    days = days.astype("datetime64[D]")
    if stated.calendar == sessions.EVERY_ROW or not len(days):
        return Calendar(sessions.EVERY_ROW, None), {"name": sessions.EVERY_ROW}
    if len(days) > 2 and np.median(np.diff(days).astype(int)) >= rules.SPARSE:
        return Calendar("auto", days.astype(np.int32)), {"name": "auto"}  # no exchange's days: `rules` refuses the series by its name
    told: dict[str, Any] = {"name": stated.calendar, "stated": True}
    if stated.calendar == "auto":
        name, score = sessions.best(days)
        told = {"name": name, "score": score}
    known = sessions.sessions(told["name"], days[0].item(), days[-1].item()).to_numpy("datetime64[D]").astype(np.int32)
    complete = None if stated.taken is None else prices.last_complete(told["name"], stated.taken)
    return Calendar(told["name"], known, complete), told


def _prices(
    files: Files, stated: Terms, calendar: tuple[Calendar, dict[str, Any]], hashes: dict[str, str]
) -> Iterator[tuple[str, Reading]]:
    for name in sorted(files):
        data = _bytes(files[name])
        hashes[name] = hashlib.sha256(data).hexdigest()
        yield name, prices.parse(data, name, stated.asked, stated.columns, stated.limits, calendar[0])


def _one_history_a_ticker(readings: dict[str, Reading], prefer: str | None) -> dict[str, Reading]:
    """Files that hold the same ticker: rows that agree are merged, and rows that contradict one another are refused.

    raises  DataRefused with the first session that differs, unless the newer file is preferred
    """
    holders: dict[str, list[str]] = {}
    for name, reading in readings.items():
        for ticker in reading.table["ticker"].unique().to_pylist():
            holders.setdefault(ticker, []).append(name)
    for ticker, names in holders.items():
        if len(names) > 1:
            readings = _merged(readings, ticker, names, prefer)
    return readings


def _merged(readings: dict[str, Reading], ticker: str, names: list[str], prefer: str | None) -> dict[str, Reading]:
    import pyarrow as pa
    import pyarrow.compute as pc

    own = {name: readings[name].table.filter(pc.equal(readings[name].table["ticker"], ticker)) for name in names}
    # the file that reaches further speaks last, and its rows stand
    order = sorted(names, key=lambda name: (own[name]["date"][-1].as_py(), name))
    rows: dict[dt.date, tuple[str, tuple[Any, ...]]] = {}
    merged = dict.fromkeys(names, 0)
    for name in order:
        for row in own[name].drop_columns(["ticker"]).to_pylist():
            day, values = row["date"], tuple(row.values())
            held = rows.get(day)
            if held is not None:
                if held[1] != values and prefer != "newer":
                    field = next(key for key, one, other in zip(row, held[1], values, strict=True) if one != other)
                    old = dict(zip(row, held[1], strict=True))
                    raise DataRefused(
                        f"{name}:1:1: {ticker} on {day} has {field} {row[field]}, and {old[field]} in {held[0]}; expected files that "
                        "agree where "
                        "they overlap; take the rows of the file that reaches further with --prefer newer, or leave one out."
                    )
                merged[held[0]] += 1
            rows[day] = (name, values)
    kept: dict[str, list[Any]] = {name: [] for name in names}
    for _, (name, values) in sorted(rows.items()):
        kept[name].append((ticker, *values))
    result = dict(readings)
    for name in names:
        others = readings[name].table.filter(pc.not_equal(readings[name].table["ticker"], ticker))
        part = pa.table([list(column) for column in zip(*kept[name], strict=True)], schema=prices.schema()) if kept[name] else None
        table = pa.concat_tables([others, part]) if part is not None else others
        counts = readings[name].counts
        result[name] = replace(
            readings[name],
            table=table,
            counts=Counts(counts.rows_in, counts.kept - merged[name], counts.quarantined, counts.merged + merged[name]),
            repairs=[
                *readings[name].repairs,
                *(
                    [{"what": f"{ticker}: rows that another file holds too, merged", "count": merged[name], "line": 2}]
                    if merged[name]
                    else []
                ),
            ],
        )
    return result


def _joined(tables: list[pa.Table], task: Task) -> pa.Table:
    """One table, by ticker and date; one chunk a column, so that its bytes do not depend on how rows were spread over files."""
    import pyarrow as pa

    table = pa.concat_tables(tables).combine_chunks()
    if task != "forecast" or len(tables) == 1:
        return table
    tickers = [(one["ticker"][0].as_py(), one["ticker"][-1].as_py()) for one in tables if one.num_rows]
    if all(one[1] < other[0] for one, other in itertools.pairwise(tickers)):
        return table
    return table.sort_by([("ticker", "ascending"), ("date", "ascending")]).combine_chunks()


def _json_lines(rows: tuple[Quarantined, ...]) -> bytes:
    return b"".join(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n" for row in rows)
