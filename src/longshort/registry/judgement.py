"""Judgement: whether a challenger replaces the champion, in words with the numbers. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from longshort.evaluation.contest import Contender, Contest

LEAST_VARIATION = 1e-4  # of an answer, as a share of that of what came; float32 makes a constant vary by a hundredth of it


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger becomes champion, and why, in words with the numbers; of which windows, by their sha256."""

    promote: bool
    reason: str
    windows_sha256: str = ""


def judge(measured: Contest, min_gain: float, min_windows: int, significance: float | None) -> Verdict:
    """Decide whether the challenger replaces the champion.

    min_gain      the relative improvement asked for: 0.02 means an error at least 2 % lower than the champion's
    min_windows   how many windows must lie behind all that either model learned from
    significance  how probable it may be, at most, that a lead over naive or the champion is chance; None: it is not asked

    >>> from longshort.evaluation.contest import Contender, Contest, Mark
    >>> one = Contender(15.1, "ab", 0.05, Mark(1, "2007-12-13"), Mark(3, "2008-10-14"))
    >>> judge(Contest("RMSE", one, None, 15.02, "last value", 209, Mark(2, "2007-12-17"), "ab", 0.2, None), 0.0, 30, 0.05).reason
    'kept out: RMSE 15.1, naive 15.02'
    """
    why = _refusal(measured, min_gain, min_windows, significance)
    return Verdict(why is None, f"kept out: {why}" if why else f"promoted: {_lead(measured)}", measured.windows_sha256)


def _refusal(measured: Contest, min_gain: float, min_windows: int, significance: float | None) -> str | None:
    """The first thing that stands against the challenger, or None."""
    challenger, champion, naive = measured.challenger, measured.champion, measured.naive
    contenders = {"challenger": challenger} | ({"champion": champion} if champion else {})
    if measured.count < min_windows:
        return f"not enough to judge by: {measured.count} unseen, asked {min_windows} (`registry.min_windows`){_behind(contenders)}"
    if why := _unfair(measured, contenders):
        return why
    if not math.isfinite(challenger.error):
        return f"{measured.measure} is {challenger.error}, the run diverged"
    if not math.isfinite(naive) or (champion is not None and not math.isfinite(champion.error)):
        return f"naive {naive:.4g} and champion {champion and champion.error} cannot be compared with"
    if not challenger.variation >= LEAST_VARIATION:
        return f"a constant forecast: it varies by {challenger.variation:.2g} of what came, asked {LEAST_VARIATION:.2g}"
    if champion and challenger.cut_off and champion.cut_off and challenger.cut_off.rank < champion.cut_off.rank:
        return f"its data end at {challenger.cut_off.name}, the champion's at {champion.cut_off.name}"
    said = f"{measured.measure} {challenger.error:.4g}"
    if challenger.error >= naive:
        return f"{said}, naive {naive:.4g}"
    if why := _chance(measured.p_naive, significance):
        return f"{said}, naive {naive:.4g}, which may be {why}"
    if champion is None:
        return None
    needed = champion.error * (1 - min_gain)
    if challenger.error >= needed:
        return f"{said}, champion {champion.error:.4g}, needed below {needed:.4g}"
    if why := _chance(measured.p_champion, significance):
        return f"{said}, champion {champion.error:.4g}, which may be {why}"
    return None


def _behind(contenders: dict[str, Contender]) -> str:
    """Where what the contenders learned from ends."""
    unknown = [who for who, one in contenders.items() if one.learned_until is None]
    if unknown:
        return f"; where the data end that the {' and the '.join(unknown)} learned from is not known of this data set"
    ends = [f"the {who} learned from data until {one.learned_until.name}" for who, one in contenders.items() if one.learned_until]
    return f"; {' and '.join(ends)}"


def _unfair(measured: Contest, contenders: dict[str, Contender]) -> str | None:
    """Why the contest was none, or None: a guard against a contest that was put together otherwise than `evaluation.contest` does."""
    for who, one in contenders.items():
        if one.windows_sha256 != measured.windows_sha256:
            return f"an unfair contest: the {who} was scored on windows {one.windows_sha256[:8]}, asked {measured.windows_sha256[:8]}"
        if one.learned_until is None or measured.first is None or measured.first.rank <= one.learned_until.rank:
            learned, first = (mark.name if mark else "nobody knows where" for mark in (one.learned_until, measured.first))
            return f"an unfair contest: the {who} learned from data until {learned}, and the windows begin at {first}"
    return None


def _chance(p_value: float | None, significance: float | None) -> str | None:
    if significance is None or (p_value is not None and p_value < significance):
        return None
    return f"chance: p {'cannot be had' if p_value is None else f'{p_value:.2g}'}, asked below {significance:g} (`registry.significance`)"


def _lead(measured: Contest) -> str:
    said = f"{measured.measure} {measured.challenger.error:.4g}"
    if measured.champion is None:
        return f"{said}, naive {measured.naive:.4g}, no champion yet"
    return f"{said}, champion {measured.champion.error:.4g}, naive {measured.naive:.4g}"
