"""What teachers said of the first photos of the pool, drawn from the records alone: a generated photo is a function of the set's parameters."""

import base64
import io
import re

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from selftrain.data.shapes.generate import Shapes, render
from selftrain.data.voc import PALETTE
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#FFFFFF")
PHOTOS, ROWS = 6, 4


def teachers(matrix: Matrix) -> list[tuple[str, dict]]:
    """(title, record of a student) of what is shown: every start with the most and the fewest labels, the strongest policy, the first seed."""
    shown = [
        r
        for r in matrix.records
        if r["round"] == 1 and r["shapes"] and r["pseudo_labels"].get("examples") and pool_split(r)
    ]
    if not shown:
        return []
    policy = max(r["settings"]["policy"] for r in shown)
    fractions = sorted({r["settings"]["fraction"] for r in shown if r["settings"]["policy"] == policy})
    rows = []
    for fraction in dict.fromkeys((fractions[-1], fractions[0])):
        for arm in matrix.arms:
            found = [r for r in matrix.at(arm, policy, fraction).values() if r in shown]
            if found:
                rows.append(
                    (
                        f"{arm.partition(' + ')[0]}\n{place_name(policy, fraction)}",
                        min(found, key=lambda r: r["settings"]["seed"]),
                    )
                )
    return rows[:ROWS]


def pool_split(record: dict) -> str | None:
    """The split of the generated set that the pool is: its own, or the training images without their labels; None where that cannot be told."""
    photo, shapes = record["pseudo_labels"]["examples"][0]["photo"], record["shapes"]
    if named := re.match(r"(train|unlabeled)_", photo.rpartition("/")[2]):
        return named[1]
    images = record["pseudo_labels"]["pool_images"]
    fitting = [
        split
        for split, count in (
            ("unlabeled", shapes["unlabeled"]),
            ("train", shapes["train"] - record["labelled_images"]),
        )
        if images == count
    ]
    return fitting[0] if len(fitting) == 1 else None


def draw_gallery(matrix: Matrix) -> Figure:
    """A row a teacher, a column a photo."""
    rows = teachers(matrix)
    figure, panels = plt.subplots(
        len(rows), PHOTOS, figsize=(1.5 * PHOTOS + 0.6, 1.6 * len(rows)), layout="constrained", squeeze=False
    )
    for line, (title, record) in zip(panels, rows):
        spec = Shapes(**record["shapes"])
        names = [c["name"] for c in spec.categories()]
        for axes, example in zip(line, record["pseudo_labels"]["examples"]):
            index = int(re.search(r"(\d+)\.\w+$", example["photo"])[1]) - 1  # they are numbered from 1
            image = render(spec, pool_split(record), index)[0]
            axes.imshow(
                _with_mask(image, example["mask"]) if "mask" in example else image, interpolation="nearest"
            )
            for x1, y1, x2, y2, label, score in example.get("boxes", ()):
                colour = COLOURS[int(label) % len(COLOURS)]
                axes.add_patch(
                    Rectangle(
                        (x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.2
                    )
                )
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
        line[0].set_ylabel(title, fontsize=7)
    seeds = [str(r["settings"]["seed"]) for _, r in rows]
    whose = f"seed {seeds[0]}" if len(set(seeds)) == 1 else f"seeds {', '.join(seeds)} by rows"
    figure.suptitle(f"Pseudo-labels of the teachers: {matrix.name}, {whose}", fontsize=9)
    return figure


def _with_mask(image: np.ndarray, mask: str) -> np.ndarray:
    small = np.asarray(Image.open(io.BytesIO(base64.b64decode(mask))))
    large = np.asarray(Image.fromarray(small).resize(image.shape[1::-1], Image.Resampling.NEAREST))
    colours = np.asarray(PALETTE)[large]
    return np.where((large == 0)[..., None], image, image // 2 + colours // 2).astype(np.uint8)
