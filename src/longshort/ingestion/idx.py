"""Idx files: arrays of bytes as MNIST's collection has them (LeCun, Cortes and Burges, 1998), gzipped or not; and scikit-learn's digits."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longshort.errors import DataRefused

BYTES = 0x08  # the one type of element that collections of images use
GZIP = b"\x1f\x8b"
NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read(path: Path) -> NDArray[np.uint8]:
    """An idx file of bytes, in its shape.

    raises  DataRefused when it is none, is cut short or too long, or holds something else than bytes
    """
    content = path.read_bytes()
    if content[:2] == GZIP:
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataRefused(f"{path}: its gzip stream cannot be read to the end ({error}). Fetch the file again.") from None
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DataRefused(f"{path}: byte 0: not an idx file, which begins with two zero bytes. Give MNIST's files as they are.")
    kind, axes = content[2], content[3]
    if kind != BYTES or not 1 <= axes <= 3:
        raise DataRefused(
            f"{path}: byte 2: elements of type {kind:#04x} on {axes} axes; longshort reads bytes ({BYTES:#04x}) on 1 to 3. "
            "Give images and labels of bytes."
        )
    start = 4 + 4 * axes
    shape = [int(length) for length in np.frombuffer(content[4:start], ">u4")] if len(content) >= start else []
    wanted = start + math.prod(shape) if shape else start
    if not shape or len(content) != wanted:
        held = f"{len(content):,} bytes, and its header asks for {wanted:,}" + (f" ({' × '.join(map(str, shape))})" if shape else "")
        raise DataRefused(f"{path}: {held}: it was cut short, or more was put behind it. Fetch the file again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_collection(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """The four files of a collection: images, train before test, their labels, and how many are test's.

    returns  (images, rows, columns), (images,), count
    raises   DataRefused when a file is missing or damaged, or images and labels do not fit together
    """
    images, labels = [], []
    for part, names in NAMES.items():
        found = [path for own in names for name in (own, f"{own}.gz") if (path := folder / name).is_file()]
        for own in names:
            if not any(path.name.startswith(own) for path in found):
                raise DataRefused(f"{folder}: there is no {own} nor {own}.gz, a file of the {part} part. Put all four into the folder.")
        pixels, named = read(found[0]), read(found[-1])
        if pixels.ndim != 3 or named.ndim != 1 or len(pixels) != len(named):
            raise DataRefused(
                f"{found[-1]}: labels of shape {named.shape} for images of shape {pixels.shape}: each image needs one label. "
                "Give the files of one collection."
            )
        if not pixels.size:
            size = " × ".join(map(str, pixels.shape))
            raise DataRefused(f"{found[0]}: {size}: there is no pixel in it, and the {part} part needs images. Give the whole file.")
        images.append(pixels)
        labels.append(named)
    if images[0].shape[1:] != images[1].shape[1:]:
        sizes = " and ".join(" × ".join(map(str, each.shape[1:])) for each in images)
        raise DataRefused(f"{folder}: images of train and of test have {sizes} pixels. Give the files of one collection.")
    return np.concatenate(images), np.concatenate(labels), len(labels[1])


def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """scikit-learn's handwritten digits: (1797, 8, 8) pixels of 0 to 16, and their labels (1797,)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images.astype(np.uint8), found.target.astype(np.uint8)
