"""What teachers said of the first photos of the pool, drawn from the records alone.

A generated photo is a function of the set's parameters, which stand in the record.
"""

import base64
import io
import re
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from selftrain.data.shapes.generate import Shapes, render
from selftrain.data.voc import PALETTE
from selftrain.report.examples import pool_split, teachers
from selftrain.report.matrix import Matrix

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
PHOTOS = 6


def draw_gallery(matrix: Matrix) -> Figure:
    """A row for each teacher, a column for each photo."""
    rows = teachers(matrix)
    size = (1.5 * PHOTOS + 0.6, 1.6 * len(rows))
    figure, grid = plt.subplots(len(rows), PHOTOS, figsize=size, layout="constrained", squeeze=False)
    for line, (title, record) in zip(grid, rows):
        spec = Shapes(**record.shapes)
        names = [category["name"] for category in spec.categories()]
        for axes, example in zip(line, record.pseudo_labels["examples"]):
            index = int(re.search(r"(\d+)\.\w+$", example["photo"])[1]) - 1  # they are numbered from 1
            _draw_example(axes, render(spec, pool_split(record), index)[0], example, names)
        line[0].set_ylabel(title, fontsize=7)
    seeds = [str(record.seed) for _, record in rows]
    whose = f"seed {seeds[0]}" if len(set(seeds)) == 1 else f"seeds {', '.join(seeds)} by rows"
    figure.suptitle(f"Pseudo-labels of the teachers: {matrix.name}, {whose}", fontsize=9)
    return figure


def _draw_example(axes: Axes, image: np.ndarray, example: dict[str, Any], names: list[str]) -> None:
    """A photo (H, W, 3) with what a teacher said of it: a mask, boxes, or a caption of the whole photo."""
    if "mask" in example:
        image = _with_mask(image, example["mask"])
    axes.imshow(image, interpolation="nearest")
    for x1, y1, x2, y2, label, score in example.get("boxes", ()):
        colour = COLOURS[int(label) % len(COLOURS)]
        corner, width, height = (x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=1.2))
        axes.text(
            x1,
            y1,
            f"{names[int(label)]} {score:.2f}",
            fontsize=4,
            color="black",
            va="bottom",
            bbox=dict(facecolor=colour, edgecolor="none", pad=0.4, alpha=0.85),
        )
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(example.get("caption", ""), fontsize=6)


def _with_mask(image: np.ndarray, mask: str) -> np.ndarray:
    """A photo (H, W, 3) under the colours of a mask, which is a small PNG in base64.

    The background shows the photo as it is.
    """
    small = np.asarray(Image.open(io.BytesIO(base64.b64decode(mask))))
    large = np.asarray(Image.fromarray(small).resize(image.shape[1::-1], Image.Resampling.NEAREST))
    colours = np.asarray(PALETTE)[large]
    return np.where((large == 0)[..., None], image, image // 2 + colours // 2).astype(np.uint8)
