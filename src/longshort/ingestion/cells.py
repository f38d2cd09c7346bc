"""Cells: what one cell of an export says, as a number or as a day.

Every cell is text until it matches a grammar. Nothing here guesses: which of `,` and `.` is the decimal
mark, and which of day and month comes first, is decided once for a file, by `style`, from all its cells.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Decimal_ = Literal[".", ","]
Order = Literal["ymd", "dmy", "mdy"]

LEAST_PRICE, MOST_PRICE, MOST_VOLUME = 1e-6, 1e9, 10**13
MISSING = frozenset({"", "-", "--", "—", "–", "nan", "null", "none", "nil", "n/a", "#n/a", "n.a.", "na", "."})

_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)  # float() also takes 1_000, nan and Arabic digits
_GROUPED = {  # thousands in threes by one mark throughout, or none
    ".": re.compile(r"(?:\d{1,3}(?:(?P<mark>[, '’])\d{3})(?:(?P=mark)\d{3})*(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII),
    ",": re.compile(r"(?:\d{1,3}(?:(?P<mark>[. '’])\d{3})(?:(?P=mark)\d{3})*(?:,\d*)?|\d+(?:,\d*)?|,\d+)(?:[eE][+-]?\d+)?", re.ASCII),
}
_SPACES = re.compile(r"[\s\u00a0\u2007\u2009\u202f]+")
_CURRENCY = re.compile(
    r"US\$|R\$|A\$|C\$|HK\$|NT\$|[$€£¥₹₽₺₩฿₫₪₴₦]|zł|kr\.?|Kč|Ft|Rs\.?|(?:USD|EUR|GBP|GBX|JPY|CNY|INR|BRL|CHF|CAD|AUD|PLN|RUB|TRY|KRW)\b"
)
_SCALES = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12, "千": 10**3, "万": 10**4, "萬": 10**4, "億": 10**8, "亿": 10**8}
_SUFFIXED = re.compile(r"(.+?) ?([kmbtKMBT千万萬億亿])")


class Unreadable(ValueError):
    """A cell does not say what its column is for."""


@dataclass(frozen=True)
class Number:
    """A cell's number, None where it says that there is none.

    repairs   what was understood beyond a plain number: "thousands separators", "decimal commas", ...
    currency  the sign that stood at it, or ''
    """

    value: float | None
    repairs: tuple[str, ...] = ()
    currency: str = ""


def number(cell: str, decimal: Decimal_ = ".", scaled: bool = False) -> Number:
    """Read a number.

    decimal  the file's decimal mark
    scaled   whether 7.38M and 1,2B may stand here, as they do for volumes
    raises   Unreadable

    >>> number("1,008.64").value, number("1.008,64", ",").value, number("7.38M", scaled=True).value
    (1008.64, 1008.64, 7380000.0)
    >>> number("$245.55")
    Number(value=245.55, repairs=('currency signs removed',), currency='$')
    """
    if decimal == "." and _PLAIN.fullmatch(cell):
        return Number(float(cell))
    repairs: list[str] = []
    text = _uniform(cell, repairs)
    if text.lower() in MISSING:
        return Number(None)
    negative = False
    if (text.startswith("(") and text.endswith(")")) or (text.endswith("-") and len(text) > 1):
        text, negative = text.strip("()-").strip(), True  # accountants write (10.5) and 10.5-
    text, currency = _without_currency(text, repairs)
    if text[:1] in "+-" and text:
        negative, text = negative or text[0] == "-", text[1:].lstrip()
        text, currency = (text, currency) if currency else _without_currency(text, repairs)
    scale = 1
    if scaled and (suffixed := _SUFFIXED.fullmatch(text)):
        text, scale = suffixed[1], _SCALES[suffixed[2].lower()]
        repairs.append("counts in thousands, millions or billions written out")
    grouped = _GROUPED[decimal].fullmatch(text)
    if not grouped:
        raise Unreadable
    if mark := grouped["mark"]:
        text = text.replace(mark, "")
        repairs.append("thousands separators removed")
    if decimal == "," and "," in text:
        text = text.replace(",", ".")
        repairs.append("decimal commas read")
    value = float(Decimal(text) * scale) if scale > 1 else float(text)
    return Number(-value if negative else value, tuple(dict.fromkeys(repairs)), currency)


def _uniform(cell: str, repairs: list[str]) -> str:
    """ASCII digits, signs and spaces for those of other scripts."""
    if cell.isascii():
        return cell.strip()
    text = _SPACES.sub(" ", cell).strip().replace("\u2212", "-").replace("\uff0e", ".").replace("\uff0c", ",")
    digits = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)
    if digits != text:
        repairs.append("digits of another script read")
    return digits


def _without_currency(text: str, repairs: list[str]) -> tuple[str, str]:
    found = _CURRENCY.match(text)
    if found:
        repairs.append("currency signs removed")
        return text[found.end() :].strip(), found[0]
    for found in _CURRENCY.finditer(text):
        if found.end() == len(text):
            repairs.append("currency signs removed")
            return text[: found.start()].strip(), found[0]
    return text, ""


def decimal_evidence(cell: str) -> Literal[".", ",", "?", ""]:
    """What one cell tells of the decimal mark: '.', ',', '?' where it may be either, '' where it tells nothing.

    >>> [decimal_evidence(cell) for cell in ("1,008.64", "38,98", "1,008", "1.008", "1,008,640", "12")]
    ['.', ',', '?', '', '.', '']
    """
    points, commas = cell.count("."), cell.count(",")
    if points and commas:
        return "." if cell.rfind(".") > cell.rfind(",") else ","
    if commas == 0:
        return "." if points == 1 and not re.search(r"(?<!\d)\d{1,3}\.\d{3}(?!\d)", cell) else "," if points > 1 else ""
    if commas > 1:
        return "."
    return "?" if re.search(r"(?<!\d)[1-9]\d{0,2},\d{3}(?!\d)", cell) else ","


# --- days -------------------------------------------------------------------------------------

_TIME = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?(?:\s*\[?[A-Z][A-Za-z_]+/[A-Za-z_]+\]?)?)?"
)
_NUMERIC = re.compile(r"(?P<a>\d{1,4})(?P<mark>[-/.])\s?(?P<b>\d{1,2})(?P=mark)\s?(?P<c>\d{1,4})\.?" + _TIME, re.ASCII)
_COMPACT = re.compile(r"(?P<a>(?:18|19|20|21)\d{2})(?P<b>\d{2})(?P<c>\d{2})" + _TIME, re.ASCII)
_NAMED = re.compile(r"(?:[^\W\d_]+\.?,\s+)?(?P<a>\d{1,2})[.\s-]+(?:de\s+)?(?P<b>[^\W\d_]+)\.?,?[\s-]+(?:de\s+)?(?P<c>\d{2,4})" + _TIME)
_NAMED_FIRST = re.compile(r"(?:[^\W\d_]+\.?,\s+)?(?P<b>[^\W\d_]+)\.?[\s-]+(?P<a>\d{1,2})(?:st|nd|rd|th)?,?[\s-]+(?P<c>\d{2,4})" + _TIME)
_IDEOGRAPHIC = re.compile(r"(?P<a>\d{4})\s?[年년]\s?(?P<b>\d{1,2})\s?[月월]\s?(?P<c>\d{1,2})\s?[日일]", re.ASCII)
_MONTH = re.compile(r"(?P<a>\d{4})[-/.](?P<b>\d{1,2})", re.ASCII)
_COUNT = re.compile(r"\d{5}(?:\.\d+)?|\d{9,10}(?:\.\d+)?|\d{12,13}", re.ASCII)

_MONTHS = (  # as exporters write them, without accents; the first three letters are not enough in every language
    "jan january januar janeiro enero janvier gennaio styczen stycznia ocak yanvar yanvarya янв января январь ene sty oca gen janv",
    "feb february februar fevereiro febrero fevrier febbraio luty lutego subat фев февраля февраль fev fevr lut sub",
    "mar march marz maerz marco marzo mars marzec marca mart мар марта март mrz mär",
    "apr april abril avril aprile kwiecien kwietnia nisan апр апреля апрель abr avr kwi nis",
    "may mai maio mayo maggio maj maja mayis мая май mag mei",
    "jun june juni junho junio juin giugno czerwiec czerwca haziran июн июня июнь cze haz giu",
    "jul july juli julho julio juillet luglio lipiec lipca temmuz июл июля июль lip tem lug juil",
    "aug august agosto aout sierpien sierpnia agustos авг августа август ago sie agu",
    "sep sept september setembro septiembre septembre settembre wrzesien wrzesnia eylul сен сентября сентябрь set wrz eyl",
    "oct october oktober outubro octubre octobre ottobre pazdziernik pazdziernika ekim окт октября октябрь okt out paz eki ott",
    "nov november novembro noviembre novembre listopad listopada kasim ноя ноября ноябрь lis kas",
    "dec december dezember dezembro diciembre decembre dicembre grudzien grudnia aralik дек декабря декабрь dez dic gru ara",
)
_MONTH_NUMBER = {name: place for place, names in enumerate(_MONTHS, start=1) for name in names.split()}


EXCEL = "45293 (a spreadsheet's day number)"
EPOCH_S = "1485820800 (seconds since 1970)"
EPOCH_MS = "1485820800000 (milliseconds since 1970)"
MONTHLY = "2017-01 (a month)"


@dataclass(frozen=True)
class Stamp:
    """A cell that has the form of a date: its parts, not yet in an order.

    family  the form, as a person would describe it
    parts   the three numbers as they stand; in forms that leave no choice year, month, day
    time    seconds after midnight, None without a time; offset: seconds east of UTC, None without a zone
    clock   whether a clock shows that time; 10:75 is none
    """

    family: str
    parts: tuple[int, int, int]
    fixed: bool
    short_year: bool = False
    time: int | None = None
    offset: int | None = None
    clock: bool = True


def stamp(cell: str) -> Stamp | None:
    """The form of a date, or None when the cell has none.

    >>> stamp("1/3/2017").parts, stamp("28. Dez 2023").parts, stamp("2001-07-19 00:00:00-04:00").offset
    ((1, 3, 2017), (2023, 12, 28), -14400)
    """
    text = cell if cell.isascii() else _SPACES.sub(" ", cell).strip()
    if found := _NUMERIC.fullmatch(text):
        a, b, c = found["a"], found["b"], found["c"]
        mark = found["mark"]
        if len(a) == 4 and len(c) <= 2:
            return _stamp(f"2017{mark}01{mark}31", (int(a), int(b), int(c)), True, found)
        if len(a) <= 2 and len(c) in (2, 4):
            year = "2017" if len(c) == 4 else "17"
            return _stamp(f"31{mark}01{mark}{year} or 01{mark}31{mark}{year}", (int(a), int(b), int(c)), False, found, len(c) == 2)
        return None
    if found := _COMPACT.fullmatch(text):
        return _stamp("20170131", (int(found["a"]), int(found["b"]), int(found["c"])), True, found)
    if found := _NAMED.fullmatch(text) or _NAMED_FIRST.fullmatch(text):
        month = _MONTH_NUMBER.get(_bare(found["b"]))
        if month is None or len(found["c"]) == 3:
            return None
        first = "31 Jan" if found.re is _NAMED else "Jan 31"
        short = len(found["c"]) == 2
        return _stamp(f"{first} {'17' if short else '2017'}", (int(found["c"]), month, int(found["a"])), True, found, short)
    if found := _IDEOGRAPHIC.fullmatch(text):
        return Stamp("2017年1月31日", (int(found["a"]), int(found["b"]), int(found["c"])), True)
    if found := _MONTH.fullmatch(text):
        return Stamp(MONTHLY, (int(found["a"]), int(found["b"]), 1), True)
    if _COUNT.fullmatch(text):
        whole = len(text.partition(".")[0])
        family = EXCEL if whole == 5 else EPOCH_S if whole < 12 else EPOCH_MS
        return Stamp(family, (int(float(text)), 0, 0), False)
    return None


def _stamp(family: str, parts: tuple[int, int, int], fixed: bool, found: re.Match[str], short: bool = False) -> Stamp:
    if found["hour"] is None:
        return Stamp(family, parts, fixed, short)
    hour = int(found["hour"])
    if found["half"]:
        hour = hour % 12 + 12 * found["half"].lower().startswith("p")
    minute, second = int(found["minute"]), int(found["second"] or 0)
    seconds = hour * 3600 + minute * 60 + second
    clock = minute < 60 and second < 60 and seconds <= 86_400
    zone = found["zone"]
    offset = None if zone is None else 0 if zone[0] in "ZUG" else _offset(zone)
    return Stamp(f"{family} with a time{'' if offset is None else ' and a zone'}", parts, fixed, short, seconds, offset, clock)


def _offset(zone: str) -> int:
    digits = zone[1:].replace(":", "")
    return (int(digits[:2]) * 3600 + int(digits[2:]) * 60) * (-1 if zone[0] == "-" else 1)


def _bare(word: str) -> str:
    """A word in lower case without accents."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(sign)).replace("ı", "i")


def day(parts: tuple[int, int, int], order: Order) -> dt.date | None:
    """The day that three numbers name in an order, or None when there is no such day.

    >>> day((1, 3, 2017), "mdy"), day((30, 2, 2018), "dmy")
    (datetime.date(2017, 1, 3), None)
    """
    first, second, third = parts
    year, month, number_ = (
        (first, second, third) if order == "ymd" else (third, second, first) if order == "dmy" else (third, first, second)
    )
    try:
        return dt.date(year, month, number_)
    except ValueError:
        return None
