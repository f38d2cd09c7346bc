"""Running: systems one after the other, each written down and logged when it has ended."""

from __future__ import annotations

import importlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from longshort import tracking
from longshort.config import Optimisation, Params, Variant
from longshort.errors import LongshortError, PartlyDone, UsageError
from longshort.systems import catalogue, record
from longshort.systems.occasion import Occasion, checked
from longshort.training import checkpoints

# what rooms advise a person to change that systems do not ask
_ELSEWHERE = re.compile(r"`(windows\.(classify|tag|language-model)|training\.(forecast|language-model|classify|tag|translate|caption))\.")
_OPTION = re.compile(r",? or say `--[a-z]+ [^`]*`")
_SENTENCE = re.compile(r"(?<=[.!?]) (?=[A-Z`])")
_NO_MEMORY = re.compile("can't allocate memory|[Ss]torage size calculation overflowed")  # torch's words on a CPU
_BYTES = re.compile(r"tried to allocate (\d+) bytes")


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


def run(occasions: Sequence[Occasion], tell: Callable[[record.Entry], None]) -> None:
    """Run them; tells what each came to, as it is on record.

    raises  what a lone system raises; of several PartlyDone in the end, with those that failed and why; or when MLflow was away
    """
    failed, away = {}, ""
    for occasion in occasions:
        try:
            entry = _run(occasion)
        except LongshortError as error:
            if len(occasions) == 1:
                raise
            failed[occasion.name] = str(error)
            occasion.say(f"{occasion.name}: {error}")
            continue
        tell(entry)
        try:
            log(occasion.root, occasion.params)
        except PartlyDone as error:
            away = str(error)
    if failed:
        ran = f"{len(occasions) - len(failed)} of {len(occasions)} systems ran; {', '.join(failed)} did not. The reasons stand above."
        raise PartlyDone(f"{ran} {away}".strip())
    if away:
        raise PartlyDone(away)


def log(root: Path, params: Params) -> None:
    """Log what MLflow does not have yet, also of earlier runs. raises  PartlyDone when it is away"""
    if not (unlogged := record.unlogged(root)):
        return
    with tracking.reachable(root, params, "longshort systems"):
        client = tracking.connect(root, params)
        for name, fast in unlogged:
            record.log(client, root, params, catalogue.system(name), fast)


def _run(occasion: Occasion) -> record.Entry:
    system = catalogue.system(occasion.name)
    record.refuse_unwritable(occasion)
    occasion.say(f"{system.name}: {system.title}")
    began = time.monotonic()
    try:
        outcome = importlib.import_module(system.module).run(occasion)
    except LongshortError as error:
        raise type(error)(_of_systems(str(error))) from None
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
            raise
        size = _BYTES.search(str(error))
        asked = f", which asks for {int(size[1]) / 1e9:,.0f} GB at once" if size else ""
        raise UsageError(
            f"{system.name}: this machine's memory does not hold it{asked}. Lower hidden_size, num_layers or batch_size with --set, or "
            "give fewer data."
        ) from None
    entry = record.write(occasion, outcome, time.monotonic() - began + occasion.trained.earlier)
    for folder in occasion.trained.checkpoints:
        checkpoints.forget(folder)
    return entry


def _of_systems(said: str) -> str:
    """A refusal by a room of the pipeline, with advice that helps here: systems have windows and trainings of their own, not those of
    params.yaml, and take none of the options of `longshort ingest`."""
    said = _OPTION.sub("", said).replace("models.variants: ", "--set: ")
    sentences = _SENTENCE.split(said)
    strange = " ".join(sentence for sentence in sentences if _ELSEWHERE.search(sentence))
    if not strange:
        return said
    names = [name for name in (*Variant.model_fields, *Optimisation.model_fields) if re.search(rf"\b{name}\b", strange)]
    advice = f"Change {' or '.join(names)} with --set." if names else "Give more data, or others."
    return " ".join([*(sentence for sentence in sentences if not _ELSEWHERE.search(sentence)), advice])
