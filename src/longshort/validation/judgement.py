"""Judgement: a suite is put to a frame.

Great Expectations does the judging, in memory and in silence. What it adds of its own that changes from
run to run (ids, times, tracebacks) is taken off here, so that the same table gives the same findings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from longshort.validation.suites import Suite, quiet_expectations

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations.expectation import Expectation

CRITICAL = "critical"  # as Great Expectations calls what must hold
SHOWN = 10  # unexpected rows that are kept as examples; their count is always whole


@dataclass(frozen=True)
class Finding:
    """What became of one expectation.

    sentence    the rule in words
    type        its name in Great Expectations; ``kwargs`` are its settings
    columns     those it is about; empty for the whole table
    rule        the key of params.yaml where its number is set, None where the rule is fixed
    value       that number
    severity    critical, or warning: what is told and refuses nothing
    observed    the figure found, None for rules that look at every row by itself
    rows        how many rows were looked at, ``unexpected`` how many of them broke the rule (None: not counted by rows)
    examples    the first of those, each as column -> value; ``row`` is its number in the table, from 1
    """

    sentence: str
    type: str
    columns: list[str]
    kwargs: dict[str, Any]
    rule: str | None
    value: Any
    severity: str
    success: bool
    observed: Any
    rows: int | None
    unexpected: int | None
    examples: list[dict[str, Any]]


@dataclass(frozen=True)
class Judgement:
    """All findings on one table, in the order of its suite, and the sentences that could not be asked."""

    suite: str
    findings: list[Finding]
    not_asked: list[str]

    @property
    def success(self) -> bool:
        return all(finding.success or finding.severity != CRITICAL for finding in self.findings) and not self.not_asked

    def to_json(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "success": self.success,
            "expectations": [asdict(finding) for finding in self.findings],
            "not_asked": self.not_asked,
        }


def judge(suite: Suite, frame: pd.DataFrame, derive: Callable[[pd.DataFrame], pd.DataFrame]) -> Judgement:
    """Put a suite to a frame as `frames.from_table` makes it; ``derive`` adds what the content's rules look at.

    Where columns or types are wrong, the content is not asked: every rule of it would fail for that one reason.
    """
    askable = [rule for rule in suite.shape if getattr(rule, "column", None) in (None, *frame.columns)]
    shape = _ask(askable, frame, [])
    if not all(finding.success for finding in shape):
        absent = [rule for rule in suite.shape if rule not in askable]
        return Judgement(suite.name, shape, [str(rule.description) for rule in absent + suite.content])
    return Judgement(suite.name, shape + _ask(suite.content, derive(frame), suite.row), [])


def in_words(example: dict[str, Any]) -> str:
    """An unexpected row for a person to read.

    >>> in_words({"row": 6, "ticker": "GOOG", "high": 104.66, "low": None})
    'row 6, ticker GOOG, high 104.66, low missing'
    """
    return ", ".join(f"{column} {word(value)}" for column, value in example.items())


def word(value: Any) -> str:
    """A found value for a person to read."""
    if value is None:
        return "missing"
    if isinstance(value, list):
        return ", ".join(map(word, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _ask(expectations: list[Expectation], frame: pd.DataFrame, row: list[str]) -> list[Finding]:
    quiet_expectations()
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]  # a dict is what it stores
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("table")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    # without names of columns for an index it answers with places in the frame: by name it took 200 s to refuse 500,000 rows
    result_format = {"result_format": "SUMMARY", "partial_unexpected_count": SHOWN}
    answers = batch.validate(gx.ExpectationSuite("suite", expectations=expectations), result_format=result_format)
    findings = {finding.sentence: finding for finding in (_finding(answer.to_json_dict(), frame, row) for answer in answers.results)}
    return [findings[str(rule.description)] for rule in expectations]  # Great Expectations answers in an order of its own


def _finding(answer: dict[str, Any], frame: pd.DataFrame, row: list[str]) -> Finding:
    config, result = answer["expectation_config"], answer["result"]
    kwargs = {key: _plain(value) for key, value in config["kwargs"].items() if key != "batch_id"}
    columns = [kwargs[key] for key in ("column", "column_A", "column_B") if key in kwargs] + kwargs.get("column_list", [])
    problem = _problem(answer["exception_info"])
    return Finding(
        sentence=config["description"],
        type=config["type"],
        columns=columns,
        kwargs=kwargs,
        rule=config["meta"].get("rule"),
        value=config["meta"].get("value"),
        severity=str(config.get("severity", CRITICAL)),
        success=bool(answer["success"]),
        observed=f"not evaluated: {problem}" if problem else _plain(result.get("observed_value")),
        rows=result.get("element_count"),
        unexpected=result.get("unexpected_count"),
        examples=[
            {"row": place + 1} | {name: _plain(frame[name].iloc[place]) for name in dict.fromkeys(row + columns)}
            for place in result.get("partial_unexpected_index_list") or []
        ],
    )


def _problem(info: dict[str, Any]) -> str:
    """The first line of an exception that an expectation met; its traceback holds paths of this machine."""
    problems = [info] if "raised_exception" in info else list(info.values())
    return next((str(problem["exception_message"]).splitlines()[0] for problem in problems if problem["raised_exception"]), "")


def _plain(value: Any) -> Any:
    """A value that JSON can hold: what is missing becomes null, infinities become words."""
    import pandas as pd

    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if value is pd.NA:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
