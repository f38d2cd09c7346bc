"""The empty databases of Prefect and MLflow: made once an installation, copied into each project, never over one."""

import contextlib
import sqlite3
import sys

import pytest

from longshort import databases

LIBRARIES = ["mlflow", "prefect"]


def schema(path):
    with contextlib.closing(sqlite3.connect(path)) as store:
        return sorted(store.execute("select type, name, sql from sqlite_master").fetchall(), key=str), rows(store)


def rows(store):
    tables = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'").fetchall()]
    return {name: found for name in tables if (found := store.execute(f'select * from "{name}"').fetchall())}


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """An installation that keeps nothing yet."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return tmp_path / "prefix"


@pytest.mark.long
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_new_project_gets_what_the_librarys_own_migrations_make_and_nothing_of_a_person(installation, tmp_path, library):
    databases.make(library, databases.kept(library))
    databases.lay(library, tmp_path / "project/state/it.db")
    tables, content = schema(tmp_path / "project/state/it.db")
    assert (tables, content) == schema(databases.kept(library)) and len(tables) > 50
    assert content.keys() <= {"alembic_version", "workspaces"} and len(content["alembic_version"]) == 1
    assert [path.name for path in (tmp_path / "project/state").iterdir()] == ["it.db"]


def test_a_database_that_is_there_is_left_alone(installation, tmp_path):
    databases.kept("mlflow").parent.mkdir(parents=True)
    databases.kept("mlflow").write_bytes(b"empty")
    (tmp_path / "mlflow.db").write_bytes(b"a year of runs")
    databases.lay("mlflow", tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == b"a year of runs"


def test_one_that_appears_while_it_is_copied_is_left_alone_too(installation, tmp_path, monkeypatch):
    databases.kept("mlflow").parent.mkdir(parents=True)
    databases.kept("mlflow").write_bytes(b"empty")
    written = databases.storage.write_bytes

    def another_is_first(path, data):
        (tmp_path / "mlflow.db").write_bytes(b"its first run")
        written(path, data)

    monkeypatch.setattr(databases.storage, "write_bytes", another_is_first)
    databases.lay("mlflow", tmp_path / "mlflow.db")
    assert (tmp_path / "mlflow.db").read_bytes() == b"its first run"


@pytest.mark.parametrize("library", LIBRARIES)
def test_where_none_of_this_version_is_kept_the_library_makes_its_own(installation, tmp_path, library, monkeypatch):
    databases.kept(library).parent.mkdir(parents=True)
    databases.kept(library).write_bytes(b"of this version")
    monkeypatch.setattr(databases, "version", lambda _: "99.0")
    databases.lay(library, tmp_path / "it.db")
    assert not (tmp_path / "it.db").exists()
