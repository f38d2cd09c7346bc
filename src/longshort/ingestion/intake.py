"""Intake: a person's files are read, copied whole to `data/raw`, and given a version by DVC.

What `longshort ingest` does, and what every run does first for `ingestion.sources`. All files are read before one
is copied, and the copy is of the bytes that were read. A version stands until the next one is complete; if the
power fails in between, the next call ends what this one began.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import glob
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshort import config, editing, storage
from longshort.config import LABELLED, Params, Task
from longshort.errors import ConfigError, DataRefused, LongshortError, StorageFull, UsageError
from longshort.ingestion import recognition, source, stage, versions
from longshort.ingestion.dataset import Terms, account_of, assemble, terms

if TYPE_CHECKING:
    import pyarrow as pa

MOST_FILES = 10_000  # a folder with more was probably named by mistake
CHECKED = "checked"  # the data set that files belong to while they are only looked at
MOST_RESTATED = 0.05  # of the sessions held
MARKER = "embedded.json"  # lies in the raw folder of an embedded data set, which belongs to Git


@dataclass(frozen=True)
class Intake:
    """What became of a data set's files.

    version     DVC's md5 of the folder
    changed     whether the version is another than before
    account     as in data/ingestion/<dataset>/account.json
    difference  of prices, from the version before: sessions held, new, changed, gone; None where there was none
    """

    dataset: str
    version: str
    changed: bool
    account: dict[str, Any]
    difference: dict[str, Any] | None


# --- which files, which data set, which task --------------------------------------------------


def collect(paths: list[str]) -> list[Path]:
    """The files that paths name, each once, sorted.

    A path is a file, a folder (all its files, at any depth, except hidden ones) or a glob such as ``~/prices/*.csv``.

    raises  DataRefused when a path is missing or matches nothing, and when something is not a regular file
    """
    found: set[Path] = set()
    for path in paths:
        named = Path(path).expanduser()
        # Path.glob takes no absolute pattern
        matches = [named] if os.path.lexists(named) else [Path(match) for match in glob.glob(str(named), recursive=True)]  # noqa: PTH207
        if not matches:
            hint = "matches no file" if glob.has_magic(path) else "there is no such file or folder"
            raise DataRefused(f"{path}: {hint}; expected a file, a folder or a glob such as 'prices/*.csv'; check the path.")
        for match in matches:
            found.update(itertools.islice(_walk(match), MOST_FILES + 1) if match.is_dir() and not match.is_symlink() else [match])
            if len(found) > MOST_FILES:
                raise DataRefused(f"{path}: more than {MOST_FILES:,} files; expected one data set's; name its folder more closely.")
    for file in sorted(found):
        source.check_regular(file)
        source.check_name(file.name)
        if file.name.startswith("."):
            raise DataRefused(f"{file}: a hidden file; expected one that stages read (they skip hidden ones); rename it without the dot.")
    if not found:
        raise DataRefused(f"{', '.join(paths) or 'no path given'}: no file in it; expected .csv, .txt or .md files; check the path.")
    return sorted({file.resolve() for file in found})  # one file by two names is one file


def _walk(folder: Path) -> Iterator[Path]:
    """All visible files of a folder. Links are handed out, not followed: `check_regular` refuses them by name."""

    def refuse(error: OSError) -> None:
        raise DataRefused(f"{error.filename}: {error.strerror}; expected a folder that can be read; check its permissions.")

    for place, folders, names in os.walk(folder, onerror=refuse):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in (*links, *names) if not name.startswith("."))


def dataset_name(files: list[Path]) -> str:
    """What a data set of these files is called: the one file's stem, or the folder that holds them all.

    raises  UsageError when that gives no name

    >>> dataset_name([Path("/prices/BRK-B.csv")]), dataset_name([Path("/My Prices/A.csv"), Path("/My Prices/B.csv")])
    ('brk_b', 'my_prices')
    """
    stem = (
        re.sub(r"(?i)(\.gz)?$", "", files[0].name).rpartition(".")[0]
        if len(files) == 1
        else Path(os.path.commonpath([file.parent.resolve() for file in files])).name
    )
    name = re.sub(r"[^a-z0-9]", "_", stem.lower()).strip("_")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,39}", name):
        raise UsageError(
            f"'{stem}' gives no name for a data set: expected 1 to 40 letters and digits of a-z, 0-9 and _. "
            "Rename the file, or put the files into one folder with such a name."
        )
    return name


def together(files: list[Path], kind: Task | None) -> list[list[Path]]:
    """The files as they are read: each by itself, or those together that only say together what they are.

    kind  the task, where a person said it
    """
    if kind in LABELLED:
        names = _by_name(files, kind)
        return [[names[name] for name in bundle] for bundle in recognition.bundles(kind, names)]
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    tagged = {file for own in folders.values() for file in own if kind is None and recognition.is_tagged(file, own)}
    threes = [[file for file in own if file in tagged] for own in folders.values()]
    return sorted([three for three in threes if three] + [[file] for file in files if file not in tagged])


# --- reading, and taking in -------------------------------------------------------------------


def with_dataset(params: Params, dataset: str, task: Task, read: Mapping[str, Any]) -> Params:
    """The settings as they would be with a data set of a person's own, read as they said.

    raises  ConfigError when the name is taken by a data set of another task or source, or what they said is no setting
    """
    known = params.ingestion.datasets.get(dataset)
    if known is not None and (known.task, known.source) != (task, "raw"):
        raise ConfigError(
            f"params.yaml: ingestion.datasets.{dataset}: is {{task: {known.task}, source: {known.source}}}, not "
            f"{{task: {task}, source: raw}}. Rename the file or folder, or change that line."
        )
    said = config.read_settings({**(known.read.model_dump(exclude_defaults=True) if known else {}), **read})
    datasets = {**params.ingestion.datasets, dataset: config.Dataset(task=task, source="raw", read=said)}
    return params.model_copy(update={"ingestion": params.ingestion.model_copy(update={"datasets": datasets})})


def inspect(files: list[Path], params: Params, dataset: str, among: list[Path] | None = None) -> dict[str, Any]:
    """The account that these files would have; nothing is written.

    among   more files beside which they are looked at, so that a name with its folders tells one from the other
    raises  DataRefused, as `take_in` does
    """
    task = params.ingestion.datasets[dataset].task
    return account_of(_by_name(files, task, among), task, terms(params, dataset))


def table_of(files: list[Path], params: Params, task: Task, **read: Any) -> pa.Table:
    """The tidy table that these files would become, read as somebody says; nothing is written. raises  DataRefused, as `take_in` does"""
    return assemble(dict(_by_name(files, task)), task, terms(with_dataset(params, CHECKED, task, read), CHECKED)).table


def take_in(root: Path, dataset: str, files: list[Path], params: Params, accept_restatement: bool = False) -> Intake:
    """Make these files the data set's new version, in data/raw/<dataset> and data/raw/<dataset>.dvc.

    They are copied before they are read, so that what was judged is what is kept. Nothing is done when they are the
    version that stands. When anything fails, the old version stands as it was.

    raises  DataRefused when a file is refused, or rewrites history that was held without leave; UsageError when the name
            is taken by an embedded data set; StorageFull or LongshortError when DVC fails
    """
    place = root / "data/raw" / dataset
    if (place / MARKER).exists():
        raise UsageError(
            f"data set '{dataset}' comes embedded, and data/raw/{dataset} is Git's. "
            "Rename the file or folder, so that it is taken in under another name."
        )
    task = params.ingestion.datasets[dataset].task
    held = _held(root, dataset, task)
    _sweep(place)
    with _copied(place, _by_name(files, task)) as (new, copies, contents):
        if held is not None and contents == {name: md5 for name, md5 in held.items() if name != stage.TAKEN}:
            stated = terms(params, dataset, stage.taken_at(place))
            if _recorded(place) == folder_md5(held):
                return Intake(dataset, folder_md5(held), False, account_of(copies, task, stated), None)
            taken = (place / stage.TAKEN).read_bytes() if stage.TAKEN in held else b""  # DVC was not told before a crash
        else:
            now = dt.datetime.now(dt.UTC).replace(microsecond=0)
            taken = storage.canonical_json({"taken": now.isoformat()})
            stated = terms(params, dataset, now)
        note = {stage.TAKEN: hashlib.md5(taken, usedforsecurity=False).hexdigest()} if taken else {}
        table = versions.kept(root / ".state/versions", dataset, folder_md5({**contents, **note}), stated)
        with _tidied(copies, task, stated, table) as (account, tidy):
            difference = _difference(root, dataset, held, tidy, params, accept_restatement) if held and tidy else None
            if taken:
                storage.write_bytes(new / stage.TAKEN, taken)
            with _replaced(place, new):
                _dvc_add(root, dataset)
    return Intake(dataset, _recorded(place) or "", True, account, difference)


@contextlib.contextmanager
def _tidied(copies: dict[str, Path], task: Task, stated: Terms, path: Path) -> Iterator[tuple[dict[str, Any], Path | None]]:
    """The account of files, and of prices their tidy table, written beside ``path`` and kept there when the block ends well."""
    if task != "forecast":
        yield account_of(copies, task, stated), None
        return
    new = path.with_name(f".{path.name}.tmp.{os.getpid()}")
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield stage.write(copies, task, stated, new).account, new
        new.rename(path)
        versions.forget_others(path)
    finally:
        new.unlink(missing_ok=True)


def _held(root: Path, dataset: str, task: Task) -> dict[str, str] | None:
    """The files that stand, by name with their md5, our note among them; None where there are none."""
    try:
        found = stage.read_raw(root, dataset, task)
    except DataRefused:
        return None
    note = root / "data/raw" / dataset / stage.TAKEN
    return {name: _md5(path) for name, path in {**found, **({stage.TAKEN: note} if note.exists() else {})}.items()}


@contextlib.contextmanager
def _copied(place: Path, files: dict[str, Path]) -> Iterator[tuple[Path, dict[str, Path], dict[str, str]]]:
    """A folder of whole copies beside the data set's, the copies, and their md5; what is not renamed away is removed at the end."""
    new = place.with_name(f".{place.name}.tmp.{os.getpid()}")
    try:
        new.mkdir(parents=True)
        for folder in {(new / name).parent for name in files}:
            folder.mkdir(parents=True, exist_ok=True)
        copies = {name: source.copy(path, new / name) for name, path in files.items()}
        storage.sync_batch(new)
        yield new, copies, {name: _md5(path) for name, path in copies.items()}
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _difference(root: Path, dataset: str, held: dict[str, str], new: Path, params: Params, accepted: bool) -> dict[str, Any] | None:
    """What a new version, whose tidy table is at ``new``, changes in the sessions that the version held has.

    raises  DataRefused when more than 5 % of them are other or gone, and nobody said that this is right
    """
    stated = terms(params, dataset, stage.taken_at(root / "data/raw" / dataset))
    before = versions.recall(versions.kept(new.parent, dataset, folder_md5(held), stated))
    if before is None:
        try:
            before = assemble(stage.read_raw(root, dataset, "forecast"), "forecast", stated).table
        except DataRefused:  # what stands is refused by itself: there is nothing to compare with
            return None
    table = storage.read_table(new)
    told = versions.compare(before, table)
    if told["changed"] + told["gone"] > MOST_RESTATED * told["held"] and not accepted:
        raise DataRefused(
            f"data/raw/{dataset}: of {told['held']:,} sessions held, {told['changed']:,} have other values and {told['gone']:,} are gone"
            f"{versions.first_words(told)}; expected at most {MOST_RESTATED:.0%}; if the new history is right, say so with "
            "--accept-restatement "
            "(the old version stays in DVC); if the file holds only new rows, give it together with the old ones, or under another "
            "data set."
        )
    return told


def refresh(root: Path, params: Params) -> list[Intake]:
    """Take in what `ingestion.sources` names, as it is now. Relative paths start at the project's folder.

    raises  as `collect` and `take_in`; ConfigError, before anything is taken in, when a source is no data set
    """
    sources = params.ingestion.sources
    for name in sources:
        if name not in params.ingestion.datasets or params.ingestion.datasets[name].source != "raw":
            raise ConfigError(
                f"params.yaml: ingestion.sources.{name}: `ingestion.datasets` has no '{name}' with `source: raw`. "
                f"Write `{name}: {{task: forecast, source: raw}}` there (or another task), and its items in `training.items`."
            )
    collected = {name: collect([str(root / Path(path).expanduser()) for path in paths]) for name, paths in sources.items()}
    return [take_in(root, name, files, params) for name, files in collected.items()]


def register(root: Path, dataset: str, task: Task, read: Mapping[str, Any]) -> str:
    """Write a raw data set into params.yaml, and an item for every variant that can learn it; what is there stays.

    read     what a person said about its files, to be said no more: `ingestion.datasets.<name>.read`

    returns  the difference as a unified diff, '' when nothing was missing
    """
    path = root / "params.yaml"
    params = config.read(path)
    settings = []
    known = params.ingestion.datasets.get(dataset)
    if known is None:
        said = f", read: {json.dumps(dict(read))}" if read else ""
        settings.append(f"ingestion.datasets.{dataset}={{task: {task}, source: raw{said}}}")
    elif read:
        settings += [f"ingestion.datasets.{dataset}.read.{name}={json.dumps(value)}" for name, value in read.items()]
    for variant, network in params.models.variants.items():
        item = f"{dataset}-{variant}"
        if config.unfit(task, network, None) is None and item not in params.training.items:
            settings.append(f"training.items.{item}={{dataset: {dataset}, task: {task}, variant: {variant}}}")
    return editing.assign(path, settings) if settings else ""


def _by_name(files: list[Path], task: Task, among: list[Path] | None = None) -> dict[str, Path]:
    """The files by the names that a data set holds them under.

    Prices and running texts lie side by side, by their own names. Labelled text keeps the folders below the one that holds
    all files, since they may be a label or a part (train/pos/1.txt).

    raises  DataRefused when two have one name, or a name is none for a data set's file
    """
    base = Path(os.path.commonpath([file.parent for file in among or files]))
    found: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(base).as_posix() if task in LABELLED else file.name
        if name in found:
            raise DataRefused(f"{file}: a second file called {name}; expected each name once in a data set; rename one.")
        if name == stage.TAKEN:
            raise DataRefused(f"{file}: longshort keeps a note of its own under this name; expected another; rename the file.")
        if name.startswith(".") or "/." in name:
            raise DataRefused(f"{file}: a hidden folder; expected one that stages read (they skip hidden ones); rename it without the dot.")
        source.check_name(name)
        found[name] = file
    return found


# --- versions ---------------------------------------------------------------------------------


def folder_md5(files: Mapping[str, str]) -> str:
    """DVC's version of a folder with these files: the md5 of its listing, as in <folder>.dvc.

    files  md5 by name

    Computed here, so that a folder that is up to date costs no start of DVC (half a second each).
    """
    listing = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return f"{hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest()}.dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _pointer(place: Path) -> Path:
    return place.with_name(f"{place.name}.dvc")


def _recorded(place: Path) -> str | None:
    """The version that DVC knows; none when its file is missing, or was cut short by a crash."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        out = YAML(typ="safe").load(_pointer(place).read_bytes())["outs"][0]
        return str(out["md5"]) if out["path"] == place.name else None  # the path is the last line, so the file is whole
    except (FileNotFoundError, YAMLError, LookupError, TypeError):
        return None


@contextlib.contextmanager
def _replaced(place: Path, new: Path) -> Iterator[None]:
    """Put the folder ``new`` at ``place``. When the block raises, the old files and their .dvc file are back."""
    old = place.with_name(f".{place.name}.old.{os.getpid()}")
    pointer = _pointer(place)
    recorded = pointer.read_bytes() if pointer.exists() else None
    placed = False
    try:
        if place.exists():
            place.rename(old)
        new.rename(place)
        placed = True
        storage.sync_folder(place.parent)
        yield
    except BaseException:
        if placed:
            shutil.rmtree(place, ignore_errors=True)
        if old.exists():
            old.rename(place)
        if recorded is None:
            pointer.unlink(missing_ok=True)
        else:
            storage.write_bytes(pointer, recorded)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Clear what a killed process left, and bring back the old files if it died between its two renames."""
    for old in place.parent.glob(f".{place.name}.old.*"):
        if not place.exists():
            old.rename(place)
    for leftover in (*place.parent.glob(f".{place.name}.old.*"), *place.parent.glob(f".{place.name}.tmp.*")):
        shutil.rmtree(leftover, ignore_errors=True)


def _dvc_add(root: Path, dataset: str) -> None:
    place = root / "data/raw" / dataset
    if _recorded(place) is None:
        _pointer(place).unlink(missing_ok=True)  # DVC refuses to start beside a .dvc file that was cut short
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "add", "--", f"data/raw/{dataset}"],  # with -q it would not say why it failed
        cwd=root,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return
    said = " ".join(done.stderr.partition("Having any troubles?")[0].split()) or f"exit code {done.returncode}"
    if "No space left on device" in said:
        raise StorageFull(
            f"data/raw/{dataset}: DVC could not store the files: {said}. Nothing was changed; free some space, then run this again."
        )
    raise LongshortError(
        f"data/raw/{dataset}: `dvc add` failed: {said}. Nothing was changed; mend that (another DVC command that runs now? "
        "`dvc doctor` tells about the set-up), then run this again."
    )
