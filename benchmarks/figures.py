"""Figures from records."""

import itertools
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")  # no screen on a cluster's node
from matplotlib import pyplot as plt  # noqa: E402

from selftrain.record import arms  # noqa: E402

# Okabe and Ito's colours, tellable by colour-blind people; line style and marker tell the arms apart in grey
STYLES = [("#0072B2", "o", "-"), ("#D55E00", "s", "-"), ("#0072B2", "o", "--"), ("#D55E00", "s", "--"), ("#009E73", "^", "-"), ("#009E73", "^", "--"),
          ("#CC79A7", "D", "-"), ("#CC79A7", "D", "--")]


def draw_curves(records: list[dict], title: str, path: Path) -> None:
    """The metric on the val split over steps, a line an arm: the mean over seeds, their range as a band."""
    metric = records[0]["metric"]
    figure, axes = plt.subplots(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    for arm, (colour, marker, line) in zip(arms(records), itertools.cycle(STYLES)):
        curves = [r["curve"] for r in records if r["arm"] == arm]
        steps = [p["step"] for p in curves[0]]
        values = np.array([[p[metric] for p in curve] for curve in curves])
        axes.plot(steps, values.mean(0), color=colour, marker=marker, markersize=4, linestyle=line, label=arm)
        if len(curves) > 1:
            axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="steps", ylabel=f"{metric} (val split, averaged weights)", ylim=(0, None), xlim=(0, None),
             title=f"{title}: {records[0]['labelled_images']} labelled images, {records[0]['settings']['policy']}".replace(", test split", ""))
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)

