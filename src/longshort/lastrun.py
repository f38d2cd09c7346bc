"""The last run: what it came to, and whether that still stands.

Where all that it rests on is as it was, a run with nothing to do says the same again in seconds, and asks neither MLflow nor a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import longshort
from longshort import storage
from longshort.config import Params
from longshort.registry import ledger


def keep(root: Path, told: dict[str, Any]) -> None:
    """Write down what a run came to."""
    storage.write_json(_path(root), {**told, "rests_on": _rests_on(root)})


def read(root: Path) -> dict[str, Any]:
    """What the last run came to."""
    return dict(storage.read_json(_path(root)))


def standing(root: Path, params: Params) -> dict[str, Any] | None:
    """What the last run came to, if another would come to the same; None: nobody knows.

    A run over a tracking server is never taken to stand: others write to it too.
    """
    if params.tracking.uri != "local" or not _path(root).exists():
        return None
    last = read(root)
    return last if last.get("rests_on") == _rests_on(root) else None


def _path(root: Path) -> Path:
    return root / ".state/last-run.json"


def _rests_on(root: Path) -> str:
    """A digest of the settings, what the stages wrote, who was promoted, MLflow's store and the code. The last two by size and time."""
    read = [root / "params.yaml", root / "dvc.lock", ledger.place(root)]
    looked_at = [root / "mlflow/store/mlflow.db", *sorted((root / "flows").glob("*.py"))]
    looked_at += sorted(path for path in Path(longshort.__file__).parent.rglob("*") if path.suffix in (".py", ".so"))
    stats = [(str(path), path.stat()) for path in looked_at if path.exists()]
    return storage.digest(
        {
            "contents": [storage.sha256(path) if path.exists() else "" for path in read],
            "files": [(path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats],
        }
    )
