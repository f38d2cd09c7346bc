"""Data Docs: Great Expectations' page of results, as one file that opens offline.

Its own renderers make the sections. Its page around them is left out, because that loads styles, scripts
and a logo from four servers and prints ids and times; ours has one stylesheet, kept inside, and no script.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from longshort.validation.judgement import CRITICAL, in_words, word
from longshort.validation.suites import quiet_expectations

_STYLE = Path(__file__).with_name("datadocs.css")

_TABLE = "Table-Level Expectations"  # the section of rules that belong to no one column
_WORDS = {
    # without the fonts of Font Awesome an icon is an empty element: say it in words
    '<i class="fas fa-check-circle text-success" ></i>': '<i class="text-success">✓ met</i>',
    '<i class="fas fa-times text-danger" ></i>': '<i class="text-danger">✗ not met</i>',
    _TABLE: "The whole table",
    "Sampled Unexpected Values": "The first of them",
}

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
{{ style }}</style>
</head>
<body>
<header class="{{ 'met' if success else 'failed' }}">
<p class="kind">Validation of a data set</p>
<h1>{{ dataset }}</h1>
<p class="verdict">{{ verdict }}</p>
<p>{{ subject }} · <a href="quality.html">what the data look like</a></p>
</header>
<nav aria-label="Columns">{% for section in sections %}{% set name = section["section_name"] %}
<a href="#section-{{ loop.index }}"{{ ' class="failed"' if name in broken }}>{{ name }}</a>{% endfor %}
</nav>
<main>{% for section in sections %}{% set section_loop = loop %}
{% include "section.j2" %}{% endfor %}
{% if not_asked %}<div class="ge-section"><h5>Not asked</h5>
<p>These need the columns and types above.</p>
<ul>{% for sentence in not_asked %}<li>{{ sentence }}</li>{% endfor %}</ul></div>{% endif %}
</main>
<footer>{{ made_with }}</footer>
</body>
</html>
"""


def page(result: dict[str, Any]) -> str:
    """The page of a `result.json`, in HTML. The same result gives the same page."""
    quiet_expectations()
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    safe = _escaped(result)
    answers = [_answer(finding) for finding in safe["expectations"]]
    broken = [finding for finding in safe["expectations"] if not finding["success"]]
    whole = ExpectationSuiteValidationResult(safe["success"], answers, suite_name=safe["suite"], meta={})
    document: Any = ValidationResultsPageRenderer(run_info_at_end=True).render(whole)
    document.sections = document.sections[1:-1]  # ours is the overview; run ids and times are left out

    view: Any = DefaultJinjaPageView()
    view.env.loader = ChoiceLoader([DictLoader({"page.j2": _PAGE}), view.env.loader])
    text: str = view.render(
        document,
        title=f"{safe['dataset']}: validation",
        style=_STYLE.read_text(encoding="utf-8"),
        success=safe["success"],
        dataset=safe["dataset"],
        verdict=_verdict(broken, len(answers)),
        subject=f"data/ingestion/{safe['dataset']}/table.parquet, {safe['rows']:,} rows",
        broken={finding["kwargs"].get("column", _TABLE) for finding in broken},
        not_asked=safe["not_asked"],
        made_with=" · ".join(f"{name} {version}" for name, version in safe["libraries"].items()),
    )
    for theirs, ours in _WORDS.items():
        text = text.replace(theirs, ours)
    return "\n".join(line.strip() for line in text.splitlines() if line.strip()) + "\n"


def _verdict(broken: list[dict[str, Any]], asked: int) -> str:
    failed = sum(finding["severity"] == CRITICAL for finding in broken)
    if failed:
        return f"{failed} of {asked} expectations are not met"
    warned = len(broken)
    told = f", but {warned} that only {'warns' if warned == 1 else 'warn'}" if warned else ""
    return f"All {asked} expectations are met{told}"


def _answer(finding: dict[str, Any]) -> Any:
    """A finding in Great Expectations' own form, which its renderers read."""
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    rule = f'\n<span class="rule">params.yaml: {finding["rule"]}</span>' if finding["rule"] else ""
    rule += "" if finding["severity"] == CRITICAL else '\n<span class="rule">a warning: it refuses nothing</span>'
    rows, unexpected, observed = finding["rows"], finding["unexpected"], finding["observed"]
    if isinstance(observed, list):
        observed = word(observed)
    seen = {"observed_value": observed} if unexpected is None else {
        "element_count": rows,
        "unexpected_count": unexpected,
        "unexpected_percent": 100 * unexpected / rows if rows else 0.0,
        "partial_unexpected_list": [in_words(row) for row in finding["examples"]],
    }  # fmt: skip
    return ExpectationValidationResult(
        success=finding["success"],
        expectation_config=ExpectationConfiguration(type=finding["type"], kwargs=finding["kwargs"], description=finding["sentence"] + rule),
        result=seen,
        exception_info={"raised_exception": False, "exception_message": None, "exception_traceback": None},
    )


def _escaped(value: Any) -> Any:
    """Text from a person's data as text: Great Expectations' templates put cells into the page as they are."""
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return html.escape(value) if isinstance(value, str) else value
