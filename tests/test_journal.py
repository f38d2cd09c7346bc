"""Journal: what is written is read, what a crash cut is dropped, what was damaged stops the reader."""

import os
import re
import warnings

import pytest
from projects import flip

from longshort import journal
from longshort.errors import CorruptArtefact

ENTRIES = [{"kind": "epoch", "epoch": n, "loss": 0.1 * n, "deep": {"name": "é\n{}"}} for n in range(4)]


@pytest.fixture
def path(tmp_path):
    for entry in ENTRIES:
        journal.append(tmp_path / "deep/run.jsonl", entry)
    return tmp_path / "deep/run.jsonl"


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_entries_come_back_as_they_went_oldest_first(path):
    assert journal.read(path) == ENTRIES


def test_no_journal_holds_no_entries(tmp_path):
    assert journal.read(tmp_path / "none.jsonl") == []


def test_an_append_changes_no_byte_before_it(path):
    before = path.read_bytes()
    journal.append(path, {"kind": "finished"})
    assert path.read_bytes().startswith(before)


def test_a_line_cut_anywhere_is_dropped_with_a_warning_and_the_next_append_is_read(path):
    whole = path.read_bytes()
    begin = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(begin + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.warns(UserWarning, match=r"run\.jsonl:4: dropped a line that a crash cut short"):
            assert journal.read(path) == ENTRIES[:3]
        journal.append(path, {"kind": "next"})
        with pytest.warns(UserWarning, match=":4: dropped"):
            assert journal.read(path) == [*ENTRIES[:3], {"kind": "next"}]


def test_a_line_that_lacks_only_its_end_of_line_is_whole(path):
    path.write_bytes(path.read_bytes()[:-1])
    assert journal.read(path) == ENTRIES


def test_a_second_crash_while_ending_a_cut_line_is_survived(path):
    path.write_bytes(path.read_bytes()[:-9] + journal.CUT[:5])
    journal.append(path, {"kind": "next"})
    with pytest.warns(UserWarning, match=":4: dropped"):
        assert journal.read(path) == [*ENTRIES[:3], {"kind": "next"}]


@pytest.mark.parametrize("by", [0x01, 0x20, 0x80, 0x77])
def test_every_flipped_byte_before_the_last_line_stops_with_its_place(path, by):
    whole = path.read_bytes()
    for place in range(whole.rindex(b"\n", 0, -1) + 1):
        path.write_bytes(whole)
        flip(path, place, by)
        number = whole.count(b"\n", 0, place) + 1
        with pytest.raises(CorruptArtefact, match=re.escape(f"{path}:{number}: ")):
            journal.read(path)


def test_a_lost_line_end_between_two_entries_stops_the_reader(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"", 1))
    with pytest.raises(CorruptArtefact, match=":1: "):
        journal.read(path)


def test_a_disk_that_takes_only_a_part_of_a_line_is_given_the_rest(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    journal.append(tmp_path / "run.jsonl", ENTRIES[0])
    assert journal.read(tmp_path / "run.jsonl") == ENTRIES[:1]
