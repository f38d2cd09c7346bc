"""Leaderboard: every variant's figures on the test part, mean ± standard deviation over seeds, beside the naive ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import storage
from longshort.config import Params

if TYPE_CHECKING:
    from rich.table import Table

# what each task is ranked by, and the baseline that it is shown beside
RANKED_BY = {"forecast": "rmse", "language-model": "perplexity"}


@dataclass(frozen=True)
class Row:
    """One item: figures are means over seeds, ``sd`` their standard deviations, ``baselines`` name -> figure of the ranking metric."""

    dataset: str
    task: str
    variant: str
    seeds: int
    metric: str
    mean: dict[str, float]
    sd: dict[str, float]
    baselines: dict[str, float]


def rows(root: Path, params: Params) -> list[Row]:
    """One row an item that has been evaluated, data sets in the order of params.yaml, the best first within each.

    raises  CorruptArtefact
    """
    found = []
    for item in params.training.items:
        folder = root / "data/evaluation" / item
        if not folder.exists():
            continue
        storage.verify(folder)
        content = storage.read_json(folder / "metrics.json")
        metric = RANKED_BY[content["task"]]
        baselines = {name: figures[metric] for name, figures in content["baselines"].items()}
        named = {key: content[key] for key in ("dataset", "task", "variant", "mean", "sd")}
        found.append(Row(**named, seeds=len(content["seeds"]), metric=metric, baselines=baselines))
    order = list(params.ingestion.datasets)
    return sorted(found, key=lambda row: (order.index(row.dataset), row.mean[row.metric]))


def as_json(found: list[Row]) -> list[dict[str, Any]]:
    """The rows as plain JSON."""
    return [asdict(row) for row in found]


def tables(found: list[Row]) -> list[Table]:
    """One table a data set, for a terminal."""
    made = []
    for dataset in dict.fromkeys(row.dataset for row in found):
        own = [row for row in found if row.dataset == dataset]
        made.append(_price_table(dataset, own) if own[0].task == "forecast" else _text_table(dataset, own))
    return made


def blank_table(title: str, columns: list[str]) -> Table:
    """An empty table in the project's style: the first column is of names, the others are of figures."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _price_table(dataset: str, own: list[Row]) -> Table:
    table = blank_table(
        f"{dataset}: next session's price, test part, {own[0].seeds} seeds",
        ["variant", "test RMSE", "naive", "skill", "direction (95 %)", "DM p", "epochs"],
    )
    for row in own:
        mean, sd = row.mean, row.sd
        share, low, high = (f"{100 * mean[f'directional_accuracy{end}']:.0f}" for end in ("", "_low", "_high"))
        table.add_row(
            row.variant,
            f"{mean['rmse']:.3f} ± {sd['rmse']:.3f}",
            f"{row.baselines['last_value']:.3f}",
            f"{100 * mean['skill']:+.1f} %",
            f"{share} % ({low}–{high})",
            f"{mean['dm_p_value']:.2f}",
            f"{mean['best_epoch']:.0f}",
        )
    return table


def _text_table(dataset: str, own: list[Row]) -> Table:
    table = blank_table(
        f"{dataset}: next word, test part, {own[0].seeds} seeds, {100 * own[0].mean['unknown_share']:.1f} % [UNK]",
        ["variant", "test perplexity", "unigram", "trigram", "bits/character", "epochs"],
    )
    for row in own:
        mean, sd = row.mean, row.sd
        table.add_row(
            row.variant,
            f"{mean['perplexity']:.2f} ± {sd['perplexity']:.2f}",
            f"{row.baselines['unigram']:.1f}",
            f"{row.baselines['trigram']:.1f}",
            f"{mean['bits_per_character']:.3f} ± {sd['bits_per_character']:.3f}",
            f"{mean['best_epoch']:.0f}",
        )
    return table
