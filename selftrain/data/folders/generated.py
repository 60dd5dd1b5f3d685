"""The generated set as folders of classes: pictures that show one object, whose texture is their class.

Split and number decide a picture, as in the other layouts: those that do not show exactly one object are
left out, and the next number takes the place.
"""

import json
import os
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from selftrain.data.shapes.draw import SPLITS, Shapes, render
from selftrain.data.shapes.files import MARK, Progress
from selftrain.system.errors import UserError

LAYOUT = "folders"
MOST_LEFT_OUT = 100
"""how many pictures in a row may not show one object before a set is refused"""


def generate_folders(root: Path, spec: Shapes, progress: Progress | None = None) -> Path:
    """Write the set to `root` and return its path; a folder that holds this very set is left as it is.

    The files are written to a hidden folder beside `root`, which takes its place when all are there.
    `progress` is called with how many images are done, and how many there are in all.  Raises UserError where
    `root` holds anything else, and where the set has no pictures of one object.
    """
    root = Path(root).absolute()
    if _is_whole(root, spec):
        return root
    if root.exists():
        raise UserError(f"{root}: holds something else than the generated set; move it away")
    part = root.parent / f".{root.name}-{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        _write(part, spec, progress)
        try:
            os.replace(part, root)
        except OSError:  # another process put the set there meanwhile
            if not _is_whole(root, spec):
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _is_whole(root: Path, spec: Shapes) -> bool:
    """Whether the folder holds this very set: the mark is written last."""
    try:
        mark = json.loads((root / MARK).read_text())
    except (OSError, ValueError):
        return False
    return (mark.get("digest"), mark.get("layout")) == (spec.digest(), LAYOUT)


def _write(folder: Path, spec: Shapes, progress: Progress | None) -> None:
    total, done = sum(getattr(spec, split) for split in SPLITS), 0
    class_names = [category["name"] for category in spec.categories()]
    for split in SPLITS:
        for name in class_names:
            (folder / split / name).mkdir(parents=True)
        number = -1
        for _ in range(getattr(spec, split)):
            number, image, label = next_of_one_object(spec, split, number + 1)
            name = f"{split}_{number + 1:06d}.png"  # counted from 1, as in the other layouts
            # PNG: a JPEG blurs textures this fine
            cv2.imwrite(str(folder / split / class_names[label] / name), image[..., ::-1])
            done += 1
            if progress:
                progress(done, total)
    mark = {"generator": "selftrain.data.shapes", "digest": spec.digest(), "layout": LAYOUT}
    (folder / MARK).write_text(json.dumps(mark | {"spec": asdict(spec)}, indent=1))


def next_of_one_object(spec: Shapes, split: str, number: int) -> tuple[int, np.ndarray, int]:
    """The first picture of a split from `number` on that shows one object: its number, pixels and class.

    Raises UserError where there is none among the next `MOST_LEFT_OUT`.
    """
    for each in range(number, number + MOST_LEFT_OUT):
        image, _, classes, _ = render(spec, split, each)
        if len(classes) == 1:
            return each, image, int(classes[0])
    raise UserError(
        f"--shapes.objects {' '.join(map(str, spec.objects))}: no picture of exactly one object among "
        f"{MOST_LEFT_OUT}; give --shapes.objects 1 1"
    )
