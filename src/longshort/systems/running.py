"""Running: systems one after the other, each written down and logged when it has ended."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from longshort import tracking
from longshort.config import Params
from longshort.errors import LongshortError, PartlyDone, UsageError
from longshort.systems import catalogue, record, showing
from longshort.systems.occasion import Occasion, checked
from longshort.training import checkpoints


def planned(
    root: Path,
    params: Params,
    names: Sequence[str],
    data: Path | None,
    fast: bool,
    seeds: Sequence[int],
    settings: Sequence[str],
    say: Callable[[str], None],
) -> list[Occasion]:
    """The runs that are asked for, checked before any begins.

    settings  name=value, as YAML has it; say: tells a person how far it is
    raises    UsageError when a system, a setting or a file is not known
    """
    if data is not None and not _exists(data):
        raise UsageError(f"{data}: there is no such file or folder. Give one with --data, or leave it out for the embedded data.")
    said = checked(dict(_setting(each) for each in settings))
    occasions = []
    for name in dict.fromkeys(names):
        system = catalogue.system(name)
        if data is not None and not system.real:
            raise UsageError(f"{name} runs on {system.embedded}, and takes no other data. Leave --data out.")
        occasions.append(Occasion(root, params, name, data, fast, said, tuple(seeds), say))
    return occasions


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have, such as one that is too long
        return False


def _setting(text: str) -> tuple[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError(f"--set {text}: write it as name=value, such as cell=gru.")
    try:
        return name.strip(), YAML(typ="safe").load(value)
    except (YAMLError, ValueError) as error:  # ValueError of a date that no calendar has
        problem = getattr(error, "problem", error)
        raise UsageError(f"--set {text}: no value in YAML's words ({problem}). Write it as name=value, such as cell=gru.") from None


def run(occasions: Sequence[Occasion], tell: Callable[[list[str]], None]) -> list[dict[str, Any]]:
    """Run them; tells what each came to, as lines, and returns their entries.

    raises  what a lone system raises; of several PartlyDone in the end, with those that failed and why; or when MLflow was away
    """
    entries, failed, away = [], {}, ""
    for occasion in occasions:
        try:
            entries.append(_run(occasion, tell))
        except LongshortError as error:
            if len(occasions) == 1:
                raise
            failed[occasion.name] = str(error)
            occasion.say(f"{occasion.name}: {error}")
            continue
        try:
            with tracking.reachable(occasion.root, occasion.params, f"longshort systems {occasion.name}"):
                client = tracking.connect(occasion.root, occasion.params)
                record.log(client, occasion.root, occasion.params, catalogue.system(occasion.name), entries[-1])
        except PartlyDone as error:
            away = str(error)
    if failed:
        raise PartlyDone(f"{len(entries)} of {len(occasions)} systems ran; {', '.join(failed)} did not. The reasons stand above.")
    if away:
        raise PartlyDone(away)
    return entries


def _run(occasion: Occasion, tell: Callable[[list[str]], None]) -> dict[str, Any]:
    system = catalogue.system(occasion.name)
    occasion.say(f"{system.name}: {system.title}")
    began = time.monotonic()
    outcome = importlib.import_module(system.module).run(occasion)
    entry = record.write(occasion, outcome, time.monotonic() - began + occasion.trained.earlier)
    for folder in occasion.trained.checkpoints:
        checkpoints.forget(folder)
    tell(showing.lines(system, entry, record.place(occasion.root, occasion.name)))
    return entry
