"""Portraits: what prices, texts and labelled texts look like, as the parts of a quality page. Pure; how it is drawn is for `drawing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longshort.validation import drawing, profiles
from longshort.validation.drawing import Scale, scale_of
from longshort.validation.markup import Cell, Part, amount, count, day, figure, inert, percent, plural, short, table, text, tiles
from longshort.validation.profiles import Coverage, Days, Floats, Labelled, Prices, Texts, as_date

MOST_PANELS = 12  # charts side by side
MOST_LISTED = 500  # tickers in a table
OUTSIDE = 0.005  # share of a price that rounding explains
SHOWN = 10  # gaps, moves, repeated lines

# --- prices -----------------------------------------------------------------------------------


def of_prices(prices: Prices, sessions: Days | None, account: dict[str, Any]) -> tuple[str, list[Part]]:
    """What is to be said of prices in one line, and the parts of their page."""
    held = profiles.coverage(prices, sessions) if prices.rows and sessions is not None and len(sessions) else None
    calendar = account.get("calendar") or {}
    facts = [("Rows", count(prices.rows + prices.unplaced)), ("Tickers", count(len(prices.tickers)))]
    if prices.rows:
        first, last = prices.when(prices.days.min()), prices.when(prices.days.max())
        facts += [("First", day(first)), ("Last", day(last))]
        verdict = f"{plural(len(prices.tickers), 'ticker')}, {plural(prices.rows, 'row')}, {day(first)} to {day(last)}"
    else:
        verdict = "No rows"
    if held is not None:
        facts.append(("Sessions present", percent(held.present.sum() / max(held.expected.sum(), 1))))
    if calendar:
        score = calendar.get("score")
        told = f" <small>score {percent(score, 2)}</small>" if isinstance(score, float | int) else ""
        facts.append(("Calendar", inert(calendar.get("name", "–")) + told))
    if not prices.rows:
        return verdict, [Part("glance", "At a glance", tiles(facts))]
    return verdict, [
        Part("glance", "At a glance", tiles(facts) + _look_first(prices, held)),
        Part("prices", "Price and volume" if len(prices.tickers) == 1 else "Prices", _price_charts(prices)),
        Part("calendar", "Calendar", _calendar(prices, held)),
        Part("returns", "Returns", _returns(prices)),
        Part("columns", "Columns", _columns(prices)),
        Part("tickers", "Tickers", _tickers(prices, held) if len(prices.tickers) > 1 else ""),
    ]


def _look_first(prices: Prices, held: Coverage | None) -> str:
    """The sentences that a person with little time should read, each with the way to its figures."""
    several = len(prices.tickers) > 1
    said = []
    if held is not None:
        lost, due = int(held.missing.sum()), int(held.expected.sum())
        gap = held.longest(1)
        if lost and len(gap):
            length, since = int(gap[0, 2] - gap[0, 1]) + 1, day(as_date(held.sessions[gap[0, 1]]))
            whose = f", {inert(prices.tickers[gap[0, 0]])}" if several else ""
            missing = f"{count(lost)} of {count(due)} sessions {'is' if lost == 1 else 'are'} missing"
            said.append(("calendar", f"{missing}; the longest gap is of {plural(length, 'session')}, from {since} on{whose}."))
        else:
            said.append(("calendar", "No session is missing."))
        if held.elsewhere:
            said.append(("calendar", f"{plural(held.elsewhere, 'row')} on days that are no session."))
    if len(top := prices.largest(1)):
        row = int(top[0])
        split = profiles.looks_like_split(float(prices.moves[row]))
        whose = f", {inert(prices.tickers[prices.owner[row]])}" if several else ""
        like = f" It has the size of a {split} split." if split else ""
        said.append(("returns", f"The largest move is {_move(prices.moves[row])} on {day(prices.when(prices.days[row]))}{whose}.{like}"))
    if stale := int(prices.stale.sum()):
        anchor, share = "tickers" if several else "returns", percent(stale / prices.rows)
        said.append((anchor, f"{plural(stale, 'close')} ({share}) {'repeats' if stale == 1 else 'repeat'} the one before."))
    if outside := _outside(prices):
        said.append(("prices", f"In {plural(outside, 'row')} the close lies outside low to high by more than {percent(OUTSIDE)}."))
    empty = [(name, int(np.isnan(values).sum())) for name, values in prices.columns.items()]
    wholly = [name for name, n in empty if n == prices.rows]
    partly = [f"{name} in {plural(n, 'row')}" for name, n in empty if 0 < n < prices.rows]
    if wholly:
        said.append(("columns", f"Not known at all: {', '.join(wholly)}."))
    if partly:
        said.append(("columns", f"Missing: {', '.join(partly)}."))
    if prices.unplaced:
        said.append(("columns", f"{plural(prices.unplaced, 'row')} without a ticker or a date, shown nowhere else."))
    return '<ul class="first">' + "".join(f'<li><a href="#{anchor}">{sentence}</a></li>' for anchor, sentence in said) + "</ul>"


def _outside(prices: Prices) -> int:
    """Rows whose close lies outside their own range, and not for rounding."""
    close, low, high = (prices.columns.get(name, np.full(prices.rows, np.nan)) for name in ("close", "low", "high"))
    return int(((close < low * (1 - OUTSIDE)) | (close > high * (1 + OUTSIDE))).sum())


def _move(log_return: float) -> str:
    return percent(float(np.expm1(log_return)), 1, signed=True)


def _time(prices: Prices) -> Scale:
    first, last = float(prices.days.min()), float(prices.days.max())
    return Scale(first, last) if last > first else Scale(first - 1, last + 1)


def _date_ticks(prices: Prices, most: int = 9) -> list[tuple[float, str]]:
    first, last = int(prices.days.min()), int(prices.days.max())
    found = drawing.time_ticks(first, last, most) if prices.intraday else drawing.date_ticks(as_date(first), as_date(last), most)
    return [(float(_time(prices).share(at)), name) for at, name in found]


def _price_charts(prices: Prices) -> str:
    several = len(prices.tickers) > 1
    if not several:
        return _price_chart(prices, 0, 260, 360) + _volume_chart(prices)
    chosen = list(range(len(prices.tickers)))
    lead = "Closes, the first → the last; every panel has its own scale. A dot is the ticker's largest move."
    if len(prices.tickers) > MOST_PANELS:
        seen = list(dict.fromkeys(prices.owner[prices.largest(prices.rows)].tolist()))
        chosen = sorted((seen + [k for k in chosen if k not in set(seen)])[:MOST_PANELS])
        lead = (
            f"The {MOST_PANELS} tickers with the largest moves of a day, where mistakes and splits would be; every panel has "
            "its own scale. A dot is the move."
        )
    panels = "".join(f"<figure>{_price_chart(prices, k, 100, 130, 3, 4)}{_panel_words(prices, k)}</figure>" for k in chosen)
    return f'<p class="lead">{lead}</p>\n<div class="panels">{panels}</div>'


def _panel_words(prices: Prices, k: int) -> str:
    close = prices.columns["close"][prices.starts[k] : prices.starts[k + 1]]
    known = close[np.isfinite(close)]
    ends = f"{amount(known[0])} → {amount(known[-1])}" if len(known) else "no close"
    return f"<figcaption><b>{inert(prices.tickers[k])}</b> {ends}</figcaption>"


def _price_chart(prices: Prices, k: int, height: int, points: int, y_most: int = 5, x_most: int = 9) -> str:
    """Close over time, with the range from low to high behind it where it is known, and dots at the largest moves."""
    own = slice(int(prices.starts[k]), int(prices.starts[k + 1]))
    columns = {name: values[own] for name, values in prices.columns.items()}
    time, days, close, moves = _time(prices), prices.days[own], columns["close"], np.nan_to_num(np.abs(prices.moves[own]))
    x = time.share(days)
    drawn = np.isfinite(close)
    reach = [columns[name] for name in ("low", "high", "close") if name in columns]
    low, high = columns.get("low", close * np.nan), columns.get("high", close * np.nan)
    y = scale_of(np.concatenate(reach), log=True)
    curves = []
    banded = np.isfinite(low) & np.isfinite(high) & (not y.log or (low > 0) & (high > 0))
    if points > 200 and banded.any():
        curves.append(_range_band(x[banded], y.share(low[banded]), y.share(high[banded]), points, height))
    at, value = x[drawn], y.share(close[drawn])
    kept = drawing.thin(at, value, points)
    far = _pauses(days[drawn], 31 * 86_400.0 if prices.intraday else 31.0)
    breaks = np.searchsorted(kept, far)
    curves.append(drawing.line(at[kept], value[kept], height, "line", breaks))
    rows = [int(n) for n in np.argsort(-moves, kind="stable")[: 3 if points > 200 else 1] if moves[n] > 0]
    marks = [
        drawing.dot(float(x[n]), float(y.share(close[n])), height, "dot", f"{prices.when(days[n])}: {_move(prices.moves[own][n])}")
        for n in reversed(rows)
    ]
    ticks = _date_ticks(prices, x_most)
    name = inert(prices.tickers[k])
    told = f"From {prices.when(days[0])} to {prices.when(days[-1])}, {plural(len(days), prices.step)}"
    key = ""
    if points > 200:
        behind = '<li class="range">low to high</li>' if banded.any() else ""
        key = f'<li class="close">close{", log axis" if y.log else ""}</li>{behind}<li class="dots">the largest moves</li>'
        key = f'<ul class="key">{key}</ul>'
    return key + drawing.chart(f"Close of {name}", told, height, curves, y, ticks, marks, y_ticks=y.ticks(y_most))


def _range_band(x: Floats, low: Floats, high: Floats, points: int, height: int) -> str:
    """The lowest low and the highest high of every stretch."""
    stretch = np.minimum((x * points).astype(np.int64), points - 1)
    heads = np.flatnonzero(np.diff(stretch, prepend=-1))
    return drawing.band(x[heads], np.minimum.reduceat(low, heads), np.maximum.reduceat(high, heads), height, "range")


def _pauses(days: profiles.Numbers, month: float) -> profiles.Numbers:
    """Rows before which a line is broken: more than a month after the one before, and six times the usual step."""
    steps = np.diff(days)
    return np.flatnonzero(steps > max(month, 6 * float(np.median(steps)))) + 1 if len(steps) else np.empty(0, np.int64)


def _volume_chart(prices: Prices) -> str:
    values = prices.columns.get("volume")
    if values is None or not np.isfinite(values).any():
        return '<p class="lead">No volume is known.</p>'
    known = np.isfinite(values)
    time, bars = _time(prices), min(240, prices.rows // 3 + 1)  # three rows and more, so that a holiday is no hole
    stretch = np.minimum((time.share(prices.days[known]) * bars).astype(np.int64), bars - 1)
    sums, rows = np.bincount(stretch, values[known], bars), np.bincount(stretch, minlength=bars)
    means = np.divide(sums, rows, out=np.zeros(bars), where=rows > 0)
    y = scale_of(means, from_zero=True)
    ticks = _date_ticks(prices)
    curves = [drawing.columns(np.linspace(0, 1, bars + 1), y.share(means), 70, "volume")]
    none = int((values[known] == 0).sum())
    idle = f"; {plural(none, prices.step)} without trade" if none else ""
    key = f'<ul class="key"><li class="vol">volume, mean of a stretch{idle}</li></ul>'
    return key + drawing.chart("Volume", f"Mean volume, up to {amount(float(means.max()))}", 70, curves, y, ticks, y_ticks=y.ticks(2))


# --- prices: calendar -------------------------------------------------------------------------


def _calendar(prices: Prices, held: Coverage | None) -> str:
    if held is None:
        return "<p>No calendar to hold these days against.</p>"
    lost = int(held.missing.sum())
    several = len(prices.tickers) > 1
    span = "each ticker's first day to its last" if several else "the first day to the last"
    lead = f"Sessions from {span}: {count(held.present.sum())} present, {count(lost)} missing."
    if held.elsewhere:
        lead += f" {plural(held.elsewhere, 'row')} on days that are no session."
    gaps = ""
    if len(longest := held.longest(SHOWN)):
        caption = f"The longest of {plural(len(held.gaps), 'gap')}" if len(held.gaps) > 1 else "The gap"
        head = [*([text("Ticker")] if several else []), text("From"), text("To"), figure("Sessions")]
        rows = []
        for ticker, start, stop in longest.tolist():
            cells = [text(day(as_date(held.sessions[start]))), text(day(as_date(held.sessions[stop]))), figure(count(stop - start + 1))]
            rows.append([*([text(inert(prices.tickers[ticker]))] if several else []), *cells])
        gaps = table(caption, head, rows, "gaps")
    return f'<p class="lead">{lead}</p>\n<div class="beside">{_months(held)}{gaps}</div>'


# the most that is missing, in a colour that a month then has
_HEAT = (
    (0.0, "c0", "all there"),
    (0.1, "c1", "up to 10 % missing"),
    (0.5, "c2", "up to half"),
    (1 - 1e-9, "c3", "more"),
    (1.0, "c4", "all missing"),
)
_ROW = 14  # pixels of a month


def _months(held: Coverage) -> str:
    """A column a year, a row a month; how dark is how much is missing."""
    months, expected, present = held.by_month()
    years = int(months[-1] // 12 - months[0] // 12) + 1
    first = int(months[0] // 12)
    whole, cells, used = [], [], {"c0"}
    thin = 0.12 if years <= 60 else 0.0  # of a column: the air between two
    for month, due, there in zip(months.tolist(), expected.tolist(), present.tolist(), strict=True):
        if not due:
            continue
        x, width, y = (month // 12 - first) / years, (1 - thin) / years, (month % 12) * _ROW
        lost = 1 - there / due
        css = next(css for most, css, _ in _HEAT if lost <= most)
        used.add(css)
        if css == "c0":
            left = round(x * drawing.WIDE)
            whole.append(f"M{left} {y * drawing.FINE}h{round(width * drawing.WIDE)}v{(_ROW - 2) * drawing.FINE}H{left}z")
        else:
            says = f"{month // 12 + 1970}-{month % 12 + 1:02}: {count(due - there)} of {count(due)} missing"
            cells.append(drawing.cell(x, width, y, _ROW - 2, css, says))
    every = next(step for step in (1, 2, 5, 10, 20, 50, 100) if years / step <= 10)
    ticks = [((n + (1 - thin) / 2) / years, str(first + n + 1970)) for n in range(years) if (first + n) % every == (-1970) % every]
    letters = {1 - (n + 0.5) / 12: name for n, name in ((0, "Jan"), (3, "Apr"), (6, "Jul"), (9, "Oct"))}
    told = f"{count(held.present.sum())} sessions present, {count(held.missing.sum())} missing, by month and year"
    drawn = drawing.chart(
        "Sessions present and missing",
        told,
        12 * _ROW,
        [f'<path class="c0" d="{"".join(whole)}"/>'] if whole else [],
        Scale(0, 1),
        ticks,
        cells,
        y_name=lambda share: letters[share],
        y_ticks=list(letters),
        grid=False,
    )
    key = "".join(f'<li class="{css}">{name}</li>' for _, css, name in _HEAT if css in used)
    return f'<div class="months" style="max-width:{max(years, 4) * 44 + 52}px"><ul class="key">{key}</ul>{drawn}</div>'


# --- prices: returns --------------------------------------------------------------------------


def _returns(prices: Prices) -> str:
    moves = prices.moves[np.isfinite(prices.moves)]
    if not len(moves):
        return "<p>There are no two closes in a row.</p>"
    found = profiles.moments(moves)
    facts = [
        ("Log returns", count(found.count)),
        ("Mean", f"{percent(found.mean, 3, signed=True)}"),
        ("Standard deviation", percent(found.deviation, 2)),
        ("Skew", _signed(found.skew)),
        ("Excess kurtosis", _signed(found.kurtosis)),
        ("Unchanged closes", f"{count(prices.stale.sum())}"),
    ]
    several = len(prices.tickers) > 1
    rows = []
    for n in prices.largest(SHOWN).tolist():
        before, after = prices.columns["close"][n - 1], prices.columns["close"][n]
        split = profiles.looks_like_split(float(prices.moves[n]))
        size = _move(prices.moves[n]) + (f' <span class="hint">like a {split} split</span>' if split else "")
        whose = [text(inert(prices.tickers[prices.owner[n]]))] if several else []
        rows.append([text(day(prices.when(prices.days[n]))), *whose, figure(size), figure(f"{amount(before)} → {amount(after)}")])
    head = [text("Date"), *([text("Ticker")] if several else []), figure("Move"), figure("Close")]
    largest = table("The largest moves", head, rows, "moves") if rows else ""
    return f'{tiles(facts)}\n<div class="beside">{_histogram(moves, found, prices)}{largest}</div>'


def _signed(value: float) -> str:
    return "–" if value != value else f"{value:+.2f}".replace("-", "−")


def _histogram(moves: Floats, found: profiles.Moments, prices: Prices) -> str:
    """Log returns from row to row on a log axis, where a normal curve is a parabola and heavy tails stand out."""
    quarter, three = np.percentile(moves, (25, 75))
    widest = float(np.abs(moves).max())
    reach = min(widest, 10 * (float(three - quarter) / 1.349 or found.deviation)) or 0.01
    edges = np.linspace(-reach, reach, min(61, 2 * int(np.sqrt(len(moves)) / 1.5) + 5) + 1)
    counts = np.histogram(np.clip(moves, -reach, reach), edges)[0]
    x, y = Scale(-reach, reach), Scale(0.6, max(float(counts.max()) * 1.6, 8.0), log=True)
    curves = [drawing.columns(x.share(edges), y.share(np.maximum(counts, 0.6)), 220, "part")]
    if found.deviation > 0:
        grid = np.linspace(-reach, reach, 241)
        normal = (
            len(moves)
            * (edges[1] - edges[0])
            / (found.deviation * np.sqrt(2 * np.pi))
            * np.exp(-(((grid - found.mean) / found.deviation) ** 2) / 2)
        )
        seen = (normal >= y.low) & (normal <= y.high)
        curves.append(drawing.line(x.share(grid[seen]), y.share(normal[seen]), 220, "normal"))
    beyond = int((np.abs(moves) > reach).sum())
    outer = f"; {plural(beyond, 'return')} beyond ±{percent(reach)} in the outer bars" if beyond else ""
    levels = x.ticks(4)
    digits = 0 if all(abs(100 * t - round(100 * t)) < 1e-6 for t in levels) else 1 if reach > 0.002 else 3
    ticks = [(float(x.share(t)), percent(t, digits, signed=True) if abs(t) > 1e-12 else "0") for t in levels]
    key = f'<li class="bars">{prices.step}s, log axis{outer}</li><li class="curve">a normal distribution of that mean and deviation</li>'
    name = "log return" if prices.intraday else "daily log return"
    told = f"{plural(len(moves), name)}, standard deviation {percent(found.deviation, 2)}"
    powers = [10.0**n for n in range(0, 9) if 10.0**n <= y.high]
    drawn = drawing.chart(f"{name.capitalize()}s", told, 220, curves, y, ticks, y_ticks=powers)
    return f'<div class="grow"><ul class="key">{key}</ul>{drawn}</div>'


# --- prices: tables ---------------------------------------------------------------------------


def _columns(prices: Prices) -> str:
    rows: list[Sequence[Cell]] = []
    for name, values in prices.columns.items():
        known = values[np.isfinite(values)]
        facts = [float(known.min()), float(np.median(known)), float(known.max())] if len(known) else [float("nan")] * 3
        missing, shown = int(np.isnan(values).sum()), short if name == "volume" else amount
        filled = drawing.share_bar(1 - missing / prices.rows)
        rows.append((text(name), ("bars", filled), figure(count(missing)), *(figure(shown(value)) for value in facts)))
    head = (text("Column"), ("bars", "Known"), figure("Missing"), figure("Lowest"), figure("Median"), figure("Highest"))
    return table("What is known, and within which bounds", head, rows, "columns")


def _tickers(prices: Prices, held: Coverage | None) -> str:
    close = prices.columns["close"]
    finite = np.where(np.isfinite(close), close, np.nan)
    lowest, highest = prices.per_ticker(np.fmin, finite), prices.per_ticker(np.fmax, finite)
    stale = prices.per_ticker(np.add, prices.stale.astype(np.int64))
    size = np.nan_to_num(np.abs(prices.moves))
    time = _time(prices)
    rows: list[Sequence[Cell]] = []
    for k, name in enumerate(prices.tickers[:MOST_LISTED]):
        start, stop = int(prices.starts[k]), int(prices.starts[k + 1])
        top = start + int(size[start:stop].argmax())
        largest = f"{_move(prices.moves[top])} {day(prices.when(prices.days[top]))}" if size[top] else "–"
        known = np.flatnonzero(np.isfinite(close[start:stop])) + start
        y = scale_of(close[known], log=True)
        x, shares = time.share(prices.days[known]), y.share(close[known])
        kept = drawing.thin(x, shares, 11)
        rows.append(
            (
                text(inert(name)),
                text(drawing.spark(x[kept], shares[kept])),
                figure(count(stop - start)),
                figure(count(held.missing[k]) if held is not None else "–"),
                figure(amount(float(lowest[k]))),
                figure(amount(float(highest[k]))),
                figure(amount(float(close[known[-1]])) if len(known) else "–"),
                figure(largest),
                figure(count(stale[k])),
            )
        )
    names = ("Rows", "Missing", "Lowest", "Highest", "Last", "Largest move", "Stale")
    more = f" The first {MOST_LISTED} of them by name." if len(prices.tickers) > MOST_LISTED else ""
    caption = f"{plural(len(prices.tickers), 'ticker')}, by close. Stale are rows whose close repeats the one before.{more}"
    return table(caption, (text("Ticker"), text("Close"), *map(figure, names)), rows, "tickers")


# --- text -------------------------------------------------------------------------------------

_LEAST = (1, 2, 3, 5, 10, 20, 50, 100)


def of_texts(texts: Texts) -> tuple[str, list[Part]]:
    """What is to be said of a corpus in one line, and the parts of its page."""
    documents, total = len(texts.names), texts.total
    once = int((texts.counts == 1).sum())
    repeats = sum(texts.repeated.values()) - len(texts.repeated)
    facts = [
        ("Documents", count(documents)),
        ("Lines", count(texts.lines)),
        ("Words", count(total)),
        ("Different words", count(len(texts.words))),
        ("Characters", count(texts.characters)),
    ]
    verdict = f"{plural(documents, 'document')}, {plural(total, 'word')}"
    said = []
    if total:
        share, known = texts.unknown(3)
        said.append(("unknown", f"{percent(once / len(texts.words))} of the different words occur once."))
        said.append(("unknown", f"With the {count(known)} words that occur 3 times or more, {percent(share)} of the text is unknown."))
    if repeats:
        said.append(("lines", f"{plural(repeats, 'line')} ({percent(repeats / len(texts.per_line))}) repeat an earlier one."))
    if blank := int((texts.per_document == 0).sum()):
        said.append(("lengths", f"{plural(blank, 'document')} without a word."))
    first = '<ul class="first">' + "".join(f'<li><a href="#{anchor}">{sentence}</a></li>' for anchor, sentence in said) + "</ul>"
    return verdict, [
        Part("glance", "At a glance", tiles(facts) + (first if said else "")),
        Part("words", "Words", _words(texts) if total else ""),
        Part("lengths", "Lengths", _lengths(texts) if documents else ""),
        Part("lines", "Repeated lines", _repeated(texts, repeats)),
    ]


def _words(texts: Texts) -> str:
    top = list(texts.words.items())[:30]
    most = top[0][1]
    rows = [
        (text(inert(word, 30)), ("bars", drawing.share_bar(n / most)), figure(count(n)), figure(percent(n / texts.total)))
        for word, n in top
    ]
    caption = f"The {len(top)} most frequent"
    listed = table(caption, (text("Word"), ("bars", "To scale"), figure("Count"), figure("Share")), rows, "words")
    ranks = np.unique(np.geomspace(1, len(texts.counts), 160).astype(np.int64))
    x = Scale(1, max(float(ranks[-1]), 2.0), log=True)
    y = Scale(0.8, most * 1.4, log=True)
    fair = most / ranks
    curves = [
        drawing.line(x.share(ranks), np.maximum(y.share(fair), 0), 300, "normal"),
        drawing.line(x.share(ranks), y.share(texts.counts[ranks - 1]), 300, "line"),
    ]
    ticks = [(float(x.share(10.0**n)), short(10.0**n)) for n in range(10) if 10.0**n <= x.high]
    powers = [10.0**n for n in range(10) if 10.0**n <= y.high]
    told = f"{plural(len(texts.words), 'different word')}; the most frequent occurs {plural(most, 'time')}"
    key = '<ul class="key"><li class="close">count by rank, both axes logarithmic</li><li class="curve">Zipf: 1 / rank</li></ul>'
    drawn = drawing.chart("Count of words by rank", told, 300, curves, y, ticks, y_ticks=powers)
    lead = (
        "Words here are runs of letters and digits in lower case, as the rules count them. A network also reads punctuation, and one "
        "sign for all numbers and one for all addresses, so its counts are a little different."
    )
    return f'<p class="lead">{lead}</p>\n<div class="beside">{listed}<div class="grow">{key}{drawn}\n{_unknown(texts)}</div></div>'


def _unknown(texts: Texts) -> str:
    least = np.arange(1, 101)
    shares = np.array([texts.unknown(int(n))[0] for n in least])
    x, y = Scale(1, 100, log=True), scale_of(shares, from_zero=True)
    ticks = [(float(x.share(n)), str(n)) for n in _LEAST]
    told = f"From 0 % at 1 to {percent(float(shares[-1]))} at 100 occurrences"
    key = '<ul class="key"><li class="close">share of the text that is [UNK], by the count from which on a word is known</li></ul>'
    drawn = drawing.chart(
        "Unknown words", told, 200, [drawing.line(x.share(least), y.share(shares), 200, "line")], y, ticks, y_name=lambda s: percent(s, 0)
    )
    rows = [(text(str(n)), figure(percent(share)), figure(count(known))) for n in _LEAST for share, known in [texts.unknown(n)]]
    listed = table("Words known from so many occurrences on", (text("From"), figure("Unknown"), figure("Words known")), rows, "unknown")
    return f'<h3 id="unknown">Unknown words</h3>\n{key}{drawn}\n{listed}'


def _lengths(texts: Texts) -> str:
    longest = int(texts.per_document.argmax())
    lead = (
        f"A document has {count(np.median(texts.per_document))} words in the median, {count(texts.per_document.max())} at most "
        f"({inert(texts.names[longest], 60)})"
    )
    if len(texts.per_line):
        lead += f"; a line that is not blank {count(np.median(texts.per_line))} and {count(texts.per_line.max())}"
    drawn = _length_chart("Documents", "documents", texts.per_document) + _length_chart("Lines", "lines", texts.per_line)
    return f'<p class="lead">{lead}.</p>\n<div class="panels two">{drawn}</div>'


def _length_chart(title: str, what: str, lengths: profiles.Numbers) -> str:
    """How many are how long, in words; bars grow wider as lengths do."""
    known = lengths[lengths > 0]
    if not len(known):
        return ""
    edges = np.unique(np.rint(np.geomspace(1, known.max() + 1, 28)).astype(np.int64)) - 0.5
    counts = np.histogram(known, edges)[0]
    x, y = Scale(float(edges[0]), float(edges[-1]), log=True), scale_of(counts.astype(np.float64), from_zero=True)
    ticks = [(float(x.share(t)), short(t)) for t in x.ticks(5) if t >= 1 and t == int(t)]
    curves = [drawing.columns(x.share(edges), y.share(counts), 130, "part")]
    told = f"{plural(len(known), what[:-1])} of 1 word and more"
    drawn = drawing.chart(f"{title} by length", told, 130, curves, y, ticks, y_ticks=y.ticks(3))
    return f'<figure><ul class="key"><li class="bars">{what}, by their words, log axis</li></ul>{drawn}</figure>'


def _repeated(texts: Texts, repeats: int) -> str:
    if not repeats:
        return "<p>No line occurs twice.</p>" if texts.lines else ""
    rows = [(text(inert(row, 120)), figure(count(n))) for row, n in list(texts.repeated.items())[:SHOWN]]
    caption = f"{plural(len(texts.repeated), 'line')} found more than once, {plural(repeats, 'repeat')} in all; the most frequent"
    return table(caption, (text("Line"), figure("Times")), rows, "changes")


# --- labelled text ----------------------------------------------------------------------------

MOST_LABELS = 100  # in a table


def of_labelled(found: Labelled) -> tuple[str, list[Part]]:
    """What is to be said of labelled texts, tagged words, pairs or captions in one line, and the parts of their page."""
    first, *others = found.sides.items()
    facts = [("Rows", count(found.rows))]
    facts += [("Labels", count(len(found.labels)))] if found.labels else []
    facts += [("Different tags", count(len(found.tags)))] if found.tags else []
    facts += [("Numbers of a row", count(len(found.numbers)))] if found.numbers else []
    for name, side in found.sides.items():
        whose = f" of {name}s" if others or found.numbers else ""
        facts += [(f"Words{whose}", count(side.total)), (f"Different words{whose}", count(len(side.words)))]
    shown = f", {plural(len(found.labels), 'label')}" if found.labels else ""
    verdict = f"{plural(found.rows, 'pair' if others else 'row')}{shown}"
    said = _labelled_first(found)
    listed = '<ul class="first">' + "".join(f'<li><a href="#{anchor}">{sentence}</a></li>' for anchor, sentence in said) + "</ul>"
    lengths = "".join(_length_chart(f"{name.capitalize()}s", f"{name}s", side.per_document) for name, side in found.sides.items())
    return verdict, [
        Part("glance", "At a glance", tiles(facts) + (listed if said else "")),
        Part("labels", "Labels", _labels(found) if found.labels else ""),
        Part("tags", "Tags", _bars("Tag", "tag", found.tags) if found.tags else ""),
        Part("parts", "Parts", _parts(found)),
        Part("numbers", "Numbers", _numbers(found) if found.numbers else ""),
        Part("words", "Words", _words(first[1]) if first[1].total else ""),
        Part("lengths", "Lengths", f'<div class="panels two">{lengths}</div>' if lengths else ""),
        Part("repeats", "Repeats", _repeats(found)),
    ]


def _labelled_first(found: Labelled) -> list[tuple[str, str]]:
    """The sentences that a person with little time should read, each with the way to its figures."""
    said = []
    if found.labels:
        totals = [sum(own.values()) for own in found.labels.values()]
        top = inert(next(iter(found.labels)), 40)
        said.append(("labels", f"{percent(totals[0] / found.rows)} of the rows are {top}: who always says so is right as often."))
    side = next(iter(found.sides.values()))
    if side.total:
        share, known = side.unknown(2)
        said.append(("unknown", f"With the {count(known)} words that occur twice or more, {percent(share)} of the words are unknown."))
    again = sum(found.repeated.values()) - len(found.repeated)
    if again:
        said.append(("repeats", f"{plural(again, 'row')} ({percent(again / found.rows)}) repeat the {found.told_by} of an earlier one."))
    if found.contradicted:
        said.append(("repeats", f"{plural(len(found.contradicted), 'text')} with more than one label: is one a mistake?"))
    for earlier, part, rows in found.across:
        if rows:
            said.append(
                (
                    "parts",
                    f"{plural(rows, 'row')} of {part} with a {found.told_by} of {earlier}: it is dropped from {earlier}, not from {part}.",
                )
            )
    return said


def _bars(head: str, what: str, counts: dict[str, int], by_part: dict[str, dict[str, int]] | None = None, note: str = "") -> str:
    """Names and how often each stands, the most frequent first, as bars; ``by_part`` adds a column a part."""
    most, total = max(counts.values()), sum(counts.values())
    named = list(next(iter(by_part.values()))) if by_part else []
    rows = [
        (
            text(inert(name, 60)),
            ("bars", drawing.share_bar(n / most)),
            figure(count(n)),
            figure(percent(n / total)),
            *(figure(count(by_part[name][part])) for part in named if by_part),
        )
        for name, n in list(counts.items())[:MOST_LABELS]
    ]
    more = f"; the {MOST_LABELS} most frequent" if len(counts) > MOST_LABELS else ""
    top = (text(head), ("bars", "To scale"), figure("Count"), figure("Share"), *map(figure, named))
    return table(f"{plural(len(counts), what)}{more}{note}", top, rows, "labels" if named else "labels short")


def _labels(found: Labelled) -> str:
    totals = {label: sum(own.values()) for label, own in found.labels.items()}
    named = [part for part in found.parts if part]
    if not named:
        return _bars("Label", "label", totals)
    missing = sum(not own.get("train", 0) for own in found.labels.values())
    unseen = f". {plural(missing, 'label')} never in train: no model can learn what it never sees" if missing else ""
    return _bars("Label", "label", totals, {label: {part: own[part] for part in named} for label, own in found.labels.items()}, unseen)


def _parts(found: Labelled) -> str:
    named = {part: rows for part, rows in found.parts.items() if part}
    if not named:
        return "<p>Neither files nor folders say a part: the windows are cut by a shuffle that keeps rows of one text together.</p>"
    sizes = _bars("Part", "part", named)
    if not found.across:
        return sizes
    rows = [(text(f"{part} in {earlier}"), figure(count(n)), figure(percent(n / named[part], 2))) for earlier, part, n in found.across]
    return sizes + table(
        f"Rows whose {found.told_by} stands in an earlier part too", (text("Part"), figure("Rows"), figure("Share")), rows, "changes"
    )


def _numbers(found: Labelled) -> str:
    still = [name for name, (low, high, *_) in found.numbers.items() if not low < high]
    rows = [(text(inert(name, 40)), *(figure(f"{value:.4g}") for value in own)) for name, own in list(found.numbers.items())[:MOST_LABELS]]
    more = f"; the first {MOST_LABELS}" if len(found.numbers) > MOST_LABELS else ""
    never = f". {plural(len(still), 'column')} never moving: they tell a network nothing" if still else ""
    top = (text("Column"), *map(figure, ("Lowest", "Highest", "Mean", "Deviation")))
    return table(f"{plural(len(found.numbers), 'column')} of numbers{more}{never}", top, rows, "changes")


def _repeats(found: Labelled) -> str:
    tables, what = [], found.told_by
    if found.repeated:
        rows = [(text(inert(one, 120)), figure(count(n))) for one, n in list(found.repeated.items())[:SHOWN]]
        again = sum(found.repeated.values()) - len(found.repeated)
        caption = f"{plural(len(found.repeated), what)} in more than one row, {plural(again, 'repeat')} in all; the most frequent"
        tables.append(table(caption, (text(what.capitalize()), figure("Rows")), rows, "changes"))
    if found.contradicted:
        contrary = [
            (text(inert(one, 120)), text(", ".join(f"{inert(label, 40)} ({count(n)})" for label, n in labels.items())))
            for one, labels in list(found.contradicted.items())[:SHOWN]
        ]
        caption = f"{plural(len(found.contradicted), 'text')} with more than one label; the first"
        tables.append(table(caption, (text("Text"), text("Labels")), contrary, "changes"))
    return "\n".join(tables) or f"<p>No {what} stands in two rows.</p>"
