"""Suites: the rules, as lists of Great Expectations' expectations.

Each says in a sentence what must hold, and where its number is set. Most expectations pass on an empty
table and on a column of nothing but NaN, so the shape of a table, its count of rows, its blanks and its
infinities are asked for by name.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longshort.config import CaptionValidation, ClassifyValidation, PriceValidation, TagValidation, TextValidation, TranslateValidation
from longshort.errors import ConfigError

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation

PRICES = ("open", "high", "low", "close")
PRICE_TYPES = {
    "ticker": "StringDtype",
    "date": "datetime64[ms]",
    **dict.fromkeys((*PRICES, "adj_close"), "float64"),
    "volume": "Int64Dtype",
}
TEXT_TYPES = {"document": "StringDtype", "text": "StringDtype"}
CLASSIFY_TYPES = dict.fromkeys(("text", "label"), "StringDtype")
TAG_TYPES = dict.fromkeys(("text", "tags", "label"), "StringDtype")
TRANSLATE_TYPES = dict.fromkeys(("source", "target"), "StringDtype")
CAPTION_TYPES = {"caption": "StringDtype"}  # the others are numbers, of names of their own
LEAST_NUMBERS = 2
PARTS = ("train", "validation", "test")
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Suite:
    """Rules of one kind of table.

    shape    what must hold before `content` can be asked at all: columns and their types
    content  what must hold of the frame with its derived columns, the count of rows first
    row      the columns that name a row to a person
    """

    name: str
    shape: list[Expectation]
    content: list[Expectation]
    row: list[str]


def price_suite(spec: PriceValidation, prices: Sequence[str] = PRICES) -> Suite:
    """The rules of a tidy price table; `content` is for `frames.prices`.

    prices  those that the series has; a rate or an index may have a close alone
    """
    e = quiet_expectations()
    section = "validation.forecast"
    enough = {"rule": f"{section}.min_sessions", "value": spec.min_sessions}
    calendar = {"rule": f"{section}.calendar", "value": spec.calendar}
    tolerance = {"rule": f"{section}.tolerance", "value": spec.tolerance}
    n, exchange, share = spec.min_sessions, spec.calendar, spec.tolerance
    content = [
        e.ExpectTableRowCountToBeBetween(min_value=n, description=f"The table has {n} rows or more.", meta=enough),
        *(e.ExpectColumnValuesToNotBeNull(column=c, description=f"{c} is never missing.") for c in ("ticker", "date", *prices)),
        *(
            e.ExpectColumnValuesToBeBetween(column=c, min_value=-_LARGEST, max_value=_LARGEST, description=f"{c} is finite.")
            for c in (*prices, "adj_close")
        ),
        *(e.ExpectColumnValuesToBeBetween(column=c, min_value=0, strict_min=True, description=f"{c} is above 0.") for c in prices),
        e.ExpectColumnValuesToBeBetween(
            column="ticker_sessions", min_value=n, description=f"Every ticker has {n} sessions or more.", meta=enough
        ),
        *(
            e.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="high", column_B="low", or_equal=True, ignore_row_if="either_value_is_missing",
                description="high is never below low.",
            )
            for _ in prices if _ == "high" and "low" in prices
        ),
        *(
            e.ExpectColumnValuesToBeBetween(
                column=f"{c}_outside", max_value=share, meta=tolerance,
                description=f"{c} lies within low and high, or outside them by {share:.4g} of the price at most.",
            )
            for c in ("open", "close") if {c, "high", "low"} <= set(prices)
        ),
        e.ExpectColumnValuesToBeInSet(
            column="date_is_session", value_set=[True], description=f"Every date is a session of {exchange}.", meta=calendar
        ),
        e.ExpectCompoundColumnsToBeUnique(column_list=["ticker", "date"], description="No ticker has a date twice."),
        e.ExpectColumnValuesToBeInSet(
            column="in_order", value_set=[True], description="Rows are in order: by ticker, oldest date first."
        ),
        e.ExpectColumnValuesToBeBetween(column="volume", min_value=0, description="volume is 0 or more where it is known."),
        *_added(spec.expectations, section),
    ]  # fmt: skip
    return Suite("prices", _shape(PRICE_TYPES), content, row=["ticker", "date"])


def text_suite(spec: TextValidation) -> Suite:
    """The rules of a tidy text table; `content` is for `frames.texts`."""
    e = quiet_expectations()
    section = "validation.language-model"
    words, vocabulary, share = spec.min_words, spec.min_vocabulary, spec.max_repeated_lines
    content = [
        e.ExpectTableRowCountToBeBetween(min_value=1, description="There is a document."),
        *(e.ExpectColumnValuesToNotBeNull(column=c, description=f"{c} is never missing.") for c in TEXT_TYPES),
        e.ExpectColumnValuesToBeUnique(column="document", description="No two documents have the same name."),
        e.ExpectColumnValuesToBeBetween(column="words", min_value=1, description="No document is without words."),
        e.ExpectColumnValuesToBeBetween(
            column="replacement_characters", max_value=0,
            description="No character was lost to a wrong encoding (U+FFFD).",
        ),
        e.ExpectColumnValuesToBeBetween(
            column="control_characters", max_value=0,
            description="There are no control characters but tabs, line breaks and page breaks.",
        ),
        e.ExpectColumnMinToBeBetween(
            column="corpus_words", min_value=words, description=f"All documents together have {words} words or more.",
            meta={"rule": f"{section}.min_words", "value": words},
        ),
        e.ExpectColumnMinToBeBetween(
            column="corpus_vocabulary", min_value=vocabulary,
            description=f"All documents together have {vocabulary} different words or more.",
            meta={"rule": f"{section}.min_vocabulary", "value": vocabulary},
        ),
        e.ExpectColumnMaxToBeBetween(
            column="corpus_repeated_lines", max_value=share,
            description=f"Of the lines of 13 words and more, a share of {share:.4g} at most repeats an earlier one.",
            meta={"rule": f"{section}.max_repeated_lines", "value": share},
        ),
        *_added(spec.expectations, section),
    ]  # fmt: skip
    return Suite("texts", _shape(TEXT_TYPES), content, row=["document"])


def classify_suite(spec: ClassifyValidation, parted: bool) -> Suite:
    """The rules of a tidy table of texts and labels; `content` is for `frames.labelled`.

    parted  whether the files say which part a row is in
    """
    section = "validation.classify"
    content = [
        *_row_rules(CLASSIFY_TYPES, ("text",), spec.min_rows, section, parted),
        *_label_rules(spec, section),
        *_added(spec.expectations, section),
    ]
    return Suite("labelled texts", _shape(_with_part(CLASSIFY_TYPES, parted)), content, row=["label"])


def tag_suite(spec: TagValidation, parted: bool) -> Suite:
    """The rules of a tidy table of words, tags and labels; `content` is for `frames.tagged`."""
    e = quiet_expectations()
    section = "validation.tag"
    content = [
        *_row_rules(TAG_TYPES, ("text",), spec.min_rows, section, parted),
        *_label_rules(spec, section),
        e.ExpectColumnPairValuesToBeEqual(
            column_A="tags_count", column_B="words", description="There are as many tags as words.",
        ),
        e.ExpectColumnMinToBeBetween(
            column="all_tags", min_value=spec.min_tags, description=f"There are {spec.min_tags} different tags or more.",
            meta={"rule": f"{section}.min_tags", "value": spec.min_tags},
        ),
        e.ExpectColumnValuesToBeBetween(
            column="stray_tags", max_value=0, severity="warning",
            description="Every tag I-x stands behind B-x or I-x (Ramshaw and Marcus, 1995).",
        ),
        *_added(spec.expectations, section),
    ]  # fmt: skip
    return Suite("tagged words", _shape(_with_part(TAG_TYPES, parted)), content, row=["label"])


def translate_suite(spec: TranslateValidation, parted: bool) -> Suite:
    """The rules of a tidy table of pairs; `content` is for `frames.pairs`."""
    e = quiet_expectations()
    section = "validation.translate"
    content = [
        *_row_rules(TRANSLATE_TYPES, ("source", "target"), spec.min_rows, section, parted),
        e.ExpectColumnUniqueValueCountToBeBetween(
            column="target", min_value=spec.min_targets, description=f"There are {spec.min_targets} different targets or more.",
            meta={"rule": f"{section}.min_targets", "value": spec.min_targets},
        ),
        *_added(spec.expectations, section),
    ]  # fmt: skip
    return Suite("pairs", _shape(_with_part(TRANSLATE_TYPES, parted)), content, row=[])


def caption_suite(spec: CaptionValidation, parted: bool) -> Suite:
    """The rules of a tidy table of numbers with captions; `content` is for `frames.vectors`. Numbers are asked for together: there may be
    hundreds of columns.
    """
    e = quiet_expectations()
    section = "validation.caption"
    types = _with_part(CAPTION_TYPES, parted)
    content = [
        *_row_rules(CAPTION_TYPES, ("caption",), spec.min_rows, section, parted),
        e.ExpectColumnMinToBeBetween(
            column="numbers", min_value=LEAST_NUMBERS, description=f"There are {LEAST_NUMBERS} columns of numbers or more.",
        ),
        e.ExpectColumnMinToBeBetween(column="moving", min_value=1, description="A column of numbers has more than one value."),
        e.ExpectColumnValuesToBeBetween(column="lacking", max_value=0, description="Every number is there, and finite."),
        e.ExpectColumnUniqueValueCountToBeBetween(
            column="caption", min_value=spec.min_captions, description=f"There are {spec.min_captions} different captions or more.",
            meta={"rule": f"{section}.min_captions", "value": spec.min_captions},
        ),
        *_added(spec.expectations, section),
    ]  # fmt: skip
    return Suite("captions", _shape(types, "numbers beside them"), content, row=["caption"])


def _with_part(types: dict[str, str], parted: bool) -> dict[str, str]:
    return {**types, "part": "StringDtype"} if parted else types


def _row_rules(types: dict[str, str], texts: Sequence[str], least: int, section: str, parted: bool) -> list[Expectation]:
    """What holds of rows of text, whatever is to be learned from them."""
    e = quiet_expectations()
    rules = [
        e.ExpectTableRowCountToBeBetween(
            min_value=least, description=f"The table has {least} rows or more.", meta={"rule": f"{section}.min_rows", "value": least}
        ),
        *(e.ExpectColumnValuesToNotBeNull(column=c, description=f"{c} is never missing.") for c in _with_part(types, parted)),
        *(e.ExpectColumnValuesToBeBetween(column=f"{c}_length", min_value=1, description=f"No {c} is empty.") for c in texts),
        *(
            e.ExpectColumnValuesToBeBetween(
                column=f"{c}_lost", max_value=0, severity="warning",
                description=f"No character of a {c} was lost to a wrong encoding (U+FFFD).",
            )
            for c in texts
        ),
        *(
            e.ExpectColumnValuesToBeBetween(
                column=f"{c}_controls", max_value=0, severity="warning",
                description=f"No {c} holds control characters but tabs, line and page breaks.",
            )
            for c in texts
        ),
    ]  # fmt: skip
    if parted:
        rules += [
            e.ExpectColumnValuesToBeInSet(column="part", value_set=list(PARTS), description=f"Every part is one of {', '.join(PARTS)}."),
            e.ExpectColumnDistinctValuesToContainSet(column="part", value_set=["train"], description="Some rows are for training."),
        ]
    return rules


def _label_rules(spec: ClassifyValidation | TagValidation, section: str) -> list[Expectation]:
    e = quiet_expectations()
    return [
        e.ExpectColumnUniqueValueCountToBeBetween(
            column="label", min_value=spec.min_labels, description=f"There are {spec.min_labels} different labels or more.",
            meta={"rule": f"{section}.min_labels", "value": spec.min_labels},
        ),
        e.ExpectColumnValuesToBeBetween(
            column="label_rows", min_value=spec.min_label_rows, description=f"Every label has {spec.min_label_rows} rows or more.",
            meta={"rule": f"{section}.min_label_rows", "value": spec.min_label_rows},
        ),
    ]  # fmt: skip


def _added(entries: list[dict[str, Any]], section: str) -> list[Expectation]:
    """The expectations that a person added in params.yaml: a type of Great Expectations, and its arguments.

    raises  ConfigError with the nearest type, or what Great Expectations says of the arguments
    """
    e = quiet_expectations()
    known = [name for name in dir(e) if name.startswith("Expect")]
    found = []
    for number, entry in enumerate(entries):
        arguments = dict(entry)
        name = "".join(word.capitalize() for word in str(arguments.pop("type", "")).split("_"))
        where = f"params.yaml: {section}.expectations[{number}]"
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            snake = re.sub(r"(?<!^)(?=[A-Z])", "_", nearest).lower()
            raise ConfigError(f"{where}: Great Expectations has no type '{entry.get('type', '')}'. Did you mean '{snake}'?")
        sentence = arguments.pop("description", " ".join(f"{key} {value}" for key, value in entry.items()))
        try:
            rule = {"rule": f"{section}.expectations", "value": str(entry["type"])}
            found.append(getattr(e, name)(**arguments, description=sentence, meta=rule))
        except ValueError as error:  # pydantic's errors are of this kind
            raise ConfigError(f"{where}: {' '.join(str(error).split())}. See {name} in Great Expectations.") from None
    return found


def quiet_expectations() -> Any:
    """Great Expectations' catalogue of expectations, its usage statistics switched off before it is imported."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    from great_expectations import expectations

    return expectations


def _shape(types: dict[str, str], others: str = "") -> list[Expectation]:
    """The columns and their types; others: what further columns may hold, where there may be some."""
    e = quiet_expectations()
    more = others or "no others"
    return [
        e.ExpectTableColumnsToMatchSet(
            column_set=list(types), exact_match=not others, description=f"The columns are {', '.join(types)}, and {more}."
        ),
        # ...ToBeOfType compares the scalar's type only, for which a date in ns is one in ms
        *(e.ExpectColumnValuesToBeInTypeList(column=c, type_list=[t], description=f"{c} is of type {t}.") for c, t in types.items()),
    ]
