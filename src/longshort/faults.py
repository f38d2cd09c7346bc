"""Faults: places at which tests let a process die, as a kill or a power cut would. Elsewhere they do nothing."""

from __future__ import annotations

import os
import signal

VARIABLE = "LONGSHORT_FAULT"  # holds the name of the point at which to die


def point(name: str) -> None:
    """Die here by SIGKILL, if this point was asked for."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
