"""The contest: what is counted lies behind all that either model has learned from, and is the same for both."""

import dataclasses

import numpy as np
import pytest
import torch
from projects import PER_TICKER

from longshort import storage
from longshort.evaluation import contest, metrics, texts
from longshort.evaluation.contest import Mark
from longshort.models import artefact
from longshort.windows import files, text
from longshort.windows.stage import rows
from longshort.windows.tokens import tokenise


def with_extent(model, part, **changes):
    """A model whose card says otherwise where a part of its data lies."""
    extent = {**model.card["extent"], part: {**model.card["extent"][part], **changes}}
    return dataclasses.replace(model, card={**model.card, "extent": extent})


@pytest.fixture(scope="module")
def topics(retrained):
    table = storage.read_table(retrained / "data/ingestion/topics/table.parquet")
    model = artefact.load(retrained / "data/training/topics-gru/seed-0")
    return table, files.read_text(retrained / "data/windows/topics"), model


@pytest.fixture(scope="module")
def goog(retrained):
    table = storage.read_table(retrained / "data/ingestion/goog/table.parquet")
    model = artefact.load(retrained / "data/training/goog-lstm/seed-0")
    return table, files.read_prices(retrained / "data/windows/goog"), model


def test_a_model_meets_itself_with_one_error_and_no_lead_that_could_be_tested(topics, goog):
    for hold, (table, data, model) in ((contest.contest_of_texts, topics), (contest.contest_of_prices, goog)):
        held = hold(table, data, [model, model])
        assert held.challenger == held.champion and held.p_champion == 1.0
        assert held.first.rank > held.challenger.learned_until.rank and held.challenger.cut_off.rank >= held.first.rank
        assert held.challenger.windows_sha256 == held.windows_sha256


def test_bits_of_the_whole_test_part_are_those_of_every_word_and_its_spelling(topics):
    table, data, model = topics
    held = contest.contest_of_texts(table, data, [model])
    stretch, ids = data.stretches["test"], np.asarray(data.ids)
    blocks, spelt = tokenise(rows(table))
    words = [spelt[number] for number in text.split(blocks, data.spec)[0]["test"].ids]
    spelled = texts.spelling_nats(words, ids[stretch.start : stretch.stop])
    nats = texts.token_nats(model, ids, stretch).sum() + spelled
    assert held.challenger.error == pytest.approx(metrics.bits_per_character(nats, stretch.characters), rel=1e-12)
    assert held.count == (stretch.stop - stretch.start) // data.spec.lookback and held.naive_name == "trigram"


def test_a_text_that_a_champion_has_read_further_is_judged_behind_it(topics):
    table, data, model = topics
    blocks, spelt = tokenise(rows(table))
    whole = contest.contest_of_texts(table, data, [model])
    read = model.card["extent"]["test"]["words"] - 4000
    champion = with_extent(model, "validation", words=read, sha256=text.beginning_sha256(blocks, spelt, read))
    held = contest.contest_of_texts(table, data, [model, champion])
    assert held.champion.learned_until == Mark(read, f"word {read:,}")
    assert read < held.first.rank < read + 200 and held.count == (model.card["extent"]["test"]["words"] - held.first.rank + 1) // 20
    assert held.count < whole.count and held.windows_sha256 != whole.windows_sha256


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"words": 10**9}])
def test_of_a_text_that_began_otherwise_nothing_is_known_to_be_unseen(topics, changes):
    table, data, model = topics
    held = contest.contest_of_texts(table, data, [model, with_extent(model, "validation", **changes)])
    assert (held.count, held.first, held.champion.learned_until) == (0, None, None)
    assert np.isnan(held.challenger.error) and held.p_champion is None


def test_sessions_that_a_champion_stopped_by_are_not_counted(goog):
    table, data, model = goog
    held = contest.contest_of_prices(table, data, [model, with_extent(model, "validation", last_target="2008-09-30")])
    assert (held.first.name, held.count) == ("2008-10-01", 10)
    held = contest.contest_of_prices(table, data, [model, with_extent(model, "validation", last_target="2008-10-14")])
    assert (held.first, held.count) == (None, 0) and np.isnan(held.naive)


def constant(model):
    """The same model, whose answer hangs on nothing that it reads."""
    state = {
        name: tensor * (0 if name.startswith("head") and "weight" in name else 1) for name, tensor in model.network.state_dict().items()
    }
    network = artefact._network(model.card, state)
    return dataclasses.replace(model, network=network)


def test_a_model_that_does_not_read_varies_by_nothing_and_one_that_reads_by_much_more(topics, goog):
    for hold, (table, data, model) in ((contest.contest_of_texts, topics), (contest.contest_of_prices, goog)):
        held = hold(table, data, [model, constant(model)])
        assert held.champion.variation < 1e-5 < 1e-3 < held.challenger.variation
        assert np.isfinite(held.champion.error)


def test_answers_that_are_not_finite_are_told_and_not_raised(topics, goog):
    for hold, (table, data, model) in ((contest.contest_of_texts, topics), (contest.contest_of_prices, goog)):
        state = {name: tensor * torch.nan for name, tensor in model.network.state_dict().items()}
        held = hold(table, data, [dataclasses.replace(model, network=artefact._network(model.card, state)), model])
        assert np.isnan(held.challenger.error) and np.isfinite(held.champion.error) and held.p_naive is None


def test_a_session_is_one_observation_however_many_tickers_it_has(tickers):
    table = storage.read_table(tickers / "data/ingestion/goog/table.parquet")
    data = files.read_prices(tickers / "data/windows/goog")
    model = artefact.load(tickers / f"data/training/{PER_TICKER}/seed-0")
    held = contest.contest_of_prices(table, data, [model, artefact.load(tickers / f"data/training/{PER_TICKER}/seed-1")])
    assert held.count == 2 * len(np.unique(data.series.dates[data.parts["test"].origins(np.arange(len(data.parts["test"]))) + 1]))
    draw = np.random.default_rng(0)
    losses, others = draw.exponential(1.0, 40), draw.exponential(1.2, 40)
    days = np.repeat(np.arange(40), 3)
    thrice = contest._p_value(contest._means(losses[days], days), contest._means(others[days], days))
    assert thrice == pytest.approx(contest._p_value(losses, others), rel=1e-9)


def test_the_p_value_of_losses_is_that_of_a_paired_test():
    from scipy import stats

    draw = np.random.default_rng(1)
    losses, others = draw.exponential(1.0, 50), draw.exponential(1.1, 50)
    # Harvey, Leybourne and Newbold's correction at one step ahead leaves Student's paired test
    assert contest._p_value(losses, others) == pytest.approx(stats.ttest_rel(losses, others).pvalue, rel=1e-9)
    assert contest._p_value(losses, losses + 1) is None and contest._p_value(losses * np.nan, others) is None
