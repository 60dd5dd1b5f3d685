"""The figure of what each arm is worth in labels: curves, and the distance between them along the labels.

An arrow leads from an arm, at one number of labels, to where its base arm has the same score."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selftrain.record import Arm
from selftrain.report.drawing import draw_means, look, side_by_side, variant_name
from selftrain.report.equivalents import Equivalent, Series, find_series, show_labels
from selftrain.report.matrix import Matrix

APART = 1.02
"""So far apart stand the points of different arms with the same labels, as a factor"""
DRAWN = 200
"""Points of a drawn curve"""
MARGIN = 1.25
"""How much further than the last run or arrow the axis of labels goes"""


def equivalents(matrix: Matrix) -> Figure:
    """Score against labels with each arm's curve, and an arrow for its worth; a panel for each place."""
    every = find_series(matrix)
    figure, grid = side_by_side([series.place for series in every], 6.0, 4.2)
    for (axes, place), series in zip(grid, every):
        shown = [of for of in series.examples if of.needed]
        for arm in series.points:
            _draw_arm(axes, series, arm, [of for of in shown if of.base == arm])
        for of in shown:
            _draw_arrow(axes, series, of)
        _label(axes, series, shown)
        axes.set_title(f"Worth in labels: {matrix.name}{variant_name(place.without('labels'))}")
    return figure


def _draw_arm(axes: Axes, series: Series, arm: Arm, arrows: list[Equivalent]) -> None:
    """Points with intervals over seeds, and the curve as far as runs or arrows go."""
    points, style = series.points[arm], look(arm)
    places = [place for place in series.settings if series.matrix.at(arm, place)]
    scores = [series.matrix.score(arm, place) for place in places]
    nth = list(series.points).index(arm) - (len(series.points) - 1) / 2
    draw_means(axes, list(points.sizes * APART**nth), scores, **style | {"linestyle": "none", "label": None})
    # what the legend shows: a marker on the line
    axes.plot([], [], linewidth=1.2, **style)
    if series.curves is None or arm not in series.curves.points:
        return
    ends = [points.sizes[0], points.sizes[-1], *(of.needed.value.labels for of in arrows)]
    inside = np.geomspace(*points.sizes[[0, -1]], DRAWN)
    whole = np.geomspace(min(ends), max(ends), DRAWN)
    line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.2}
    axes.plot(inside, 100 - series.curves.error(arm, inside), **line)
    # where no run supports it, a curve is lighter
    axes.plot(whole, 100 - series.curves.error(arm, whole), **line | {"alpha": 0.35})


def _draw_arrow(axes: Axes, series: Series, of: Equivalent) -> None:
    score = 100 - float(series.curves.error(of.arm, np.array([of.labels]))[0])
    x = of.needed.value.labels
    axes.annotate(
        "",
        (x, score),
        (of.labels, score),
        arrowprops={"arrowstyle": "->", "color": "0.25", "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0},
    )
    sign = "+" if of.value.labels > 0 and not of.value.beyond else ""
    axes.annotate(
        sign + show_labels(of.value),
        (of.labels * (x / of.labels) ** 0.7, score),
        xytext=(0, 4),
        textcoords="offset points",
        horizontalalignment="center",
        verticalalignment="bottom",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.6, "pad": 0.5},
    )


def _label(axes: Axes, series: Series, arrows: list[Equivalent]) -> None:
    sizes = np.unique(np.concatenate([points.sizes for points in series.points.values()]))
    ends = [*sizes[[0, -1]], *(of.needed.value.labels for of in arrows)]
    axes.set_xscale("log")
    axes.set_xlim(min(ends) / MARGIN, max(ends) * MARGIN)
    ticks = [*sizes, *([max(ends)] if max(ends) > 1.5 * sizes[-1] else [])]
    axes.set_xticks(ticks, [f"{n:,.0f}" for n in ticks], minor=False)
    axes.minorticks_off()
    axes.set(
        xlabel="labelled images, logarithmic",
        ylabel=f"{series.matrix.metric} ({series.matrix.records[0].split} split)",
    )
    axes.grid(alpha=0.3)
    title = "arrow: to the labels that the base arm needs"
    axes.legend(frameon=False, fontsize=7, title=title, title_fontsize=7)
