"""Small pictures, data sets and refusals that several tests of `selftrain.data` share."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selftrain.data.check import __main__ as check
from selftrain.data.coco import read_coco
from selftrain.data.voc import encode_mask
from selftrain.system.errors import UserError

# Real photos, where they are at hand.
SHARED = Path(__file__).parents[2] / "../shared/data"


# ---- pictures


def picture(width=32, height=24):
    """A picture (H, W, 3) whose colours rise from corner to corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)], -1
    ).astype(np.uint8)


def photo(path, seed=0):
    """Write a picture to `path`, another one for each seed, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.roll(picture(), seed, axis=1)).save(path)
    return path


def encoded(image, form="PNG", **options):
    """The bytes of a Pillow image in this format."""
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


# ---- files, and what is expected of a reader


def write(path, content):
    """Write text, or anything else as json, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refuses(action, *parts):
    """The refusal's message, which names each of `parts`."""
    with pytest.raises(UserError) as caught:
        action()
    for part in parts:
        assert str(part) in str(caught.value)
    return str(caught.value)


def files(root):
    """The bytes of every file below `root`, by path."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


# ---- COCO's format


def coco(count=3, **changes):
    """A small valid COCO dictionary: image i (id 10 i + 10) is 32x24 and has one box."""
    content = {
        "images": [
            {"id": 10 * i + 10, "file_name": f"{i}.jpg", "width": 32, "height": 24} for i in range(count)
        ],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 10 * i + 10,
                "category_id": 7,
                "bbox": [2, 3, 10, 5],
                "area": 40.5,
                "iscrowd": 0,
            }
            for i in range(count)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    return {**content, **changes}


def random_coco(seed, images=40, annotations=300):
    """A large valid COCO dictionary with crowds, and three images without annotation."""
    rng = np.random.default_rng(seed)
    ids = rng.choice(10**6, images, replace=False).tolist()
    content = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in ids],
        "annotations": [],
        "categories": [{"id": int(i), "name": f"class {i}"} for i in rng.permutation([1, 5, 13, 90])],
    }
    for n in range(annotations):
        x, y = rng.uniform(0, 600), rng.uniform(0, 440)
        w, h = rng.uniform(1, 640 - x), rng.uniform(1, 480 - y)
        content["annotations"].append(
            {
                "id": n + 100,
                "image_id": ids[rng.integers(images - 3)],  # three images stay without
                "category_id": int(rng.choice([1, 5, 13, 90])),
                "bbox": [float(x), float(y), float(w), float(h)],
                "area": float(w * h / 2),
                "iscrowd": int(rng.random() < 0.1),
                "segmentation": [[1.0, 2.0, 3.0]],
            }
        )
    return content


def read(tmp_path, content):
    """The data set of a COCO dictionary."""
    return read_coco(write(tmp_path / "labels.json", content), tmp_path)


# ---- PASCAL VOC's format


def label(i, width=32, height=24):
    """A class map of class i and i + 1 with an ignored border."""
    mask = np.full((height, width), 255, np.uint8)
    mask[2:-2, 2:-2] = i
    mask[4:8, 4:10] = i + 1
    return mask


def stem(i):
    """The stem of photo number i."""
    return f"2007_{i:06d}"


def add(root, i, mask=None, folder="SegmentationClass"):
    """Write photo and mask of number i."""
    for path, image in (
        (root / "JPEGImages" / f"{stem(i)}.jpg", Image.fromarray(np.roll(picture(), i, axis=1))),
        (root / folder / f"{stem(i)}.png", None),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path) if image else path.write_bytes(encode_mask(label(i) if mask is None else mask))


def write_list(root, name, numbers):
    """Write the list of the photos of these numbers, and return its path."""
    return write(
        root / "ImageSets" / "Segmentation" / f"{name}.txt", "".join(f"{stem(i)}\n" for i in numbers)
    )


def voc(folder):
    """Write VOC2012 below `folder` with 4 photos for train and 2 for val, and return it."""
    root = folder / "VOCdevkit" / "VOC2012"
    for i in range(6):
        add(root, i)
    write_list(root, "train", range(4))
    write_list(root, "val", [4, 5])
    return root


# ---- the check


def run_check(root, *options):
    """Exit status and report."""
    report = root / "out" / "report.json"
    status = check.main([str(root), "--report", str(report), *map(str, options)])
    return status, json.loads(report.read_text())


def findings(report, level=None):
    """{(part, what): cases} of a level, or of errors and warnings."""
    return {
        (f["part"], f["what"]): f["items"]
        for f in report["findings"]
        if f["level"] == level or level is None and f["level"] != "note"
    }
