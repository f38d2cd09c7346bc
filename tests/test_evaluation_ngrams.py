import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from longshort.errors import DataRefused
from longshort.evaluation.ngrams import Trigram, Unigram

VOCABULARY = 5  # word 4 is never seen in training
TRAIN = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 3, 3, 0, 2], np.int32)
TEST = np.array([0, 1, 2, 2, 0, 4, 1], np.int32)


@pytest.fixture(scope="module")
def trigram():
    return Trigram.fit(TRAIN, VOCABULARY)


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


def by_dictionary(train, vocabulary, tokens, start):
    """Chen and Goodman's modified smoothing of Kneser and Ney, written with dictionaries and loops."""
    before = vocabulary
    words = [before, before, *train.tolist()]
    threes = Counter(zip(words, words[1:], words[2:], strict=False))
    twos = Counter((v, w) for _, v, w in threes)  # each triple once, whatever its count
    ones = Counter((w,) for _, w in twos)

    def mixed(counts, gram, lower):
        after = {key: count for key, count in counts.items() if key[:-1] == gram[:-1]}
        if not after:
            return lower
        n = Counter(counts.values())
        y = n[1] / (n[1] + 2 * n[2])
        taken = {1: 1 - 2 * y * n[2] / n[1], 2: 2 - 3 * y * n[3] / n[2], 3: 3 - 4 * y * n[4] / n[3]}
        spare = sum(taken[min(count, 3)] for count in after.values())
        kept = after[gram] - taken[min(after[gram], 3)] if gram in after else 0
        return (kept + spare * lower) / sum(after.values())

    padded = [before, before, *tokens.tolist()]
    nats = []
    for place in range(start, len(tokens)):
        u, v, w = padded[place : place + 3]
        nats.append(-np.log(mixed(threes, (u, v, w), mixed(twos, (v, w), mixed(ones, (w,), 1 / vocabulary)))))
    return np.array(nats)


@pytest.mark.parametrize("start", [0, 1, 2, 5])
def test_nats_are_those_of_an_implementation_with_dictionaries(start):
    draw = np.random.default_rng(1)
    words = np.minimum(draw.zipf(1.3, 3_000), 400) - 1  # counts of every size
    other = np.minimum(draw.zipf(1.3, 60), 420) - 1  # with words that training never saw
    assert len(set(other.tolist()) - set(words.tolist())) > 1
    model = Trigram.fit(words, 420)
    assert all(len(set(table.discounts.tolist())) == 4 for table in (model.words, model.bigrams, model.trigrams))
    assert model.nats(other, start) == pytest.approx(by_dictionary(words, 420, other, start), rel=1e-12)


def test_a_word_that_follows_one_word_alone_is_unlikely_elsewhere():
    """San Francisco: "francisco" (1) stands as often as "house" (2), but after "san" (0) alone."""
    text = np.array([0, 1] * 8 + [3, 2, 4, 2, 5, 2, 6, 2, 7, 2, 8, 2, 9, 2, 10, 2])
    model, unigram = Trigram.fit(text, 12), Unigram.fit(text, 12)
    elsewhere = np.full(1, 11)  # a word that was never seen
    assert unigram.probabilities(np.array([1])) == unigram.probabilities(np.array([2]))
    francisco, house = (model.probabilities(elsewhere, elsewhere, np.array([word]))[0] for word in (1, 2))
    assert house > 3 * francisco


@pytest.mark.parametrize("text", [[0, 0, 0, 0, 0, 0], [0, 1, 2, 3]], ids=["no word once", "no word twice"])
def test_a_text_without_counts_to_go_by_takes_half_a_word_off_each(text):
    assert Trigram.fit(np.array(text), 5).words.discounts.tolist() == [0, 0.5, 0.5, 0.5]


def test_a_text_without_counts_of_four_takes_one_discount_off_all():
    once, twice = Trigram.fit(np.array([0, 1, 0, 2, 3, 4]), 5).words.counts.tolist().count(1), 1
    y = once / (once + 2 * twice)
    assert Trigram.fit(np.array([0, 1, 0, 2, 3, 4]), 5).words.discounts == pytest.approx([0, y, y, y])


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


def test_a_discount_is_never_more_than_its_count(prose):
    model = Trigram.fit(prose, 2_000)
    for table in (model.words, model.bigrams, model.trigrams):
        assert (table.discounts <= np.arange(4)).all() and (table.spare > 0).all() and (table.spare <= 1).all()


def test_a_trigram_beats_a_unigram_where_words_depend_on_their_neighbours(prose):
    model, unigram = Trigram.fit(prose[:90_000], 2_000), Unigram.fit(prose[:90_000], 2_000)
    assert model.nats(prose, 90_000).mean() < unigram.nats(prose, 90_000).mean() - 1


def test_a_hundred_thousand_tokens_take_less_than_a_second(prose):
    begin = time.process_time()
    Trigram.fit(prose[:90_000], 2_000).nats(prose, 90_000)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize("train", [[0], [0, 0]])
def test_a_text_of_one_or_two_words_can_be_counted(train):
    model = Trigram.fit(np.array(train), 2)
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
        Trigram.fit(TRAIN, 3_000_000)
