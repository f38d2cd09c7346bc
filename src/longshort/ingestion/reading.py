"""Reading: what one file became, and the account of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from longshort.errors import LongshortError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Counts:
    """What became of the rows of a price file, or the lines of a text.

    Every row that came in was kept, quarantined, or merged with an identical one. Counts that do not
    say so cannot be made.

    >>> Counts(rows_in=3, kept=2, quarantined=0, merged=0)
    Traceback (most recent call last):
    longshort.errors.LongshortError: 3 rows came in, but 2 kept + 0 quarantined + 0 merged = 2. ...
    """

    rows_in: int
    kept: int
    quarantined: int
    merged: int

    def __post_init__(self) -> None:
        accounted = self.kept + self.quarantined + self.merged
        if accounted != self.rows_in:
            raise LongshortError(
                f"{self.rows_in} rows came in, but {self.kept} kept + {self.quarantined} quarantined + {self.merged} merged "
                f"= {accounted}. This is a bug in longshort.ingestion, not in the file; please report it with the file."
            )

    def as_json(self) -> dict[str, int]:
        """The counts by name."""
        return dict(vars(self))


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of several files' counts."""
    rows = [(c.rows_in, c.kept, c.quarantined, c.merged) for c in parts]
    return Counts(*(sum(column) for column in zip(*rows, strict=True)))


@dataclass(frozen=True)
class Quarantined:
    """A row that was set aside: where it stands, what is wrong with it, and its text as it was.

    Lines and columns count from 1; a column is a character of the line.
    """

    file: str
    line: int
    column: int
    rule: str
    what: str
    raw: str


@dataclass(frozen=True)
class Reading:
    """What one file became.

    table        the tidy rows that were kept
    quarantined  by line
    notes        what was ignored or changed, a sentence each
    read_as      how the file was understood: layout, delimiter, dates, numbers, ...
    repairs      what was mended, and warnings of what was seen: {what, count, line of the first}
    refused      tickers that were left out, with the reason: {ticker, what}
    prices       which of open, high, low and close the file has
    factors      what prices were divided or multiplied by, where a person asked for it
    labels       how many of the kept rows have each label, the most frequent first
    lengths      column of the table -> how long its texts are: {unit, median, most}
    """

    table: pa.Table
    counts: Counts
    quarantined: tuple[Quarantined, ...]
    notes: tuple[str, ...]
    read_as: dict[str, str | int] = field(default_factory=dict)
    repairs: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    factors: list[dict[str, Any]] = field(default_factory=list)
    prices: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, dict[str, int | str]] = field(default_factory=dict)

    def set_aside(self) -> list[dict[str, Any]]:
        """The rules that rows were set aside by: how often, and the first of them with its line."""
        first: dict[str, Quarantined] = {}
        counts: Counter[str] = Counter()
        for row in self.quarantined:
            first.setdefault(row.rule, row)
            counts[row.rule] += 1
        return [{"rule": rule, "count": counts[rule], "line": row.line, "what": row.what} for rule, row in first.items()]

    def as_json(self) -> dict[str, Any]:
        """The account of the file; what there is nothing of is left out."""
        told = {
            "read_as": self.read_as,
            "notes": list(self.notes),
            "repairs": self.repairs,
            "warnings": self.warnings,
            "set_aside": self.set_aside(),
            "refused": self.refused,
            "factors": self.factors,
            "labels": self.labels,
            "lengths": self.lengths,
        }
        return {**self.counts.as_json(), **{name: value for name, value in told.items() if value}}
