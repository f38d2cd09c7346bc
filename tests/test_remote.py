"""A folder as DVC remote: a clone gets the bytes and trains nothing, an older commit gets its own back, a flipped byte is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import clones
import exports
import projects
import pytest

UP_TO_DATE = "Data and pipelines are up to date."


@pytest.fixture(scope="module")
def story(own_prices: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Pushed, cloned, pulled and run there; then ten sessions more at home, run and committed."""
    base = tmp_path_factory.mktemp("remote")
    home, away = clones.copy(own_prices, base / "home"), base / "away"
    told = SimpleNamespace(home=home, away=away, remote=base / "storage")
    clones.dvc(home, "remote", "modify", "storage", "url", str(told.remote))
    clones.commit(home, "a remote of our own")
    clones.dvc(home, "push")
    clones.git(base, "clone", "--quiet", str(home), str(away))
    clones.dvc(away, "pull")
    told.away_run = clones.longshort(away, "run")
    told.first = figures(home)

    exports.write_prices(base / "AAPL.csv", 410)
    clones.longshort(home, "ingest", str(base / "AAPL.csv"), "--dataset", "aapl")
    clones.longshort(home, "run")
    clones.commit(home, "ten sessions more")
    told.second = figures(home)
    return told


def figures(root: Path) -> dict:
    """The metrics as DVC shows them."""
    return json.loads(clones.dvc(root, "metrics", "show", "--json"))


@pytest.mark.long
def test_after_a_pull_every_stage_is_cached(story):
    stages = clones.stages(story.away_run)
    assert len(stages) == 5 and set(stages.values()) == {"Cached"}


@pytest.mark.long
def test_a_clone_has_the_same_figures_and_a_forecast(story):
    assert figures(story.away) == story.first and "next session of AAPL" in story.away_run.stdout


@pytest.mark.long
def test_dvc_tells_the_versions_of_a_persons_data_apart(story):
    difference = json.loads(clones.dvc(story.home, "diff", "HEAD~1", "--json", "--show-hash"))
    changed = {entry["path"]: entry["hash"] for entry in difference["modified"]}
    assert changed["data/raw/aapl/"]["old"] != changed["data/raw/aapl/"]["new"] and story.second != story.first


@pytest.mark.long
def test_an_older_commit_gets_its_data_and_figures_back(story, tmp_path):
    root = clones.copy(story.home, tmp_path / "project")
    clones.git(root, "checkout", "--quiet", "HEAD~1")
    clones.dvc(root, "checkout")
    assert len((root / "data/raw/aapl/AAPL.csv").read_text().splitlines()) == 401
    assert figures(root) == story.first and UP_TO_DATE in clones.dvc(root, "status")


@pytest.mark.long
def test_a_byte_flipped_in_the_remote_is_refused_by_pull(story, tmp_path):
    (pointer,) = (story.away / "data/raw").glob("*.dvc")
    clones.git(tmp_path, "clone", "--quiet", str(story.away), str(tmp_path / "clone"))
    root, remote = tmp_path / "clone", Path(shutil.copytree(story.remote, tmp_path / "storage"))
    content = (story.away / "data/raw/aapl/AAPL.csv").read_bytes()
    (stored,) = [path for path in remote.rglob("*") if path.is_file() and path.read_bytes() == content]
    stored.chmod(0o644)
    projects.flip(stored, place=1000)
    stored.chmod(0o444)
    clones.dvc(root, "remote", "modify", "--local", "storage", "url", str(remote))
    pull = [sys.executable, "-m", "dvc", "pull", pointer.relative_to(story.away).as_posix()]
    done = subprocess.run(pull, cwd=root, env=clones.environment(root), capture_output=True, text=True)
    assert done.returncode != 0 and not (root / "data/raw/aapl/AAPL.csv").exists(), done.stdout
