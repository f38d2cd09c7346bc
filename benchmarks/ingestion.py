"""How long taking in takes, beside what plain readers need for the same files, in one run.

    python benchmarks/ingestion.py [--files 5000] [--json]

1. A long file of 505 tickers and 619,040 rows: shared/data/stocks/all_stocks_5yr.csv.gz where it is at hand, else one made like it.
   Ours is timed from open to the fsynced tidy table, with checks and account; beside it pandas.read_csv with parsed dates.
   Quoted with it: the wall time of the whole `longshort ingest`, with copy, digests and DVC.
2. Many files of 5,000 rows, made here; beside a scan of all columns as float32 by pyarrow, and by polars where it is installed.
3. Great Expectations on the table of 1.
4. One new day for 500 tickers: `longshort ingest` of 500 of these files again, each a row longer; with all their rows, and with
   those of five years.

Each figure is the best of three, in a process of its own; imports are not counted. Memory is the process's peak.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared/data/stocks/all_stocks_5yr.csv.gz"
ROWS, FIVE_YEARS, NEW_DAY = 5_000, 1_259, "2019-11-15"


def main() -> None:
    """Measure and print; with --task, one figure in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(TASKS[arguments.task](arguments.place)))
        return
    with tempfile.TemporaryDirectory(dir=ROOT / ".state") as place:
        figures = measure(Path(place), arguments.files)
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}")
    for name, (seconds, megabytes) in figures.items():
        print(f"{name:<62}{seconds:9.2f} s" + (f" {megabytes:8.0f} MB" if megabytes else ""))


def measure(place: Path, count: int) -> dict[str, tuple[float, float]]:
    """Every figure: seconds and peak memory."""
    one, many = place / "one", place / "many"
    one.mkdir()
    many.mkdir()
    long_file(one / "all_stocks_5yr.csv.gz")
    names = write_many(many, count)
    figures = {
        "619,040 rows, pandas.read_csv with dates": best("pandas", one),
        "619,040 rows, to the fsynced tidy table": best("ours", one),
        "619,040 rows, Great Expectations": best("expectations", one, 1),
        f"{count:,} files, a scan by pyarrow": best("pyarrow", many),
    }
    if subprocess.run([sys.executable, "-c", "import polars"], capture_output=True).returncode == 0:
        figures[f"{count:,} files, a scan by polars"] = best("polars", many)
    figures[f"{count:,} files, to the fsynced tidy table"] = best("ours", many)
    project = clone(place / "project")
    figures["619,040 rows, all of `longshort ingest`"] = command(project, str(one / "all_stocks_5yr.csv.gz"), "--as", "stocks")
    for rows in (FIVE_YEARS, ROWS):
        some = place / f"some{rows}"
        some.mkdir()
        for name in names[:500]:
            header, *lines = (many / name).read_text().splitlines(keepends=True)
            (some / name).write_text(header + "".join(lines[-rows:]))
        command(project, str(some))
        for name in names[:500]:
            last = (some / name).read_text().splitlines()[-1]
            with (some / name).open("a") as file:
                file.write(f"{NEW_DAY},{last.partition(',')[2]}\n")
        figures[f"a new day for 500 tickers of {rows:,} rows, all of `ingest`"] = command(project, str(some))
    return figures


def best(task: str, place: Path, times: int = 3) -> tuple[float, float]:
    """The shortest of several runs, each in a process of its own."""
    found = []
    for _ in range(times):
        done = subprocess.run([sys.executable, __file__, "--task", task, "--place", str(place)], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        found.append(tuple(json.loads(done.stdout)))
    return min(found)


def command(project: Path, *arguments: str) -> tuple[float, float]:
    """The wall time of `longshort ingest`, as a person waits."""
    began = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).parent / "longshort"), "ingest", *arguments], cwd=project, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return time.monotonic() - began, 0.0


def clone(folder: Path) -> Path:
    """This project, elsewhere."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


# --- what is read -----------------------------------------------------------------------------


def days(count: int) -> list[str]:
    """So many sessions of New York, from 2000 on."""
    import datetime as dt

    from longshort import sessions

    first = dt.date(2000, 1, 3)
    return [str(day.date()) for day in sessions.sessions("XNYS", first, first + dt.timedelta(count * 2))[:count]]


def rows_of(seed: int, count: int, dates: list[str]) -> str:
    """A random walk as lines of a file."""
    draw = np.random.Generator(np.random.Philox(seed))
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, count)))
    columns = np.stack([close * 1.001, close * 1.02, close * 0.98, close], axis=1)
    volumes = draw.integers(10_000, 99_000_000, count)
    return "".join(
        f"{day},{o:.2f},{h:.2f},{low:.2f},{c:.2f},{v}\n" for day, (o, h, low, c), v in zip(dates, columns, volumes, strict=False)
    )


def long_file(path: Path) -> None:
    """The real long file, or one made like it."""
    if SHARED.is_file():
        path.write_bytes(SHARED.read_bytes())
        return
    dates = days(1_259)
    lines = ["date,open,high,low,close,volume,Name\n"]
    for ticker in range(505):
        lines += [f"{line},T{ticker:03}\n" for line in rows_of(ticker, 1_226, dates).splitlines()]
    path.write_bytes(gzip.compress("".join(lines)[:-1].encode(), 6, mtime=0))


def write_many(folder: Path, count: int) -> list[str]:
    """Files of 5,000 rows, a ticker each."""
    dates = days(ROWS)
    names = [f"T{number:05}.csv" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_text("Date,Open,High,Low,Close,Volume\n" + rows_of(number, ROWS, dates))
    return names


# --- one figure -------------------------------------------------------------------------------


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of work, and the peak memory of the process in MB."""
    began = time.monotonic()
    work()
    return time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def with_pandas(place: Path) -> tuple[float, float]:
    """A plain read of the long file."""
    import pandas as pd

    (path,) = place.iterdir()
    return timed(lambda: pd.read_csv(path, parse_dates=["date"]))


def with_pyarrow(place: Path) -> tuple[float, float]:
    """A scan of all files as float32."""
    import pyarrow as pa
    from pyarrow import csv, dataset

    types = {"Date": pa.date32(), **dict.fromkeys(("Open", "High", "Low", "Close"), pa.float32()), "Volume": pa.int64()}
    kind = dataset.CsvFileFormat(convert_options=csv.ConvertOptions(column_types=types))
    return timed(lambda: dataset.dataset(place, format=kind).to_table())


def with_polars(place: Path) -> tuple[float, float]:
    """The same by polars."""
    import polars as pl

    types = {"Date": pl.Date, **dict.fromkeys(("Open", "High", "Low", "Close"), pl.Float32), "Volume": pl.Int64}
    return timed(lambda: pl.scan_csv(f"{place}/*.csv", schema=types).collect())


def with_ours(place: Path) -> tuple[float, float]:
    """From open to the fsynced tidy table, with checks and account."""
    import exchange_calendars  # noqa: F401  # imports are not counted
    import pyarrow.compute
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    from longshort.ingestion import dataset, stage

    files = {path.name: path for path in place.iterdir()}

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            made = stage.write(files, "forecast", dataset.Terms(), Path(folder) / "table.parquet")
            (Path(folder) / "account.json").write_text(json.dumps(made.account))
            os.sync()

    return timed(work)


def with_expectations(place: Path) -> tuple[float, float]:
    """The suite of prices on the long file's table."""
    from longshort import config
    from longshort.ingestion import dataset
    from longshort.validation import stage, suites

    suites.quiet_expectations()
    (path,) = place.iterdir()
    table = dataset.assemble({path.name: path}, "forecast", dataset.Terms()).table
    params = config.read(ROOT / "params.yaml")
    return timed(lambda: stage.examine(table, "goog", params, "XNYS", suites.PRICES))


TASKS = {"pandas": with_pandas, "pyarrow": with_pyarrow, "polars": with_polars, "ours": with_ours, "expectations": with_expectations}

if __name__ == "__main__":
    main()
