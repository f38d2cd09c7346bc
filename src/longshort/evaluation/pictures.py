"""Pictures of a trained item: how it learned, what it forecast, where it was wrong. PNG bytes out, files elsewhere.

The same numbers give the same bytes on one set of versions: no clock, no pyplot, no setting of the person's
own matplotlib. A naive line stands in every picture. Colours are Okabe and Ito's (2008), told apart by
colour-blind eyes; lines are labelled where they end, so no legend has to be matched.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longshort.evaluation.intervals import held

Array = NDArray[np.float64]
Labels = list[tuple[float, str, str]]  # the value where a line ends, its text, its colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SESSIONS = 120  # the newest that a forecast is shown for: half a year can still be read day by day
WIDTH, DOTS_PER_INCH = 8.0, 200  # twice the pixels of a page 800 wide, for sharp screens

INK, MUTED, FAINT, BARS = "#222222", "#6e6e6e", "#e2e2e2", "#bdbdbd"
MODEL, TRAINED, NAIVE = "#0072b2", "#56b4e9", "#d55e00"  # the network's things are blue, what it must beat is red
NAIVE_LINE: dict[str, Any] = {"color": NAIVE, "linestyle": (0, (4, 2)), "linewidth": 1.2}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 10,
    "text.color": INK,
    "figure.constrained_layout.h_pad": 0.08,
    "date.converter": "concise",
    "text.parse_math": False,  # "$8.41, naive $8.42" is money, not a formula
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}


def loss_curves(
    histories: Mapping[int, Sequence[Mapping[str, float]]], naive_loss: float, best_epochs: Mapping[int, int], title: str, unit: str
) -> bytes:
    """Training and validation loss by epoch, a line per seed; PNG bytes.

    histories    seed -> epochs in order, each with ``epoch``, ``train_loss`` and ``validation_loss``
    naive_loss   the baseline's loss on the validation part, on the scale of ``validation_loss``
    best_epochs  seed -> the epoch whose weights were kept; a disc with the seed in it
    unit         of the loss: "nats per token". Losses that span a factor of ten stand on a logarithmic axis
    """
    from matplotlib.ticker import MaxNLocator

    longest = max(histories.values(), key=len)
    last = longest[-1]
    with house_style():
        figure = new_figure(title, height=4.2)
        axes = figure.subplots()
        for epochs in histories.values():
            steps = [epoch["epoch"] for epoch in epochs]
            for part, colour in (("train_loss", TRAINED), ("validation_loss", MODEL)):
                losses = [epoch[part] for epoch in epochs]
                axes.plot(steps, losses, color=colour, linewidth=1.6, alpha=0.8, marker="o" if len(steps) == 1 else None)
        for seed, best in best_epochs.items():
            loss = next(epoch["validation_loss"] for epoch in histories[seed] if epoch["epoch"] == best)
            axes.plot(best, loss, "o", color=MODEL, markersize=12, markeredgecolor="white", clip_on=False, zorder=3)
            axes.annotate(str(seed), (best, loss), ha="center", va="center_baseline", fontsize=7.5, color="white", zorder=4)
        axes.axhline(naive_loss, **NAIVE_LINE)
        low, high = axes.dataLim.intervaly
        if low > 0 and high > 10 * low:
            logarithmic(axes)
        axes.set_xlim(longest[0]["epoch"] - 0.5, last["epoch"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set(xlabel="epoch (a disc marks each seed's best)", ylabel=f"loss ({unit})")
        ends = [(last["train_loss"], "train", TRAINED), (last["validation_loss"], "validation", MODEL)]
        label_ends(figure, {axes: [*ends, (naive_loss, f"naive {naive_loss:.4g}", NAIVE)]})
        return as_png(figure)


def forecast_against_actual(dates: ArrayLike, actual: ArrayLike, forecasts: ArrayLike, naive: ArrayLike, title: str, unit: str) -> bytes:
    """The newest sessions: above the levels, below what the forecast adds to the naive one; PNG bytes.

    dates          (sessions,) datetime64, oldest first
    actual, naive  (sessions,) levels
    forecasts      (seeds, sessions) levels; drawn as their mean within the band from lowest to highest
    unit           of the level: "$"

    Levels alone deceive: a forecast that repeats the last price lies on the actual line but one day late.
    The lower panel takes the naive forecast away, so that such a forecast is a flat line there.
    """
    days = np.asarray(dates)[-SESSIONS:]
    level, base = np.asarray(actual, np.float64)[-SESSIONS:], np.asarray(naive, np.float64)[-SESSIONS:]
    seeds = np.asarray(forecasts, np.float64)[:, -SESSIONS:]
    mean = seeds.mean(axis=0)
    with house_style():
        figure = new_figure(title, height=5.4)
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
        above.plot(days, level, color=INK, linewidth=1.7)
        above.plot(days, base, **NAIVE_LINE, zorder=3)  # on top: a forecast that repeats it would hide it
        below.bar(days, level - base, color=BARS, width=_bar_width(days))
        below.axhline(0, **NAIVE_LINE)
        for axes, shift in ((above, 0.0), (below, base)):
            axes.fill_between(days, (seeds - shift).min(axis=0), (seeds - shift).max(axis=0), color=MODEL, alpha=0.25, linewidth=0)
            axes.plot(days, mean - shift, color=MODEL, linewidth=1.5)
        above.set_ylabel(f"level ({unit})")
        below.set_ylabel(f"change from naive ({unit})")
        if len(seeds) > 1:
            below.set_xlabel(f"forecast: mean of {len(seeds)} seeds, in a band from the lowest to the highest")
        below.margins(x=0.01)
        change, expected = level[-1] - base[-1], mean[-1] - base[-1]
        levels = [(level[-1], "actual", INK), (base[-1], "naive", NAIVE), (mean[-1], "forecast", MODEL)]
        changes = [(change, "actual", MUTED), (0.0, "naive", NAIVE), (expected, "forecast", MODEL)]
        label_ends(figure, {above: levels, below: changes})
        return as_png(figure)


def ahead(
    dates: ArrayLike, levels: ArrayLike, sessions: ArrayLike, forecast: ArrayLike, low: ArrayLike, high: ArrayLike, title: str, about: str
) -> bytes:
    """The newest sessions, and what is forecast behind them with its intervals; PNG bytes.

    dates, levels                  (sessions,) what is known, oldest first
    sessions, forecast, low, high  (steps,) what is not; nan where there is no interval
    about                          who says so, under the picture
    """
    days, known = np.asarray(dates)[-SESSIONS // 2 :], np.asarray(levels, np.float64)[-SESSIONS // 2 :]
    coming = np.concatenate([days[-1:], np.asarray(sessions)])
    said, below, above = (np.concatenate([known[-1:], np.asarray(each, np.float64)]) for each in (forecast, low, high))
    with house_style():
        figure = new_figure(title, height=4.2)
        axes = figure.subplots()
        axes.plot(days, known, color=INK, linewidth=1.7)
        axes.plot(coming, np.full(len(coming), known[-1]), **NAIVE_LINE)
        if np.isfinite(below).all():
            axes.fill_between(coming, below, above, color=MODEL, alpha=0.2, linewidth=0)
        axes.plot(coming, said, color=MODEL, linewidth=1.7, marker="o", markersize=3.5, markevery=range(1, len(coming)))
        axes.set(ylabel="level", xlabel=about)
        label_ends(figure, {axes: [(said[-1], f"forecast {said[-1]:.2f}", MODEL), (known[-1], f"naive {known[-1]:.2f}", NAIVE)]})
        return as_png(figure)


def intervals(
    dates: ArrayLike, came: ArrayLike, forecasts: ArrayLike, bands: ArrayLike, fixed: ArrayLike, coverage: float, title: str
) -> bytes:
    """The newest sessions' changes within their intervals, and what share the intervals held until then; PNG bytes.

    dates          (sessions,) datetime64, oldest first
    came           (sessions,) change from the last level, as a share of it; forecasts (seeds, sessions) the same
    bands, fixed   (seeds, sessions, 2) where intervals begin and end, from the forecast: of the method shown, and of split conformal
    coverage       the share that intervals shall hold

    Above, the mean of the seeds' intervals; what they did not hold is red. Below, the share of the 50 sessions before each.
    """
    days, change = np.asarray(dates), 100 * np.asarray(came, np.float64)
    centre = 100 * np.asarray(forecasts, np.float64)
    both = [100 * np.asarray(each, np.float64) for each in (bands, fixed)]
    (low, high), (fixed_low, fixed_high) = (np.mean(centre[..., None] + each, axis=0).T for each in both)
    shares = [100 * _trailing_share(held(change - centre, each).mean(axis=0)) for each in both]
    new, out = slice(-2 * SESSIONS, None), (change < low) | (change > high)
    dotted: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (1, 2))}
    with house_style():
        figure = new_figure(title, height=5.4)
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
        above.fill_between(days[new], low[new], high[new], color=MODEL, alpha=0.2, linewidth=0)
        above.plot(days[new], fixed_low[new], **dotted)
        above.plot(days[new], fixed_high[new], **dotted)
        for where, colour, size in ((~out, INK, 2.5), (out, NAIVE, 4.5)):
            shown = where[new]
            above.plot(days[new][shown], change[new][shown], "o", color=colour, markersize=size, linestyle="none")
        above.set_ylabel("change from the last level (%)")
        below.plot(days[new], shares[0][new], color=MODEL, linewidth=1.6)
        below.plot(days[new], shares[1][new], **dotted)
        below.axhline(100 * coverage, **NAIVE_LINE)
        below.set(ylabel="held of the last 50 (%)", xlabel="a point is a session; red ones lie outside of their interval")
        below.margins(x=0.01)
        bounds = [(float(high[-1]), "interval", MODEL), (float(fixed_high[-1]), "split conformal", MUTED)]
        ends = [(float(shares[0][-1]), "interval", MODEL), (float(shares[1][-1]), "split conformal", MUTED)]
        label_ends(figure, {above: bounds, below: [*ends, (100 * coverage, f"wanted {coverage:.0%}", NAIVE)]})
        return as_png(figure)


def _trailing_share(held: Array, count: int = 50, least: int = 20) -> Array:
    """The mean of each and those before it, ``count`` at most; none, where there are more, before there are ``least``."""
    total = np.concatenate([[0.0], np.cumsum(held)])
    ends = np.arange(1, len(total))
    starts = np.maximum(ends - count, 0)
    share = (total[ends] - total[starts]) / (ends - starts)
    share[: min(least, len(share)) - 1] = np.nan
    return share


def _bar_width(dates: NDArray[np.datetime64]) -> float:
    """In days: most of a session's, or of the usual step between rows that are intraday."""
    if dates.dtype != "datetime64[s]" or len(dates) < 2:
        return 0.8
    return 0.8 * float(np.median(np.diff(dates).astype(np.int64))) / 86_400


def residuals(dates: ArrayLike, errors: ArrayLike, naive_errors: ArrayLike, title: str, unit: str) -> bytes:
    """Errors over time and their histogram, the model's above the naive forecast's; PNG bytes.

    dates                 (sessions,) datetime64, oldest first
    errors, naive_errors  (sessions,) forecast - actual, positive means too high
    unit                  of the level: "$"
    """
    days, rows = np.asarray(dates), (("model", errors, MODEL), ("naive", naive_errors, NAIVE))
    both = np.concatenate([np.asarray(values, np.float64) for _, values, _ in rows])
    edges = np.linspace(both.min(), both.max(), 41)
    with house_style():
        figure = new_figure(title, height=5.0)
        grid = figure.subplots(2, 2, sharex="col", sharey=True, gridspec_kw={"width_ratios": [4, 1]})
        for (name, values, colour), (line, histogram) in zip(rows, grid, strict=True):
            error = np.asarray(values, np.float64)
            line.vlines(days, 0, error, color=colour, linewidth=max(0.6, min(1.6, 300 / len(days))))
            line.axhline(0, color=MUTED, linewidth=0.8)
            spread = f"RMSE {_amount(float(np.sqrt(np.square(error).mean())), unit)}, mean {_amount(float(error.mean()), unit)}"
            line.set_title(f"{name}: {spread}", loc="left", fontsize=10, color=colour, pad=4)
            line.set_ylabel(f"forecast − actual ({unit})")
            histogram.hist(error, bins=edges, orientation="horizontal", color=colour, edgecolor="white", linewidth=0.4)
            histogram.axhline(0, color=MUTED, linewidth=0.8)
        grid[1, 0].margins(x=0.01)
        grid[1, 1].set_xlabel("sessions")
        return as_png(figure)


def token_losses(model_nats: ArrayLike, unigram_nats: ArrayLike, trigram_nats: ArrayLike, seen: ArrayLike, title: str) -> bytes:
    """Perplexity beside the baselines', and which words it comes from; PNG bytes.

    model_nats                  (seeds, tokens) -ln p of each token of the test part
    unigram_nats, trigram_nats  (tokens,) the baselines', for the same tokens
    seen                        (tokens,) how often each token's word stands in the training part
    """
    nats, counts = np.asarray(model_nats, np.float64), np.asarray(seen)
    rivals = {"unigram": np.asarray(unigram_nats, np.float64), "trigram": np.asarray(trigram_nats, np.float64)}
    seeds = np.exp(nats.mean(axis=1))
    with house_style():
        figure = new_figure(title, height=4.2)
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": [1, 1.8]})
        heights = [*(float(np.exp(values.mean())) for values in rivals.values()), float(seeds.mean())]
        left.bar(range(3), heights, color=[MUTED, NAIVE, MODEL], width=0.62)
        for place, height in enumerate(heights):
            top = max(height, seeds.max()) if place == 2 else height
            left.annotate(f"{height:.1f}", (place, top), (0, 5), textcoords="offset points", ha="center")
        if len(seeds) > 1:
            left.plot(2 + np.linspace(-0.16, 0.16, len(seeds)), seeds, "o", color="white", markeredgecolor=INK, markersize=4.5)
        left.set_xticks(range(3), [*rivals, "model" if len(seeds) == 1 else f"model\n{len(seeds)} seeds"])
        left.tick_params(axis="x", length=0, labelsize=10, labelcolor=INK)
        left.set_ylabel("perplexity (lower is better)")
        left.margins(y=0.1)
        label_ends(figure, {right: _losses_by_frequency(right, nats, rivals, counts)})
        return as_png(figure)


def _losses_by_frequency(axes: Axes, nats: Array, rivals: Mapping[str, Array], seen: NDArray[Any]) -> Labels:
    digits = np.where(seen > 0, np.floor(np.log10(np.maximum(seen, 1))) + 1, 0).astype(int)  # 0; 1-9; 10-99; …
    present = np.unique(digits).tolist()
    groups = [digits == number for number in present]
    names = [f"{10 ** (n - 1):,}–{10**n - 1:,}" if n else "never" for n in present]
    if present[-1]:
        names[-1] = f"{10 ** (present[-1] - 1):,}+"
    by_seed = np.array([[row[group].mean() for group in groups] for row in nats])
    lines = {name: np.array([values[group].mean() for group in groups]) for name, values in rivals.items()}
    lines["model"] = by_seed.mean(axis=0)
    colours = {"unigram": MUTED, "trigram": NAIVE, "model": MODEL}
    places = np.arange(len(groups))
    axes.fill_between(places, by_seed.min(axis=0), by_seed.max(axis=0), color=MODEL, alpha=0.25, linewidth=0)
    for name, line in lines.items():
        axes.plot(places, line, "o-", color=colours[name], linewidth=1.7, markersize=5)
    axes.set_xticks(places, [f"{name}\n{group.mean():.0%}" for name, group in zip(names, groups, strict=True)])
    axes.set(xlabel="times the word was seen in training · share of test tokens", ylabel="mean loss (nats per token)")
    axes.set_ylim(bottom=0)
    return [(float(line[-1]), name, colours[name]) for name, line in lines.items()]


def by_group(names: Sequence[str], means: ArrayLike, spread: ArrayLike, naive: ArrayLike, rival: str, unit: str, title: str) -> bytes:
    """What a model is worth group by group, a bar each from the top, its standard deviation over seeds, and naive beside it; PNG bytes.

    means, spread, naive  (groups,), in ``unit``; all from 0 to 100
    rival                 what the naive way is called
    """
    places = np.arange(len(names))
    with house_style():
        figure = new_figure(title, height=1.6 + 0.3 * len(names))
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        axes.barh(places, np.asarray(means), xerr=np.asarray(spread), color=MODEL, height=0.62, label="model", error_kw={"ecolor": INK})
        axes.plot(np.asarray(naive), places, "|", color=NAIVE, markersize=13, markeredgewidth=2.5, label=rival)
        axes.set_yticks(places, names)
        axes.set(xlabel=unit, xlim=(0, 102), ylim=(len(names) - 0.4, -0.6))
        figure.legend(loc="outside lower left", ncols=2, frameon=False)
        return as_png(figure)


def logarithmic(axes: Axes) -> None:
    """A logarithmic axis upwards, with numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # the default writes formulas


def house_style() -> AbstractContextManager[None]:
    """This room's settings while a picture is drawn, whatever the person's own matplotlibrc says.

    matplotlib keeps its settings per process, so pictures are drawn in one thread at a time.
    """
    from matplotlib import style

    return style.context(STYLE, after_reset=True)


def new_figure(title: str, height: float) -> Figure:
    """An empty picture, its title above on the left; height in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, 76), x=0.012, ha="left", fontsize=12.5, fontweight="bold")
    return figure


def as_png(figure: Figure) -> bytes:
    """The picture's bytes, the same on one set of versions."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})  # a version there would change the bytes
    return buffer.getvalue()


def label_ends(figure: Figure, labels: Mapping[Axes, Labels]) -> None:
    """Write each label right of its axes at its value's height, moved apart where they would overlap. Call it last."""
    texts = {
        axes: [
            axes.text(1.015, value, text, color=colour, va="center", fontsize=10, transform=axes.get_yaxis_transform())
            for value, text, colour in sorted(ends)
        ]
        for axes, ends in labels.items()
    }
    figure.draw_without_rendering()  # only now is it known how high a line of text is
    figure.set_layout_engine("none")  # all stands where it should, and to lay it out again takes longer than to draw it
    for axes, column in texts.items():
        boxes = [text.get_window_extent().transformed(axes.transAxes.inverted()) for text in column]
        centres = np.array([(box.y0 + box.y1) / 2 for box in boxes])
        heights = np.array([box.height for box in boxes])
        # the smallest moves that leave each label its height: least squares under an order is isotonic regression
        offsets = np.concatenate([[0.0], np.cumsum((heights[1:] + heights[:-1]) / 2)])
        for text, place in zip(column, _isotonic(centres - offsets) + offsets, strict=True):
            text.set(y=float(place), transform=axes.transAxes)


def _isotonic(values: Array) -> Array:
    """The nearest numbers that never fall, by the max-min formula (Barlow et al., 1972). For a handful: scipy takes 0.5 s to import."""
    places = range(len(values))
    return np.array([max(min(values[a : b + 1].mean() for b in places[i:]) for a in places[: i + 1]) for i in places])


def _amount(value: float, unit: str) -> str:
    """A number with its unit where people write it: $8.41, 8.41 nats."""
    number = f"{abs(value):,.2f}" if abs(value) >= 1 else f"{abs(value):.3g}"
    return ("−" if value < 0 else "") + (f"{unit}{number}" if unit in "$€£¥" else f"{number} {unit}")
