"""Suggesting: the rest of a word that is begun, the next one behind a whole, each by its probability."""

from __future__ import annotations

import numpy as np
import pytest

from longshort.models.suggesting import Suggester

WORDS = ("[UNK]", "to", "toe", "be", "or", "not")
AT_FIRST = np.array([0.4, 0.3, 0.1, 0.1, 0.06, 0.04])
BEHIND_TO = np.array([0.1, 0.0, 0.0, 0.6, 0.2, 0.1])
BEHIND_UNKNOWN = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
BEFORE = np.array([4], np.int32)
SUGGESTER = Suggester(WORDS, ["[UNK]", "<eos>"])


def shares(ids):
    return {4: AT_FIRST, 1: BEHIND_TO, 0: BEHIND_UNKNOWN, 2: np.full(6, 1 / 6)}[int(ids[-1])]


def suggested(begun, count=3):
    return [(one.word, round(one.probability, 6), one.finishes) for one in SUGGESTER.suggest(shares, BEFORE, begun, count)]


def test_behind_a_space_the_most_probable_words_come_and_never_one_that_stands_for_others():
    assert suggested("") == [("to", 0.3, False), ("toe", 0.1, False), ("be", 0.1, False)]
    assert "[UNK]" not in [word for word, *_ in suggested("", 6)]


def test_words_of_one_probability_come_in_the_order_of_the_vocabulary():
    assert [word for word, *_ in suggested("", 5)] == ["to", "toe", "be", "or", "not"]


def test_what_begins_a_word_is_finished_by_the_words_that_begin_so_and_their_shares_sum_to_one():
    assert suggested("b") == [("be", 1.0, True)] and suggested("t") == [("to", 0.75, True), ("toe", 0.25, True)]


def test_a_whole_word_may_be_all_of_it_so_what_follows_it_is_weighed_with_what_it_begins():
    assert suggested("to") == [("be", 0.45, False), ("toe", 0.25, True), ("or", 0.15, False)]


def test_a_word_that_no_word_begins_with_is_read_as_unknown_and_the_next_one_is_suggested():
    assert suggested("xyz")[0] == ("not", 0.5, False)


@pytest.mark.parametrize("count", [1, 4, 6, 50])
def test_no_more_is_suggested_than_asked_for_or_than_there_is(count):
    assert len(SUGGESTER.suggest(shares, BEFORE, "", count)) == min(count, len(WORDS) - 1)


def test_what_was_read_is_left_as_it_was():
    before = AT_FIRST.copy()
    SUGGESTER.suggest(shares, BEFORE, "", 3)
    SUGGESTER.suggest(shares, BEFORE, "to", 3)
    assert (before == AT_FIRST).all()


def test_words_of_any_script_are_found_by_their_beginning():
    found = Suggester(["été", "et", "日本", "日"], []).begin_with
    assert found("é").tolist() == [0] and found("日").tolist() == [3, 2] and found("z").tolist() == []
