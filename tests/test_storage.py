"""Storage: whole or absent, and every changed byte found."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from projects import flip

from longshort import storage
from longshort.errors import CorruptArtefact, UsageError


def build(place, content="old"):
    with storage.new_artefact(place) as folder:
        (folder / "deep").mkdir()
        storage.write_bytes(folder / "deep/data.bin", content.encode() * 40)
        storage.write_json(folder / "card.json", {"content": content})
    return place


@pytest.fixture
def place(tmp_path):
    return build(tmp_path / "goog")


# --- whole or absent --------------------------------------------------------------------------


def test_an_artefact_stands_whole_with_its_manifest(place):
    assert storage.verify(place) == storage.read_json(place / "manifest.json")["sha256"]
    assert set(storage.read_json(place / "manifest.json")["files"]) == {"deep/data.bin", "card.json"}


def test_the_same_content_has_the_same_sha256_wherever_it_stands(place, tmp_path):
    assert storage.verify(build(tmp_path / "other/name")) == storage.verify(place)


def test_a_new_artefact_replaces_the_old_and_leaves_nothing_else(place):
    build(place, "new")
    assert storage.verify(place) and storage.read_json(place / "card.json") == {"content": "new"}
    assert [path.name for path in place.parent.iterdir()] == ["goog"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_while_building_leaves_the_old_artefact_and_nothing_else(place, problem):
    before = storage.verify(place)
    with pytest.raises(problem), storage.new_artefact(place) as folder:
        storage.write_json(folder / "half.json", {})
        raise problem
    assert storage.verify(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["goog"]


def test_an_exception_between_the_two_renames_brings_the_old_artefact_back(place, monkeypatch):
    before, rename = storage.verify(place), type(place).rename
    monkeypatch.setattr(type(place), "rename", lambda path, to: 1 / 0 if ".tmp." in path.name and to == place else rename(path, to))
    with pytest.raises(ZeroDivisionError):
        build(place, "new")
    assert storage.verify(place) == before
    assert [path.name for path in place.parent.iterdir()] == ["goog"]


def test_what_a_killed_process_left_is_cleared_even_if_its_number_comes_again(place):
    for kind in ("tmp", "old"):
        build(place.with_name(f".goog.{kind}.{os.getpid()}"))
        build(place.with_name(f".goog.{kind}.1"))
    build(place, "new")
    assert [path.name for path in place.parent.iterdir()] == ["goog"]


WRITER = """
import sys
from pathlib import Path
from longshort import storage
place = Path(sys.argv[1])
print("go", flush=True)
number = 0
while True:
    number += 1
    with storage.new_artefact(place) as folder:
        for name in "abc":
            storage.write_json(folder / name, {"number": number, "filler": "x" * 5000})
    storage.write_bytes(place.parent / "file", b"%09d" % number * 1000)
"""


def test_a_killed_writer_leaves_the_old_or_the_new_and_never_a_half(tmp_path):
    draw, place, standing, rounds = random.Random(0), tmp_path / "goog", 0, 0
    while rounds < 8 or (standing < 4 and rounds < 100):  # on a busy machine a writer may be killed before it has written anything
        rounds += 1
        writer = subprocess.Popen([sys.executable, "-c", WRITER, place], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(draw.uniform(0.005, 0.08))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        if place.exists():
            storage.verify(place)
            standing += len({storage.read_json(place / name)["number"] for name in "abc"}) == 1
        if (tmp_path / "file").exists():
            assert len({(tmp_path / "file").read_bytes()[n : n + 9] for n in range(0, 9000, 9)}) == 1
    assert standing >= 4
    build(place)
    assert [path.name for path in tmp_path.glob(".goog*")] == []


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (pathlib.Path, "rename")])
def test_a_file_that_cannot_be_written_keeps_its_old_content(tmp_path, monkeypatch, owner, name):
    storage.write_bytes(tmp_path / "file", b"old")
    monkeypatch.setattr(owner, name, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        storage.write_bytes(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


# --- manifests --------------------------------------------------------------------------------


@pytest.mark.few(6)
@pytest.mark.parametrize("by", [0x01, 0x07, 0x20, 0x2A, 0x80, 0xFF])  # 0x07 and 0x2A make another blank of a blank
@pytest.mark.parametrize("name", ["deep/data.bin", "card.json", "manifest.json"])
def test_every_flipped_byte_of_every_file_is_found(place, name, by):
    for number in range((place / name).stat().st_size):
        flip(place / name, number, by)
        with pytest.raises(CorruptArtefact, match=name):
            storage.verify(place)
        flip(place / name, number, by)
    storage.verify(place)


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"files": 1, "sha256": 2}', '{"files": {"a": 1e999}, "sha256": ""}', "\udcff"])
def test_a_manifest_that_says_something_else_is_refused(place, text):
    (place / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CorruptArtefact, match=r"manifest\.json"):
        storage.verify(place)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda place: (place / "card.json").unlink(), "card.json: missing"),
        (lambda place: (place / "manifest.json").unlink(), "manifest.json: missing"),
        (lambda place: (place / "deep/extra").touch(), "deep/extra: not in manifest.json"),
        (lambda place: (place / "card.json").rename(place / "cart.json"), "card.json: missing"),
        (lambda place: (place / "deep/data.bin").write_bytes(b""), "deep/data.bin: sha256 is e3b0c44298fc…"),
    ],
)
def test_missing_added_and_emptied_files_are_found_and_named_with_the_remedy(place, harm, message):
    harm(place)
    with pytest.raises(CorruptArtefact, match=message) as caught:
        storage.verify(place)
    assert "longshort doctor --fix" in str(caught.value)


# --- formats ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_json_without_a_number_is_refused(value, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        storage.write_json(tmp_path / "file.json", value)
    assert not list(tmp_path.iterdir())


def test_json_comes_back_as_it_went_and_does_not_hang_on_the_order_of_keys(tmp_path):
    value = {"b": [0.1, 1e-300, 5e-324, 2**60, None, True, "é\n"], "a": {}}
    storage.write_json(tmp_path / "file.json", value)
    assert storage.read_json(tmp_path / "file.json") == value
    assert storage.canonical_json(value) == storage.canonical_json(dict(reversed(value.items())))
    assert json.loads(storage.canonical_json(value)) == value


def test_a_flipped_byte_in_a_parquet_page_is_found_by_its_checksum(tmp_path):
    table = pa.table({"close": [float(n * n % 97) for n in range(2000)]})
    storage.write_table(tmp_path / "t.parquet", table)
    assert storage.read_table(tmp_path / "t.parquet").equals(table)
    flip(tmp_path / "t.parquet", 600)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        storage.read_table(tmp_path / "t.parquet")


# --- the project ------------------------------------------------------------------------------


def test_the_root_is_the_nearest_folder_with_both_files(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "a/params.yaml").touch()
    assert storage.find_root(tmp_path / "a/b") == tmp_path


def test_outside_a_project_a_person_is_told_what_makes_one(tmp_path):
    with pytest.raises(UsageError, match=r"params\.yaml and dvc\.yaml"):
        storage.find_root(tmp_path)
