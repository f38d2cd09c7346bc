"""Registry, local: a project's own file, read and written without MLflow, says and keeps what MLflow's client does."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys

import projects
import pytest
import shelves

from longshort.errors import CorruptArtefact, UsageError
from longshort.registry import promotion, versions
from longshort.registry.local import local

MODEL = "forecast-goog"
ALIASES = (versions.CHAMPION, versions.CHALLENGER, versions.PREVIOUS)


@pytest.fixture
def shelf(tmp_path):
    """A store with three versions of a model, and one of another: MLflow's client, and ours."""
    root = tmp_path / "project"
    client = shelves.shelf(root)
    for seed, model in enumerate((MODEL, MODEL, MODEL, "forecast-other")):
        shelves.add(client, root, model, shelves.stub(tmp_path / f"stub {seed}", f"s{seed}", seed), f"s{seed}")
    return root, client, local(root / "mlflow/store/mlflow.db")


def pointed(registry):
    found = {alias: versions.at_alias(registry, MODEL, alias) for alias in ALIASES}
    return {alias: str(version.version) for alias, version in found.items() if version}


def test_versions_are_those_that_mlflow_has_with_their_tags_and_files(shelf):
    root, client, own = shelf
    for number in ("1", "2", "3"):
        ours, mlflows = versions.find(own, MODEL, number), versions.find(client, MODEL, number)
        assert (ours.name, ours.version, ours.tags, ours.run_id or None) == (
            mlflows.name,
            str(mlflows.version),
            mlflows.tags,
            mlflows.run_id or None,
        )
        assert versions.fetch(own, ours) == versions.fetch(client, mlflows)
        assert versions.open_version(own, ours).sha256 == versions.open_version(client, mlflows).sha256
        assert versions.verify(own, root, ours) == versions.verify(client, root, mlflows) == "bitwise"
    with pytest.raises(UsageError, match=r"forecast-goog has no version '4'\. Known: 1, 2, 3\."):
        versions.find(own, MODEL, "4")


def test_an_alias_that_one_sets_or_takes_away_the_other_sees(shelf):
    _, client, own = shelf
    assert pointed(own) == pointed(client) == {}
    for one, version in ((own, "1"), (client, "2"), (own, "3")):
        one.set_registered_model_alias(MODEL, versions.CHAMPION, version)
        assert pointed(own) == pointed(client) == {versions.CHAMPION: version}
    own.set_registered_model_alias(MODEL, versions.PREVIOUS, "1")
    client.delete_registered_model_alias(MODEL, versions.CHAMPION)
    assert pointed(own) == pointed(client) == {versions.PREVIOUS: "1"}
    for _ in range(2):
        own.delete_registered_model_alias(MODEL, versions.PREVIOUS)
    assert pointed(own) == pointed(client) == {}


def test_a_version_that_mlflow_deleted_is_none(shelf):
    _, client, own = shelf
    own.set_registered_model_alias(MODEL, versions.CHAMPION, "2")
    client.delete_model_version(MODEL, "2")
    assert [version.version for version in own.versions(MODEL)] == ["1", "3"]
    assert versions.at_alias(own, MODEL, versions.CHAMPION) is versions.at_alias(client, MODEL, versions.CHAMPION) is None


def test_promoting_and_going_back_by_ours_is_seen_by_mlflow(shelf):
    root, client, own = shelf
    for version, before in (("1", None), ("2", "1"), ("3", "2")):
        promotion.promote(own, root, MODEL, version, before, "better")
    assert promotion.rollback(own, root, MODEL) == ("3", "2")
    assert pointed(client) == {versions.CHAMPION: "2", versions.PREVIOUS: "1"}
    assert promotion.rollback(client, root, MODEL) == ("2", "1")
    assert pointed(own) == {versions.CHAMPION: "1"} and promotion.drift(own, root, MODEL) is None
    assert [str(promotion.serving_version(one, root, MODEL)[0].version) for one in (own, client)] == ["1", "1"]


def test_what_is_not_written_to_its_end_is_not_written(shelf):
    _, client, own = shelf
    with pytest.raises(RuntimeError, match="killed"), own._opened() as store:
        store.execute(
            "insert into registered_model_aliases (workspace, name, alias, version) values ('default', ?, 'champion', 1)", (MODEL,)
        )
        raise RuntimeError("killed")
    assert pointed(client) == {}


@pytest.mark.parametrize("form", ["another", None, "no database"])
def test_a_store_of_another_form_is_left_to_mlflow(shelf, tmp_path, form):
    root, _, _ = shelf
    path = tmp_path / "other.db"
    if form == "no database":
        path.write_text("nothing of the kind " * 100)
    elif form:
        shutil.copy(root / "mlflow/store/mlflow.db", path)
        with sqlite3.connect(path) as store:
            store.execute("update alembic_version set version_num = 'another'")
    assert local(path) is None


def test_whole_files_that_are_not_those_of_the_version_are_refused(shelf):
    root, client, own = shelf
    ours, others = (versions.fetch(own, versions.find(own, MODEL, number)) for number in ("1", "2"))
    shutil.rmtree(ours)
    shutil.copytree(others, ours)
    for registry in (own, client):
        with pytest.raises(CorruptArtefact, match=r"forecast-goog v1: its files are whole but not the ones that were registered"):
            versions.verify(registry, root, versions.find(registry, MODEL, "1"))


@projects.native_is_built
def test_neither_mlflow_nor_torch_is_imported(shelf):
    root, _, own = shelf
    for version, before in (("1", None), ("2", "1")):
        promotion.promote(own, root, MODEL, version, before, "better")
    code = (
        "import sys; from pathlib import Path; from longshort.registry import promotion; from longshort.registry.local import local; "
        f"root = Path({str(root)!r}); print(promotion.rollback(local(root / 'mlflow/store/mlflow.db'), root, {MODEL!r}), "
        "sorted({'mlflow', 'torch', 'sqlalchemy', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "('2', '1') []\n"
