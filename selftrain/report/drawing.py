"""How every figure is drawn: an arm's look, a curve, means with intervals, panels, and a figure's bytes.

Readable in grey and by colour-blind people: Okabe and Ito's colours and markers tell the starts apart, dashed
lines and hollow markers the students."""

import io
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # no screen on a cluster's node
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.colors import to_hex, to_rgb  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from selftrain.record import Arm, Record, Setting  # noqa: E402
from selftrain.report.effect import Effect  # noqa: E402
from selftrain.report.places import place_name  # noqa: E402

COLOURS = {
    "random": ("#0072B2", "o"),
    "imagenet": ("#D55E00", "s"),
    "imagenet++": ("#009E73", "^"),
}  # other starts: the fourth
OTHER = ("#CC79A7", "D")
FROZEN = {"backbone": "v"}  # a frozen arm has its start's colour in a lighter shade; in part: P
PAPER = dict(color="0.45", linestyle=(0, (4, 3)), linewidth=1.2, markersize=4)
# nothing of the day or the machine, so that equal records give equal bytes
SAVED = {"png": {"Software": None}, "svg": {"Date": None}}
DECIDING = (
    "matplotlib",
    "pillow",
    "numpy",
    "opencv-python-headless",
)  # libraries that decide a figure's bytes
# lighter on the disk, and equal on machines with other fonts
plt.rcParams |= {
    "svg.hashsalt": "selftrain",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
}


def look(arm: Arm) -> dict[str, Any]:
    """Colour, marker and line of an arm, the same in every figure, as options of `Axes.plot`."""
    colour, marker = COLOURS.get(arm.start, OTHER)
    if arm.freeze != "none":
        lighter = 0.55 * np.array(to_rgb(colour)) + 0.45
        colour, marker = to_hex(lighter), FROZEN.get(arm.freeze, "P")
    return dict(
        color=colour,
        marker=marker,
        linestyle=("-", "--", "-.")[min(arm.rounds, 2)],
        markerfacecolor="white" if arm.rounds else colour,
        markersize=4,
        label=str(arm),
    )


def draw_curve(axes: Axes, records: list[Record], images: int = 0, before: int = 0) -> None:
    """Mean and range over seeds of one arm's main score on the val split.

    By steps; or, where `images` is given, by images seen: so many in each step, after `before` others.
    """
    metric = records[0].metric
    values = np.array([[point[metric] for point in r.curve] for r in records])
    steps = np.array([point["step"] for point in records[0].curve])
    x = before + steps * images if images else steps
    style = look(records[0].arm)
    axes.plot(x, values.mean(0), linewidth=1.2, **style)
    if len(records) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=style["color"], alpha=0.15, linewidth=0)


def draw_means(axes: Axes, x: list[float], estimates: list[Effect | None], **style: Any) -> None:
    """Means with their intervals: none of one seed (it is nan), and a gap where nothing ran.

    style: options of `Axes.errorbar`.
    """
    if any(estimates):
        numbers = ((e.mean, e.half_width) if e else (np.nan, np.nan) for e in estimates)
        mean, half_width = zip(*numbers)
        axes.errorbar(x, mean, yerr=half_width, capsize=3, **style)


def panels(
    places: list[Setting],
    draw: Callable[[Axes, Setting], None],
    x: str,
    y: str,
    ylim: tuple = (0, None),
    xlim: tuple = (0, None),
    legend: str = "mean over seeds, their range as a band",
) -> Figure:
    """A panel for each place, one legend below all; x and y: the labels of the axes, legend: its title."""
    columns = min(4, len(places))
    rows = -(-len(places) // columns)
    size = (2.9 * columns + 0.4, 2.4 * rows + 0.9)
    figure, grid = plt.subplots(rows, columns, figsize=size, layout="constrained", sharey=True, squeeze=False)
    for axes in grid.flat[len(places) :]:
        axes.axis("off")
    for n, (axes, place) in enumerate(zip(grid.flat, places)):
        draw(axes, place)
        axes.set_title(place_name(place))
        axes.set(xlabel=x if n + columns >= len(places) else "", ylabel=y if n % columns == 0 else "")
        axes.grid(alpha=0.3)
    for axes in grid.flat[: len(places)]:  # when all are drawn: the limits of one are those of all
        axes.set(xlim=xlim, ylim=ylim)
    handles = {text: handle for axes in grid.flat for handle, text in zip(*axes.get_legend_handles_labels())}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=min(columns, len(handles)),
        frameon=False,
        fontsize=8,
        title=legend,
        title_fontsize=8,
    )
    return figure


def side_by_side(
    variants: list[Setting], width: float, height: float
) -> tuple[Figure, list[tuple[Axes, Setting]]]:
    """A figure with a panel of this size, in inches, for each variant of a study, and the panels."""
    size = (width * len(variants), height)
    figure, grid = plt.subplots(
        1, len(variants), figsize=size, layout="constrained", sharey=len(variants) > 1, squeeze=False
    )
    return figure, list(zip(grid.flat, variants))


def variant_name(variant: Setting) -> str:
    """What stands behind a panel's title: `, backbone resnet18`, or nothing without further axes."""
    return f", {place_name(variant)}" if variant else ""


def render(figure: Figure) -> dict[str, bytes]:
    """The figure's bytes by format; equal for equal records under one release of matplotlib.

    The figure is closed.
    """
    content = {}
    for kind, metadata in SAVED.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        content[kind] = buffer.getvalue()
    plt.close(figure)
    return content


def drawn_by() -> str:
    """What decides a figure's bytes besides its records: another release may draw or compress otherwise."""
    return "".join(f"{name} {version(name)}\n" for name in DECIDING)
