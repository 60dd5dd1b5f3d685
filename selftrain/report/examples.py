"""Whose pseudo-labels of which photos a study can show.

They are those of a generated set: its parameters, which stand in the record, draw the photos again.
"""

import re

from selftrain.record import Record
from selftrain.report.matrix import Matrix
from selftrain.report.places import place_name

ROWS = 4


def teachers(matrix: Matrix) -> list[tuple[str, Record]]:
    """(title, record of a student) of what is shown.

    This is every start with the most and the fewest labels, the strongest policy, and the first seed.
    """
    shown = [
        r
        for r in matrix.records
        if r.arm.rounds == 1 and r.shapes and r.pseudo_labels.get("examples") and pool_split(r)
    ]
    if not shown:
        return []
    policy = max(r.settings["policy"] for r in shown)
    fractions = sorted({r.settings["fraction"] for r in shown if r.settings["policy"] == policy})
    rows = []
    for fraction in dict.fromkeys((fractions[-1], fractions[0])):
        for place in matrix.columns(policy=policy, fraction=fraction):
            for arm in matrix.arms:
                records = [r for r in matrix.at(arm, place).values() if r in shown]
                if records:
                    first = min(records, key=lambda r: r.seed)
                    rows.append((f"{arm.supervised}\n{place_name(place)}", first))
    return rows[:ROWS]


def pool_split(record: Record) -> str | None:
    """The split of the generated set that a student's pool is.

    It is a split of its own, or the training images without their labels; None where that cannot be told.
    """
    photo, shapes = record.pseudo_labels["examples"][0]["photo"], record.shapes
    if named := re.match(r"(train|unlabeled)_", photo.rpartition("/")[2]):
        return named[1]
    rest = shapes["train"] - record.labelled_images
    images = record.pseudo_labels["pool_images"]
    fitting = [
        split for split, count in (("unlabeled", shapes["unlabeled"]), ("train", rest)) if images == count
    ]
    return fitting[0] if len(fitting) == 1 else None
