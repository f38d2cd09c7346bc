"""Varied: settings in which the networks of a row differ from one another, so that a person can set none of them for all."""

from __future__ import annotations

from longshort.errors import UsageError
from longshort.systems.occasion import Occasion


def refuse(occasion: Occasion, why: str, *names: str) -> None:
    """raises  UsageError when a person set one of ``names``; why: what the row does with them, in words"""
    for name in names:
        if name in occasion.settings:
            raise UsageError(f"--set {name}: {why}. Leave it out.")
