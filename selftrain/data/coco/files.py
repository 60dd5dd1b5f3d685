"""Reading and writing a COCO annotation file."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np

from selftrain.data.coco import parsing
from selftrain.data.coco.dataset import CocoDataset, offsets_of
from selftrain.data.coco.faults import box_faults, refuse_ambiguous
from selftrain.data.dataset import class_difference
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic


def read_coco(
    json_path: str | Path, folder: str | Path, *, classes: tuple[str, ...] | None = None
) -> CocoDataset:
    """Read a COCO annotation file, written by people or by a teacher (then with scores). It opens no image.

    Boxes without area are dropped, boxes outside their image too, boxes that stick out are clipped, and each
    is counted in `.dropped`. Images without annotation stay. An annotation with `ignore` or `iscrowd` becomes
    `crowd`.

    Args:
        json_path: the annotations.
        folder: where the image files lie; `file_name` is relative to it.
        classes: the class names wanted, in order (labels of other classes or another order would train the
            wrong thing).

    Raises:
        UserError: the file is missing, broken, not COCO-like, has no annotation, names a category or an image
            it does not have, uses an id twice, or its classes are not `classes`.
    """
    json_path = Path(json_path)
    data = read_bytes(json_path)
    columns = parsing.parse(data, json_path)
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    del data  # hundreds of megabytes, not needed while the arrays are put in order
    refuse_ambiguous(columns, json_path)
    if classes is not None and columns.class_names != tuple(classes):
        raise UserError(class_difference(json_path, columns.class_names, tuple(classes)))

    by_id = np.argsort(columns.image_ids)
    image_of = by_id[np.searchsorted(columns.image_ids, columns.image_of, sorter=by_id)]  # id -> position
    boxes, zero, outside, sticking = box_faults(columns.bbox, columns.sizes[image_of])
    listed = np.bincount(image_of[~columns.crowd], minlength=len(columns.names)).astype(np.int32)
    kept = ~(zero | outside)
    order = np.flatnonzero(kept)[np.argsort(image_of[kept], kind="stable")]
    size = boxes[:, 2:] - boxes[:, :2]
    areas = np.where(np.isnan(columns.areas), size[:, 0] * size[:, 1], columns.areas)
    return CocoDataset(
        folder=Path(folder),
        names=np.array([name.encode() for name in columns.names]),
        image_ids=columns.image_ids,
        sizes=columns.sizes,
        offsets=offsets_of(np.bincount(image_of[kept], minlength=len(columns.names))),
        boxes=boxes[order],
        classes=np.searchsorted(columns.category_ids, columns.category_of[order]).astype(np.int16),
        crowd=columns.crowd[order],
        areas=areas[order],
        scores=columns.scores[order],
        class_names=columns.class_names,
        category_ids=tuple(columns.category_ids.tolist()),
        hash=digest,
        dropped={
            "zero-area boxes": int(zero.sum()),
            "outside boxes": int(outside.sum()),
            "clipped boxes": int((sticking & kept).sum()),
        },
        listed=listed,
    )


def write_coco(path: str | Path, dataset: CocoDataset, info: dict) -> None:
    """Write a data set, its scores included, as COCO json that `read_coco` and COCO evaluators read.

    The same labels and info give the same bytes: images go by id, boxes keep their order, coordinates and
    areas are rounded to 1/1000 (square) pixel, scores to six decimals. The file appears whole or not at all.
    """
    dataset = dataset.take(np.argsort(dataset.image_ids))
    content = {"info": info, **dataset.to_coco()}
    for row in content["annotations"]:
        row["bbox"] = [round(value, 3) for value in row["bbox"]]
        row["area"], row["score"] = round(row["area"], 3), round(row["score"], 6)
    write_atomic(path, lambda file: file.write(msgspec.json.encode(content, order="deterministic")))
