"""Versions: models in MLflow's registry; made once, found, fetched, and verified before they are parsed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from longshort import storage, tracking
from longshort.errors import CorruptArtefact, UsageError
from longshort.registry import ledger
from longshort.registry.local import LocalRegistry, LocalVersion
from longshort.tracking import IDENTITY

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from longshort.models import artefact
    from longshort.registry.local import Registry, Version

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
GOLDEN = "longshort.golden"  # the tag of a version that holds its golden predictions


def model_name(task: str, dataset: str) -> str:
    """The registered model's name: one a task and data set."""
    return f"{task}-{dataset}"


@overload
def at_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion | None: ...
@overload
def at_alias(client: Registry, model: str, alias: str) -> Version | None: ...
def at_alias(client: Registry, model: str, alias: str) -> Version | None:
    """The version that an alias points at, or None."""
    if isinstance(client, LocalRegistry):
        return client.at_alias(model, alias)
    from mlflow.exceptions import MlflowException, RestException

    try:
        return client.get_model_version_by_alias(model, alias)
    except (MlflowException, RestException) as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


@overload
def find(client: MlflowClient, model: str, version: str) -> ModelVersion: ...
@overload
def find(client: Registry, model: str, version: str) -> Version: ...
def find(client: Registry, model: str, version: str) -> Version:
    """A version by its number.

    raises  UsageError naming those that there are
    """
    every = client.versions(model) if isinstance(client, LocalRegistry) else client.search_model_versions(f"name = '{model}'")
    versions: dict[str, Version] = {str(found.version): found for found in every}
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


def fetch(client: Registry, version: Version) -> Path:
    """The local folder with a version's model files (safetensors, JSON, manifest), not yet verified.

    raises  CorruptArtefact when they are not there; what MLflow raised when its server is away
    """
    place = version.folder if isinstance(version, LocalVersion) else _downloaded(version)
    manifests = sorted(place.glob(f"data/*/{storage.MANIFEST}"))
    if not manifests:
        raise CorruptArtefact(
            f"{version.name} v{version.version}: no {storage.MANIFEST} in {place}: the model's files are gone. "
            f"Run `longshort rollback {version.name}`, or `longshort doctor --fix` if its training output is still there."
        )
    return manifests[0].parent


def _downloaded(version: ModelVersion) -> Path:
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        return Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"))
    except (MlflowException, OSError) as error:
        if mlflow.get_tracking_uri().startswith("http") and tracking.is_outage(error):
            raise
        raise CorruptArtefact(
            f"{version.name} v{version.version}: its files cannot be had ({error}). Run `longshort rollback {version.name}`."
        ) from None


def open_version(client: Registry, version: Version) -> artefact.Model:
    """A version's model, every byte verified before it is parsed.

    raises  CorruptArtefact
    """
    from longshort.models import artefact

    model = artefact.load(fetch(client, version))
    _refuse_others(version, model.sha256)
    return model


def _refuse_others(version: Version, sha256: str) -> None:
    """Raises CorruptArtefact when the files are not the ones that were registered."""
    stated = version.tags.get("model_sha256")
    if stated and stated != sha256:
        raise CorruptArtefact(
            f"{version.name} v{version.version}: its files are whole but not the ones that were registered ({sha256[:12]}…)."
        )


def verify(client: Registry, root: Path, version: Version) -> str:
    """Check a version's every byte, and that it answers as when it was registered; returns how exactly: "bitwise" or "within ...".

    Without torch, where the compiled library can ask the version as it was asked then.
    raises  CorruptArtefact
    """
    from longshort.models.compiled import served
    from longshort.registry import golden

    name = f"{version.name} v{version.version}"
    stated = _registered(root, version).get(GOLDEN) or version.tags.get(GOLDEN)
    if stated is None:
        raise CorruptArtefact(f"{name}: there are no golden predictions of it, so nobody knows what it should answer. Run `longshort run`.")
    if quick := served.opened(fetch(client, version)):
        _refuse_others(version, quick.sha256)
        if how := golden.check_served(quick, json.loads(stated), name):
            return how
    return golden.check(open_version(client, version), json.loads(stated), name)


def _registered(root: Path, version: Version) -> dict[str, Any]:
    """The ledger's entry of a version's registration; nothing where another machine registered it."""
    own = [entry for entry in ledger.history(root) if entry["event"] == ledger.REGISTERED and entry["model"] == version.name]
    return next((entry for entry in own if entry["version"] == str(version.version)), {})
