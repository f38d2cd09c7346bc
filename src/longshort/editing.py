"""Editing: params.yaml changed by `--set` and `--params`, comments kept, and never to something that cannot be read back."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, get_args, get_origin

from longshort import storage
from longshort.config import Cell, Params, Section, Variant, check, load, nearest, unfit
from longshort.errors import ConfigError, UnknownVariant

KERNELS = ("rnn", "rnn_relu", "lstm", "lstm_np", "lstmp", "alstm", "gru")  # the cells that torch has kernels of its own for
NATIVE = (  # the cells of the compiled library
    *("rnn", "rnn_relu", "indrnn", "lstm", "lstm_np", "alstm", "lstm_1997", "lstm_peephole", "lstm_niaf", "lstm_noaf", "lstm_nig"),
    *("lstm_nfg", "lstm_cifg", "lstm_nog", "gru", "gru_reset_before", "mgu", "mut2", "janet", "ugrnn", "minlstm", "mingru", "sru"),
)


def assign(path: Path, settings: list[str]) -> str:
    """Write ``a.b=value`` settings into params.yaml, comments kept; returns the difference as a unified diff.

    Values are YAML. The changed file is checked before it replaces the old one, so a bad setting changes nothing.

    raises  ConfigError
    """
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML(typ="rt")
    yaml.width, yaml.preserve_quotes = 4096, True
    content = load(path)
    for setting in settings:
        address, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected section.key=value, such as --set training.seeds=[0,1].")
        try:
            value = yaml.load(text)
        except YAMLError:
            raise ConfigError(f"--set {setting}: '{text}' is not a YAML value.") from None
        *parents, last = address.split(".")
        section = content
        for depth, key in enumerate(parents):
            if isinstance(section, dict) and key not in section and key in _left_out(parents[:depth]):
                section[key] = yaml.load("{}")
            if not isinstance(section, dict) or key not in section:
                reached = ".".join(parents[:depth]) or path.name
                raise ConfigError(
                    f"--set {setting}: `{reached}` has no '{key}'{nearest(key, section if isinstance(section, dict) else [])}"
                )
            section = section[key]
        if not isinstance(section, dict):
            raise ConfigError(f"--set {setting}: `{'.'.join(parents)}` is a value, not a section.")
        if address == "models.variants" and isinstance(value, list):
            _choose_variants(content, value)
            continue
        section[last] = value
        if isinstance(value, dict):
            value.lc.data = None  # type: ignore[attr-defined]  # its lines are counted in the setting, not in the file
    check(content, path)
    after = StringIO()
    yaml.dump(content, after)
    return _write(path, after.getvalue(), "set")


def _choose_variants(content: Any, names: list[Any]) -> None:
    """Train these variants on every data set that they can learn: those that the file has, and cells by their names.

    raises  UnknownVariant
    """
    variants, training = content["models"]["variants"], content["training"]
    cells = get_args(Cell)
    for name in names:
        if name not in variants:
            if name not in cells:
                raise UnknownVariant(
                    f"--set models.variants: '{name}' is no variant of the file, and no cell{nearest(name, [*variants, *cells])}"
                )
            # as large as the tutorial's; a projection must be smaller than what it projects
            variants[name] = {"cell": name, "hidden_size": 50, "num_layers": 1, "bidirectional": False, "dropout": 0.0}
            if name == "lstmp":
                variants[name]["projection_size"] = 25
    items = {}
    for dataset, entry in content["ingestion"]["datasets"].items():
        for name in names:
            if unfit(entry["task"], Variant(**variants[name]), None):
                continue
            items[f"{dataset}-{name}"] = {"dataset": dataset, "task": entry["task"], "variant": name}
            if variants[name]["cell"] not in {"torch": KERNELS, "native": NATIVE, "cuda": KERNELS}.get(training["engine"], cells):
                items[f"{dataset}-{name}"]["engine"] = "reference"
    known = dict(training["items"])
    training["items"].clear()
    training["items"].update({name: known.get(name, item) for name, item in items.items()})


def replace(path: Path, file: Path) -> str:
    """Put another parameter file in params.yaml's place, once it was checked; returns the difference.

    raises  ConfigError
    """
    check(load(file), file)
    return _write(path, file.read_text(encoding="utf-8"), str(file))


def _write(path: Path, text: str, by: str) -> str:
    before = path.read_text(encoding="utf-8")
    difference = "".join(difflib.unified_diff(before.splitlines(True), text.splitlines(True), path.name, f"{path.name} ({by})", n=0))
    if difference:
        storage.write_bytes(path, text.encode())
    return difference


def _left_out(keys: list[str]) -> list[str]:
    """The sections that may be left out of a section of the file, since every key of theirs has a default."""
    section: Any = Params
    for key in keys:
        if get_origin(section) is dict:
            section = get_args(section)[1]
        elif key in getattr(section, "model_fields", {}):
            section = section.model_fields[key].annotation
        else:
            return []
    fields = getattr(section, "model_fields", {})
    return [name for name, field in fields.items() if isinstance(field.default, Section)]
