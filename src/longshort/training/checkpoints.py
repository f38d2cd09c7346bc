"""Checkpoints: where a member of a fleet has got to, kept outside DVC's outputs, which DVC deletes before a stage runs.

A checkpoint is a file and its sha256 beside it. torch loads a checkpoint with a flipped bit without a
word (191 of 200 flips), so the digest is checked first; when it is wrong, the one before is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import warnings
from pathlib import Path

import torch

from longshort import storage
from longshort.training.loop import Progress

KEPT = 2


def packed(progress: Progress) -> bytes:
    """A checkpoint as it lies in its file."""
    buffer = io.BytesIO()
    torch.save(vars(progress), buffer)
    return buffer.getvalue()


def unpacked(checkpoint: bytes) -> Progress:
    """The progress that was packed."""
    return Progress(**torch.load(io.BytesIO(checkpoint), weights_only=True))


def store(folder: Path, epochs: int, checkpoint: bytes) -> None:
    """Add a packed checkpoint, of so many epochs, and drop all but the last two."""
    path = folder / f"epoch-{epochs:05d}.pt"
    storage.write_bytes(path, checkpoint)
    storage.write_bytes(path.with_suffix(".sha256"), hashlib.sha256(checkpoint).hexdigest().encode())
    for old in sorted(folder.glob("epoch-*.pt"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


def newest(folder: Path) -> bytes | None:
    """The newest checkpoint whose bytes are as they were written, or None."""
    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        stated = path.with_suffix(".sha256")
        if not stated.exists():
            continue  # killed between the two writes: the one before is whole
        checkpoint = path.read_bytes()
        if hashlib.sha256(checkpoint).hexdigest().encode() != stated.read_bytes():
            warnings.warn(f"{path}: damaged (its sha256 has changed); going on from the checkpoint before it", stacklevel=2)
            continue
        return checkpoint
    return None


def load(folder: Path) -> Progress | None:
    """What the newest good checkpoint holds, or None."""
    checkpoint = newest(folder)
    return None if checkpoint is None else unpacked(checkpoint)


def forget(folder: Path) -> None:
    """Remove a run's checkpoints, once its result is an output."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other settings of the same member have some
        folder.parent.rmdir()
