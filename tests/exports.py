"""A person's own files, for tests: an export of prices that grows, and a project that has taken it in."""

from __future__ import annotations

from pathlib import Path

import clones
import projects


def take_in_own_prices(folder: Path) -> Path:
    """A project of one item over a person's data set `aapl`, 400 sessions of a CSV beside it, after `longshort run`, committed."""
    root = clones.clone(
        folder,
        "models.variants={rnn: {cell: rnn, hidden_size: 4, num_layers: 1, bidirectional: false, dropout: 0.0}}",
        "ingestion.datasets={aapl: {task: forecast, source: raw}}",
        "training.items={aapl-rnn: {dataset: aapl, task: forecast, variant: rnn}}",
    )
    write_prices(folder.parent / "exports/AAPL.csv", 400)
    clones.longshort(root, "ingest", str(folder.parent / "exports/AAPL.csv"), "--dataset", "aapl")
    clones.longshort(root, "run")
    clones.commit(root, "Retrain")
    return root


def write_prices(path: Path, sessions: int) -> None:
    """A person's export: so many sessions of one ticker. More sessions begin with the same rows."""
    table = projects.prices(projects.days(600))
    frame = table.select(["date", "open", "high", "low", "close", "adj_close", "volume"]).to_pandas()
    frame.columns = ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"]
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.head(sessions).to_csv(path, index=False)
