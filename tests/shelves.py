"""Small registries for tests: a store of MLflow with versions of networks so small that a promotion takes some hundredths of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import projects
import torch

from longshort import config, storage, tracking
from longshort.config import Variant
from longshort.models import artefact
from longshort.models.network import Network
from longshort.registry import golden, ledger, versions
from longshort.tasks.forecast import ForecastShape

if TYPE_CHECKING:
    from mlflow import MlflowClient

VARIANT = Variant(cell="rnn", hidden_size=2, num_layers=1, bidirectional=False, dropout=0.0)
SPEC = {"lookback": 3, "horizon": 1, "target": "log_return", "features": ["log_return"], "scaler": "standard", "gap": 1, "max_gap": 9}


def shelf(root: Path) -> MlflowClient:
    """A project with nothing but its settings, the data that a decision names, and an empty store."""
    projects.project(root)
    with storage.new_artefact(root / "data/ingestion/goog") as folder:
        storage.write_json(folder / "account.json", {})
    return client(root)


def client(root: Path) -> MlflowClient:
    """A client of a shelf's store."""
    return tracking.connect(root, config.read(root / "params.yaml"))


def stub(folder: Path, name: str, seed: int) -> Path:
    """A forecaster of some weights, as a version's files: its identity is its name."""
    network = Network(ForecastShape(1, 1), VARIANT, "torch", [torch.Generator().manual_seed(seed)])
    description = {"spec": {**SPEC, "validation": 0.2, "test": 0.2}, "scaler": {"offset": [0.0], "scale": [1.0]}, "calendar": "XNYS"}
    origin = {"engine": "torch", "device": "cpu", "identity": name}
    card = {"description": description, "origin": origin}
    artefact.save(folder / "data/model", "forecast", ForecastShape(1, 1), VARIANT, network.state_dict(), card)
    return folder


def add(client: MlflowClient, root: Path, model: str, folder: Path, name: str) -> str:
    """Register a stub; its version."""
    loaded = artefact.load(folder / "data/model")
    answers = json.dumps(golden.make(loaded))
    tags = {tracking.IDENTITY: name, "model_sha256": loaded.sha256, versions.GOLDEN: answers}
    if not client.search_registered_models(f"name = '{model}'"):
        client.create_registered_model(model)
    version = str(client.create_model_version(model, str(folder), tags=tags).version)
    ledger.note(root, ledger.REGISTERED, model, version=version, **tags)
    return version
