"""Versions: models in MLflow's registry; made once, found, fetched, and verified before they are parsed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import storage, tracking
from longshort.errors import CorruptArtefact, UsageError
from longshort.registry import ledger
from longshort.tracking import IDENTITY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from longshort.models import artefact

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
GOLDEN = "longshort.golden"  # the tag of a version that holds its golden predictions


def model_name(task: str, dataset: str) -> str:
    """The registered model's name: one a task and data set."""
    return f"{task}-{dataset}"


def at_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion | None:
    """The version that an alias points at, or None."""
    from mlflow.exceptions import MlflowException, RestException

    try:
        return client.get_model_version_by_alias(model, alias)
    except (MlflowException, RestException) as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def find(client: MlflowClient, model: str, version: str) -> ModelVersion:
    """A version by its number.

    raises  UsageError naming those that there are
    """
    versions = {str(found.version): found for found in client.search_model_versions(f"name = '{model}'")}
    if version not in versions:
        raise UsageError(
            f"{model} has no version '{version}'. Known: {', '.join(sorted(versions, key=int)) or 'none; run `longshort run` first'}."
        )
    return versions[version]


def find_version(client: MlflowClient, model: str, identity: str) -> ModelVersion | None:
    """The version that was registered from a training run, or None."""
    found = client.search_model_versions(f"name = '{model}' and tags.`{IDENTITY}` = '{identity}'", max_results=1)
    return found[0] if found else None


def register(client: MlflowClient, root: Path, model: str, model_id: str, run_id: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model, once, with what it answers: the same training run is never registered twice.

    tags    of the version; ``longshort.identity`` among them
    raises  CorruptArtefact when the logged model is not whole
    """
    from mlflow.exceptions import MlflowException

    from longshort.registry import golden

    version = find_version(client, model, tags[IDENTITY])
    if version is None:
        # it may exist already; MLflow has no call that says so without raising
        with contextlib.suppress(MlflowException):
            client.create_registered_model(model)
        # a server wants the model named twice, a store in a file does not mind
        version = client.create_model_version(model, f"models:/{model_id}", run_id=run_id, tags=tags, model_id=model_id)
    if GOLDEN not in version.tags:
        answers = json.dumps(golden.make(open_version(client, version)))
        client.set_model_version_tag(model, version.version, GOLDEN, answers)
        version = client.get_model_version(model, version.version)
    # asked for apart: the version may be there and the answer, and with it this line, lost
    if not ledger.written(root, ledger.REGISTERED, model, {IDENTITY: tags[IDENTITY], "version": str(version.version)}):
        facts = {**tags, GOLDEN: version.tags[GOLDEN]}
        ledger.note(root, ledger.REGISTERED, model, version=str(version.version), run_id=version.run_id, **facts)
    return version


def fetch(client: MlflowClient, version: ModelVersion) -> Path:
    """The local folder with a version's model files (safetensors, JSON, manifest), not yet verified.

    raises  CorruptArtefact when they are not there; what MLflow raised when its server is away
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        place = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    except (MlflowException, OSError) as error:
        if mlflow.get_tracking_uri().startswith("http") and tracking.is_outage(error):
            raise
        raise CorruptArtefact(
            f"{version.name} v{version.version}: its files cannot be had ({error}). Run `longshort rollback {version.name}`."
        ) from None
    manifests = sorted(place.glob(f"data/*/{storage.MANIFEST}"))
    if not manifests:
        raise CorruptArtefact(
            f"{version.name} v{version.version}: no {storage.MANIFEST} in {place}: the model's files are gone. "
            f"Run `longshort rollback {version.name}`, or `longshort doctor --fix` if its training output is still there."
        )
    return manifests[0].parent


def open_version(client: MlflowClient, version: ModelVersion) -> artefact.Model:
    """A version's model, every byte verified before it is parsed.

    raises  CorruptArtefact
    """
    from longshort.models import artefact

    model = artefact.load(fetch(client, version))
    stated = version.tags.get("model_sha256")
    if stated and stated != model.sha256:
        raise CorruptArtefact(
            f"{version.name} v{version.version}: its files are whole but not the ones that were registered ({model.sha256[:12]}…)."
        )
    return model


def verify(client: MlflowClient, root: Path, version: ModelVersion) -> str:
    """Check a version's every byte, and that it answers as when it was registered; returns how exactly: "bitwise" or "within ...".

    raises  CorruptArtefact
    """
    from longshort.registry import golden

    name = f"{version.name} v{version.version}"
    model = open_version(client, version)
    stated = _registered(root, version).get(GOLDEN) or version.tags.get(GOLDEN)
    if stated is None:
        raise CorruptArtefact(f"{name}: there are no golden predictions of it, so nobody knows what it should answer. Run `longshort run`.")
    return golden.check(model, json.loads(stated), name)


def _registered(root: Path, version: ModelVersion) -> dict[str, Any]:
    """The ledger's entry of a version's registration; nothing where another machine registered it."""
    own = [entry for entry in ledger.history(root) if entry["event"] == ledger.REGISTERED and entry["model"] == version.name]
    return next((entry for entry in own if entry["version"] == str(version.version)), {})
