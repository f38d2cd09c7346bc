"""Small projects for tests: a folder with params.yaml and dvc.yaml, and the artefacts that a stage reads."""

from __future__ import annotations

import datetime as dt
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from longshort import config, editing, sessions, storage

ROOT = Path(__file__).parents[1]
PARAMS = Path(__file__).with_name("params.yaml")
SMALL = (
    "windows.forecast.lookback=8",
    "windows.language-model.lookback=6",
    "windows.language-model.min_count=1",
    "tasks.language-model.embedding_size=4",
    "models.variants.stacked={cell: lstm, hidden_size: 4, num_layers: 2, bidirectional: false, dropout: 0.2}",
    "training.items.topics-stacked={dataset: topics, task: language-model, variant: stacked}",
    "training.device=cpu",
)


def project(folder: Path, *settings: str) -> Path:
    """A project's folder: tests/params.yaml made small, then ``settings``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dvc.yaml").touch()
    shutil.copy(PARAMS, folder)
    editing.assign(folder / "params.yaml", [*SMALL, *settings])
    return folder


def run_stage(root: Path | str, stage: str, item: str) -> None:
    """A stage, as `longshort stage` runs it."""
    root = Path(root)
    importlib.import_module(f"longshort.{stage}.stage").run(root, item, config.read(root / "params.yaml"))


def run_training(root: str, item: str) -> None:
    """The training stage, in a process whose generators were left anywhere."""
    import torch

    torch.seed()
    run_stage(root, "training", item)


def days(count: int, first: dt.date = dt.date(2010, 1, 4)) -> list[dt.date]:
    """So many sessions of New York."""
    return [day.date() for day in sessions.sessions("XNYS", first, first + dt.timedelta(count * 2))[:count]]


def prices(dates: list[dt.date], ticker: str = "AAA", seed: int = 0) -> pa.Table:
    """A random walk in tidy columns."""
    draw = np.random.Generator(np.random.Philox(seed))
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.02, len(dates))))
    width = 1 + draw.uniform(0.001, 0.02, len(dates))
    return pa.table(
        {
            "ticker": [ticker] * len(dates),
            "date": pa.array(dates, pa.date32()),
            "open": close,
            "high": close * width,
            "low": close / width,
            "close": close,
            "adj_close": close,
            "volume": pa.array(draw.integers(1000, 9000, len(dates)), pa.int64()),
        }
    )


def texts(count: int = 60, seed: int = 0) -> pa.Table:
    """Documents of short paragraphs over thirty words."""
    draw = np.random.Generator(np.random.Philox(seed))
    lines = [" ".join(f"w{n}" for n in draw.integers(0, 30, 9)) for _ in range(count)]
    found = ["\n\n".join(lines[start : start + 6]) for start in range(0, count, 6)]
    return pa.table({"document": [f"{number}.txt" for number in range(len(found))], "text": found})


def take_in(root: Path, item: str, table: pa.Table, fit: bool = True) -> Path:
    """What ingestion and validation would have left of a table."""
    with storage.new_artefact(root / "data/ingestion" / item) as folder:
        storage.write_table(folder / "table.parquet", table)
    with storage.new_artefact(root / "data/validation" / item) as folder:
        storage.write_json(folder / "result.json", {"success": fit})
    return root


PER_TICKER = "goog-lstm-per-ticker"


def with_a_network_a_ticker(folder: Path) -> Path:
    """A project with three tickers, of which CCC is too short to train on, and for two seeds a network each for AAA and BBB."""
    learning = "{optimizer: adam, learning_rate: 0.01, batch_size: 6, max_epochs: 2, patience: 6, clip_norm: 1.0}"
    items = f"{{{PER_TICKER}: {{dataset: goog, task: forecast, variant: lstm, per: ticker}}}}"
    small = ("training.seeds=[0, 1]", f"training.forecast={learning}", "models.variants.lstm.hidden_size=4", "resources.workers=2")
    root = project(folder, *small, f"training.items={items}")
    whole = days(300)
    tables = [prices(whole, ticker="AAA", seed=1), prices(whole, ticker="BBB", seed=2), prices(whole[-40:], ticker="CCC", seed=3)]
    take_in(root, "goog", pa.concat_tables(tables))
    run_stage(root, "windows", "goog")
    for stage in ("training", "evaluation"):
        run_stage(root, stage, PER_TICKER)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, by its place in the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path: Path, place: int, by: int = 0x10) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= by
    path.write_bytes(data)


def described(folder: Path) -> dict:
    """windows.json, read."""
    return json.loads((folder / "windows.json").read_text())


def first_that_runs(variant: config.Variant) -> str:
    """The name of the first engine that runs a variant."""
    from longshort.models.engines import ENGINES

    return next(name for name, engine in ENGINES.items() if engine.runs(variant) is None)


NATIVE = ROOT / "src/longshort/models/compiled"
# what needs the compiled library; `make prove` takes no excuse
native_is_built = pytest.mark.skipif(
    not (NATIVE / "_native.so").exists(), reason=f"the engine 'native' is not built: python {NATIVE / 'build.py'}, with a C++ compiler"
)
