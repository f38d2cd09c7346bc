"""Embedded: the data sets that come with the dependencies, so that everything runs with nothing at hand.

goog     Google's daily prices, 1,047 sessions from 2004-08-19 to 2008-10-14, matplotlib's sample data
topics   the documentation topics of the Python language, one document a topic, the standard library's
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longshort import storage
from longshort.config import Task
from longshort.errors import ConfigError
from longshort.ingestion import prices, text

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Embedded:
    """A data set and where it is from.

    table    tidy: prices by date, or documents by name
    rows     sessions of prices, or lines of text
    origin   the library that brings it, and the library's version
    sha256   of the content as the library holds it
    calendar the exchange of prices
    """

    task: Task
    table: pa.Table
    rows: int
    origin: str
    version: str
    sha256: str
    calendar: str = ""


def load(name: str) -> Embedded:
    """The embedded data set of that name.

    raises  ConfigError when there is none
    """
    if name not in SOURCES:
        raise ConfigError(
            f"params.yaml: ingestion.datasets.{name}: there is no embedded data set '{name}'; those that exist: "
            f"{', '.join(sorted(SOURCES))}. Write `source: raw` for files of your own, after `longshort ingest PATH`."
        )
    return SOURCES[name]()


def goog() -> Embedded:
    """Google's daily prices, oldest first."""
    import matplotlib
    import numpy as np
    from matplotlib.cbook import get_sample_data

    path = Path(get_sample_data("goog.npz", asfileobj=False))
    with np.load(path, allow_pickle=False) as file:
        days = np.sort(file["price_data"], order="date")
    fields = ("date", "open", "high", "low", "close", "adj_close", "volume")
    rows = list(zip(*(days[field].tolist() for field in fields), strict=True))
    return Embedded(
        "forecast", prices.make_table("GOOG", rows), len(rows), "matplotlib", matplotlib.__version__, storage.sha256(path), "XNYS"
    )


def topics() -> Embedded:
    """The documentation topics of the Python language, by name."""
    import platform
    from pydoc_data.topics import topics as content

    documents = [(name, text.normalise(content[name])[0]) for name in sorted(content)]
    lines = sum(text.count_lines(document) for _, document in documents)
    # of the content, not of topics.py, which some distributions ship compiled only
    sha256 = storage.digest(content)
    return Embedded("language-model", text.make_table(documents), lines, "the Python standard library", platform.python_version(), sha256)


SOURCES: dict[str, Callable[[], Embedded]] = {"goog": goog, "topics": topics}
