"""What the rows take for the data that published figures are about: what files hold says it, and not what they are called."""

from __future__ import annotations

import datetime as dt
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from longshort import config, sessions
from longshort.errors import DataRefused
from longshort.ingestion import idx
from longshort.systems import anomaly, ctc, digits, google_stock, originals, sources, story, texts, translation
from longshort.systems.fitting import Fitted
from longshort.systems.occasion import Occasion

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared/data"
PARAMS = config.read(Path(__file__).with_name("params.yaml"))


def occasion(data, fast=False):
    return Occasion(ROOT, PARAMS, "row", data, fast, {}, (0,), lambda said: None)


def reals(known, **more):
    return lambda asked: texts.read(asked, texts.requests(10), known, **more).real


# what of the shared data a row takes for its original, and how it says so
READ = {
    "mnist": lambda asked: digits.read(asked).real,
    "stocks": lambda asked: google_stock._read(asked)[2],
    "text": lambda asked: sources.read(asked).treebank,
    "labelled/atis": reals(("ATIS",), tagged=True),
    "labelled/banking77": reals(("ATIS", "Banking77")),
    "labelled/rt_polarity": reals(("rt-polarity", "SMS spam")),
    "labelled/sms_spam": reals(("rt-polarity", "SMS spam")),
    "nab": lambda asked: anomaly._read(asked)[2],
    "pairs/fra_every5th.txt": lambda asked: translation.read(asked).real,
    "text/story.txt": lambda asked: originals.is_one(("story",), story._read(asked.data)[0]),
}


@pytest.mark.long
@pytest.mark.parametrize("place", READ)
def test_the_real_data_are_known_and_a_part_of_them_is_not(place):
    data = SHARED / place
    if not data.exists():
        pytest.skip("needs shared/data")
    assert READ[place](occasion(data))
    if place not in ("text/story.txt", "pairs/fra_every5th.txt"):  # a fast run learns all of the one; the other is long to read
        assert not READ[place](occasion(data, fast=True))


def test_line_ends_and_headers_do_not_matter_and_one_price_does(tmp_path):
    if not SHARED.exists():
        pytest.skip("needs shared/data")
    train, test = (tmp_path / name for name in google_stock.FILES)
    for path, part in ((train, "Train"), (test, "Test")):
        path.write_bytes((SHARED / f"stocks/google_variants/space_in_header_{part}.csv").read_bytes().replace(b"\r\n", b"\n"))
    assert google_stock._read(occasion(tmp_path))[1:] == ("Google 2012 to 2016", True)
    test.write_text(test.read_text().replace("778.81", "778.82"))
    assert google_stock._read(occasion(tmp_path))[1:] == (f"{tmp_path.name}, 1,278 sessions from 2012-01-03 to 2017-01-31", False)


def stock(folder, train, test, first=dt.date(2018, 6, 4), then=None):
    """The tutorial's two files with made prices, so many sessions each; then: where test begins, behind train where nothing is said."""
    folder.mkdir()
    days = [str(day.date()) for day in sessions.sessions("XNYS", first, first + dt.timedelta(2 * (train + test)))]
    begin = train if then is None else days.index(str(then))
    for name, own in zip(google_stock.FILES, (days[:train], days[begin : begin + test]), strict=True):
        rows = [f"{day},{300 + k % 7},310,290,{301 + k % 5},{1000 + k}" for k, day in enumerate(own)]
        (folder / name).write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]) + "\n")
    return folder


def test_prices_of_another_year_are_called_by_their_folder_and_too_few_of_them_are_refused(tmp_path):
    name = "apples, 82 sessions from 2018-06-04 to 2018-09-27"
    assert google_stock._read(occasion(stock(tmp_path / "apples", 62, 20)))[1:] == (name, False)
    with pytest.raises(DataRefused, match="short: 80 sessions behind the first, and 81 are needed: 60 that are read, one"):
        google_stock._read(occasion(stock(tmp_path / "short", 61, 20)))


def test_a_test_file_that_begins_before_train_has_ended_is_refused(tmp_path):
    with pytest.raises(DataRefused, match=r"Test\.csv: begins on 2018-07-16, and Google_Stock_Price_Train\.csv goes on to 2018-08-2\d"):
        google_stock._read(occasion(stock(tmp_path / "over", 60, 40, then="2018-07-16")))


@pytest.mark.parametrize(("epochs", "told"), [(9, 8), (3, 3)])
def test_the_loss_that_is_told_is_that_of_the_epoch_that_is_named(monkeypatch, epochs, told):
    history = [{"epoch": k, "train_loss": float(k)} for k in range(1, epochs + 1)]
    monkeypatch.setattr(google_stock, "fit", lambda *_: ([Fitted(0, None, history)], 1.0))
    monkeypatch.setattr(google_stock, "_levels", lambda *_: np.zeros(google_stock.TEST))
    figure = google_stock.run(occasion(None)).figures[0]
    assert (figure.name, figure.value) == (f"training loss in epoch {told}", told)


def packed(array):
    return gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, idx.BYTES, array.ndim, *array.shape) + array.tobytes(), 1)


def collection(folder, train, test, size=(28, 28), labels=10):
    """Four idx files of blank images, under the names of MNIST's."""
    folder.mkdir(exist_ok=True)
    for (pixels, named), count in zip(idx.NAMES.values(), (train, test), strict=True):
        (folder / f"{pixels}.gz").write_bytes(packed(np.zeros((count, *size), np.uint8)))
        (folder / f"{named}.gz").write_bytes(packed((np.arange(count) % labels).astype(np.uint8)))
    return folder


def test_other_images_under_the_names_of_mnists_are_called_by_their_folder(tmp_path):
    found = digits.read(occasion(collection(tmp_path / "clothes", 6000, 100)))
    assert (found.name, found.real, found.many) == ("clothes, 6,000 + 100 images of 28 × 28", False, True)


def test_images_of_which_no_classifier_can_learn_are_refused(tmp_path):
    with pytest.raises(DataRefused, match=r"few: 5,000 images to learn from, and 5,600 are needed, since 5,000 of them are set aside"):
        digits.read(occasion(collection(tmp_path / "few", 5000, 20)))
    with pytest.raises(DataRefused, match=r"same: all 600 images that are learned from have the label 0; a classifier needs two"):
        digits.read(occasion(collection(tmp_path / "same", 5600, 20, labels=1)))


def test_strips_of_narrow_images_are_made_too(tmp_path, monkeypatch):
    class Made(Exception):
        pass

    def fit(_, __, tasks, *___):
        raise Made(tasks[0].data.rows, int(tasks[0].data.widths().min()))

    monkeypatch.setattr(ctc, "fit", fit)
    with pytest.raises(Made, match=r"\(4, [3-9]\)"):
        ctc.run(occasion(collection(tmp_path, 5600, 20, size=(4, 3)), fast=True))


@pytest.mark.parametrize(("width", "said"), [(1, "5 columns wide"), (2, "6 columns wide")])
def test_images_too_narrow_for_five_digits_are_refused_before_anything_is_trained(tmp_path, width, said):
    with pytest.raises(DataRefused, match=f"{said}, and 9 are needed to tell 5 digits apart"):
        ctc.run(occasion(collection(tmp_path, 5600, 20, size=(4, width)), fast=True))


def test_contents_that_differ_in_a_shape_a_type_or_an_order_have_other_digests():
    plain = np.arange(6, dtype=np.uint8)
    told = [originals.sha256(own) for own in (plain, plain.reshape(2, 3), plain.view(np.int8), ["a", "b"], ["b", "a"], ["a, b"])]
    assert len(set(told)) == 6 and originals.sha256(plain) == originals.sha256(plain.copy())
