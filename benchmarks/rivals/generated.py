"""Inputs that rows are measured on: noise, pictures, detections, and a json of COCO's size."""

import os
from pathlib import Path

import cv2
import numpy as np

from augment import Sample
from selftrain.data.coco import CocoDataset
from selftrain.data.image import image_size
from selftrain.data.pool import list_images

CLASSES = tuple(f"class{k:02d}" for k in range(80))
"""As many as COCO's"""
IMAGE_JSON = (
    '{{"license": 3, "file_name": "{0:012d}.jpg", '
    '"coco_url": "http://images.cocodataset.org/train2017/{0:012d}.jpg", "height": 480, '
    '"width": 640, "date_captured": "2013-11-14 11:18:45", '
    '"flickr_url": "http://farm9.staticflickr.com/8186/{0}_z.jpg", "id": {0}}}'
)
"""An entry of COCO's list of images, to be formatted with its id"""


def noise_samples(count: int, size: int, objects: int, classes: int) -> list[Sample]:
    """Images (size, size, 3) of noise with `objects` boxes each, of 8 to 60 % of the side.

    They serve for work whose time does not depend on the content.
    """
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(count):
        side = size * np.exp(rng.uniform(np.log(0.08), np.log(0.6), (objects, 2)))
        corner = rng.random((objects, 2)) * (size - side)
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        boxes, labels = np.hstack([corner, corner + side]), rng.integers(0, classes, objects)
        samples.append(Sample(image, boxes, labels, np.zeros(objects)))
    return samples


def photo_set(folder: Path) -> CocoDataset:
    """The pictures below `folder`, each with 7 random boxes."""
    rng = np.random.default_rng(0)
    names = [name for name, _, _ in list_images(folder)]
    sizes = np.array([image_size(folder / name) for name in names])
    # shares of width and height
    corners = rng.uniform(0, 0.5, (len(names), 7, 2))
    corners = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, corners.shape)], 2)
    classes = rng.integers(0, len(CLASSES), (len(names), 7))
    boxes = corners * np.tile(sizes, 2)[:, None]
    return _dataset(folder, [os.fsencode(name) for name in names], sizes, boxes, classes)


def write_pictures(folder: Path, count: int = 16) -> None:
    """JPEGs of 640 x 480 px and about 100 kB with structure of all sizes, as photos have it.

    The structure is noise of every octave, hard edges, and grain.
    """
    rng = np.random.default_rng(0)
    for n in range(count):
        image = np.full((480, 640, 3), 128.0)
        for cells in 2 ** np.arange(1, 8):
            noise = rng.normal(0, 20, (3 * cells, 4 * cells, 3))
            image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC) / cells**0.3
        for _ in range(25):
            centre, axes = rng.integers(0, (640, 480)).tolist(), rng.integers(8, 90, 2)
            angle, colour = float(rng.uniform(0, 180)), rng.uniform(0, 255, 3).tolist()
            cv2.ellipse(image, centre, axes, angle, 0, 360, colour, -1)
        image += rng.normal(0, 4, image.shape)
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{n:02d}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])


def detections_scene(images: int) -> tuple[CocoDataset, dict[int, np.ndarray]]:
    """Labels with 7 objects an image on average, and 100 predictions an image, scattered around the objects.

    The predictions are as `coco_ap` wants them: image index -> (100, 6) rows x1 y1 x2 y2 score class.
    """
    rng = np.random.default_rng(0)
    objects, classes, predictions = [], [], {}
    for i, count in enumerate(1 + rng.poisson(6, images)):
        side = np.minimum(np.exp(rng.uniform(np.log(12), np.log(600), (count, 2))), (640, 480))
        corner = rng.random((count, 2)) * ((640, 480) - side)
        objects.append(np.hstack([corner, corner + side]))
        classes.append(rng.integers(0, len(CLASSES), count))
        # how far off a detection is; its score tells, roughly
        pick, off = rng.integers(0, count, 100), rng.exponential(0.15, 100)
        boxes = objects[i][pick] + np.tile(side[pick], 2) * rng.normal(0, 1, (100, 4)) * off[:, None]
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        label = np.where(rng.random(100) < 0.8, classes[i][pick], rng.integers(0, len(CLASSES), 100))
        rows = np.column_stack([boxes, np.exp(-4 * off) * rng.uniform(0.5, 1, 100), label])
        predictions[i] = rows.astype(np.float32)
    names = [b"%012d.jpg" % n for n in range(1, images + 1)]
    return _dataset(Path("."), names, np.tile((640, 480), (images, 1)), objects, classes), predictions


def _dataset(folder: Path, names: list[bytes], sizes: np.ndarray, boxes, classes) -> CocoDataset:
    """`boxes`: (n, 4) of each image, `classes`: (n,) of each image."""
    counts, boxes = [len(c) for c in classes], np.concatenate(list(boxes))
    return CocoDataset(
        folder=folder,
        names=np.array(names),
        image_ids=np.arange(1, len(names) + 1),
        sizes=np.asarray(sizes, np.int32),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        boxes=boxes,
        classes=np.concatenate(list(classes)).astype(np.int16),
        crowd=np.zeros(len(boxes), bool),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        scores=np.ones(len(boxes), np.float32),
        class_names=CLASSES,
        category_ids=tuple(range(1, len(CLASSES) + 1)),
    )


def write_train2017(path: Path, images: int, boxes: int) -> None:
    """A json with the fields of COCO's instances_train2017.json, and an eight-cornered polygon for each box.

    COCO's own polygons have 25 corners on average.
    """
    rng = np.random.default_rng(0)
    with open(path, "w") as file:
        file.write('{"info": {"description": "generated"}, "licenses": [], "images": [')
        file.write(",".join(IMAGE_JSON.format(i) for i in range(1, images + 1)))
        file.write('], "annotations": [')
        columns = [
            rng.integers(1, images + 1, boxes),
            rng.integers(1, 81, boxes),
            *rng.uniform(0, (320, 240), (boxes, 2)).round(2).T,
            *rng.uniform(8, (300, 220), (boxes, 2)).round(2).T,
        ]
        for n, (image, category, x, y, w, h) in enumerate(zip(*(c.tolist() for c in columns)), 1):
            a, b, c, d = (f"{v:.2f}" for v in (x + w / 3, y + h / 3, x + w, y + h))
            polygon = f"{x}, {b}, {a}, {y}, {c}, {y}, {c}, {b}, {c}, {d}, {a}, {d}, {x}, {d}, {a}, {b}"
            file.write(
                f'{"," if n > 1 else ""}{{"segmentation": [[{polygon}]], '
                f'"area": {w * h:.2f}, "iscrowd": 0, "image_id": {image}, '
                f'"bbox": [{x}, {y}, {w}, {h}], "category_id": {category}, "id": {n}}}'
            )
        categories = ",".join(
            f'{{"supercategory": "thing", "id": {k}, "name": "{name}"}}' for k, name in enumerate(CLASSES, 1)
        )
        file.write(f'], "categories": [{categories}]}}')
