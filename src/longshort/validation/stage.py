"""The shell of the validation room: `data/ingestion` in, `data/validation` out, and the refusal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from longshort import sessions, storage
from longshort.config import Params
from longshort.errors import SuiteFailed, UsageError
from longshort.validation.judgement import CRITICAL, in_words, word
from longshort.validation.suites import PRICES

SHOWN = 3  # rows in the message of a refusal; the page has more


def run(root: Path, item: str, params: Params) -> None:
    """Judge one data set's tidy table; leaves `result.json`, `index.html` and `quality.html`, also when the table is refused.

    raises  SuiteFailed with every expectation that was not met; CorruptArtefact; ConfigError when the
            exchange calendar is unknown; UsageError when the data set is
    """
    from longshort.validation import datadocs, quality

    known = params.ingestion.datasets
    if item not in known:
        raise UsageError(f"--item {item}: not in `ingestion.datasets` of params.yaml. Known: {', '.join(sorted(known))}.")
    source = root / "data/ingestion" / item
    storage.verify(source)
    table = storage.read_table(source / "table.parquet")
    account = storage.read_json(source / "account.json") if (source / "account.json").exists() else {}
    calendar = sessions.of_dataset(source, params.validation.forecast.calendar)
    result = examine(table, item, params, calendar, account.get("prices", PRICES))
    days = _sessions(table, calendar) if result["task"] == "forecast" else None
    looks = quality.page(item, result["task"], table, account, days, _quarantined(source))
    with storage.new_artefact(root / "data/validation" / item) as folder:
        storage.write_json(folder / "result.json", result)
        storage.write_bytes(folder / "index.html", datadocs.page(result).encode())
        storage.write_bytes(folder / "quality.html", looks.encode())
    if not result["success"]:
        raise SuiteFailed(refusal(result))
    for finding in result["expectations"]:
        if not finding["success"]:
            print(f"validation of {item}: warning: " + "\n".join(_failure(finding)).removeprefix("- "))


def examine(table: Any, item: str, params: Params, calendar: str, prices: Sequence[str]) -> dict[str, Any]:
    """The content of `result.json`: what was asked of the table, and what was found. Pure.

    calendar  whose sessions are expected; prices: the columns of prices that the data set has
    """
    from longshort.validation import frames, judgement, suites

    task = params.ingestion.datasets[item].task
    frame = frames.from_table(table)
    parted = "part" in table.column_names
    libraries = {"great_expectations": version("great-expectations")}
    if task == "forecast":
        spec = params.validation.forecast.model_copy(update={"calendar": calendar})
        findings = judgement.judge(suites.price_suite(spec, prices), frame, partial(frames.prices, calendar=spec.calendar))
        libraries["exchange_calendars"] = sessions.version()
    elif task == "language-model":
        findings = judgement.judge(suites.text_suite(params.validation.language_model), frame, frames.texts)
    elif task == "classify":
        findings = judgement.judge(suites.classify_suite(params.validation.classify, parted), frame, frames.labelled)
    elif task == "tag":
        findings = judgement.judge(suites.tag_suite(params.validation.tag, parted), frame, frames.tagged)
    elif task == "caption":
        findings = judgement.judge(suites.caption_suite(params.validation.caption, parted), frame, frames.vectors)
    else:
        findings = judgement.judge(suites.translate_suite(params.validation.translate, parted), frame, frames.pairs)
    return {"dataset": item, "task": task, "rows": table.num_rows, "libraries": libraries, **findings.to_json()}


def _sessions(table: Any, calendar: str) -> Any:
    """The sessions from a table's first date to its last; None without dates, or where every row is a step."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if calendar == sessions.EVERY_ROW or table.schema.names.count("date") != 1 or table.schema.field("date").type != pa.date32():
        return None
    ends = pc.min_max(table["date"]).as_py()
    if ends["min"] is None:
        return None
    return sessions.sessions(calendar, ends["min"], ends["max"]).to_numpy().astype("datetime64[D]")


def _quarantined(source: Path) -> list[dict[str, Any]]:
    """The rows that ingestion set aside, file by file."""
    return [json.loads(line) for path in sorted((source / "quarantine").rglob("*.jsonl")) for line in path.read_bytes().splitlines()]


def refusal(result: dict[str, Any]) -> str:
    """Why a table is refused, where each rule is set, and where to look: the text of `SuiteFailed`."""
    name, asked = result["dataset"], result["expectations"]
    failed = [finding for finding in asked if not finding["success"] and finding["severity"] == CRITICAL]
    lines = [f"data/ingestion/{name}/table.parquet, made from data/raw/{name}: {len(failed)} of {len(asked)} expectations are not met."]
    lines += [line for finding in failed for line in _failure(finding)]
    if result["not_asked"]:
        lines.append(f"  {len(result['not_asked'])} more could not be asked before these are met.")
    lines.append(f"Open data/validation/{name}/index.html for all of it. Mend the source or the rule, then `longshort run`.")
    return "\n".join(lines)


def _failure(finding: dict[str, Any]) -> list[str]:
    count, rows, observed = finding["unexpected"], finding["rows"], finding["observed"]
    found = f"{count:,} of {rows:,} rows break it" if count else f"found {word(observed)}"
    rule = f"params.yaml: `{finding['rule']}` is {finding['value']}" if finding["rule"] else "fixed, in src/longshort/validation/suites.py"
    return [
        f"- {finding['sentence'].rstrip('.')}: {found} ({finding['type']})",
        *(f"    {in_words(row)}" for row in finding["examples"][:SHOWN]),
        f"    The rule is {rule}.",
    ]
