"""Columns: what the columns of an export mean, by their names in the languages that exporters write.

A name is compared without case, accents, punctuation and the prefix that numbers it (Alpha Vantage's `1. open`).
The first names of a meaning are its own; those after the bar are weaker: they count only where no own name
stands. A person adds names in params.yaml, `ingestion.columns`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping

# meaning -> names. Sources: the exports of Yahoo, Stooq, Nasdaq, Alpha Vantage, NSE, BSE, Kaggle, and of Investing.com
# in its languages, as collected in docs/inputs.md
MEANINGS: dict[str, str] = {
    "date": (
        "date, timestamp, datetime, day, trading date, trade date, session, data, fecha, datum, jour, дата, tarih, 日期, 交易日期, "
        "날짜, 日付, 日付け, gün, dia, pvm, dato, päivämäärä, تاريخ, התאריך, תאריך, ngày, dtyyyymmdd | month, period, quarter, date time"
    ),
    "time": "time, hora, uhrzeit, heure, время, saat, 时间, 時刻, 시간",
    "open": (
        "open, opening, open price, opening price, abertura, apertura, eröffn, eröffnung, eröffnungskurs, erster, ouv, ouverture, "
        "откр, открытие, otwarcie, açılış, 开盘, 开盘价, 開盤, 開盤價, 始値, 시가, abert, öppning, aper, פתיחה, الافتتاح, mở"
    ),
    "high": (
        "high, high price, day high, máxima, máximo, alto, hoch, höchst, höchstkurs, tageshoch, haut, plus haut, ext haut, макс, максимум, "
        "najwyższy, max, yüksek, 高, 最高, 最高价, 最高價, 高値, 고가, massimo, hög, גבוה, الأعلى, cao | maximum"
    ),
    "low": (
        "low, low price, day low, mínima, mínimo, bajo, tief, tiefst, tiefstkurs, tagestief, bas, plus bas, ext bas, мин, минимум, "
        "najniższy, min, düşük, 低, 最低, 最低价, 最低價, 安値, 저가, minimo, låg, נמוך, الأدنى, thấp | minimum"
    ),
    "close": (
        "close, closing, close price, closing price, fechamento, cierre, schluss, schlusskurs, clôture, закрытие, zamknięcie, kapanış, "
        "收盘, 收盘价, 收盤, 收盤價, 終値, 종가, chiusura, stängning, סגירה, close last | price, last, último, ultimo, zuletzt, "
        "letzter, dernier, "
        "цена, ostatnio, şimdi, kurs, preis, prix, precio, preço, settle, settlement, last price, value, wartość, wert, valor, valeur, "
        "rate, ltp, nav, 现价, 現在値, 最新价, senaste, שער, الأخير, lần cuối"
    ),
    "adj_close": (
        "adj close, adjusted close, adjclose, adjusted, close adjusted, adj closing price, fechamento ajustado, cierre ajustado, "
        "schluss adjustiert, clôture ajustée, 复权收盘价 | adj"
    ),
    "volume": (
        "volume, vol, total trade quantity, traded volume, no of shares, shares traded, volumen, umsatz, stücke, obj, объём, объем, "
        "wolumen, wol, hac, hacim, 成交量, 交易量, 出来高, 거래량, volym, נפח, الحجم, kl | quantity, qty, total traded quantity, turnover"
    ),
    "ticker": (
        "ticker, symbol, stock, code, ticker symbol, act symbol, stock symbol, stock code, instrument, secid, scrip, tckrsymb, tic, "
        "symbole, símbolo, papel, ativo, kürzel, тикер, sembol, 股票代码, 代码, 证券代码, 銘柄コード, 종목코드 | name, company, "
        "security, series, isin"
    ),
    "change": (
        "change, chg, var, ver, perubahan, änderung, variation, variación, изм, zmiana, fark, 涨跌幅, 前日比, 変化率, 변동, förändring"
    ),
}
PRICES = ("open", "high", "low", "close")
LABELS = {
    "date": "Date", "open": "Open", "high": "High", "low": "Low", "close": "Close",
    "adj_close": "Adj Close", "volume": "Volume", "ticker": "Ticker", "time": "Time",
}  # fmt: skip


@functools.cache
def bare(name: str) -> str:
    """A column's name as it is compared.

    >>> bare(" Último "), bare("1. open"), bare("Adj Close**"), bare("Close/Last"), bare("Vol.")
    ('ultimo', 'open', 'adj close', 'close last', 'vol')
    """
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(sign))
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", plain).replace("ı", "i")).strip()
    return re.sub(r"^\d+\s+(?=\D)", "", words)


@functools.cache
def _known() -> dict[str, tuple[str, bool]]:
    known: dict[str, tuple[str, bool]] = {}
    for meaning, names in MEANINGS.items():
        own, _, weaker = names.partition("|")
        for group, weak in ((own, False), (weaker, True)):
            known.update({bare(name): (meaning, weak) for name in group.split(",") if name.strip()})
    return known


def meaning(name: str, more: Mapping[str, list[str]] | None = None) -> tuple[str, bool] | None:
    """What a column is for by its name, and whether the name is a weak one; None when nobody knows.

    more  a person's own names by meaning

    >>> meaning("Último"), meaning("Schluss"), meaning("mavg")
    (('close', True), ('close', False), None)
    """
    plain = bare(name)
    for own, names in (more or {}).items():
        if plain in map(bare, names):
            return own, False
    return _known().get(plain)


def names() -> list[str]:
    """Every name that is known, as it is compared."""
    return list(_known())
