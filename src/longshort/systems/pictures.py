"""Pictures that several systems draw; PNG bytes, in the style of the evaluation room's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longshort.evaluation.pictures import (
    INK,
    MODEL,
    MUTED,
    NAIVE,
    NAIVE_LINE,
    TRAINED,
    WIDTH,
    as_png,
    house_style,
    label_ends,
    logarithmic,
    new_figure,
)

Points = Sequence[tuple[float, float]]
LINES = (MODEL, "#009e73", "#cc79a7", "#e69f00", TRAINED, INK)


def accuracy_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]],
    naive: Mapping[str, float],
    published: Points,
    title: str,
    part: str = "validation",
) -> bytes:
    """The accuracy on a part by epoch, a line a network, labelled where it ends.

    histories  network -> its seeds' epochs
    naive      plain method -> its accuracy on the test part
    published  epoch and accuracy, as a tutorial gives them; crosses
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    with house_style():
        figure = new_figure(title, height=4.4)
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for (name, seeds), colour in zip(histories.items(), LINES, strict=False):
            for epochs in seeds:
                shares = [100 * epoch[f"{part}_accuracy"] for epoch in epochs]
                axes.plot([epoch["epoch"] for epoch in epochs], shares, color=colour, linewidth=1.4, alpha=0.8)
            last = float(np.mean([100 * epochs[-1][f"{part}_accuracy"] for epochs in seeds]))
            ends.append((last, name, colour))
        for name, value in naive.items():
            axes.axhline(100 * value, **NAIVE_LINE)
            ends.append((100 * value, f"{name} {value:.1%}", NAIVE))
        if published:
            axes.plot(*zip(*published, strict=True), "x", color=INK, markersize=7, markeredgewidth=1.8, clip_on=False, zorder=4)
            axes.annotate("published", published[0], xytext=(9, -3), textcoords="offset points", fontsize=9, color=INK)
        axes.set(xlabel="epoch", ylabel=f"accuracy on {part} (%)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0, symbol=""))
        axes.margins(x=0.01)
        label_ends(figure, {axes: ends})
        return as_png(figure)


def confusion(counts: NDArray[np.int64], names: Sequence[str], title: str) -> bytes:
    """How often a sequence of the line's label was named the column's; what is right lies on the diagonal, and is left grey."""
    wrong = counts.astype(float)
    np.fill_diagonal(wrong, np.nan)
    wrong[wrong == 0] = np.nan
    most = max(1.0, float(np.nanmax(wrong, initial=0.0)))
    with house_style():
        figure = new_figure(title, height=7.0)
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.imshow(wrong, cmap="Oranges", vmin=0, vmax=most)
        ticks = np.arange(len(names))
        many = len(names) > 30
        axes.set_xticks(ticks, names, rotation=0 if max(map(len, names)) < 3 else 90, fontsize=5 if many else 9)
        axes.set_yticks(ticks, names, fontsize=5 if many else 9)
        axes.set(xlabel="named", ylabel="is")
        if not many:
            for row, column in np.argwhere(counts > 0).tolist():
                right = row == column
                shade = INK if right or wrong[row, column] < 0.6 * most else "white"
                axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", fontsize=8, color=MUTED if right else shade)
        return as_png(figure)


def images(pixels: ArrayLike, captions: Sequence[str], title: str, columns: int = 8) -> bytes:
    """Images side by side, each with its caption below."""
    shown = np.asarray(pixels)
    rows, tall = -(-len(shown) // columns), WIDTH / columns * shown.shape[1] / shown.shape[2]
    with house_style():
        figure = new_figure(title, height=0.5 + (0.85 * tall + 0.35) * rows)
        grid: Any = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, image, caption in zip(grid.flat, shown, captions, strict=False):
            axes.imshow(image, cmap="gray_r", interpolation="nearest")
            axes.set_title(caption, fontsize=9, color=MUTED, y=0, pad=-12)
        return as_png(figure)


def curve_beside_published(
    histories: Sequence[Sequence[Mapping[str, float]]], published: Sequence[float], naive: float, title: str
) -> bytes:
    """Training loss by epoch on a logarithmic axis, a line a seed, with a tutorial's own as crosses and the naive loss."""
    with house_style():
        figure = new_figure(title, height=4.2)
        axes = figure.subplots()
        for epochs in histories:
            axes.plot(
                [epoch["epoch"] for epoch in epochs], [epoch["train_loss"] for epoch in epochs], color=MODEL, linewidth=1.4, alpha=0.8
            )
        ends = [(float(np.mean([epochs[-1]["train_loss"] for epochs in histories])), "ours", MODEL)]
        ends.append((naive, f"naive {naive:.2g}", NAIVE))
        axes.axhline(naive, **NAIVE_LINE)
        if published:
            axes.plot(range(1, len(published) + 1), published, "x", color=INK, markersize=6, markeredgewidth=1.6, zorder=4)
            axes.annotate("published", (len(published), published[-1]), xytext=(8, 4), textcoords="offset points", fontsize=9, color=INK)
        logarithmic(axes)
        axes.set(xlabel="epoch", ylabel="training loss (squared, prices from 0 to 1)")
        axes.margins(x=0.01)
        label_ends(figure, {axes: ends})
        return as_png(figure)


def losses(histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], unit: str, title: str) -> bytes:
    """Validation loss by epoch, a line a network and seed, and paler the loss of training; labelled where they end.

    histories  network -> its seeds' epochs
    """
    from matplotlib.ticker import MaxNLocator

    with house_style():
        figure = new_figure(title, height=4.2)
        axes = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for (name, seeds), colour in zip(histories.items(), LINES, strict=False):
            for epochs in seeds:
                numbers = [epoch["epoch"] for epoch in epochs]
                axes.plot(numbers, [epoch["train_loss"] for epoch in epochs], color=colour, linewidth=1, alpha=0.35)
                axes.plot(numbers, [epoch["validation_loss"] for epoch in epochs], color=colour, linewidth=1.8)
            ends.append((float(np.mean([epochs[-1]["validation_loss"] for epochs in seeds])), name, colour))
        low, high = axes.dataLim.intervaly
        if low > 0 and high > 10 * low:
            logarithmic(axes)
        axes.set(xlabel="epoch (pale: in training)", ylabel=f"loss on validation ({unit})")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        label_ends(figure, {axes: ends})
        return as_png(figure)


def alignment(shares: ArrayLike, read: Sequence[str], said: Sequence[str], title: str) -> bytes:
    """Where a decoder looked at each token that it said: dark is much, and each line sums to 1.

    shares  (said, read)
    """
    weights = np.asarray(shares)
    letters = max(map(len, [*read, *said])) == 1
    with house_style():
        figure = new_figure(title, height=1.6 + 0.3 * len(said))
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        shown = {" ": "␣"}
        axes.set_xticks(np.arange(len(read)), [shown.get(token, token) for token in read], rotation=0 if letters else 40, fontsize=10)
        axes.set_yticks(np.arange(len(said)), [shown.get(token, token) for token in said], fontsize=10)
        if not letters:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
            for row, column in np.argwhere(weights >= 0.1).tolist():
                colour = "white" if weights[row, column] > 0.55 else INK
                axes.text(column, row, f"{weights[row, column]:.2f}".removeprefix("0"), ha="center", va="center", fontsize=8, color=colour)
        axes.set(xlabel="the source", ylabel="said")
        return as_png(figure)


def perplexity_curves(
    histories: Sequence[Sequence[Mapping[str, float]]], naive: Mapping[str, float], published: Mapping[str, float], test: float, title: str
) -> bytes:
    """Perplexity on validation by epoch, a line a seed, and paler that of training.

    naive, published  what others come to on the test part: a line each, labelled
    test              ours on it, as a disc behind the last epoch
    """
    from matplotlib.ticker import MaxNLocator

    with house_style():
        figure = new_figure(title, height=4.6)
        axes = figure.subplots()
        for epochs in histories:
            numbers = [epoch["epoch"] for epoch in epochs]
            for part, width, shade in (("train", 1.0, 0.4), ("validation", 1.8, 0.9)):
                values = np.exp([epoch[f"{part}_loss"] for epoch in epochs])
                axes.plot(numbers, values, color=MODEL, linewidth=width, alpha=shade, marker="o" if len(numbers) == 1 else None)
        last = max(len(epochs) for epochs in histories)
        axes.plot(last, test, "o", color=MODEL, markersize=8, clip_on=False, zorder=4)
        ends: list[tuple[float, str, str]] = [(test, f"ours, test {test:.1f}", MODEL)]
        for name, value in naive.items():
            axes.axhline(value, **NAIVE_LINE)
            ends.append((value, f"{name}, test {value:.1f}", NAIVE))
        for name, value in published.items():
            axes.axhline(value, color=MUTED, linewidth=1)
            ends.append((value, f"{name} {value:g}", MUTED))
        logarithmic(axes)
        axes.set(xlabel="epoch (pale: in training)", ylabel="perplexity on validation")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.02)
        label_ends(figure, {axes: ends})
        return as_png(figure)


def suggestion_bars(rows: Sequence[tuple[str, float, float]], saved: Mapping[str, Sequence[float]], title: str) -> bytes:
    """How often the word that was meant is the first suggestion, or among all, by who suggests; and how much typing that saves.

    rows   who, percent first, percent among all
    saved  who -> percent of words among the suggestions after no letter, one, two, ...
    """
    with house_style():
        figure = new_figure(title, height=3.8)
        left, right = figure.subplots(1, 2, width_ratios=(3, 4))
        colours = dict(zip(saved, (MODEL, NAIVE, "#e69f00"), strict=False))
        for place, (name, first, among) in enumerate(reversed(rows)):
            left.barh(place, among, color=colours[name], alpha=0.35, height=0.6)
            left.barh(place, first, color=colours[name], height=0.6)
            left.text(among, place, f" {first:.0f} / {among:.0f}", va="center", fontsize=9, color=INK)
        left.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
        left.grid(visible=False)
        left.set(xlabel="first / among five, before a letter is typed (%)")
        left.margins(x=0.2)
        for name, shares in saved.items():
            right.plot(range(len(shares)), shares, color=colours[name], linewidth=1.8, marker="o", markersize=3)
        right.set(xlabel="letters typed", ylabel="words among five (%)", ylim=(0, 100))
        label_ends(figure, {right: [(shares[-1], name, colours[name]) for name, shares in saved.items()]})
        return as_png(figure)


def word_map(words: Sequence[str], vectors: ArrayLike, asked: Sequence[str], groups: Sequence[Sequence[str]], title: str) -> bytes:
    """Words on a plane where near ones stay near (t-SNE, van der Maaten and Hinton, 2008); those of one group in one colour.

    Each stands in a line of its own, in the order of its height, so that none covers another.
    vectors  (words, size), each as long as 1
    asked    the words whose neighbours the groups are; bold
    """
    from sklearn.manifold import TSNE

    points = TSNE(perplexity=min(5.0, (len(words) - 1) / 3), init="pca", metric="cosine", random_state=0).fit_transform(np.asarray(vectors))
    heights = np.argsort(np.argsort(points[:, 1], kind="stable"), kind="stable")
    colour = {word: LINES[number % len(LINES)] for number, group in reversed(list(enumerate(groups))) for word in group}
    with house_style():
        figure = new_figure(title, height=0.8 + 0.13 * len(words))
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        for word, x, y in zip(words, points[:, 0], heights, strict=True):
            weight = "bold" if word in asked else "normal"
            axes.text(x, y, word, ha="center", va="center", fontsize=9, color=colour[word], fontweight=weight)
        edge = 0.08 * np.ptp(points[:, 0]) + 1e-6
        axes.set(xlim=(points[:, 0].min() - edge, points[:, 0].max() + edge), ylim=(-1, len(words)))
        return as_png(figure)
