"""The figures of a study, and the learning curves of a run.

Bars are 95 % intervals, bands along a curve the seeds' range; what the paper published is dashed and
grey."""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selftrain.record import RANDOM, Arm, Record, Setting, arms
from selftrain.report import drawing
from selftrain.report.available import figure_names, freezing_depths
from selftrain.report.comparison import compare
from selftrain.report.drawing import draw_curve, draw_means, look, panels, side_by_side, variant_name
from selftrain.report.equivalents_figure import equivalents
from selftrain.report.frontier import frontier
from selftrain.report.gallery import draw_gallery
from selftrain.report.matrix import Matrix, read_studies
from selftrain.report.places import percent
from selftrain.report.published import published
from selftrain.system.files import write_atomic

BESIDE = 1.02
"""The factor between the costs at which two arms of one cost are drawn"""


def draw_curves(records: list[Record], title: str, path: Path) -> None:
    """The main score of a run on the val split over steps, a line for each arm; written to `path`."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    first = records[0]
    for arm in arms(records):
        draw_curve(axes, [r for r in records if r.arm == arm])
    title = f"{title}: {first.labelled_images} labelled images, {first.settings['policy']}"
    axes.set(
        xlabel="steps",
        ylabel=f"{first.metric} (val split, averaged weights)",
        ylim=(0, None),
        xlim=(0, None),
        title=title.replace(", test split", ""),
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3)
    band = "band: range over seeds" if len({r.seed for r in records}) > 1 else None
    axes.legend(frameon=False, title=band, title_fontsize=8)
    figure.savefig(path)
    plt.close(figure)


# ---- each takes a study whose records allow it (`available.py`) ------------------------------------


def policies(matrix: Matrix) -> Figure:
    """Figure 1, left: what each arm gains over the random start, by policy, all labels."""
    fraction = matrix.fractions[-1]
    places = [(policy, Setting(policy=policy, fraction=fraction)) for policy in matrix.policies]
    label = f"augmentation policy, {percent(fraction)} of the labels"
    return _gains(matrix, lambda variant: places, label, "Figure 1, left")


def fractions(matrix: Matrix) -> Figure:
    """Figure 1, right: the same by label fraction, under the strongest policy."""
    policy = matrix.policies[-1]

    def _places(variant: Setting) -> list[tuple[str, Setting]]:
        every = [Setting(policy=policy, fraction=fraction) for fraction in matrix.fractions]
        there = [place for place in every if matrix.at(RANDOM, place.but(**variant))]
        return [(percent(place["fraction"]), place) for place in there]

    return _gains(matrix, _places, f"share of the labels, {policy}", "Figure 1, right")


def _gains(
    matrix: Matrix, places: Callable[[Setting], list[tuple[str, Setting]]], label: str, title: str
) -> Figure:
    """Gains over random at some places, in a panel for each variant of the study.

    places: of a variant's panel (what stands below the axis, place).
    """
    figure, grid = side_by_side(matrix.variants, 5.6, 4.4)
    shown = [arm for arm in matrix.arms if arm != RANDOM]
    shifts = np.linspace(-0.12, 0.12, len(shown)) if len(shown) > 1 else [0.0]
    for axes, variant in grid:
        names = [name for name, _ in places(variant)]
        there = [place.but(**variant) for _, place in places(variant)]
        counts: set[int] = set()
        for arm, shift in zip(shown, shifts):
            gains = [compare(matrix, arm, RANDOM, place) for place in there]
            counts |= {gain.n for gain in gains if gain}
            draw_means(axes, [x + shift for x in range(len(there))], gains, **look(arm))
            _published_gains(axes, matrix, arm, there, shift)
        axes.axhline(0, color="0.2", linewidth=0.8)
        axes.set_xticks(range(len(there)), names)
        axes.set(
            xlabel=label,
            ylabel=f"Δ{matrix.metric} to the random start",
            title=f"{title}: {matrix.name}{variant_name(variant)}, n = {_seeds(counts)}",
        )
        axes.grid(alpha=0.3, axis="y")
    handles = {text: handle for axes, _ in grid for handle, text in zip(*axes.get_legend_handles_labels())}
    names = {"handles": handles.values(), "labels": handles.keys()} if len(grid) > 1 else {}
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7, **names)
    return figure


def _published_gains(axes: Axes, matrix: Matrix, arm: Arm, places: list[Setting], shift: float) -> None:
    """What the paper prints of the same, dashed and grey."""
    points = []
    for x, place in enumerate(places):
        score, base = (published(matrix.task, each, matrix.own(each, place)) for each in (arm, RANDOM))
        if score and base:
            points.append((x + shift, score - base))
    if points:
        unsure = any(gain.mark != "read" for _, gain in points)
        axes.plot(
            [x for x, _ in points],
            [gain.value for _, gain in points],
            label=f"{arm}, published{' (≈ or not checked)' if unsure else ''}",
            marker=look(arm)["marker"],
            markerfacecolor="white" if arm.rounds else "0.45",
            **drawing.PAPER,
        )


def _seeds(counts: set[int]) -> str:
    """`2 to 3 seeds a point`."""
    most = max(counts, default=0)
    span = " to ".join(map(str, dict.fromkeys((min(counts, default=0), most))))
    return f"{span} {'seed' if most == 1 else 'seeds'} a point"


def curves(matrix: Matrix) -> Figure:
    """Learning curves of every arm."""

    def _draw(axes: Axes, place: Setting) -> None:
        for arm in matrix.arms:
            if records := list(matrix.at(arm, place).values()):
                draw_curve(axes, records)

    return panels(matrix.places, _draw, "steps", f"{matrix.metric} (val split)")


def frontier_of(matrix: Matrix) -> Figure:
    """Score against cost: a point for each rung of an arm's ladder, a line for each arm.

    Up and left is better.  The cost of a student includes its teacher's, and the labelling of the pool.
    Arms of one cost stand side by side, or one would hide the other.
    """
    middle = (len(matrix.arms) - 1) / 2
    aside = {arm: BESIDE ** (number - middle) for number, arm in enumerate(matrix.arms)}

    def _draw(axes: Axes, ladder: Setting) -> None:
        points = frontier(matrix, ladder)
        for arm in matrix.arms:
            own = [point for point in points if point.arm == arm]
            at = [point.images * aside[arm] for point in own]
            draw_means(axes, at, [point.score for point in own], **look(arm))
        axes.set_xscale("log")
        costs = sorted({point.images for point in points})
        axes.set_xticks(costs, [_thousands(cost) for cost in costs], fontsize=7, minor=False)
        axes.minorticks_off()

    x, y = "images seen, the teacher's included", f"{matrix.metric} ({matrix.records[0].split} split)"
    costs = [matrix.cost_of(record).images for record in matrix.records]
    limits = (0.8 * min(costs), 1.25 * max(costs))
    legend = "95 % interval; a point for each budget\n(arms of one cost stand side by side)"
    return panels(matrix.ladders, _draw, x, y, xlim=limits, legend=legend)


def _thousands(images: int) -> str:
    """`16k`; `800` below a thousand."""
    return f"{images / 1000:.3g}k" if images >= 1000 else str(images)


def labels(matrix: Matrix) -> Figure:
    """Score against the number of labelled images, on a logarithmic axis; a panel for each variant."""
    policy = matrix.policies[-1]
    figure, grid = side_by_side(matrix.variants, 5.6, 3.8)
    for axes, variant in grid:
        every = [Setting(policy=policy, fraction=fraction, **variant) for fraction in matrix.fractions]
        there = [place for place in every if any(matrix.at(arm, place) for arm in matrix.arms)]
        images = [
            next(r.labelled_images for arm in matrix.arms for r in matrix.at(arm, place).values())
            for place in there
        ]
        for arm in matrix.arms:
            draw_means(axes, images, [matrix.score(arm, place) for place in there], **look(arm))
        axes.set_xscale("log")
        axes.set_xticks(images, [f"{n:,}" for n in images], minor=False)
        axes.minorticks_off()
        axes.set(
            xlabel="labelled images, logarithmic",
            ylabel=f"{matrix.metric} ({matrix.records[0].split} split)",
            title=f"Accuracy against labels: {matrix.name}, {policy}{variant_name(variant)}",
        )
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    grid[0][0].set_ylim(0, None)  # when all are drawn: the limits of one are those of all
    return figure


def freezing(matrix: Matrix) -> Figure:
    """Score against how much of the pre-trained weights stays as it was, a line for each start."""
    lines = freezing_depths(matrix.arms)
    frozen = sorted({arm for depths in lines.values() for arm in depths}, key=lambda arm: arm.order[-1])
    words = list(dict.fromkeys(arm.freeze for arm in frozen))

    def _draw(axes: Axes, place: Setting) -> None:
        for whole, depths in lines.items():
            by_word = {arm.freeze: matrix.score(arm, place) for arm in depths}
            scores = [by_word.get(word) for word in words]
            draw_means(axes, list(range(len(words))), scores, **look(whole))
        random = matrix.score(RANDOM, place)
        if random:
            axes.axhline(random.mean, label="random, trained whole", **drawing.PAPER)
        axes.set_xticks(range(len(words)), words)

    def _ran(place: Setting) -> bool:
        return any(matrix.at(arm, place) for arm in frozen if arm.freeze != "none")

    places = [place for place in matrix.places if _ran(place)]
    y = f"{matrix.metric} ({matrix.records[0].split} split)"
    return panels(places, _draw, "what is frozen", y, xlim=(-0.3, len(words) - 0.7), legend="95 % interval")


def quality(matrix: Matrix) -> Figure:
    """Precision and recall of the teachers' labels against the pool's hidden ones, by threshold.

    The mean and the range over seeds.
    """
    places = [p for p in matrix.places if any(_by_threshold(matrix, arm, p) for arm in matrix.arms)]

    def _draw(axes: Axes, place: Setting) -> None:
        for arm in matrix.arms:
            tables = _by_threshold(matrix, arm, place)
            for what, line in (("precision", "-"), ("recall", ":")) if tables else ():
                # where nothing right is left precision is that of nothing: not drawn
                values = np.ma.masked_where(
                    [[row["recall"] == 0 and what == "precision" for row in table] for table in tables],
                    [[row[what] for row in table] for table in tables],
                )
                x, style = [row["threshold"] for row in tables[0]], look(arm.supervised)
                style |= {"linestyle": line, "label": f"{arm.supervised} teacher: {what}"}
                axes.plot(x, values.mean(0), linewidth=1.2, **style)
                low, high, colour = values.min(0), values.max(0), style["color"]
                axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)

    return panels(places, _draw, "least score of a pseudo-label", "share", ylim=(0, 1), xlim=(0, 1))


def _by_threshold(matrix: Matrix, arm: Arm, place: Setting) -> list[list[dict[str, float]]]:
    """Of each seed of a first student the quality of its labels: threshold, precision and recall."""
    return [
        r.pseudo_labels["by_threshold"]
        for r in matrix.at(arm, place).values()
        if r.arm.rounds == 1 and "by_threshold" in (r.pseudo_labels or {})
    ]


FIGURES: dict[str, Callable[[Matrix], Figure]] = {
    "frontier": frontier_of,
    "policies": policies,
    "fractions": fractions,
    "curves": curves,
    "labels": labels,
    "equivalents": equivalents,
    "freezing": freezing,
    "quality": quality,
    "gallery": draw_gallery,
}


def write_figures(records: Path, out: Path) -> list[Path]:
    """The figures of the studies below `records`, as files in `out`; returns their paths."""
    written = []
    for matrix in read_studies(records):
        for name in figure_names(matrix):
            for kind, content in drawing.render(FIGURES[name](matrix)).items():
                written.append(out / f"{matrix.name}-{name}.{kind}")
                write_atomic(written[-1], lambda file, content=content: file.write(content))
    write_atomic(out / "versions.txt", lambda file: file.write(drawing.drawn_by().encode()))
    return written


def main(about: str) -> None:
    """The program `benchmarks/figures.py`; about: its docstring.  Raises UserError without records."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--studies",
        type=Path,
        default=Path("results/records"),
        help="folder of studies' records (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=Path("results/figures"), help="default: %(default)s")
    arguments = parser.parse_args()
    for path in write_figures(arguments.studies, arguments.out):
        print(path)
