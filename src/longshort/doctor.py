"""Doctor: every byte that the project keeps is checked, and what is damaged is made to be made again.

DVC does not notice a flipped bit in its cache, and `dvc repro --force` puts the damaged copy back over
a good output. So a damaged cache object is replaced by what the project's folders hold, or removed; then a
damaged output is removed: DVC takes it from its cache, or makes it anew.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longshort import storage, tracking
from longshort.config import Params
from longshort.errors import CorruptArtefact
from longshort.registry import promotion, versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

STAGES = ("ingestion", "validation", "windows", "training", "evaluation")


@dataclass(frozen=True)
class Finding:
    """One thing that is damaged, and what mends it."""

    path: str
    problem: str
    remedy: str


def examine(root: Path, params: Params, fix: bool) -> list[Finding]:
    """Check stage outputs, DVC's cache, registered models and who is champion; with ``fix`` mend what can be mended.

    A model is mended from the training output that it was registered from, where that is whole.
    """
    return [*_cache(root, fix), *_outputs(root, fix), *_models(root, params, fix)]


def _cache(root: Path, fix: bool) -> list[Finding]:
    found = []
    for path in sorted((root / ".dvc/cache/files/md5").glob("??/*")):
        stated = path.parent.name + path.name
        if _md5(path.read_bytes()) == stated.removesuffix(".dir"):
            continue
        remedy = _done(fix, "removed; where the project still needs it, `longshort run` makes it again")
        if fix:
            path.unlink()
            if (content := _contents(root).get(stated)) is not None:
                storage.write_bytes(path, content)
                path.chmod(0o444)
                remedy = "restored from the project's folders"
        found.append(Finding(str(path), "DVC's cache holds other bytes than its name says", remedy))
    return found


def _contents(root: Path) -> dict[str, bytes]:
    """All that DVC's cache may hold and the project's folders have: files by their md5, and DVC's listings of folders by theirs."""
    files = {path: path.read_bytes() for path in sorted((root / "data").rglob("*")) if path.is_file()}
    found = {_md5(content): content for content in files.values()}
    for folder in {folder for path in files for folder in path.parents if root / "data" in folder.parents}:
        below = {path.relative_to(folder).as_posix(): _md5(content) for path, content in files.items() if folder in path.parents}
        listing = json.dumps([{"md5": below[name], "relpath": name} for name in sorted(below)]).encode()
        found[f"{_md5(listing)}.dir"] = listing
    return found


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _outputs(root: Path, fix: bool) -> list[Finding]:
    found = []
    for stage in STAGES:
        for folder in sorted(path for path in (root / "data" / stage).glob("[!.]*") if path.is_dir()):
            try:
                storage.verify(folder)
            except CorruptArtefact as error:
                if fix:
                    shutil.rmtree(folder)
                found.append(Finding(str(folder), str(error).partition(" Run `")[0], _done(fix, "removed; `longshort run` makes it again")))
    return found


def _models(root: Path, params: Params, fix: bool) -> list[Finding]:
    if not (root / "mlflow/store/mlflow.db").exists() and params.tracking.uri == "local":
        return []
    client = tracking.connect(root, params)
    found = []
    for version in client.search_model_versions(max_results=1000):
        if tracking.IDENTITY not in version.tags:
            continue
        try:
            versions.open_version(client, version)
        except CorruptArtefact as error:
            source = root / "data/training" / version.tags["item"] / f"seed-{version.tags['seed']}"
            remedy = f"run `longshort rollback {version.name}`: the training output that it came from is not there any more"
            if _is_whole(source, version.tags["model_sha256"]):
                if fix:
                    _restore(source, versions.fetch(client, version))
                remedy = _done(fix, f"restored from {source}")
            found.append(Finding(f"{version.name} v{version.version}", str(error).partition(" Run `")[0], remedy))
    return found + _aliases(client, root, fix)


def _aliases(client: MlflowClient, root: Path, fix: bool) -> list[Finding]:
    """Champions' aliases that are not where the ledger says."""
    found = []
    for model in client.search_registered_models(max_results=1000):
        if drifted := promotion.drift(client, root, model.name):
            if fix:
                promotion.put_back(client, root, model.name)
            _, _, problem = drifted.partition(": ")
            found.append(Finding(model.name, problem.partition(". `")[0], _done(fix, "put back where the ledger says")))
    return found


def _is_whole(folder: Path, sha256: str) -> bool:
    try:
        return folder.is_dir() and storage.verify(folder) == sha256
    except CorruptArtefact:
        return False


def _restore(source: Path, place: Path) -> None:
    for path in source.iterdir():
        storage.write_bytes(place / path.name, path.read_bytes())


def _done(fix: bool, what: str) -> str:
    return what if fix else "run `longshort doctor --fix`"
