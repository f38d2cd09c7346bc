"""Markup: words, numbers and tables of a page. Whatever comes from a person's data becomes text that does nothing."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # a spreadsheet runs a cell that begins so (OWASP)
LONGEST = 200  # characters of a person's text in one place

# What stands in a cell: figures are aligned to the right, text to the left
Cell = tuple[str, str]


def inert(value: Any, most: int = LONGEST) -> str:
    """A person's text as text, in HTML and in a spreadsheet that the page is pasted into.

    Control characters and those that turn the direction of writing are shown by their numbers.

    >>> inert("=cmd()"), inert("<b>"), inert("a\\tb")
    ("'=cmd()", '&lt;b&gt;', 'a\\\\tb')
    """
    whole = str(value)
    guard = "'" if whole.startswith(FORMULA) else ""
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in whole[:most])
    return html.escape(guard + shown + ("…" if len(whole) > most else ""), quote=False)


def count(number: float) -> str:
    """A whole number, with separators."""
    return f"{int(number):,}".replace("-", "−")


def plural(number: int, one: str, many: str = "") -> str:
    """A number and its noun.

    >>> plural(1, "row"), plural(2000, "row"), plural(0, "entry", "entries")
    ('1 row', '2,000 rows', '0 entries')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def amount(value: float) -> str:
    """A price or a volume, with as many digits as it bears.

    >>> amount(663.59), amount(0.0001234), amount(8644.91), amount(61_906_000), amount(float("nan"))
    ('663.59', '0.0001234', '8,644.91', '61,906,000', '–')
    """
    if value != value:
        return "–"
    size = abs(value)
    shown = f"{value:.4g}" if size < 1 else f"{value:,.2f}" if size < 100_000 else f"{value:,.0f}" if size < 1e15 else f"{value:.4g}"
    return shown.replace("-", "−")


def short(value: float) -> str:
    """A number beside an axis; it does not break from its unit.

    >>> short(1500), short(2_000_000), short(0.25), short(1e10)
    ('1,500', '2\\xa0M', '0.25', '10\\xa0G')
    """
    for unit, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= unit:
            size = 1e3 if sign == "k" else unit
            return f"{value / size:,.4g}\u00a0{sign}".replace("-", "−")
    return f"{value:,.6g}".replace("-", "−")


def percent(share: float, digits: int = 1, signed: bool = False) -> str:
    """A share in per cent, in one piece.

    >>> percent(0.9987), percent(-0.5, signed=True), percent(0.0004), percent(1)
    ('99.9\\xa0%', '−50.0\\xa0%', 'under 0.1\\xa0%', '100\\xa0%')
    """
    if share != share:
        return "–"
    if not signed and share in (0, 1):
        return f"{100 * share:.0f}\u00a0%"
    least = 10.0 ** -(digits + 2)
    if not signed and 0 < share < least:
        return f"under {100 * least:.{digits}f}\u00a0%"
    if not signed and 1 - least < share < 1:
        return f"over {100 * (1 - least):.{digits}f}\u00a0%"
    return f"{100 * share:{'+' if signed else ''},.{digits}f}\u00a0%".replace("-", "−")


def day(value: date) -> str:
    """A date, or a date and a time, that does not break at the end of a line."""
    return f"<time>{value}</time>"


def text(shown: str) -> Cell:
    """A cell of text."""
    return ("t", shown)


def figure(shown: str) -> Cell:
    """A cell with a number."""
    return ("", shown)


def table(caption: str, head: Sequence[Cell], rows: Iterable[Sequence[Cell]], kind: str = "") -> str:
    """A table; the first cell of a row is its heading."""
    top = "".join(f'<th scope="col"{_class(css)}>{shown}</th>' for css, shown in head)
    body = "\n".join(
        f'<tr><th scope="row">{first[1]}</th>' + "".join(f"<td{_class(css)}>{shown}</td>" for css, shown in rest) + "</tr>"
        for first, *rest in rows
    )
    return f"<table{_class(kind)}>\n<caption>{caption}</caption>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values in large letters."""
    return '<dl class="tiles">' + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs) + "</dl>"


@dataclass(frozen=True)
class Part:
    """A section of the page; one without content is left out, and so is its link."""

    anchor: str
    title: str
    content: str


def section(part: Part) -> str:
    """A part of the page, under its heading."""
    return f'<section id="{part.anchor}">\n<h2>{part.title}</h2>\n{part.content}\n</section>'


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
