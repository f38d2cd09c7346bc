"""A replay: what arrives is what was known on that day, what is planted is planted and no more, and the flows are the real ones."""

from __future__ import annotations

import itertools

import clones
import numpy as np
import projects
import pyarrow as pa
import pytest

from longshort import replay
from longshort.errors import UsageError
from longshort.registry import ledger

TICKERS = ("AAA", "BBB", "CCC", "DDD")


@pytest.fixture(scope="module")
def table():
    days = projects.days(330)
    tables = [projects.prices(days, ticker=name, seed=seed) for seed, name in enumerate(TICKERS)]
    return pa.concat_tables([*tables, projects.prices(days[40:], ticker="NEW", seed=9)])


def same(frame, other):
    return frame.reset_index(drop=True).equals(other.reset_index(drop=True))


def test_what_is_known_before_and_the_months_are_all_there_is_each_once_and_in_order(table):
    made = replay.plan(table, 4, 3)
    parts = [made.known, *made.months]
    assert made.tickers == list(TICKERS) and [len(part.truth) % 4 for part in parts] == [0, 0, 0, 0]
    assert sum(len(part.truth) for part in parts) == 4 * 330
    for before, after in itertools.pairwise(parts):
        assert before.truth["date"].max() < after.truth["date"].min() and before.moment < after.moment
        assert before.moment.date() == before.truth["date"].max()
    assert all(same(part.rows, part.truth) and not part.planted for part in parts)


def test_tickers_are_those_with_every_session_spread_over_the_alphabet(table):
    assert replay.plan(table, 2, 1).tickers == ["AAA", "DDD"]
    with pytest.raises(UsageError, match=r"^4 tickers have all of 330 sessions, asked 5: lower --tickers\.$"):
        replay.plan(table, 5, 1)


def test_a_change_of_regime_moves_prices_thrice_as_much_from_its_month_on_and_not_before(table):
    plain, wild = replay.plan(table, 4, 3), replay.plan(table, 4, 3, regime=2)
    assert same(plain.known.rows, wild.known.rows) and same(plain.months[0].rows, wild.months[0].rows)
    for ticker in TICKERS:
        own = [[part.rows[part.rows["ticker"] == ticker] for part in made.months] for made in (plain, wild)]
        base = float(own[0][0]["close"].iloc[-1])
        for before, after in zip(own[0][1:], own[1][1:], strict=True):
            moved = np.log(after["close"].to_numpy() / base) / np.log(before["close"].to_numpy() / base)
            assert moved == pytest.approx(replay.WILDER, rel=1e-2)
            assert (after["low"] <= after[["open", "close"]].min(axis=1)).all() and (after["high"] >= after["close"]).all()
    assert wild.months[1].planted == "from here on prices move 3 times as much" and not wild.months[2].planted


def test_a_broken_month_comes_in_cents_and_its_truth_is_kept(table):
    plain, broken = replay.plan(table, 4, 3), replay.plan(table, 4, 3, broken=2)
    assert same(broken.months[1].truth, plain.months[1].truth) and same(broken.months[2].rows, plain.months[2].rows)
    assert (broken.months[1].rows["close"] / plain.months[1].rows["close"]).to_numpy() == pytest.approx(100)
    assert (broken.months[1].rows["volume"] == plain.months[1].rows["volume"]).all()


@pytest.mark.parametrize(
    ("months", "more", "said"),
    [
        (40, {}, "the prices span 16 months, asked 40 and what was known before them: lower --months"),
        (3, {"regime": 4}, "month 4: there are 3, counted from 1"),
        (3, {"broken": 0}, "month 0: there are 3, counted from 1"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_the_numbers(table, months, more, said):
    with pytest.raises(UsageError) as refusal:
        replay.plan(table, 4, months, **more)
    assert said in str(refusal.value)


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(UsageError, match="is not empty: a replay begins with nothing"):
        replay.lay_out(clones.ROOT, tmp_path, [], print)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.long
def test_a_replay_retrains_on_schedule_refuses_a_broken_month_and_says_what_it_was_worth(table, tmp_path):
    root = clones.clone(tmp_path / "project")
    export = tmp_path / "export.csv"
    table.to_pandas().drop(columns="adj_close").to_csv(export, index=False)
    small = "training.forecast={optimizer: adam, learning_rate: 0.01, batch_size: 64, max_epochs: 2, patience: 1, clip_norm: 1.0}"
    done = clones.longshort(
        root, "replay", str(export), "--months", "2", "--tickers", "1", "--broken", "1", "--into", "../replay", "--set", small
    )
    folder = tmp_path / "replay"
    told = [entry for entry in ledger.history(folder) if entry["event"] == ledger.RETRAINED]
    made = replay.plan(table, 1, 2)
    assert [entry["cut_off"] for entry in told] == [str(at.moment.date()) for at in (made.known, made.months[1])]
    assert [entry["time"][:10] for entry in told] == [entry["cut_off"] for entry in told]
    assert told[0]["reason"] == "the first" and (told[1]["reason"] == "scheduled" or told[1]["reason"].startswith("drift"))
    assert "refused, and what serves stays: prices.csv:" in done.stderr and "a hundredfold" in done.stderr
    assert "never retrained" in done.stdout and "always the newest" in done.stdout
    assert (folder / "reports/trend/prices.png").exists() and not (root / "mlflow/store").exists()
