"""Trials: what a search came to, for a terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from longshort import leaderboard

if TYPE_CHECKING:
    from rich.table import Table

    from longshort.tuning.search import Contender, Findings

SHOWN = 8  # of the best trials


def tables(found: Findings) -> list[Table]:
    """The best trials with the present settings among them, and the best beside the present over all seeds."""
    return [_trials(found), _comparison(found)]


def lines(found: Findings) -> list[str]:
    """What became of the rest, the verdict, and how to adopt what was found."""
    said = []
    failed = [trial for trial in found.trials if trial.state == "failed"]
    said += [f"trial {trial.number} failed: {trial.reason}" for trial in failed]
    said.append(f"{found.item}: {found.verdict.reason}")
    contenders = [one.mean for one in (found.present, found.found) if one is not None and one.kept]
    beaten_by = {name: loss for name, loss in found.naive.items() if contenders and loss < min(contenders)}
    if beaten_by:
        said.append(f"neither better than {', nor than '.join(f'{_name(name)}: {loss:.4f}' for name, loss in beaten_by.items())}")
    if found.adopt:
        what = "adopt" if found.verdict.better else "to try it all the same"
        said += [
            "",
            f"{what}:",
            "  " + " \\\n      ".join(["longshort run", *(f"--set {shlex.quote(setting)}" for setting in found.adopt)]),
        ]
    return said


def _trials(found: Findings) -> Table:
    states = [trial.state for trial in found.trials]
    counted = [f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed") if state in states]
    names = list(found.trials[0].values)
    headings = [name.replace("_", "\n") for name in names]  # 80 columns hold more of them so
    table = leaderboard.blank_table(f"{found.item}: {len(states)} trials: {', '.join(counted)}", ["trial", "loss", "epoch", *headings])
    ranked = sorted((trial for trial in found.trials if trial.state == "complete"), key=lambda trial: (trial.loss, trial.number))
    for rank, trial in enumerate(ranked):
        if rank < SHOWN or trial.number == 0:
            mark = " (present)" if trial.number == 0 else ""
            epoch = str(trial.best["epoch"]) if trial.best else ""
            table.add_row(f"{trial.number}{mark}", f"{trial.loss:.4f}", epoch, *(_word(trial.values[name]) for name in names))
    return table


def _comparison(found: Findings) -> Table:
    seeds = ", ".join(map(str, found.seeds))
    table = leaderboard.blank_table(f"validation loss with seeds {seeds}", ["settings", "mean ± sd", "each seed"])
    table.add_row("present", *_figures(found.present))
    if found.found is not None:
        table.add_row(f"trial {found.found.trial}", *_figures(found.found))
    for name, loss in found.naive.items():
        table.add_row(_name(name), f"{loss:.4f}         ", "")
    return table


def _figures(contender: Contender) -> tuple[str, str]:
    each = "  ".join("diverged" if loss is None else f"{loss:.4f}" for loss in contender.losses.values())
    return f"{contender.mean:.4f} ± {contender.sd:.4f}", each


def _name(baseline: str) -> str:
    return baseline.replace("_", " ")


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
