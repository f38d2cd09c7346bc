"""Record: what a run of a system came to, in reports/systems/ and in MLflow; and the figures that the project was given with.

`docs/systems/figures.json` holds what was measured on the real data when the project was made; a whole run on this machine takes its
place in the table. A fast run, whose figures say nothing, has a place of its own and is never in the table.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import clock, storage, tracking
from longshort.config import Params
from longshort.errors import CorruptArtefact
from longshort.systems.catalogue import SYSTEMS, System
from longshort.systems.fitting import data_sha256
from longshort.systems.occasion import Occasion, Outcome
from longshort.training.runs import code_sha256

if TYPE_CHECKING:
    from mlflow import MlflowClient

OUTCOME = "outcome.json"
EXPERIMENT = "systems"
GIVEN = Path("docs/systems/figures.json")
REPORTS = Path("reports/systems")
Entry = dict[str, Any]


def place(root: Path, name: str, fast: bool = False) -> Path:
    """Where a system's pictures, tables and figures lie: those of its last whole run, or of its last fast one."""
    return root / REPORTS / ("fast" if fast else "") / name


def _debt(root: Path, name: str, fast: bool) -> Path:
    """A file that is there as long as MLflow does not have what lies at `place`."""
    return root / ".state/unlogged" / f"{name}{'-fast' if fast else ''}"


def refuse_unwritable(occasion: Occasion) -> None:
    """Find out before anything is trained whether what it comes to could be written down. raises  OSError"""
    folder = place(occasion.root, occasion.name, occasion.fast)
    for needed in (occasion.root / REPORTS, folder.parent):  # one by one, so that what is in the way is named
        needed.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    with tempfile.NamedTemporaryFile(dir=folder.parent, prefix=f".{folder.name}.tmp."):
        pass


def write(occasion: Occasion, outcome: Outcome, seconds: float) -> Entry:
    """Write what a run came to in the place of the one before; returns its figures as they are written."""
    folder = place(occasion.root, occasion.name, occasion.fast)
    entry = {
        "system": occasion.name,
        "when": clock.stamp(clock.now()),
        "data": outcome.data,
        "real": outcome.real,
        "fast": occasion.fast,
        "seeds": list(occasion.seeds),
        "seconds": round(seconds, 1),
        "figures": [asdict(figure) for figure in outcome.figures],
        "settings": outcome.settings,
        "asked": occasion.settings,
        "said": outcome.said,
        "commit": tracking.git(occasion.root, "rev-parse", "HEAD").strip(),
        "identity": storage.digest({"code": code_sha256(), "data": data_sha256(occasion), "settings": outcome.settings}),
    }
    with storage.new_artefact(folder) as made:
        for name, picture in outcome.pictures.items():
            storage.write_bytes(made / f"{name}.png", picture)
        for name, table in outcome.tables.items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([table.header, *table.rows])
            storage.write_bytes(made / f"{name}.csv", text.getvalue().encode())
        storage.write_json(made / OUTCOME, entry)
    storage.write_bytes(_debt(occasion.root, occasion.name, occasion.fast), b"")
    return entry


def read(root: Path) -> dict[str, Entry]:
    """The figures of each system: of its last whole run on this machine, else as the project was given.

    A record that is not as it was written has ``damaged``, a sentence, in place of all figures.
    """
    given = root / GIVEN
    entries: dict[str, Entry] = storage.read_json(given) if given.exists() else {}
    for name in SYSTEMS:
        own = place(root, name)
        if not own.is_dir():
            continue
        try:
            storage.verify(own)
        except CorruptArtefact as error:
            told = f"{str(error).partition(' Run `')[0]} Run `longshort systems {name}` again."
            entries[name] = {"system": name, "damaged": told}
            continue
        if not (entry := storage.read_json(own / OUTCOME))["fast"]:  # which lay here before they had a place of their own
            entries[name] = {**entry, "here": True}
    return entries


def unlogged(root: Path) -> list[tuple[str, bool]]:
    """What MLflow does not have yet: names of systems, and whether it is a fast run."""
    return [(name, fast) for name in SYSTEMS for fast in (False, True) if _debt(root, name, fast).exists()]


def log(client: MlflowClient, root: Path, params: Params, system: System, fast: bool) -> None:
    """Make a run of MLflow's out of what lies on record: figures, settings, pictures and tables. Of what was removed or damaged, none."""
    folder = place(root, system.name, fast)
    try:
        storage.verify(folder)
    except CorruptArtefact:
        pass
    else:
        _log(client, root, params, system, folder)
    _debt(root, system.name, fast).unlink()


def _log(client: MlflowClient, root: Path, params: Params, system: System, folder: Path) -> None:
    from mlflow.entities import Metric, Param, RunTag

    entry = storage.read_json(folder / OUTCOME)
    where = tracking.experiment(client, root, params, EXPERIMENT)
    run = client.create_run(where, tags={tracking.KIND: "system"}, run_name=system.name)
    now = int(time.time() * 1000)
    metrics = [Metric(_key(figure["name"]), figure["value"], now, 0) for figure in entry["figures"]]
    metrics += [Metric("seconds", entry["seconds"], now, 0)]
    settings = {**entry["settings"], "data": entry["data"], "fast": entry["fast"], "published": system.published or "none"}
    client.log_batch(
        run.info.run_id,
        metrics=metrics,
        params=[Param(name, str(value)[:6000]) for name, value in settings.items()],
        tags=[RunTag("git_commit", entry["commit"]), RunTag("system", system.name)],
    )
    client.log_artifacts(run.info.run_id, str(folder))
    client.set_terminated(run.info.run_id)


def _key(name: str) -> str:
    """A figure's name as MLflow takes it: letters, digits, and few marks."""
    return "".join(sign if sign.isalnum() or sign in " -_./" else "" for sign in name)
