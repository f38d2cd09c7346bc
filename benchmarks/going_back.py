"""Going back: `longshort rollback`, by the clock, from the command to its last word."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from side import Round, interleaved

from longshort import config, editing, tracking
from longshort.models import artefact
from longshort.models.network import Network
from longshort.registry import golden, ledger, promotion, versions
from longshort.tasks.forecast import ForecastShape
from longshort.tasks.language_model import LanguageModelShape

ROOT = Path(__file__).parents[1]
WORDS, LOOKBACK = 1781, 60  # of the default text


def rollback(times: int) -> dict[str, object]:
    """A move, back or forward again, of networks of the default sizes, beside what two imports alone take."""
    with tempfile.TemporaryDirectory(prefix="longshort-") as folder:
        root = _project(Path(folder) / "project")

        def there_and_back(model: str) -> None:
            for way in ([], ["--forward"]):
                _python(root, "import sys; from longshort.cli import main; sys.argv[0] = 'longshort'; main()", "rollback", model, *way)

        rounds: dict[str, Round] = {model: functools.partial(there_and_back, model) for model in ("forecast-goog", "language-model-topics")}
        rounds["import torch"] = lambda: _python(root, "import torch")
        rounds["import mlflow"] = lambda: _python(root, "import mlflow")
        found = interleaved(rounds, times)
    return {name: f"{own['seconds'] / (1 if name.startswith('import') else 2):.2f} s" for name, own in found.items()}


def _python(root: Path, code: str, *words: str) -> None:
    subprocess.run([sys.executable, "-c", code, *words], cwd=root, check=True, stdout=subprocess.DEVNULL)


def _project(root: Path) -> Path:
    """A project whose two models have a champion and one before: networks of the default sizes, as they begin."""
    root.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, root)
    editing.assign(root / "params.yaml", ["tracking.uri=local"])
    params = config.read(root / "params.yaml")
    client = tracking.connect(root, params)
    spec = params.windows.forecast
    inputs = len(spec.columns)
    scaler = {"offset": [0.0] * inputs, "scale": [1.0] * inputs}
    forecaster = ForecastShape(inputs, spec.horizon), {"spec": spec.model_dump(), "scaler": scaler, "calendar": "XNYS"}
    words = {"spec": {"lookback": LOOKBACK}, "vocabulary": [*map(str, range(WORDS))]}
    language_model = LanguageModelShape(params.tasks.language_model.embedding_size, WORDS, 0.2), words
    for model, task, (shape, description) in (
        ("forecast-goog", "forecast", forecaster),
        ("language-model-topics", "language-model", language_model),
    ):
        client.create_registered_model(model)
        before = None
        for seed in range(2):
            place = root / "models" / model / str(seed)
            network = Network(shape, params.models.variants["lstm"], "native", [torch.Generator().manual_seed(seed)])
            card = {"description": description, "origin": {"engine": "native"}}
            artefact.save(place / "data/model", task, shape, params.models.variants["lstm"], network.state_dict(), card)
            loaded = artefact.load(place / "data/model")
            tags = {"model_sha256": loaded.sha256, versions.GOLDEN: json.dumps(golden.make(loaded))}
            version = str(client.create_model_version(model, str(place), tags=tags).version)
            ledger.note(root, ledger.REGISTERED, model, version=version, **tags)
            promotion.promote(client, root, model, version, before, "to be gone back from")
            before = version
    return root
