"""What a proof says, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """One thing that was tried on an item.

    name   what is proven: "weights"
    holds  whether it is so
    said   what was done and seen, with the numbers
    """

    name: str
    holds: bool
    said: str
