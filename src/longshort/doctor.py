"""Doctor: every byte that the project keeps is checked, and what is damaged is made to be made again.

DVC does not notice a flipped bit in its cache, and `dvc repro --force` puts the damaged copy back over
a good output. So a damaged cache object is removed first, and then the output: DVC makes both anew.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from longshort import registry, storage, tracking
from longshort.config import Params
from longshort.errors import CorruptArtefact

STAGES = ("ingestion", "validation", "windows", "training", "evaluation")


@dataclass(frozen=True)
class Finding:
    """One thing that is damaged, and what mends it."""

    path: str
    problem: str
    remedy: str


def examine(root: Path, params: Params, fix: bool) -> list[Finding]:
    """Check stage outputs, DVC's cache and registered models; with ``fix`` mend what can be mended.

    A model is mended from the training output that it was registered from, where that is whole.
    """
    return [*_cache(root, fix), *_outputs(root, fix), *_models(root, params, fix)]


def _cache(root: Path, fix: bool) -> list[Finding]:
    found = []
    for path in sorted((root / ".dvc/cache/files/md5").glob("??/*")):
        stated = (path.parent.name + path.name).removesuffix(".dir")
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == stated:
            continue
        if fix:
            path.unlink()
        found.append(Finding(str(path), "DVC's cache holds other bytes than its name says", _done(fix, "removed; `longshort run` makes it again")))
    return found


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
            registry.open_version(client, version)
        except CorruptArtefact as error:
            source = root / "data/training" / version.tags["item"] / f"seed-{version.tags['seed']}"
            remedy = f"run `longshort rollback {version.name}`: the training output that it came from is not there any more"
            if _is_whole(source, version.tags["model_sha256"]):
                if fix:
                    _restore(source, registry.fetch(client, version))
                remedy = _done(fix, f"restored from {source}")
            found.append(Finding(f"{version.name} v{version.version}", str(error), remedy))
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
