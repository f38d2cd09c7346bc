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
RANKED_BY = {
    "forecast": "rmse",
    "language-model": "perplexity",
    "classify": "accuracy",
    "tag": "f1",
    "translate": "chrf",
    "caption": "chrf",
}
HIGHER = ("accuracy", "f1", "chrf")  # is better
# of the tasks whose examples are rows: what stands in the title, and the figures of a line, of shares in percent
OF_ROWS = {
    "classify": ("a text's label", {"accuracy": "accuracy (%)", "macro_f1": "mean F1 of labels (%)"}),
    "tag": ("a tag for each word", {"f1": "F1 of spans (%)", "word_accuracy": "words right (%)"}),
    "translate": ("a text in the other language", {"chrf": "chrF", "bleu": "BLEU", "exact": "exact (%)"}),
    "caption": ("a row's caption", {"chrf": "chrF", "bleu": "BLEU", "exact": "exact (%)"}),
}
SPELT = {"ar1": "AR(1)", "lightgbm": "LightGBM", "seasonal_naive": "seasonal", "tfidf_logistic": "TF-IDF + logistic regression"}


@dataclass(frozen=True)
class Row:
    """One item: figures are means over seeds, ``sd`` their standard deviations.

    baselines   name -> its figures on the same test part; ``skill`` and more where they are defined
    asked       how sure intervals shall be
    leak_alarm  whether a seed is better on price levels than anybody is
    folds       pieces of the test part, each with networks of its own; epochs are the newest's
    """

    dataset: str
    task: str
    variant: str
    seeds: int
    metric: str
    mean: dict[str, float]
    sd: dict[str, float]
    baselines: dict[str, dict[str, float]]
    asked: dict[str, float]
    leak_alarm: bool
    folds: int = 1


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
        named = {key: content[key] for key in ("dataset", "task", "variant", "mean", "sd", "baselines", "asked", "leak_alarm")}
        folds = content["test"].get("folds", 1)
        found.append(Row(**named, seeds=len(content["seeds"]), metric=RANKED_BY[content["task"]], folds=folds))
    order = list(params.ingestion.datasets)
    return sorted(found, key=lambda row: (order.index(row.dataset), rank(row)))


def rank(row: Row) -> float:
    """The lower the better."""
    return -row.mean[row.metric] if row.metric in HIGHER else row.mean[row.metric]


def as_json(found: list[Row]) -> list[dict[str, Any]]:
    """The rows as plain JSON."""
    return [asdict(row) for row in found]


def alarms(found: list[Row]) -> list[str]:
    """A sentence for each item that is too good to be true."""
    return [
        f"ALARM: {row.dataset}-{row.variant} beats the last value by {100 * row.mean['skill']:.1f} % on price levels. Above 5 % that is "
        "a leak until shown otherwise: look for a column that knows the session to forecast, and for rows of the future among the past."
        for row in found
        if row.leak_alarm
    ]


def tables(found: list[Row]) -> list[Table]:
    """One table a data set, for a terminal."""
    made = []
    for dataset in dict.fromkeys(row.dataset for row in found):
        own = [row for row in found if row.dataset == dataset]
        table = {"forecast": _price_table, "language-model": _text_table}.get(own[0].task, _row_table)
        made.append(table(dataset, own))
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
        f"{dataset}: next session's price, {_tested(own[0])}",
        ["variant", "test RMSE", "skill (%)", "direction", "DM p", "held", "epoch"],
    )
    sure = {name: f"{100 * share:.0f} %" for name, share in own[0].asked.items()}
    table.caption = f"direction: with its {sure['confidence']} interval; held: by {sure['coverage']} intervals; below: baselines\n"
    table.caption_justify, table.caption_style = "left", "dim"
    for row in own:
        spread = f"{row.mean['rmse']:.3f} ± {row.sd['rmse']:.3f}"
        table.add_row(row.variant, spread, *_beside_naive(row.mean, row.sd), f"{row.mean['best_epoch']:.0f}", end_section=row is own[-1])
    for name, figures in sorted(own[0].baselines.items(), key=lambda each: each[1]["rmse"]):
        table.add_row(SPELT.get(name, name.replace("_", " ")), f"{figures['rmse']:.3f}", *_beside_naive(figures), "")
    return table


def _tested(row: Row) -> str:
    return f"test part, {row.seeds} seeds" + (f", {row.folds} folds" if row.folds > 1 else "")


def _beside_naive(figures: dict[str, float], sd: dict[str, float] | None = None) -> list[str]:
    """Skill, direction, p and share held; nothing where a figure is not defined."""
    spread = f" ± {100 * sd['skill']:.1f}" if sd else ""
    cells = [f"{100 * figures['skill']:+.1f}{spread}", "", "", ""]
    if "directional_accuracy" in figures:
        share, low, high = (f"{100 * figures[f'directional_accuracy{end}']:.0f}" for end in ("", "_low", "_high"))
        cells[1] = f"{share} % ({low}–{high})"
    if "dm_p_value" in figures:
        cells[2] = f"{figures['dm_p_value']:.2f}"
    if "coverage" in figures:
        cells[3] = f"{100 * figures['coverage']:.0f} %"
    return cells


def _row_table(dataset: str, own: list[Row]) -> Table:
    title, all_names = OF_ROWS[own[0].task]
    names = {name: shown for name, shown in all_names.items() if name in own[0].mean}  # captions of characters have no BLEU
    table = blank_table(f"{dataset}: {title}, {_tested(own[0])}", ["variant", *names.values(), "epochs"])
    unit = 1 if own[0].task in ("translate", "caption") else 100  # sacrebleu's figures are in percent
    for row in own:
        cells = [f"{unit * row.mean[name]:.2f} ± {unit * row.sd[name]:.2f}" for name in names]
        table.add_row(row.variant, *cells, f"{row.mean['best_epoch']:.0f}", end_section=row is own[-1])
    plain = {name: figures for name, figures in own[0].baselines.items() if own[0].metric in figures}
    for name, figures in sorted(plain.items(), key=lambda each: -each[1][own[0].metric]):
        table.add_row(SPELT.get(name, name.replace("_", " ")), *(f"{unit * figures[each]:.2f}" for each in names), "")
    return table


def _text_table(dataset: str, own: list[Row]) -> Table:
    table = blank_table(
        f"{dataset}: next word, {_tested(own[0])}, {100 * own[0].mean['unknown_share']:.1f} % [UNK]",
        ["variant", "test perplexity", "unigram", "trigram", "bits/character", "epochs"],
    )
    for row in own:
        mean, sd = row.mean, row.sd
        table.add_row(
            row.variant,
            f"{mean['perplexity']:.2f} ± {sd['perplexity']:.2f}",
            *(f"{row.baselines[name]['perplexity']:.1f}" for name in ("unigram", "trigram")),
            f"{mean['bits_per_character']:.3f} ± {sd['bits_per_character']:.3f}",
            f"{mean['best_epoch']:.0f}",
        )
    return table
