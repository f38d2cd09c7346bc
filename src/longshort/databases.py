"""Databases: the empty ones of Prefect and MLflow, made once an installation by their own migrations and copied into each new project.

Their migrations replay years of changes, some 15 s of a core. ``python -m longshort.databases`` does that after an
installation; a project for which it was not done, or that has other versions, lets the libraries make their own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from longshort import storage

Library = Literal["mlflow", "prefect"]
MIGRATIONS: dict[Library, tuple[list[str], dict[str, str]]] = {
    "mlflow": (["mlflow", "db", "upgrade", "sqlite:///{path}"], {"MLFLOW_DISABLE_TELEMETRY": "true"}),
    "prefect": (
        ["prefect", "server", "database", "upgrade", "--yes"],
        {"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///{path}", "PREFECT_HOME": "{home}", "DO_NOT_TRACK": "1"},
    ),
}


def kept(library: Library) -> Path:
    """Where an installation keeps the empty database of the version that it has."""
    return Path(sys.prefix) / "share/longshort" / f"{library}-{version(library)}.db"


def make(library: Library, path: Path) -> None:
    """Let a library make an empty database. raises CalledProcessError"""
    command, settings = MIGRATIONS[library]
    with tempfile.TemporaryDirectory(prefix="longshort-") as home:
        places = {"path": str(Path(home) / "empty.db"), "home": home}
        subprocess.run(
            [sys.executable, "-m", *(word.format(**places) for word in command)],
            env={**os.environ, **{name: value.format(**places) for name, value in settings.items()}},
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        storage.write_bytes(path, Path(places["path"]).read_bytes())


def lay(library: Library, path: Path) -> None:
    """Give a project its empty database. Where there is one, or none is kept, nothing is done."""
    if path.exists() or not kept(library).exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        copy = Path(folder) / path.name
        storage.write_bytes(copy, kept(library).read_bytes())
        # another process may have been first and be writing: a link never replaces what is there
        with contextlib.suppress(OSError):
            path.hardlink_to(copy)


if __name__ == "__main__":
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda library: make(library, kept(library)), MIGRATIONS))
