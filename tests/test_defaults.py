"""The settings that ship are real: several seeds, patience that ends training, every model better than knowing nothing.

`make test` trains one seed of two items in full; `make prove` every item and seed.
"""

from __future__ import annotations

import os
import shutil

import projects
import pytest

from longshort import config, editing, storage

PARAMS = config.read(projects.ROOT / "params.yaml")
ITEMS = list(PARAMS.training.items) if "LONGSHORT_PROVE" in os.environ else ["goog-lstm", "topics-lstm"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with the shipped settings, its items trained and evaluated."""
    root = tmp_path_factory.mktemp("defaults")
    shutil.copy(projects.ROOT / "params.yaml", root)
    shutil.copy(projects.ROOT / "dvc.yaml", root)
    if "LONGSHORT_PROVE" not in os.environ:
        editing.assign(root / "params.yaml", ["training.seeds=[0]"])
    for dataset in PARAMS.ingestion.datasets:
        for stage in ("ingestion", "validation", "windows"):
            projects.run_stage(root, stage, dataset)
    for item in ITEMS:
        for stage in ("training", "evaluation"):
            projects.run_stage(root, stage, item)
    return root


def test_three_seeds_and_patience_are_the_default():
    assert len(PARAMS.training.seeds) >= 3
    assert min(PARAMS.training.forecast.patience, PARAMS.training.language_model.patience) >= 5


def test_no_language_model_of_the_defaults_reads_its_own_answer():
    texts = [item for item in PARAMS.training.items.values() if item.task == "language-model"]
    assert texts
    assert not any(PARAMS.models.variants[item.variant].bidirectional for item in texts)


@pytest.mark.long
@pytest.mark.parametrize("item", ITEMS)
def test_patience_and_not_the_limit_ends_training(trained, item):
    limit = getattr(PARAMS.training, PARAMS.training.items[item].task.replace("-", "_")).max_epochs
    for run in storage.read_json(trained / "data/training" / item / "runs.json")["seeds"]:
        assert len(run["history"]) < limit


@pytest.mark.long
@pytest.mark.parametrize("item", [item for item in ITEMS if item.startswith("topics")])
def test_every_language_model_is_better_than_unigram(trained, item):
    figures = storage.read_json(trained / "data/evaluation" / item / "metrics.json")
    worst = max(seed["perplexity"] for seed in figures["seeds"].values())
    assert worst < figures["baselines"]["unigram"]["perplexity"] / 2


@pytest.mark.long
@pytest.mark.parametrize("item", [item for item in ITEMS if item.startswith("goog")])
def test_a_price_model_on_returns_is_near_naive_and_its_skill_raises_no_alarm(trained, item):
    figures = storage.read_json(trained / "data/evaluation" / item / "metrics.json")
    assert all(-0.1 < seed["skill"] < 0.05 for seed in figures["seeds"].values())
