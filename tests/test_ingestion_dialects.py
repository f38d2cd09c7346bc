"""Prices in dialects that nobody has seen: a known table, written in any language and style, comes back as it was."""

from __future__ import annotations

import datetime as dt

import projects
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longshort.ingestion import prices
from longshort.ingestion.rules import Limits

SESSIONS = projects.days(60, dt.date(2019, 3, 1))
TABLE = projects.prices(SESSIONS, seed=4)
LANGUAGES = {
    "English": ("Date", "Open", "High", "Low", "Close", "Volume"),
    "English, Nasdaq": ("Date", "Open", "High", "Low", "Close/Last", "Volume"),
    "English, Investing": ("Date", "Open", "High", "Low", "Price", "Vol."),
    "English, Alpha Vantage": ("timestamp", "1. open", "2. high", "3. low", "4. close", "5. volume"),
    "Portuguese": ("Data", "Abertura", "Máxima", "Mínima", "Último", "Vol."),
    "Spanish": ("Fecha", "Apertura", "Máximo", "Mínimo", "Cierre", "Volumen"),
    "German": ("Datum", "Eröffn.", "Hoch", "Tief", "Schluss", "Volumen"),
    "French": ("Date", "Ouv.", "Plus Haut", "Plus Bas", "Dernier", "Vol."),
    "Russian": ("Дата", "Откр.", "Макс.", "Мин.", "Цена", "Объём"),
    "Polish": ("Data", "Otwarcie", "Najwyższy", "Najniższy", "Zamknięcie", "Wolumen"),
    "Chinese": ("日期", "开盘", "最高", "最低", "收盘", "成交量"),
    "Turkish": ("Tarih", "Açılış", "Yüksek", "Düşük", "Şimdi", "Hac."),
    "Japanese": ("日付け", "始値", "高値", "安値", "終値", "出来高"),
    "Korean": ("날짜", "시가", "고가", "저가", "종가", "거래량"),
    "Italian": ("Data", "Apertura", "Massimo", "Minimo", "Ultimo", "Vol."),
}
DATES = (
    "%Y-%m-%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%Y/%m/%d",
    "%Y%m%d",
    "%b %d, %Y",
    "%d %B %Y",
    "%m-%d-%Y",
    "%Y-%m-%dT00:00:00Z",
    "%Y年%m月%d日",
)


@st.composite
def dialects(draw: st.DrawFn) -> tuple[bytes, str]:
    """The table in some dialect, and what dialect it is."""
    language = draw(st.sampled_from(sorted(LANGUAGES)))
    date, point = draw(st.sampled_from(DATES)), draw(st.sampled_from([".", ","]))
    group = draw(st.sampled_from(["", "'", "\u00a0", "." if point == "," else ","]))
    sign = draw(st.sampled_from(["{}", "{}", "${}", "{} €", "R$ {}"]))
    mark = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoted, extra, order = draw(st.booleans()), draw(st.booleans()), draw(st.permutations(range(6)))
    names = list(LANGUAGES[language])
    columns = TABLE.to_pydict()
    rows = []
    for place, day in enumerate(SESSIONS):
        cells = [day.strftime(date)]
        for price in ("open", "high", "low", "close"):
            cells.append(sign.format(f"{columns[price][place] * 37:,.2f}".replace(",", "\0").replace(".", point).replace("\0", group)))
        cells.append(f"{columns['volume'][place]:,}".replace(",", group))
        rows.append([cells[column] for column in order] + (["-0.41%"] if extra else []))
    if draw(st.booleans()):
        rows.reverse()
    header = [names[column] for column in order] + (["Change %"] if extra else [])
    lines = [mark.join(f'"{cell}"' if quoted or mark in cell else cell for cell in cells) for cells in [header, *rows]]
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join(lines) + draw(st.sampled_from(["", end]))
    data = text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    return data, f"{language}, {date}, {point}{group!r}, {sign}, {mark!r}, {order}"


@settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(dialects())
def test_a_table_comes_back_from_any_dialect(dialect):
    data, told = dialect
    reading = prices.parse(data, "AAA.csv", limits=Limits(needed=60))
    assert reading.table["date"].to_pylist() == SESSIONS, told
    for price in ("open", "high", "low", "close"):
        assert reading.table[price].to_pylist() == [round(value * 37, 2) for value in TABLE[price].to_pylist()], told
    assert reading.table["volume"].to_pylist() == TABLE["volume"].to_pylist(), told
    assert reading.counts.kept == 60 and not reading.warnings, told
