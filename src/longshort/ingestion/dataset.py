"""Dataset: several files become one tidy table and one account. Pure: bytes in, table out."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from longshort.config import Task
from longshort.errors import DataRefused
from longshort.ingestion import prices, text
from longshort.ingestion.reading import Quarantined, total

if TYPE_CHECKING:
    import pyarrow as pa


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


def assemble(contents: Mapping[str, bytes], task: Task) -> Dataset:
    """Read all files of a data set.

    contents  bytes by file name, at least one; their order does not matter
    raises    DataRefused when a file is refused, or two files are of one ticker
    """
    import pyarrow as pa

    names = sorted(contents, key=prices.ticker_of) if task == "forecast" else sorted(contents)
    _check_names(names, task)
    parse = prices.parse if task == "forecast" else text.parse
    readings = {name: parse(contents[name], name) for name in names}
    hashes = {name: hashlib.sha256(contents[name]).hexdigest() for name in names}
    account = {
        **total(reading.counts for reading in readings.values()).as_json(),
        "files": [
            {"name": name, "sha256": hashes[name], **reading.counts.as_json(), "notes": list(reading.notes)}
            for name, reading in readings.items()
        ],
    }
    quarantine = {
        f"{name}.{hashes[name][:8]}.jsonl": _json_lines(reading.quarantined) for name, reading in readings.items() if reading.quarantined
    }
    # one chunk a column, so that the Parquet file's bytes do not depend on how rows were spread over files
    table = pa.concat_tables([reading.table for reading in readings.values()]).combine_chunks()
    return Dataset(table, account, quarantine)


def _check_names(names: list[str], task: Task) -> None:
    for name in names:
        if not name.isprintable():
            raise DataRefused(f"{name!r}: the file's name holds characters that cannot be shown; expected printable ones; rename the file.")
    if task != "forecast":
        return
    for one, other in itertools.pairwise(names):
        if prices.ticker_of(one) == prices.ticker_of(other):
            raise DataRefused(
                f"{other}:1:1: {one} holds the ticker {prices.ticker_of(one)} too; expected one file a ticker; leave one out, or join them."
            )


def _json_lines(rows: tuple[Quarantined, ...]) -> bytes:
    return b"".join(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode() + b"\n" for row in rows)
