"""The leaderboard: what a person reads of it."""

import dataclasses
import io
import json

import pytest
from projects import project
from rich.console import Console

from longshort import cli, leaderboard

FIGURES = {"rmse": 15.1, "skill": -0.006, "directional_accuracy": 0.45, "directional_accuracy_low": 0.39, "directional_accuracy_high": 0.52}
MEAN = {**FIGURES, "dm_p_value": 0.066, "best_epoch": 3.3, "coverage": 0.917}
BASELINES = {"seasonal_naive": {**FIGURES, "rmse": 31.4, "skill": -1.09}, "last_value": {"rmse": 15.0, "skill": 0.0, "coverage": 0.92}}
ROW = leaderboard.Row(
    dataset="goog",
    task="forecast",
    variant="lstm",
    seeds=3,
    metric="rmse",
    mean=MEAN,
    sd=dict.fromkeys(MEAN, 0.03) | {"skill": 0.002},
    baselines=BASELINES,
    asked={"confidence": 0.95, "coverage": 0.9},
    leak_alarm=False,
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project whose only item is too good to be true."""
    monkeypatch.setattr(leaderboard, "rows", lambda *_: [dataclasses.replace(ROW, leak_alarm=True)])
    return project(tmp_path / "project")


def printed(rows, width=80):
    console = Console(file=io.StringIO(), width=width)
    for table in leaderboard.tables(rows):
        console.print(table)
    return console.file.getvalue()


def test_baselines_stand_below_the_networks_the_best_first():
    lines = [" ".join(line.split()) for line in printed([ROW]).splitlines()]
    shown = [line for line in lines if line.startswith(("lstm", "last", "seasonal"))]
    assert shown == [
        "lstm 15.100 ± 0.030 -0.6 ± 0.2 45 % (39–52) 0.07 92 % 3",
        "last value 15.000 +0.0 92 %",
        "seasonal 31.400 -109.0 45 % (39–52)",
    ]


def test_folds_are_said_where_there_are_several():
    assert "test part, 3 seeds, 4 folds" in printed([dataclasses.replace(ROW, folds=4)])
    assert "folds" not in printed([ROW])


def test_nothing_is_cut_off_on_a_terminal_of_eighty_columns():
    assert "…" not in printed([ROW]) and "held: by 90 % intervals; below: baselines" in printed([ROW])


@pytest.mark.parametrize("alarm", [True, False])
def test_a_leak_alarm_is_a_sentence_with_the_item_and_its_skill(alarm):
    good = dataclasses.replace(ROW, mean={**MEAN, "skill": 0.123}, leak_alarm=alarm)
    said = leaderboard.alarms([ROW, good])
    assert len(said) == alarm
    assert all(sentence.startswith("ALARM: goog-lstm beats the last value by 12.3 % on price levels.") for sentence in said)


def test_the_alarm_stands_under_the_leaderboard_and_in_its_json(root, capsys):
    cli._show_leaderboard(root, as_json=False)
    assert "\nALARM: goog-lstm beats" in capsys.readouterr().out
    cli._show_leaderboard(root, as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["leak_alarm"] is True
