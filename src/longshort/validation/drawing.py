"""Drawing: numbers become inline SVG.

Lettering keeps its size on every screen, which scaled pictures do not: a chart is as wide as its place, x is
said in per cent there, and only the curves lie in a frame that stretches, with strokes that do not. Colours
are classes of quality.css, so they follow the reader's light or dark.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from longshort.validation.markup import short

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

WIDE = 2000  # units of the stretched frame, from left to right
FINE = 4  # units to a pixel, from top to bottom
_TOP, _FOOT = 8, 22  # pixels above the highest line of the grid, and below the lowest for the letters of the x axis
_MINUTES = (1, 5, 15, 60, 180, 360, 720, 1440, 2880, 10080)  # from tick to tick, up to a week


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` become shares from 0 to 1, in proportion or by their logarithms."""

    low: float
    high: float
    log: bool = False

    def share(self, values: Any) -> Floats:
        """Where values stand; below 0 and above 1 where they lie outside."""
        low, high, found = np.float64(self.low), np.float64(self.high), np.asarray(values, np.float64)
        with np.errstate(all="ignore"):
            if self.log:
                low, high, found = np.log(low), np.log(high), np.log(found)
            return np.asarray((found - low) / (high - low))

    def ticks(self, most: int = 5) -> list[float]:
        """Round values within the scale, lowest first."""
        if self.log and self.high / self.low >= 8:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**power for power in decades for step in steps if self.low <= step * 10.0**power <= self.high]
                if len(found) <= most + 1:
                    return found
            return found[:: math.ceil(len(found) / most)]
        span = self.high - self.low
        rough = 10.0 ** math.floor(math.log10(span / most)) / 2
        step = next(rough * n for n in (1, 2, 4, 5, 10, 20, 40, 50, 100) if span / (rough * n) <= most + 1)  # of 0.5, 1, 2, 2.5, 5 …
        return [step * n for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def scale_of(values: Floats, log: bool = False, from_zero: bool = False) -> Scale:
    """A scale that holds all values with a little air; ``log`` where all are above 0 and they span a factor of 4."""
    known = values[np.isfinite(values)]
    if not len(known):
        return Scale(0.0, 1.0)
    low, high = float(known.min()), float(known.max())
    if log and low > 0 and high / low >= 4:
        air = (high / low) ** 0.04
        return Scale(low / air, high * air, log=True)
    if from_zero:
        return Scale(0.0, high * 1.05 or 1.0)
    air = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return Scale(low - air, high + air)


def date_ticks(first: date, last: date, most: int = 9) -> list[tuple[int, str]]:
    """Beginnings of years or months from ``first`` to ``last``, as days since 1970 and their names, oldest first."""
    months = (last.year - first.year) * 12 + last.month - first.month
    step = next((n for n in (1, 2, 3, 6, 12, 24, 60, 120, 240) if months / n <= most), 600)
    start = first.year * 12 + first.month - 1
    begin = -(-start // step) * step
    found = []
    for month in range(begin, last.year * 12 + last.month, step):
        if month // 12 < 1:
            continue
        day = date(month // 12, month % 12 + 1, 1)
        if first <= day <= last:
            found.append((_number(day), str(day.year) if step >= 12 else f"{day.year}-{day.month:02}"))
    return found or [(_number(first), first.isoformat())]


def time_ticks(first: int, last: int, most: int = 9) -> list[tuple[int, str]]:
    """As `date_ticks`, of seconds since 1970: whole minutes, hours, days or months, by how far it is.

    >>> time_ticks(1_388_534_400, 1_388_544_000, most=3)
    [(1388534400, '01-01 00:00'), (1388538000, '01-01 01:00'), (1388541600, '01-01 02:00')]
    """
    fitting = (minutes * 60 for minutes in _MINUTES if (last - first) / (minutes * 60) <= most)
    if (step := next(fitting, None)) is None:
        days = [datetime.fromtimestamp(second, UTC).date() for second in (first, last)]
        return [(at * 86_400, name) for at, name in date_ticks(days[0], days[1], most) if at * 86_400 >= first]
    form = "%Y-%m-%d" if step >= 86_400 else "%m-%d %H:%M"
    return [(at, datetime.fromtimestamp(at, UTC).strftime(form)) for at in range(-(-first // step) * step, last + 1, step)]


def _number(day: date) -> int:
    return day.toordinal() - date(1970, 1, 1).toordinal()


# --- fewer points -----------------------------------------------------------------------------


def thin(x: Floats, y: Floats, most: int) -> Numbers:
    """Which points to draw so that none of the line's peaks is lost: of every stretch of x the lowest and the highest.

    x        rising, from 0 to 1; y is finite
    returns  indices, rising; 2 × ``most`` and the ends at most
    """
    if len(x) <= 2 * most:
        return np.arange(len(x))
    stretch = np.minimum((x * most).astype(np.int64), most - 1)
    bounds = np.flatnonzero(np.diff(stretch, prepend=-1, append=most))
    kept = {0, len(x) - 1}
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = y[start:stop]
        kept |= {start + int(part.argmin()), start + int(part.argmax())}
    return np.array(sorted(kept), np.int64)


# --- curves, in the stretched frame -----------------------------------------------------------


def line(x: Floats, y: Floats, height: int, css: str, breaks: Numbers | None = None) -> str:
    """A curve through points given as shares of the frame, y upwards.

    breaks  indices of points that begin a new stroke
    """
    across, down = _units(x, y, height)
    lifted = {0, *(breaks.tolist() if breaks is not None else ())}
    steps, last = [], (0, 0)
    for n, here in enumerate(zip(across, down, strict=True)):
        steps.append(f"M{here[0]} {here[1]}" if n in lifted else f"l{here[0] - last[0]} {here[1] - last[1]}")
        if n in lifted and (n + 1 in lifted or n + 1 == len(across)):
            steps.append("h0")  # a lone point: a stroke of no length shows as a dot
        last = here
    return f'<path class="{css}" d="{"".join(steps).replace(" -", "-")}"/>' if steps else ""


def band(x: Floats, low: Floats, high: Floats, height: int, css: str) -> str:
    """The area between two curves."""
    across, bottom = _units(x, low, height)
    _, top = _units(x, high, height)
    if not across:
        return ""
    points = [*zip(across, top, strict=True), *reversed(list(zip(across, bottom, strict=True)))]
    steps = [f"M{points[0][0]} {points[0][1]}"]
    steps += [f"l{b[0] - a[0]} {b[1] - a[1]}" for a, b in itertools.pairwise(points)]
    return f'<path class="{css}" d="{"".join(steps).replace(" -", "-")}z"/>'


def columns(edges: Floats, tops: Floats, height: int, css: str) -> str:
    """Bars that stand side by side on the bottom: ``edges`` are one more than ``tops``; all are shares of the frame."""
    across, _ = _units(edges, edges, height)
    _, down = _units(edges[:-1], np.nan_to_num(np.clip(tops, 0, 1)), height)
    floor = height * FINE
    steps = [f"M{a} {floor}V{y}H{b}V{floor}z" for (a, b), y in zip(itertools.pairwise(across), down, strict=True) if y < floor]
    return f'<path class="{css}" d="{"".join(steps)}"/>' if steps else ""


def _units(x: Floats, y: Floats, height: int) -> tuple[list[int], list[int]]:
    return np.rint(x * WIDE).astype(np.int64).tolist(), np.rint((1 - y) * height * FINE).astype(np.int64).tolist()


# --- charts -----------------------------------------------------------------------------------


def chart(
    title: str,
    description: str,
    height: int,
    curves: Sequence[str],
    y: Scale,
    x_ticks: Sequence[tuple[float, str]],
    marks: Sequence[str] = (),
    y_name: Callable[[float], str] = short,
    y_ticks: Sequence[float] | None = None,
    grid: bool = True,
) -> str:
    """A figure with two axes.

    height   in pixels, of the frame within the axes
    curves   of `line`, `band` and `columns`, made for that height
    x_ticks  (share of the width, letters); every other one is left out on a phone when there are many
    marks    what keeps its shape, of `dot` and `cell`
    """
    ticks = list(zip(y.share(found := y.ticks() if y_ticks is None else y_ticks).tolist(), found, strict=True))
    levels = [(_TOP + (1 - share) * height, value) for share, value in ticks]
    rules = "".join(f'<line class="grid" x2="100%" y1="{_px(at)}" y2="{_px(at)}"/>' for at, _ in levels if grid)
    crowded = len(x_ticks) > 5
    letters = "".join(
        f'<text class="x{" o" if crowded and n % 2 else ""}" x="{_at(share)}" y="{_TOP + height + 17}"{_anchor(share)}>{name}</text>'
        for n, (share, name) in enumerate(x_ticks)
    )
    stems = "".join(f'<line class="stem" x1="{_at(s)}" x2="{_at(s)}" y1="{_TOP + height}" y2="{_TOP + height + 4}"/>' for s, _ in x_ticks)
    whole = _TOP + height + (_FOOT if x_ticks else 4)
    side = "".join(f'<text x="46" y="{_px(at + 4)}">{y_name(value)}</text>' for at, value in levels)
    return (
        f'<div class="chart"><svg class="axis" width="52" height="{whole}" aria-hidden="true">{side}</svg>'
        f'<svg class="plot" role="img" width="100%" height="{whole}"><title>{title}</title><desc>{description}</desc>'
        f"{rules}{frame(curves, height)}{stems}{letters}{''.join(marks)}</svg></div>"
    )


def frame(curves: Sequence[str], height: int) -> str:
    """The part of a chart that stretches with its width."""
    box = f'viewBox="0 0 {WIDE} {height * FINE}" preserveAspectRatio="none"'
    return f'<svg y="{_TOP}" width="100%" height="{height}" {box}>{"".join(curves)}</svg>'


def dot(x: float, y: float, height: int, css: str, says: str) -> str:
    """A point at shares of the frame, and what is said of it when pointed at."""
    return f'<circle class="{css}" cx="{_at(x)}" cy="{_px(_TOP + (1 - y) * height)}" r="3.5"><title>{says}</title></circle>'


def cell(x: float, width: float, top: float, height: float, css: str, says: str) -> str:
    """A field of a table in colours, and what is said of it; ``top`` and ``height`` in pixels of the frame."""
    where = f'x="{_at(x)}" y="{_px(_TOP + top)}" width="{_at(width)}" height="{_px(height)}"'
    return f'<rect class="{css}" {where}><title>{says}</title></rect>'


def bar(shares: Sequence[tuple[float, str]], height: int, title: str, description: str) -> str:
    """A whole and its parts, side by side; a part that is not nothing is seen, however small."""
    seen = [(max(share, 0.004) if share > 0 else 0.0, css) for share, css in shares]
    total = sum(share for share, _ in seen) or 1.0
    parts, at = [], 0.0
    for share, css in seen:
        if share:
            parts.append(f'<rect class="{css}" x="{_at(at / total)}" width="{_at(share / total)}" height="{height}"/>')
        at += share
    return (
        f'<svg class="bar" role="img" width="100%" height="{height}"><title>{title}</title><desc>{description}</desc>{"".join(parts)}</svg>'
    )


def share_bar(share: float, css: str = "part") -> str:
    """A share as a bar in a cell, beside its figure."""
    return f'<svg class="cellbar" width="100%" height="9" aria-hidden="true"><rect class="{css}" width="{_at(share)}" height="9"/></svg>'


def spark(x: Floats, y: Floats) -> str:
    """A curve the size of a word."""
    across, down = np.rint(x * 90).astype(int).tolist(), np.rint((1 - y) * 18 + 1).astype(int).tolist()
    steps = [f"M{across[0]} {down[0]}"] if across else []
    steps += [f"l{b[0] - a[0]} {b[1] - a[1]}" for a, b in itertools.pairwise(zip(across, down, strict=True))]
    return f'<svg class="s" viewBox="0 0 90 20" aria-hidden="true"><path d="{"".join(steps).replace(" -", "-")}"/></svg>'


def _anchor(share: float) -> str:
    """Letters at the right edge end there; those at the left have the room of the other axis."""
    return "" if share <= 0.97 else ' style="text-anchor:end"'


def _at(share: float) -> str:
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
