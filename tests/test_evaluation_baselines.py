import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from longshort.errors import DataRefused
from longshort.evaluation.baselines import InterpolatedTrigram, Unigram, last_value

VOCABULARY = 5  # word 4 is never seen in training
TRAIN = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 3, 3, 0, 2], np.int32)
VALIDATION = np.array([0, 1, 2, 4, 0, 1, 3], np.int32)
TEST = np.array([0, 1, 2, 2, 0, 4, 1], np.int32)
BEFORE = VOCABULARY  # the id that stands before the text


@pytest.fixture(scope="module")
def fitted():
    return InterpolatedTrigram.fit(TRAIN, VALIDATION, VOCABULARY)


@pytest.fixture(scope="module")
def trigram(fitted):
    """Weights by hand: fitted on seven words they leave two of the four out."""
    return replace(fitted, weights=np.array([0.4, 0.3, 0.2, 0.1]))


@pytest.fixture(scope="module")
def prose():
    """A text in which the last two words say much about the next one: 100,000 words of 2,000."""
    random = np.random.default_rng(0)
    followers = random.integers(0, 2_000, size=(2_000, 3))
    words = np.zeros(100_000, np.int64)
    for place, (choice, surprise, word) in enumerate(
        zip(random.integers(0, 3, len(words)), random.random(len(words)), random.integers(0, 2_000, len(words)), strict=True)
    ):
        words[place] = word if surprise < 0.2 else followers[words[place - 1], choice]
    return words


# --- prices -------------------------------------------------------------------------------------


def test_the_last_value_is_the_forecast_of_every_step():
    assert last_value([3.0, 5.0], horizon=3).tolist() == [[3.0] * 3, [5.0] * 3]


def test_the_last_value_forecasts_no_change():
    levels = np.array([3.0, 5.0, 4.0])
    assert (last_value(levels, horizon=1)[:, 0] - levels == 0).all()


# --- unigram ------------------------------------------------------------------------------------


def test_a_unigram_counts_each_word_once_more_than_it_was_seen():
    assert Unigram.fit(TRAIN, VOCABULARY).probabilities(np.arange(VOCABULARY)) == pytest.approx(np.array([5, 4, 4, 4, 1]) / 18)


def test_unigram_probabilities_sum_to_one():
    assert Unigram.fit(TRAIN, VOCABULARY).probabilities(np.arange(VOCABULARY)).sum() == pytest.approx(1, abs=1e-15)


def test_unigram_nats_are_of_the_tokens_from_start_on():
    nats = Unigram.fit(TRAIN, VOCABULARY).nats(TEST, start=5)
    assert nats == pytest.approx(-np.log([1 / 18, 4 / 18]))


# --- trigram ------------------------------------------------------------------------------------


def test_probabilities_sum_to_one_after_every_context_seen_or_not(trigram):
    seen = set(pairwise(TRAIN.tolist()))
    contexts = [(u, v) for u in range(VOCABULARY + 1) for v in range(VOCABULARY + 1)]
    assert seen < set(contexts) and (4, 4) in set(contexts) - seen
    words = np.arange(VOCABULARY)
    for u, v in contexts:
        p = trigram.probabilities(np.full(VOCABULARY, u), np.full(VOCABULARY, v), words)
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert (p > 0).all()


def by_dictionary(trigram, tokens, start):
    """The same mixture written with dictionaries and loops."""
    train = [BEFORE, BEFORE, *TRAIN.tolist()]
    ones = Counter(train[2:])
    twos = Counter(pairwise(train[1:]))
    threes = Counter(zip(train, train[1:], train[2:], strict=False))
    after_one, after_two = Counter(), Counter()
    for (v, _), count in twos.items():
        after_one[v] += count
    for (u, v, _), count in threes.items():
        after_two[u, v] += count
    padded = [BEFORE, BEFORE, *tokens.tolist()]
    nats = []
    for place in range(start, len(tokens)):
        u, v, w = padded[place : place + 3]
        p1 = (ones[w] + 1) / (len(TRAIN) + VOCABULARY)
        p2 = twos[v, w] / after_one[v] if after_one[v] else p1
        p3 = threes[u, v, w] / after_two[u, v] if after_two[u, v] else p2
        nats.append(-np.log(np.dot(trigram.weights, [p3, p2, p1, 1 / VOCABULARY])))
    return np.array(nats)


@pytest.mark.parametrize("start", [0, 1, 2, 5])
def test_nats_are_those_of_an_implementation_with_dictionaries(trigram, start):
    assert trigram.nats(TEST, start) == pytest.approx(by_dictionary(trigram, TEST, start), rel=1e-12)


def test_every_token_from_start_on_is_scored_once(trigram):
    whole = trigram.nats(TEST, start=0)
    assert len(whole) == len(TEST)
    assert (trigram.nats(TEST, start=3) == whole[3:]).all()


def test_a_token_is_judged_by_the_two_before_it_and_by_nothing_else(trigram):
    def last(*tokens):
        return trigram.nats(np.array(tokens), start=len(tokens) - 1)[0]

    assert last(3, 2, 0, 1) == last(1, 2, 0, 1)
    assert last(3, 2, 0, 1) == trigram.nats(np.array([3, 2, 0, 1, 4, 4]), start=3)[0]
    assert last(3, 2, 0, 1) != last(3, 3, 0, 1)
    assert last(3, 2, 0, 1) != last(3, 2, 1, 1)


def test_the_weights_sum_to_one_and_are_the_best_for_the_validation_part(fitted):
    assert fitted.weights.sum() == pytest.approx(1) and (fitted.weights >= 0).all()
    stream, start = np.concatenate([TRAIN, VALIDATION]), len(TRAIN)
    best = fitted.nats(stream, start).mean()
    for other in np.random.default_rng(0).dirichlet(np.ones(4), size=300):
        assert replace(fitted, weights=other).nats(stream, start).mean() >= best - 1e-5


def test_fitting_twice_gives_the_same_bits(prose):
    first, second = (InterpolatedTrigram.fit(prose[:5_000], prose[5_000:6_000], 2_000) for _ in range(2))
    assert (first.weights == second.weights).all()


def test_a_trigram_beats_a_unigram_where_words_depend_on_their_neighbours(prose):
    model = InterpolatedTrigram.fit(prose[:80_000], prose[80_000:90_000], 2_000)
    assert model.nats(prose, 90_000).mean() < model.unigram.nats(prose, 90_000).mean() - 1
    assert model.weights[1] > model.weights[2]  # the text was made from pairs


def test_a_hundred_thousand_tokens_take_less_than_a_second(prose):
    begin = time.process_time()
    InterpolatedTrigram.fit(prose[:80_000], prose[80_000:90_000], 2_000).nats(prose, 90_000)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("train", [[0], [0, 0]])
def test_a_text_of_one_or_two_words_can_be_counted(train):
    model = InterpolatedTrigram.fit(np.array(train), np.array([1]), 2)
    assert np.isfinite(model.nats(np.array([1, 1, 0]), start=0)).all()


@pytest.mark.parametrize("stranger", [-1, VOCABULARY])
def test_an_id_outside_the_vocabulary_is_refused_with_its_place(trigram, stranger):
    with pytest.raises(DataRefused, match=rf"tokens\[1\] is {stranger}.*0 to 4"):
        trigram.nats(np.array([0, stranger]), start=0)
    with pytest.raises(DataRefused, match=r"train\[1\]"):
        Unigram.fit(np.array([0, stranger]), VOCABULARY)


def test_a_text_without_tokens_is_refused():
    with pytest.raises(DataRefused, match="no token"):
        Unigram.fit(np.array([], np.int32), VOCABULARY)


def test_a_vocabulary_whose_trigrams_do_not_fit_into_64_bits_is_refused():
    with pytest.raises(DataRefused, match="max_vocabulary"):
        InterpolatedTrigram.fit(TRAIN, VALIDATION, 3_000_000)
