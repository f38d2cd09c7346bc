"""Idx files: what MNIST's are is read as it is; one that is cut short, or that is something else, is refused by name and byte."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from longshort.errors import DataRefused
from longshort.ingestion import idx


def content(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, idx.BYTES, array.ndim, *array.shape) + array.tobytes()


def collection(folder, packed=gzip.compress, images=(12, 5), labels=(12, 5)):
    for (pixels, names), count, named in zip(idx.NAMES.values(), images, labels, strict=True):
        (folder / f"{pixels}.gz").write_bytes(packed(content(np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3))))
        (folder / f"{names}.gz").write_bytes(packed(content((np.arange(named) % 10).astype(np.uint8))))
    return folder


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_array_comes_back_in_its_shape(tmp_path, packed):
    wanted = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    (tmp_path / "some").write_bytes(packed(content(wanted)))
    np.testing.assert_array_equal(idx.read(tmp_path / "some"), wanted)


def test_a_collection_is_train_before_test(tmp_path):
    pixels, labels, test = idx.read_collection(collection(tmp_path))
    assert (pixels.shape, labels.tolist(), test) == ((17, 2, 3), [*range(10), 0, 1, *range(5)], 5)


GOOD = content(np.arange(24, dtype=np.uint8).reshape(4, 6))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (GOOD[:-3], r"33 bytes, and its header asks for 36 \(4 × 6\).*cut short"),
        (GOOD + b"x", "37 bytes.*more was put behind it"),
        (GOOD[:7], "7 bytes"),
        (struct.pack(">BBBB3I", 0, 0, idx.BYTES, 3, 2**31, 2**31, 4), "16 bytes, and its header asks for 18,446,744,073,709,551,632"),
        (b"", "byte 0: not an idx file"),
        (b"label,text\n", "byte 0: not an idx file"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "byte 2: elements of type 0x0d"),
        (gzip.compress(GOOD)[:-9], "gzip stream cannot be read to the end"),
        (gzip.compress(GOOD)[:20] + b"\xff\xff\xff\xff" + gzip.compress(GOOD)[24:], "gzip stream cannot be read"),
    ],
)
def test_a_file_that_is_no_whole_idx_file_is_refused_by_name_and_place(tmp_path, bad, said):
    (tmp_path / "t10k-labels").write_bytes(bad)
    with pytest.raises(DataRefused, match=f"t10k-labels: .*{said}|t10k-labels: {said}"):
        idx.read(tmp_path / "t10k-labels")


def test_a_file_that_is_missing_or_does_not_fit_the_others_is_named(tmp_path):
    with pytest.raises(DataRefused, match=r"t10k-labels-idx1-ubyte.gz: labels of shape \(4,\) for images of shape \(5, 2, 3\)"):
        idx.read_collection(collection(tmp_path, labels=(12, 4)))
    with pytest.raises(
        DataRefused, match=r"t10k-images-idx3-ubyte\.gz: 0 × 2 × 3: there is no pixel in it, and the test part needs images"
    ):
        idx.read_collection(collection(tmp_path, images=(12, 0), labels=(12, 0)))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataRefused, match=r"there is no t10k-labels-idx1-ubyte nor t10k-labels-idx1-ubyte\.gz"):
        idx.read_collection(tmp_path)
