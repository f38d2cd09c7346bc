"""Windows: the past before the future, the parts apart, and nothing fitted on what is to be forecast."""

import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import time_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from projects import PARAMS, contents, days, described, flip, prices, project, run_stage, take_in, texts

from longshort import config, editing, storage
from longshort.config import PriceWindows, TextWindows
from longshort.errors import CorruptArtefact, DataRefused, SeriesTooShort
from longshort.windows import contamination, files, tokens
from longshort.windows import stage as shell
from longshort.windows.order import shuffled
from longshort.windows.prices import (
    PARTS,
    Scaler,
    Segment,
    Series,
    fit_scaler,
    make_parts,
    make_series,
    part_windows,
    possible,
    split_dates,
)
from longshort.windows.text import (
    Stretch,
    beginning_sha256,
    count,
    judge_unknown,
    make_stretches,
    make_vocabulary,
    scoring_streams,
    scoring_windows,
    split,
    training_starts,
    training_streams,
)
from longshort.windows.tokens import Paragraphs, tokenise, words_of

SPEC = PriceWindows(
    lookback=4, horizon=2, target="close", features=["close"], scaler="standard", gap=2, max_gap=3, validation=0.2, test=0.2
)
TEXT = TextWindows(lookback=4, min_count=1, max_vocabulary=100, validation=0.2, test=0.2)


def day(number):
    return np.datetime64("2020-01-01") + number


def steps(*lengths):
    """Segments of one column, in which the value is its own step and the date its own place in the segment."""
    ends = np.cumsum(lengths)
    dates = np.concatenate([day(np.arange(n)) for n in lengths])
    segments = tuple(Segment(f"T{n}", int(end - length), int(end)) for n, (length, end) in enumerate(zip(lengths, ends, strict=True)))
    return Series(np.arange(ends[-1], dtype=np.float32)[:, None], np.arange(ends[-1], dtype=np.float64), dates, segments)


def table(tickers, dates, close):
    """Tidy rows whose prices are all the close."""
    close = np.asarray(close, np.float64)
    return {"ticker": np.array(tickers), "date": dates, "volume": close, **dict.fromkeys(("open", "high", "low", "close"), close)}


def all_of(windows, values):
    return windows.gather(values, np.arange(len(windows)))


# --- cutting ----------------------------------------------------------------------------------


def test_the_future_starts_one_step_after_the_past_ends():
    series = steps(60)
    for windows in make_parts(series, SPEC).values():
        past, future = all_of(windows, series.values)
        assert past.shape == (len(windows), 4, 1) and future.shape == (len(windows), 2)
        assert (np.diff(np.concatenate([past[:, :, 0], future], axis=1), axis=1) == 1).all()


def test_only_the_first_column_is_the_future():
    series = steps(60)
    values = np.concatenate([series.values, -series.values], axis=1)
    past, future = all_of(make_parts(series, SPEC)["train"], values)
    assert (past[..., 1] == -past[..., 0]).all() and (future >= 0).all()


def test_the_origin_is_the_last_step_of_the_past():
    series = steps(60, 50)
    windows = make_parts(series, SPEC)["test"]
    past, _ = all_of(windows, series.values)
    assert (windows.origins(np.arange(len(windows))) == past[:, -1, 0]).all()


def test_a_batch_is_a_copy():
    series = steps(60)
    past, future = all_of(make_parts(series, SPEC)["train"], series.values)
    past += 1
    future += 1
    assert (series.values[:, 0] == np.arange(60)).all()


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("gap", [5, 9])
def test_every_window_of_a_part_is_cut_once_and_no_other(horizon, gap):
    spec = SPEC.model_copy(update={"horizon": horizon, "gap": gap})
    series = steps(90, 5, 70)
    for part, (first, last) in split_dates(series.dates, spec).items():
        windows = part_windows(series, spec, first, last)
        expected = [
            start
            for segment in series.segments
            for start in range(segment.start, segment.stop - spec.span + 1)
            if first <= series.dates[start + 4] and series.dates[start + spec.span - 1] <= last
        ]
        assert windows.first_steps(np.arange(len(windows))).tolist() == expected, part


def test_parts_are_split_by_target_date_with_the_gap_between():
    series = steps(100)
    targets = {part: all_of(windows, series.values)[1] for part, windows in make_parts(series, SPEC).items()}
    assert [(part, int(t.min()), int(t.max())) for part, t in targets.items()] == [
        ("train", 4, 57),
        ("validation", 60, 77),
        ("test", 80, 99),
    ]


def test_tickers_are_split_on_the_same_dates():
    series = steps(100, 90)
    windows = make_parts(series, SPEC)["validation"]
    dates = series.dates[windows.first_steps(np.arange(len(windows))) + 4]
    assert len(windows) == 2 * 17 and dates.min() == day(60)
    assert set(dates[:17]) == set(dates[17:])


def test_sessions_are_told_apart_in_any_order_and_number():
    dates = np.random.default_rng(0).permutation(np.repeat(day(np.arange(1000)), 3))
    assert split_dates(dates, SPEC) == split_dates(np.unique(dates), SPEC)


def half_hours(numbers):
    return np.datetime64("2020-01-06T09:30:00", "s") + 1800 * numbers.astype("timedelta64[s]")


def test_parts_of_intraday_rows_are_split_by_the_second():
    dates = np.random.default_rng(0).permutation(np.repeat(half_hours(np.arange(1000)), 3))
    bounds = split_dates(dates, SPEC)
    assert bounds["train"] == (half_hours(np.int64(0)), half_hours(np.int64(597)))
    assert bounds["validation"] == (half_hours(np.int64(600)), half_hours(np.int64(797)))
    assert bounds["test"] == (half_hours(np.int64(800)), half_hours(np.int64(999)))


def test_each_intraday_row_is_a_step_over_nights_too_and_the_targets_of_a_part_lie_within_it():
    times = half_hours(np.concatenate([48 * day + np.arange(13) for day in range(10)]))
    series = make_series(table(["AAA"] * 130, times, np.arange(130) + 1), SPEC, shell.session_numbers("none", times))
    assert [(s.start, s.stop) for s in series.segments] == [(0, 129)] and (series.dates == times[1:]).all()
    for part, windows in make_parts(series, SPEC).items():
        first, last = split_dates(series.dates, SPEC)[part]
        origins = windows.origins(np.arange(len(windows)))
        assert (series.dates[origins + 1] >= first).all() and (series.dates[origins + SPEC.horizon] <= last).all()
        assert len(windows) == ((series.dates >= first) & (series.dates <= last)).sum() - (SPEC.horizon - 1) - (4 if part == "train" else 0)


def test_windows_of_intraday_rows_keep_their_seconds_on_disk(tmp_path):
    times = half_hours(np.arange(200))
    rows = {
        name: column for name, column in table(["AAA"] * 200, times, np.arange(200) % 7 + 1.0).items() if name not in ("ticker", "date")
    }
    tidy = pa.table({"ticker": ["AAA"] * 200, "date": pa.array(times).cast(pa.timestamp("ms")), **rows})
    made = shell.price_data(tidy, SPEC, "none")
    with storage.new_artefact(tmp_path / "mine") as folder:
        files.write_prices(folder, made)
    read = files.read_prices(tmp_path / "mine")
    assert read.series.dates.dtype == "datetime64[s]" and (read.series.dates == times[1:]).all()
    assert described(tmp_path / "mine")["parts"]["test"]["last_target"] == str(times[-1]) == "2020-01-10T13:00:00"


@pytest.mark.parametrize("hole", [0, 1, 3, 4, 9])
def test_a_window_never_crosses_a_hole_of_more_than_max_gap_sessions(hole):
    numbers = np.concatenate([np.arange(20), np.arange(20 + hole, 40 + hole)])
    series = make_series(table(["AAA"] * 40, day(numbers), numbers + 1), SPEC, lambda dates: (dates - day(0)).astype(int))
    assert [(s.start, s.stop) for s in series.segments] == ([(0, 39)] if hole <= 3 else [(0, 19), (19, 38)])


def test_a_window_never_crosses_a_ticker():
    numbers = np.concatenate([np.arange(30), np.arange(30, 60)])  # the second ticker begins where the first one ends
    series = make_series(table(["AAA"] * 30 + ["BBB"] * 30, day(numbers), numbers + 1), SPEC, lambda dates: (dates - day(0)).astype(int))
    first, last = series.dates.min(), series.dates.max()
    past, future = all_of(part_windows(series, SPEC, first, last), series.values)
    assert ((past[:, 0, 0] <= 30) == (future[:, -1] <= 30)).all()
    assert [segment.ticker for segment in series.segments] == ["AAA", "BBB"]


def test_a_log_return_is_of_the_session_before_and_the_first_of_a_segment_is_dropped():
    spec = SPEC.model_copy(update={"target": "log_return", "features": ["log_return", "close"]})
    rows = table(["AAA"] * 3 + ["BBB"] * 3, day(np.array([0, 1, 2, 0, 1, 2])), [1, 2, 4, 10, 5, 5])
    series = make_series(rows, spec, lambda dates: (dates - day(0)).astype(int))
    np.testing.assert_allclose(series.values, [[np.log(2), 2], [np.log(2), 4], [-np.log(2), 5], [0, 5]], rtol=1e-6)
    assert series.price.tolist() == [2, 4, 5, 5]


def test_a_missing_volume_is_refused_with_its_ticker_day_and_the_remedy():
    rows = table(["AAA"] * 4, day(np.arange(4)), [1, 2, 3, 4]) | {"volume": np.array([1, 2, np.nan, 4])}
    spec = SPEC.model_copy(update={"features": ["volume"]})
    with pytest.raises(DataRefused, match=r"AAA 2020-01-03: 'volume' has no value.*windows\.forecast\.features"):
        make_series(rows, spec, lambda dates: (dates - day(0)).astype(int))


def test_a_series_too_short_for_its_parts_is_refused_with_the_numbers():
    with pytest.raises(SeriesTooShort, match="the validation part would hold 0 of 10 sessions"):
        make_parts(steps(10), SPEC)
    with pytest.raises(SeriesTooShort, match=r"the longest stretch has 40 sessions.* 30 \(lookback\) \+ 2 \(horizon\) = 32"):
        make_parts(steps(40), SPEC.model_copy(update={"lookback": 30}))


# --- the scaler -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["standard", "minmax"])
@pytest.mark.parametrize("features", [["close"], ["log_return", "log_range", "log_volume"]])
def test_scaler_and_training_windows_know_nothing_of_what_comes_after_the_split(tmp_path, kind, features):
    root = project(tmp_path, f"windows.forecast.scaler={kind}", f"windows.forecast.features={json.dumps(features)}")
    params = config.read(root / "params.yaml")
    rows = prices(days(300)).to_pandas()
    before = shell.price_data(pa.Table.from_pandas(rows), params.windows.forecast, "XNYS")
    last = before.series.dates[before.parts["train"].stops.max() - 1]
    after_split = rows["date"] > last.item()
    assert 0 < after_split.sum() < 150
    rows.loc[after_split, ["open", "high", "low", "close"]] *= np.linspace(2, 9, after_split.sum())[:, None]
    rows.loc[after_split, "volume"] += 10**6
    after = shell.price_data(pa.Table.from_pandas(rows), params.windows.forecast, "XNYS")
    assert (after.series.values != before.series.values).any()
    for mine, other in ((before.scaler.offset, after.scaler.offset), (before.scaler.scale, after.scaler.scale)):
        assert mine.tobytes() == other.tobytes()
    for mine, other in zip(
        all_of(before.parts["train"], before.scaler.apply(before.series.values)),
        all_of(after.parts["train"], after.scaler.apply(after.series.values)),
        strict=True,
    ):
        assert mine.tobytes() == other.tobytes()


def test_a_standard_scaler_gives_the_training_steps_mean_0_and_deviation_1():
    series = steps(100, 80)
    train = make_parts(series, SPEC)["train"]
    scaler = fit_scaler(series, train, SPEC)
    seen = np.concatenate([scaler.apply(series.values)[a:b] for a, b in zip(train.starts, train.stops, strict=True)])
    assert abs(seen.mean()) < 1e-6 and abs(seen.std() - 1) < 1e-6
    np.testing.assert_allclose(scaler.undo_target(scaler.apply(series.values)[:, 0]), series.values[:, 0], atol=1e-4)


def test_a_minmax_scaler_gives_the_training_steps_0_to_1():
    series, spec = steps(100), SPEC.model_copy(update={"scaler": "minmax"})
    scaled = fit_scaler(series, make_parts(series, spec)["train"], spec).apply(series.values)
    assert scaled[0] == 0 and scaled[57] == 1 and scaled.max() > 1


def test_the_scaler_leaves_what_it_is_given_alone():
    series = steps(100)
    Scaler(np.array([5.0]), np.array([2.0])).apply(series.values)
    assert (series.values[:, 0] == np.arange(100)).all()


@pytest.mark.parametrize("kind", ["standard", "minmax"])
def test_a_column_that_is_constant_in_training_is_refused_with_its_name(kind):
    series = steps(100)
    series.values[:70] = 7
    with pytest.raises(DataRefused, match=r"'close' is 7 throughout the training part.*windows\.forecast\.features"):
        fit_scaler(series, make_parts(series, SPEC)["train"], SPEC.model_copy(update={"scaler": kind}))


# --- the order of an epoch --------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 4095, 4096, 4097, 65_537])
def test_every_window_comes_once_an_epoch(count):
    for seed, epoch in ((0, 1), (7, 3), (2**63 - 1, 100)):
        assert (np.sort(shuffled(count, seed, epoch, np.arange(count))) == np.arange(count)).all()


def test_an_epoch_can_be_entered_at_any_place():
    whole = shuffled(1000, 3, 5, np.arange(1000))
    assert (np.concatenate([shuffled(1000, 3, 5, np.arange(n, n + 8)) for n in range(0, 1000, 8)]) == whole).all()


def test_orders_differ_by_epoch_and_by_seed_and_not_from_themselves():
    orders = {(seed, epoch): tuple(shuffled(500, seed, epoch, np.arange(500))) for seed in range(4) for epoch in range(4)}
    assert len(set(orders.values())) == 16
    assert orders[2, 3] == tuple(shuffled(500, 2, 3, np.arange(500)))


@pytest.mark.parametrize("count", [619, 10_000])
def test_an_order_looks_shuffled(count):
    numbers = np.arange(count)
    orders = [shuffled(count, seed, 1, numbers) for seed in range(20)]
    limit = 5 / np.sqrt(count)
    assert max(abs(np.corrcoef(order, numbers)[0, 1]) for order in orders) < limit
    assert max(abs(np.corrcoef(order[1:], order[:-1])[0, 1]) for order in orders) < limit
    assert abs(np.mean([(order == numbers).sum() for order in orders]) - 1) < 1  # a random order fixes one on average
    assert abs(np.corrcoef(orders[0], orders[1])[0, 1]) < limit


# --- size -------------------------------------------------------------------------------------

FLEET = """
import tracemalloc
import numpy as np
from longshort.config import PriceWindows
from longshort.windows.order import shuffled
from longshort.windows.prices import Segment, Series, fit_scaler, make_parts

TICKERS, STEPS = 5000, 5260
spec = PriceWindows(
    lookback=60, horizon=1, target="close", features=["close"], scaler="standard", gap=1, max_gap=10, validation=0.02, test=0.02
)
values = np.empty((TICKERS * STEPS, 1), np.float32)
values.reshape(TICKERS, STEPS)[:] = np.sin(np.arange(STEPS))
dates = np.empty(TICKERS * STEPS, "datetime64[D]")
dates.reshape(TICKERS, STEPS)[:] = np.datetime64("2000-01-01") + np.arange(STEPS)
segments = tuple(Segment(f"T{n}", n * STEPS, (n + 1) * STEPS) for n in range(TICKERS))
series = Series(values, values[:, 0], dates, segments)
tracemalloc.start()
parts = make_parts(series, spec)
scaler = fit_scaler(series, parts["train"], spec)
scaled = scaler.apply(series.values)
for windows in parts.values():
    for numbers in (np.arange(64), len(windows) - 1 - np.arange(64), shuffled(len(windows), 0, 1, np.arange(5000, 5064))):
        past, future = windows.gather(scaled, numbers)
        assert past.shape == (64, 60, 1) and future.shape == (64, 1)
more = tracemalloc.get_traced_memory()[1] - scaled.nbytes
print(sum(map(len, parts.values())), more)
"""


def test_25_million_windows_need_the_series_and_no_more_than_100_megabytes():
    told = subprocess.run([sys.executable, "-c", FLEET], capture_output=True, text=True, check=True).stdout.split()
    windows, more = map(int, told)
    assert windows > 25_000_000
    assert more < 100e6


# --- words ------------------------------------------------------------------------------------


def numbered(blocks):
    """Paragraphs of words by number, and the word of each number."""
    index = {}
    ids = np.array([index.setdefault(word, len(index)) for block in blocks for word in block], np.int32)
    lengths, characters = (np.array([measure(block) for block in blocks]) for measure in (len, lambda block: len(" ".join(block)) + 1))
    return Paragraphs(ids, lengths, characters), list(index)


def spelled(blocks, spelt):
    """The words of each paragraph."""
    cuts = np.cumsum(blocks.lengths)[:-1]
    return [[spelt[number] for number in own] for own in np.split(blocks.ids, cuts)] if len(blocks) else []


def read(*documents):
    """The paragraphs of documents: their words, and their characters."""
    found, spelt = tokenise(enumerate(documents))
    return list(zip(spelled(found, spelt), found.characters.tolist(), strict=True))


def read_slowly(*documents):
    """The same by regular expressions, a paragraph at a time."""
    found = []
    for document in documents:
        for block in re.split(r"\n\s*\n", document):
            for line in [block] if len(block.split()) <= tokens.LONGEST else block.split("\n"):
                chunks = line.split()
                for first in range(0, len(chunks), tokens.LONGEST):
                    some = " ".join(chunks[first : first + tokens.LONGEST])
                    found.append((words_of(some), len(some) + 1))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("It's 3.14, or 1,000!", ["it's", "[NUM]", ",", "or", "[NUM]", "!"]),
        ("http://a.b/c?d=1 www.e.f x", ["[URL]", "[URL]", "x"]),
        ("wait... what?!", ["wait", "...", "what", "?", "!"]),
        ("Ä ß_x [UNK]", ["ä", "ß_x", "[", "unk", "]"]),
    ],
)
def test_a_text_is_cut_into_words_numbers_addresses_and_punctuation(text, expected):
    assert words_of(text) == expected


def test_a_word_that_training_did_not_see_often_enough_becomes_unknown():
    vocabulary = make_vocabulary(Counter("aabbccddeef"), TEXT.model_copy(update={"min_count": 2}))
    assert vocabulary.words == ("[UNK]", "[NUM]", "[URL]", "a", "b", "c", "d", "e")
    assert vocabulary.ids(["e", "f", "[NUM]", "[URL]", "zzz"]).tolist() == [7, 0, 1, 2, 0]


@pytest.mark.parametrize("size", [8, 9, 10])
def test_the_vocabulary_holds_the_most_frequent_words_and_no_more_than_its_size(size):
    vocabulary = make_vocabulary(Counter("cabbfffdddggggeeeee"), TEXT.model_copy(update={"max_vocabulary": size}))
    assert vocabulary.words[3:] == tuple("egdfbac")[: size - 3]


@pytest.mark.parametrize("spec", [{"min_count": 3}, {"max_vocabulary": 1}, {"max_vocabulary": 7}])
def test_a_vocabulary_of_fewer_than_five_words_is_refused_with_the_numbers(spec):
    with pytest.raises(DataRefused, match=r"would hold \d words: 7 different words.*min_count"):
        make_vocabulary(Counter("aabbccddeeffg"), TEXT.model_copy(update=spec))


def test_paragraphs_end_at_blank_lines_and_hold_their_characters():
    assert read("One  two\nthree\n \nfour", "\n\n", "five.") == [(["one", "two", "three"], 14), (["four"], 5), (["five", "."], 6)]


def test_a_paragraph_that_recurs_in_a_later_part_is_dropped_from_the_earlier_one_only():
    long, short = list("abcdefghijklm"), list("xyz")
    others = [[f"{n}{letter}" for letter in "abcdefghijklmn"] for n in range(30)]
    blocks, spelt = numbered([long, long, short, *others[:19], long, *others[19:25], long, long, short, *others[25:]])
    parts, dropped, _ = split(blocks, TEXT)
    found = {part: spelled(own, spelt) for part, own in parts.items()}
    assert [found[part].count(long) for part in PARTS] == [0, 0, 2]
    assert sum(found[part].count(short) for part in PARTS) == 2
    assert dropped == {"train": 26, "validation": 13, "test": 0}


def test_the_vocabulary_and_the_training_ids_know_nothing_of_later_parts(tmp_path):
    params = config.read(project(tmp_path) / "params.yaml")
    rows = texts().to_pylist()
    before = shell.text_data(pa.Table.from_pylist(rows), "topics", params)
    rows[-2:] = [{**document, "text": document["text"].replace("w1", "w2")} for document in rows[-2:]]
    after = shell.text_data(pa.Table.from_pylist(rows), "topics", params)
    stop = before.stretches["train"].stop
    assert after.vocabulary == before.vocabulary and after.stretches["train"] == before.stretches["train"]
    assert after.ids[:stop].tobytes() == before.ids[:stop].tobytes()
    assert (after.ids[stop:] != before.ids[stop:]).any()


def test_a_text_too_short_for_a_window_is_refused_with_the_numbers():
    blocks, spelt = numbered([list("abcdefg"), list("abcd")])
    parts = {"train": blocks.between(0, 1), "validation": blocks.between(1, 2), "test": blocks.between(2, 2)}
    with pytest.raises(SeriesTooShort, match=r"the validation part holds 4 tokens but one window needs 4 \(lookback\) \+ 1"):
        make_stretches(parts, spelt, make_vocabulary(count(parts["train"].ids, spelt), TEXT), TEXT)


@pytest.mark.parametrize("lookback", [1, 2, 3, 4, 7, 60])
@pytest.mark.parametrize("start", [0, 1, 2, 5, 61, 200])
@pytest.mark.parametrize("more", [1, 2, 3, 29, 30, 31, 61, 100])
def test_every_token_of_a_part_is_scored_exactly_once(lookback, start, more):
    stretch = Stretch(start, start + lookback + more, 0)
    starts, counts = scoring_windows(stretch, lookback)
    named = [
        token for first, count in zip(starts, counts, strict=True) for token in range(first + lookback - count + 1, first + lookback + 1)
    ]
    assert named == list(range(max(start, 1), stretch.stop))
    assert (starts >= 0).all() and (starts + lookback < stretch.stop).all()
    assert (counts[1:] <= max(lookback // 2, 1)).all()  # half a window of context and more


def charged(streams, lookback):
    """The tokens that each stream is charged, and those that it reads, both in its order."""
    windows, rows = streams.starts.shape
    steps = np.array([lookback] * (windows - 1) + [streams.last])
    assert (streams.counts >= 0).all() and (streams.counts <= steps[:, None]).all() and 1 <= streams.last <= lookback
    told, read = [], []
    for row in range(rows):
        stops = streams.starts[:, row] + steps
        assert (streams.starts[1:, row] == stops[:-1]).all(), "a window begins where the one before it stopped"
        read.append(list(range(streams.starts[0, row], stops[-1])))
        told.append(
            [token for stop, count in zip(stops, streams.counts[:, row], strict=True) for token in range(stop - count + 1, stop + 1)]
        )
    return told, read


@pytest.mark.parametrize("lookback", [1, 2, 4, 7, 60])
@pytest.mark.parametrize("start", [0, 1, 5])
@pytest.mark.parametrize(("rows", "tokens"), [(1, 2), (1, 61), (1, 500), (2, 4), (3, 7), (3, 8), (7, 14), (7, 300), (16, 1003), (20, 999)])
def test_streams_are_charged_every_token_of_the_training_part_once(lookback, start, rows, tokens):
    stretch = Stretch(start, start + tokens, 0)
    streams = training_streams(stretch, lookback, rows)
    told, read = charged(streams, lookback)
    assert [*itertools.chain(*told)] == list(range(max(start, 1), stretch.stop))
    assert read[0][0] == max(start, 1) - 1 and len({len(own) for own in read}) == 1
    # a stream is read as far as it is charged, and one that is a token shorter from a token earlier on
    assert all(len(own) - len(words) in (0, 1) for own, words in zip(read, told, strict=True)) and len(told[0]) == len(read[0])
    assert all(own[-1] + 1 == words[-1] for own, words in zip(read, told, strict=True))


@pytest.mark.parametrize("lookback", [1, 2, 4, 7, 60])
@pytest.mark.parametrize("start", [0, 1, 5, 61, 200])
@pytest.mark.parametrize("more", [1, 3, 30, 100, 1000, 5000])
def test_streams_are_scored_on_every_token_once_each_after_a_whole_window(lookback, start, more):
    stretch = Stretch(start, start + lookback + more, 0)
    told, read = charged(scoring_streams(stretch, lookback), lookback)
    assert [*itertools.chain(*told)] == list(range(max(start, 1), stretch.stop))
    context = [len(own) - len(words) for own, words in zip(read, told, strict=True)]
    assert min(own[0] for own in read) >= 0 and min(context) == min(lookback, max(start, 1) - 1) and max(context) <= lookback + 1
    assert len(told) == 1 or min(map(len, told)) >= 4 * lookback
    assert len(told) == 16 or len(told) + 1 > sum(map(len, told)) // (4 * lookback)


@pytest.mark.parametrize("tokens", [5, 6, 8, 9, 40, 41])
def test_training_windows_are_neighbours_and_another_offset_each_epoch(tokens):
    stretch = Stretch(3, 3 + tokens, 0)
    epochs = [training_starts(stretch, 4, epoch, seed=0) for epoch in range(50)]
    for starts in epochs:
        assert len(starts) and starts[0] >= 3 and starts[-1] + 4 < stretch.stop
        assert (np.diff(starts) == 4).all() and stretch.stop - (starts[-1] + 5) < 4
    assert len({starts[0] for starts in epochs}) == min(tokens - 4, 5)


def test_a_paragraph_that_shares_thirteen_words_with_a_later_part_is_dropped_from_the_earlier_one_only():
    fresh = iter(range(10**6))
    blocks = [[str(next(fresh)) for _ in range(20)] for _ in range(100)]
    blocks[10] = ["a", *blocks[90][3:16], "b"]  # a run of 13
    blocks[11] = ["a", *blocks[90][3:15], "b"]  # of 12
    blocks[70] = [*blocks[95][:15], "c"]
    blocks[12] = [*blocks[72][2:15], "d"]  # of validation alone
    paragraphs, spelt = numbered(blocks)
    parts, dropped, stood = split(paragraphs, TEXT)
    found = {part: spelled(own, spelt) for part, own in parts.items()}
    assert [block in found["train"] for block in blocks[9:14]] == [True, False, True, False, True]
    assert blocks[70] not in found["validation"] and found["test"] == blocks[80:]
    assert [len(own.characters) for own in parts.values()] == [58, 19, 20] and parts["train"].characters[10] == len(
        " ".join(blocks[11])
    ) + 1
    assert dropped == {"train": 15 + 14, "validation": 16, "test": 0}
    assert [(one.part, one.earlier, one.found) for one in stood] == [
        ("validation", "train", 1),
        ("test", "train", 1),
        ("test", "validation", 3),
    ]


def test_what_dropping_brings_together_is_no_leak_either():
    fresh = iter(range(10**6))
    blocks = [[str(next(fresh)) for _ in range(20)] for _ in range(100)]
    blocks[10:13] = [blocks[90][:6], blocks[95], blocks[90][6:13]]
    paragraphs, spelt = numbered(blocks)
    parts, dropped, _ = split(paragraphs, TEXT)
    assert dropped["train"] == 26 and blocks[12] in spelled(parts["train"], spelt)
    assert {one.found for one in contamination.compare({part: own.ids for part, own in parts.items()})} == {0}


@pytest.mark.parametrize(("block", "lengths"), [
    ("w " * 2000, [2000]),
    ("w " * 2001, [2000, 1]),
    ("a b\n" * 1000, [2000]),
    ("a b\n" * 1001, [2] * 1001),
    ("a b\n" + "w " * 4001 + "\nc", [2, 2000, 2000, 1, 1]),
])  # fmt: skip
def test_a_paragraph_without_end_is_cut_at_its_lines_and_a_line_without_end_between_words(block, lengths):
    found = read(block, "x")
    assert [len(words) for words, _ in found] == [*lengths, 1]
    assert [word for words, _ in found for word in words] == words_of(block + " x")
    assert sum(characters for _, characters in found) == len(" ".join((block + " x").split())) + 1


PIECES = ["\n", "\n", " ", "\t", "\x85", "\u3000", "a", "B", "ß", "İ", ".", ",,", "'", "1.5", "www.", "http://", "[", "😀", "e\u0301"]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), max_size=4), st.integers(1, 9), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_columns_say_what_paragraph_by_paragraph_would_be_said(documents, block, longest):
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("_BLOCK", block), ("_SLICE", block), ("LONGEST", longest)):
            patch.setattr(tokens, name, size)
        rows = [(name, text[at : at + block]) for name, text in enumerate(documents) for at in range(0, len(text), block)]
        found, spelt = tokenise(rows)
        assert list(zip(spelled(found, spelt), found.characters.tolist(), strict=True)) == read_slowly(*documents)


# --- contamination ----------------------------------------------------------------------------


@pytest.mark.parametrize("hashes", [2**64, 1024])
def test_runs_of_thirteen_words_are_found_again_as_a_set_of_them_finds_them(hashes, monkeypatch):
    true = contamination._hashes
    monkeypatch.setattr(contamination, "_hashes", lambda ids: true(ids) % np.uint64(hashes - 1))  # many runs of one hash
    rng = np.random.Generator(np.random.Philox(3))
    words = [str(word) for word in rng.integers(0, 3, 6000)]
    parts = {"train": words[:4000] + words[5500:5530], "validation": words[4000:5000], "test": words[5000:]}
    runs = {part: [tuple(found[n : n + 13]) for n in range(len(found) - 12)] for part, found in parts.items()}
    for overlap in contamination.overlaps(parts):
        expected = sum(run in set(runs[overlap.earlier]) for run in runs[overlap.part])
        assert (overlap.found, overlap.runs) == (expected, len(runs[overlap.part]))
    assert contamination.overlaps(parts)[1].found >= 18


def test_twelve_words_in_common_are_no_contamination_and_a_part_may_be_short_or_empty():
    words = [str(n) for n in range(40)]
    assert contamination.overlaps({"train": words[:20], "test": words[8:20] + ["x"] * 9})[0].found == 0
    assert [o.runs for o in contamination.overlaps({"train": words, "validation": [], "test": words[:12]})] == [0, 0, 0]
    assert contamination.overlaps({"train": [], "test": []})[0].share == 0.0


def test_a_run_that_crosses_from_part_to_part_belongs_to_neither():
    words = [str(n) for n in range(20)]
    assert [(o.runs, o.found) for o in contamination.overlaps({"a": words[:10], "b": words[10:], "c": words})] == [(0, 0), (8, 0), (8, 0)]


def test_words_of_the_validation_part_that_are_unknown_are_reported_and_too_many_refused():
    train = Counter({"to": 3, "be": 3, "or": 3, "not": 2})
    assert "2 of 10 words" in judge_unknown(train, Counter({"to": 8, "not": 1, "new": 1}), "hamlet", 3, 13)
    assert "0 of 10 words" in judge_unknown(train, Counter({"to": 9, "not": 1}), "hamlet", 2, 13)
    with pytest.raises(
        DataRefused, match=r"3 of 10 words .*30.0 %.*`windows.language-model.max_vocabulary` \(now 13\).*`min_count` \(now 3\)"
    ):
        judge_unknown(train, Counter({"to": 7, "not": 3}), "hamlet", 3, 13)
    with pytest.raises(DataRefused, match="with a vocabulary of 5"):
        judge_unknown(train, Counter({"to": 10}), "hamlet", 3, 5)


# --- the stage --------------------------------------------------------------------------------

ITEMS = ("goog", "topics")


def taken_in(folder):
    root = project(folder)
    take_in(root, "goog", pa.concat_tables([prices(days(300), "AAA"), prices(days(280)[:250], "BBB", seed=1)]))
    return take_in(root, "topics", texts())


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    root = taken_in(tmp_path_factory.mktemp("cut"))
    for item in ITEMS:
        run_stage(root, "windows", item)
    return root


def test_prices_come_back_from_the_disk_as_they_were(cut):
    params = config.read(cut / "params.yaml")
    made = shell.price_data(storage.read_table(cut / "data/ingestion/goog/table.parquet"), params.windows.forecast, "XNYS")
    read = files.read_prices(cut / "data/windows/goog")
    assert (read.spec, read.calendar, read.series.segments) == (made.spec, made.calendar, made.series.segments)
    for name in ("values", "price", "dates"):
        mine, other = getattr(read.series, name), getattr(made.series, name)
        assert mine.tobytes() == other.tobytes() and mine.dtype == other.dtype and mine.shape == other.shape
    assert read.scaler.offset.tobytes() == made.scaler.offset.tobytes() and read.scaler.scale.tobytes() == made.scaler.scale.tobytes()
    for part in PARTS:
        past, future = all_of(made.parts[part], made.series.values)
        other_past, other_future = all_of(read.parts[part], read.series.values)
        assert (past == other_past).all() and (future == other_future).all()


def test_a_text_comes_back_from_the_disk_as_it_was(cut):
    made = shell.text_data(storage.read_table(cut / "data/ingestion/topics/table.parquet"), "topics", config.read(cut / "params.yaml"))
    read = files.read_text(cut / "data/windows/topics")
    assert (read.ids == made.ids).all() and read.ids.dtype == made.ids.dtype
    assert replace(read, ids=made.ids) == made


def test_the_dates_told_of_a_part_are_those_of_all_its_tickers(cut):
    read, told = files.read_prices(cut / "data/windows/goog"), described(cut / "data/windows/goog")["parts"]
    for part, windows in read.parts.items():
        targets = read.series.dates[windows.origins(np.arange(len(windows))) + 1]
        assert (told[part]["first_target"], told[part]["last_target"]) == (str(targets.min()), str(targets.max()))
        assert told[part]["windows"] == len(windows)


def test_a_model_is_told_where_the_parts_of_its_data_end(cut):
    told, read = described(cut / "data/windows/goog")["parts"], files.read_prices(cut / "data/windows/goog")
    assert read.extent() == {part: {end: told[part][end] for end in ("first_target", "last_target")} for part in PARTS}
    read = files.read_text(cut / "data/windows/topics")
    words = [read.extent()[part]["words"] for part in PARTS]
    assert words[0] < words[1] < words[2] and words[2] == sum(s.stop - s.start + read.dropped[p] for p, s in read.stretches.items())


@pytest.mark.parametrize(
    ("change", "same"), [(lambda said: said + "\n\nand more words that are new", True), (lambda said: "New. " + said, False)]
)
def test_a_text_that_goes_on_keeps_the_sum_of_its_beginning_and_another_does_not(change, same):
    said = texts().to_pylist()[0]["text"]
    (before, words), (after, others) = tokenise([("a", said)]), tokenise([("a", change(said))])
    count = len(before.ids)
    assert (beginning_sha256(before, words, count) == beginning_sha256(after, others, count)) is same
    assert beginning_sha256(before, words, count) != beginning_sha256(before, words, count - 1)


def test_a_text_whose_parts_share_runs_of_words_says_so_and_keeps_it(cut, capsys):
    rows = texts().to_pylist()
    rows[0]["text"] += "\n\n" + rows[-1]["text"][:400]
    made = shell.text_data(pa.Table.from_pylist(rows), "topics", config.read(cut / "params.yaml"))
    said = capsys.readouterr().out
    (test,) = [one for one in made.stood if (one.earlier, one.part) == ("train", "test")]
    assert f"windows of topics: {test}" in said and test.found > 20
    assert f"windows of topics: {made.dropped['train']:,} words dropped from train" in said and "words of the validation part" in said
    assert [entry["found"] for entry in described(cut / "data/windows/topics")["contamination"]] == [0, 0, 0]


def test_rows_of_one_document_are_one_text():
    whole = texts()
    cut = [(row["document"], piece) for row in whole.to_pylist() for piece in (row["text"][:20], row["text"][20:99], row["text"][99:])]
    pieces = pa.table([[name for name, _ in cut], [piece for _, piece in cut]], schema=whole.schema)
    (cut_up, spelt), (one, same) = tokenise(shell.rows(pieces)), tokenise(shell.rows(whole))
    assert spelled(cut_up, spelt) == spelled(one, same) and cut_up.characters.tolist() == one.characters.tolist()


def test_a_text_whose_validation_part_is_of_other_words_is_refused(tmp_path):
    root = taken_in(tmp_path)
    other = " ".join(f"x{number}" for number in range(20_000))
    take_in(root, "topics", pa.concat_tables([texts(), pa.table({"document": ["z.txt"], "text": [other]})]))
    with pytest.raises(DataRefused, match=r"table.parquet: topics: .* words of the validation part .* are \[UNK\]"):
        run_stage(root, "windows", "topics")


@pytest.mark.parametrize("item", ITEMS)
def test_windows_hang_on_no_folder_and_no_hour(cut, tmp_path, item):
    with time_machine.travel("2031-03-05 23:30", tick=True):
        run_stage(taken_in(tmp_path / "another name"), "windows", item)
    assert contents(tmp_path / "another name/data/windows" / item) == contents(cut / "data/windows" / item)


def test_the_sessions_between_dates_are_those_of_the_exchange(tmp_path):
    dates = days(300)
    params = config.read(project(tmp_path, "windows.forecast.max_gap=3") / "params.yaml")
    holes = [
        shell.price_data(prices(dates[:150] + dates[150 + hole :]), params.windows.forecast, "XNYS").series.segments for hole in (3, 4)
    ]
    assert [len(segments) for segments in holes] == [1, 2]


@pytest.mark.parametrize(
    "path", ["ingestion/goog/table.parquet", "ingestion/goog/manifest.json", "validation/goog/result.json", "validation/goog/manifest.json"]
)
def test_one_flipped_byte_in_an_input_is_refused_and_nothing_is_written(tmp_path, path):
    root = taken_in(tmp_path)
    flip(root / "data" / path, 8)
    with pytest.raises(CorruptArtefact, match=path):
        run_stage(root, "windows", "goog")
    assert not (root / "data/windows").exists()


def test_what_validation_refused_is_not_cut(tmp_path):
    root = take_in(project(tmp_path), "goog", prices(days(300)), fit=False)
    with pytest.raises(DataRefused, match="validation refused 'goog'"):
        run_stage(root, "windows", "goog")


def test_a_refusal_names_the_file_and_keeps_its_kind_and_the_old_windows(tmp_path):
    root = taken_in(tmp_path)
    run_stage(root, "windows", "goog")
    before = contents(root / "data/windows")
    editing.assign(root / "params.yaml", ["windows.forecast.lookback=400"])
    with pytest.raises(SeriesTooShort, match=r"ingestion/goog/table\.parquet: .*400 \(lookback\)"):
        run_stage(root, "windows", "goog")
    assert contents(root / "data/windows") == before


def test_a_series_of_closes_gives_the_features_that_closes_give():
    spec = config.read(PARAMS).windows.forecast
    assert possible(spec, ["open", "high", "low", "close"]) == (spec, [])
    fewer, lacking = possible(spec, ["close"])
    assert (fewer.features, lacking) == (["log_return"], ["log_range"])
    alone, _ = possible(spec.model_copy(update={"features": ["log_range"]}), ["close"])
    assert alone.columns == ["log_return"]
    with pytest.raises(DataRefused, match="there is no open in this data set, which has close"):
        possible(spec.model_copy(update={"target": "open"}), ["close"])
