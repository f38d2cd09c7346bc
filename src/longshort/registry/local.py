"""Local: the registry in a project's own SQLite file, read and written without MLflow, whose import takes longer than all the rest.

A rollback is asked for when something is on fire, and a forecast many times a day; both need four tables of MLflow's store, whose form
its migration's number tells. A file of another form, and a server, are left to MLflow's client.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    Registry: TypeAlias = "MlflowClient | LocalRegistry"
    Version: TypeAlias = "ModelVersion | LocalVersion"

FORM = "dc11669786a5"  # the migration that MLflow 3.17 ends with; what is done here was looked up for it
PATIENCE = 20  # seconds to wait for another writer, as MLflow does
WORKSPACE = "default"  # the only one of a store in a file


@dataclass(frozen=True)
class LocalVersion:
    """A registered version, by the names that MLflow's has."""

    name: str
    version: str
    run_id: str | None
    tags: dict[str, str]
    folder: Path


@dataclass(frozen=True)
class LocalRegistry:
    """The registry in a file; what it is asked, MLflow's client answers alike."""

    path: Path

    @property
    def tracking_uri(self) -> str:
        """As MLflow's client has it."""
        return f"sqlite:///{self.path}"

    def versions(self, model: str) -> list[LocalVersion]:
        """All versions of a model, the oldest first; those that MLflow has deleted are none."""
        asked = (WORKSPACE, model)
        with self._opened() as store:
            own = "from model_versions where workspace = ? and name = ? and current_stage is not 'Deleted_Internal' order by version"
            rows = store.execute(f"select version, run_id, coalesce(storage_location, source) {own}", asked).fetchall()
            tags = store.execute("select version, key, value from model_version_tags where workspace = ? and name = ?", asked).fetchall()
        return [
            LocalVersion(model, str(number), run_id, {key: value for of, key, value in tags if of == number}, _folder(place))
            for number, run_id, place in rows
        ]

    def at_alias(self, model: str, alias: str) -> LocalVersion | None:
        """The version that an alias points at, or None."""
        query = "select version from registered_model_aliases where workspace = ? and name = ? and alias = ?"
        with self._opened() as store:
            row = store.execute(query, (WORKSPACE, model, alias)).fetchone()
        return None if row is None else next((found for found in self.versions(model) if found.version == str(row[0])), None)

    def set_registered_model_alias(self, model: str, alias: str, version: str) -> None:
        """Point an alias at a version that is there."""
        with self._opened() as store:
            store.execute(
                "insert or replace into registered_model_aliases (workspace, name, alias, version) values (?, ?, ?, ?)",
                (WORKSPACE, model, alias, int(version)),
            )

    def delete_registered_model_alias(self, model: str, alias: str) -> None:
        """Take an alias away."""
        with self._opened() as store:
            store.execute("delete from registered_model_aliases where workspace = ? and name = ? and alias = ?", (WORKSPACE, model, alias))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A transaction: done when the block ends well, else undone."""
        with contextlib.closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", timeout=PATIENCE, uri=True)) as store, store:
            store.execute("pragma foreign_keys = on")
            yield store


def _folder(place: str) -> Path:
    """A version's files: MLflow writes a path, or a file's address."""
    return Path(unquote(urlsplit(place).path) if place.startswith("file:") else place)


def local(path: Path) -> LocalRegistry | None:
    """The registry in a project's file; None where there is none, or it has another form than this module knows."""
    if not path.exists():
        return None
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", timeout=PATIENCE, uri=True)) as store:
        try:
            forms = store.execute("select version_num from alembic_version").fetchall()
        except sqlite3.DatabaseError:
            return None
    return LocalRegistry(path) if forms == [(FORM,)] else None
