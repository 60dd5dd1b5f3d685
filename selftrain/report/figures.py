"""Figures from records.

    python benchmarks/figures.py                               results/records/STUDY/*.json -> results/figures/STUDY-*.png and *.svg

Readable in grey and by colour-blind people: Okabe and Ito's colours and markers tell the starts apart, dashed lines and hollow markers the students.  Bars are 95 % intervals
(Student's t) over seeds, bands along a curve the seeds' range; what the paper published is dashed and grey.  † at a place: an arm shown there had not flattened.
"""

import argparse
import io
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # no screen on a cluster's node
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from selftrain.record import arms  # noqa: E402
from selftrain.report.gallery import draw_gallery, teachers  # noqa: E402
from selftrain.report.matrix import Estimate, Matrix, bill, dagger, read_studies  # noqa: E402
from selftrain.report.places import is_student, percent, place_name  # noqa: E402
from selftrain.report.published import published  # noqa: E402
from selftrain.system.files import write_atomic  # noqa: E402

COLOURS = {
    "random": ("#0072B2", "o"),
    "imagenet": ("#D55E00", "s"),
    "imagenet++": ("#009E73", "^"),
}  # other starts: the fourth
OTHER = ("#CC79A7", "D")
PAPER = dict(color="0.45", linestyle=(0, (4, 3)), linewidth=1.2, markersize=4)
SAVED = {
    "png": {"Software": None},
    "svg": {"Date": None},
}  # nothing of the day or the machine, so that equal records give equal bytes
# Lighter on the disk, and equal on machines with other fonts
plt.rcParams |= {
    "svg.hashsalt": "selftrain",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
}


def look(arm: str) -> dict:
    """Colour, marker and line of an arm, the same in every figure."""
    colour, marker = COLOURS.get(arm.partition(" + ")[0], OTHER)
    student, again = (
        is_student(arm),
        arm.rpartition(" ")[2].startswith("x"),
    )  # a student's student: `imagenet + self-training x2`
    return dict(
        color=colour,
        marker=marker,
        linestyle="-." if again else "--" if student else "-",
        markerfacecolor="white" if student else colour,
        markersize=4,
        label=arm,
    )


def draw_curves(records: list[dict], title: str, path: Path) -> None:
    """The metric on the val split over steps, a line an arm: the mean over seeds, their range as a band."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    metric = records[0]["metric"]
    for arm in arms(records):
        _curve(axes, [r for r in records if r["arm"] == arm], metric)
    axes.set(
        xlabel="steps",
        ylabel=f"{metric} (val split, averaged weights)",
        ylim=(0, None),
        xlim=(0, None),
        title=f"{title}: {records[0]['labelled_images']} labelled images, {records[0]['settings']['policy']}".replace(
            ", test split", ""
        ),
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3)
    axes.legend(
        frameon=False,
        title="band: range over seeds" if len({r["settings"]["seed"] for r in records}) > 1 else None,
        title_fontsize=8,
    )
    figure.savefig(path)
    plt.close(figure)


def _curve(axes: Axes, records: list[dict], metric: str, images: int = 0, before: int = 0) -> None:
    """Mean and range over seeds of one arm; by steps, or by images seen: so many a step after so many before."""
    values = np.array([[point[metric] for point in r["curve"]] for r in records])
    steps = np.array([point["step"] for point in records[0]["curve"]])
    x = before + steps * images if images else steps
    style = look(records[0]["arm"])
    axes.plot(x, values.mean(0), linewidth=1.2, **style)
    if len(records) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=style["color"], alpha=0.15, linewidth=0)


def _panels(
    places: list[tuple],
    draw: Callable[[Axes, tuple], None],
    x: str,
    y: str,
    ylim: tuple = (0, None),
    xlim: tuple = (0, None),
) -> Figure:
    """A panel a policy and fraction, one legend below all."""
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    figure, panels = plt.subplots(
        rows,
        columns,
        figsize=(2.9 * columns + 0.4, 2.4 * rows + 0.9),
        layout="constrained",
        sharey=True,
        squeeze=False,
    )
    for axes in panels.flat[len(places) :]:
        axes.axis("off")
    for n, (axes, place) in enumerate(zip(panels.flat, places)):
        draw(axes, place)
        axes.set_title(place_name(*place))
        axes.set(xlabel=x if n + columns >= len(places) else "", ylabel=y if n % columns == 0 else "")
        axes.grid(alpha=0.3)
    for axes in panels.flat[: len(places)]:  # when all are drawn: the limits of one are those of all
        axes.set(xlim=xlim, ylim=ylim)
    handles = {
        text: handle for axes in panels.flat for handle, text in zip(*axes.get_legend_handles_labels())
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=8,
        title="mean over seeds, their range as a band",
        title_fontsize=8,
    )
    return figure


def _bars(axes: Axes, places: list[float], estimates: list[Estimate | None], **look) -> None:
    """Means with their intervals; of one seed no interval (it is nan), where nothing ran nothing, and no line across it."""
    if any(estimates):
        mean, half = zip(*((e.mean, e.half) if e else (np.nan, np.nan) for e in estimates))
        axes.errorbar(places, mean, yerr=half, **look)


# ---- figures: each takes a study whose records allow it, which `figure_names` tells -------------------------------------------------


def policies(matrix: Matrix) -> Figure:
    """Figure 1, left: what each arm gains over the random start, by policy, all labels."""
    fraction, names = matrix.fractions[-1], matrix.policies
    return _gain(
        matrix,
        [(policy, fraction) for policy in names],
        names,
        f"augmentation policy, {percent(fraction)} of the labels",
        "Figure 1, left",
    )


def fractions(matrix: Matrix) -> Figure:
    """Figure 1, right: the same by label fraction, under the strongest policy."""
    policy = matrix.policies[-1]
    there = [f for f in matrix.fractions if matrix.at("random", policy, f)]
    return _gain(
        matrix,
        [(policy, f) for f in there],
        [percent(f) for f in there],
        f"share of the labels, {policy}",
        "Figure 1, right",
    )


def _gain(
    matrix: Matrix, places: list[tuple[str, float]], names: list[str], label: str, title: str
) -> Figure:
    figure, axes = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
    shown = [arm for arm in matrix.arms if arm != "random"]
    shift = np.linspace(-0.12, 0.12, len(shown)) if len(shown) > 1 else [0.0]
    counts: set[int] = set()
    for k, arm in enumerate(shown):
        gains = [Estimate.of(matrix.differences(arm, "random", *place)) for place in places]
        counts |= {gain.n for gain in gains if gain}
        _bars(axes, [x + shift[k] for x in range(len(places))], gains, capsize=3, **look(arm))
        paper = [
            (published(matrix.task, arm, *place), published(matrix.task, "random", *place))
            for place in places
        ]
        points = [(x + shift[k], a - b) for x, (a, b) in enumerate(paper) if a and b]
        if points:
            hollow, unsure = (
                look(arm)["markerfacecolor"] == "white",
                any(gain.mark != "read" for _, gain in points),
            )
            axes.plot(
                [x for x, _ in points],
                [gain.value for _, gain in points],
                label=f"{arm}, published{' (≈ or not checked)' if unsure else ''}",
                marker=look(arm)["marker"],
                markerfacecolor="white" if hollow else "0.45",
                **PAPER,
            )
    axes.axhline(0, color="0.2", linewidth=0.8)
    axes.set_xticks(
        range(len(places)),
        [
            name + dagger(any(matrix.under_trained(arm, "random", *place) for arm in shown))
            for name, place in zip(names, places)
        ],
    )
    axes.set(
        xlabel=f"{label} († a curve had not flattened)",
        ylabel=f"Δ{matrix.metric} to the random start",
        title=f"{title}: {matrix.name}, n = {_seeds(counts)}",
    )
    axes.grid(alpha=0.3, axis="y")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    return figure


def _seeds(counts: set[int]) -> str:
    most = max(counts, default=0)
    return (
        " to ".join(map(str, dict.fromkeys((min(counts, default=0), most))))
        + f" {'seed' if most == 1 else 'seeds'} a point"
    )


def curves(matrix: Matrix) -> Figure:
    """Learning curves of every arm."""

    def draw(axes: Axes, place: tuple) -> None:
        for arm in matrix.arms:
            if found := list(matrix.at(arm, *place).values()):
                _curve(axes, found, matrix.metric)

    return _panels(matrix.places(), draw, "steps", f"{matrix.metric} (val split)")


def cost(matrix: Matrix) -> Figure:
    """The same against cost: images seen in training; a student begins where its teacher ended.  Up and left is better."""

    def draw(axes: Axes, place: tuple) -> None:
        for arm in matrix.arms:
            if found := list(matrix.at(arm, *place).values()):
                own, all_of_it = found[0]["images"], bill(found[0], matrix.by_key)[0]
                _curve(axes, found, matrix.metric, own // found[0]["steps"], all_of_it - own)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")

    return _panels(
        matrix.places(), draw, "images seen, the teacher's included", f"{matrix.metric} (val split)"
    )


def labels(matrix: Matrix) -> Figure:
    """Score against the number of labelled images, on a logarithmic axis."""
    policy = matrix.policies[-1]
    there = [f for f in matrix.fractions if any(matrix.at(arm, policy, f) for arm in matrix.arms)]
    images = {
        f: next(r["labelled_images"] for arm in matrix.arms for r in matrix.at(arm, policy, f).values())
        for f in there
    }
    figure, axes = plt.subplots(figsize=(5.6, 3.8), layout="constrained")
    for arm in matrix.arms:
        _bars(
            axes,
            [images[f] for f in there],
            [matrix.score(arm, policy, f) for f in there],
            capsize=3,
            **look(arm),
        )
    axes.set_xscale("log")
    axes.set_xticks(
        [images[f] for f in there],
        [f"{images[f]:,}" + dagger(any(matrix.rising(arm, policy, f) for arm in matrix.arms)) for f in there],
        minor=False,
    )
    axes.minorticks_off()
    axes.set(
        xlabel="labelled images, logarithmic († a curve had not flattened)",
        ylabel=f"{matrix.metric} ({matrix.records[0]['split']} split)",
        ylim=(0, None),
        title=f"Accuracy against labels: {matrix.name}, {policy}",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)
    return figure


def quality(matrix: Matrix) -> Figure:
    """Precision and recall of the teachers' labels against the pool's hidden ones, by threshold: mean and range over seeds."""
    places = [
        place for place in matrix.places() if any(_by_threshold(matrix, arm, place) for arm in matrix.arms)
    ]

    def draw(axes: Axes, place: tuple) -> None:
        for arm in matrix.arms:
            found = _by_threshold(matrix, arm, place)
            for what, line in (("precision", "-"), ("recall", ":")) if found else ():
                # where nothing right is left precision is that of nothing: not drawn
                values = np.ma.masked_where(
                    [[row["recall"] == 0 and what == "precision" for row in rows] for rows in found],
                    [[row[what] for row in rows] for rows in found],
                )
                thresholds = [row["threshold"] for row in found[0]]
                start = arm.partition(" + ")[0]
                axes.plot(
                    thresholds,
                    values.mean(0),
                    linewidth=1.2,
                    **look(start) | {"linestyle": line, "label": f"{start} teacher: {what}"},
                )
                axes.fill_between(
                    thresholds,
                    values.min(0),
                    values.max(0),
                    color=look(start)["color"],
                    alpha=0.12,
                    linewidth=0,
                )

    return _panels(places, draw, "least score of a pseudo-label", "share", ylim=(0, 1), xlim=(0, 1))


def _by_threshold(matrix: Matrix, arm: str, place: tuple) -> list[list[dict]]:
    return [
        r["pseudo_labels"]["by_threshold"]
        for r in matrix.at(arm, *place).values()
        if r["round"] == 1 and "by_threshold" in (r["pseudo_labels"] or {})
    ]


FIGURES: dict[str, Callable[[Matrix], Figure]] = {
    "policies": policies,
    "fractions": fractions,
    "curves": curves,
    "cost": cost,
    "labels": labels,
    "quality": quality,
    "gallery": draw_gallery,
}


def figure_names(matrix: Matrix) -> list[str]:
    """The figures that this study's records allow."""
    there = [name for name, draw in FIGURES.items() if name in ("curves", "cost")]
    several = (
        len(
            [
                f
                for f in matrix.fractions
                if any(matrix.at(arm, matrix.policies[-1], f) for arm in matrix.arms)
            ]
        )
        > 1
    )
    compared = len(matrix.arms) > 1 and "random" in matrix.arms
    there += (
        ["policies"]
        if compared
        and len(matrix.policies) > 1
        and any(matrix.at("random", policy, matrix.fractions[-1]) for policy in matrix.policies)
        else []
    )
    there += ["labels"] if several else []
    there += (
        ["fractions"]
        if compared and len([f for f in matrix.fractions if matrix.at("random", matrix.policies[-1], f)]) > 1
        else []
    )
    students = [r["pseudo_labels"] for r in matrix.records if r["pseudo_labels"]]
    there += ["quality"] if any("by_threshold" in p for p in students) else []
    there += ["gallery"] if teachers(matrix) else []
    return [name for name in FIGURES if name in there]


def render(figure: Figure) -> dict[str, bytes]:
    """The figure's bytes by format; equal for equal records under one release of matplotlib."""
    found = {}
    for kind, metadata in SAVED.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        found[kind] = buffer.getvalue()
    plt.close(figure)
    return found


def drawn_by() -> str:
    """What decides a figure's bytes besides its records: another release may draw or compress otherwise."""
    return "".join(
        f"{name} {version(name)}\n" for name in ("matplotlib", "pillow", "numpy", "opencv-python-headless")
    )


def write_figures(records: Path, out: Path) -> list[Path]:
    written = []
    for matrix in read_studies(records):
        for name in figure_names(matrix):
            for kind, content in render(FIGURES[name](matrix)).items():
                written.append(out / f"{matrix.name}-{name}.{kind}")
                write_atomic(written[-1], lambda file, content=content: file.write(content))
    write_atomic(out / "versions.txt", lambda file: file.write(drawn_by().encode()))
    return written


def main(about: str) -> None:
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
