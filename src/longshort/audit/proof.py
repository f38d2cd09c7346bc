"""What a proof says, and where the last ones of an item are found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from longshort import storage


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


def keep(root: Path, item: str, data_sha256: str, proofs: list[Proof]) -> None:
    """Leave an item's proofs in `reports/audit`, with the digest of the data that they are of."""
    place = _place(root, item)
    place.parent.mkdir(parents=True, exist_ok=True)
    storage.write_json(place, {"item": item, "data_sha256": data_sha256, "proofs": [asdict(proof) for proof in proofs]})


def kept(root: Path, item: str, data_sha256: str) -> list[Proof]:
    """The last proofs of an item over these data; none where it was not audited on them."""
    place = _place(root, item)
    if not place.exists():
        return []
    found = storage.read_json(place)
    return [Proof(**proof) for proof in found["proofs"]] if found["data_sha256"] == data_sha256 else []


def _place(root: Path, item: str) -> Path:
    return root / "reports/audit" / f"{item}.json"
