"""Report: one item's figures, tables and pictures, before the stage writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from longshort.evaluation.tables import Table


@dataclass(frozen=True)
class Report:
    """One item's figures and pictures before they are written.

    unit        of the training loss
    seeds       seed -> figures on the test part
    baselines   name -> the same keys where they are defined, and ``validation_loss`` in the training loss's unit
    naive_loss  the validation loss of the one that pictures draw
    tables      name -> the figures for some of the test part at a time
    leak_alarm  whether a seed is too good to be true
    asked       how sure intervals shall be
    """

    unit: str
    test: dict[str, Any]
    seeds: dict[int, dict[str, float]]
    baselines: dict[str, dict[str, float]]
    naive_loss: float
    header: list[str]
    rows: Iterable[Sequence[Any]]
    tables: dict[str, Table]
    pictures: dict[str, bytes]
    leak_alarm: bool
    asked: dict[str, float]
