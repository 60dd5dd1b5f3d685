"""The files of a generated set, in COCO's layout or in PASCAL VOC's, written by several processes."""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from pycocotools import mask as rle

from selftrain.data.shapes.draw import render
from selftrain.data.shapes.spec import CATEGORY_IDS, SPLITS, VERSION, Shapes
from selftrain.data.voc import encode_mask

Layout = Literal["coco", "voc"]
Progress = Callable[[int, int], None]
"""called with how many images are done, and how many there are in all"""
MARK = "shapes.json"
"""file that says what a set was drawn from; written last: a folder that has it is whole"""
CHUNK = 50
"""images of one task"""
FOLDERS = {
    "coco": ("annotations", *(f"{s}2017" for s in SPLITS)),
    "voc": ("VOC2012/JPEGImages", "VOC2012/SegmentationClass"),
}
"""folders of a set in each layout whose files are photos, masks or annotations"""
FILES = {
    "coco": (MARK,),  # annotations are written after their folder, and nobody adds any
    "voc": (MARK, "VOC2012/classes.txt", *(f"VOC2012/ImageSets/Segmentation/{s}.txt" for s in SPLITS)),
}
"""files of a set in each layout that are neither photo nor mask"""


def write_set(folder: Path, spec: Shapes, layout: Layout, workers: int, progress: Progress | None) -> None:
    """Write the whole set into an empty folder, the mark last.

    Args:
        folder: exists and is empty.
        spec: the set.
        layout: "coco" or "voc".
        workers: processes; with 1 no other is started.
        progress: called after each task, or None.
    """
    counts = {split: getattr(spec, split) for split in SPLITS}
    tasks = [(s, i, min(i + CHUNK, count)) for s, count in counts.items() for i in range(0, count, CHUNK)]
    for name in {*FOLDERS[layout], *(str(PurePosixPath(file).parent) for file in FILES[layout])}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    workers = min(workers, len(tasks))
    # The processes are spawned, since a fork of a process whose torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start_worker) if workers > 1 else nullcontext()
    records, done = {split: [] for split in SPLITS}, 0
    with pool:
        try:
            results = (pool.map if workers > 1 else map)(partial(_write_chunk, folder, spec, layout), tasks)
            for task, rows in zip(tasks, results):
                records[task[0]] += rows  # in the order of the tasks, whichever was done first
                done += len(rows)
                if progress:
                    progress(done, sum(counts.values()))
        except BaseException:
            if workers > 1:
                pool.shutdown(cancel_futures=True)
            raise
    mark = dict(
        generator="selftrain.data.shapes", version=VERSION, digest=spec.digest(), spec=spec.declared()
    )
    if layout == "voc":
        mark["layout"] = layout
    (_finish_coco if layout == "coco" else _finish_voc)(folder, spec, records, mark)
    (folder / MARK).write_text(json.dumps(mark, indent=1))


def _start_worker() -> None:
    """Make a worker end with its parent: it would wait for ever for work from one that was killed."""
    cv2.setNumThreads(0)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _write_chunk(folder: Path, spec: Shapes, layout: Layout, task: tuple[str, int, int]) -> list:
    """Write images `start` to `stop` of a split; return what `_finish_coco` or `_finish_voc` needs."""
    split, start, stop = task
    write = _write_coco if layout == "coco" else _write_voc
    return [write(folder, spec, split, index) for index in range(start, stop)]


def _write_photo(path: Path, image: np.ndarray) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    # Textures are fine colour, which the usual 4:2:0 sampling would blur.
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    if not cv2.imwrite(str(path), image[..., ::-1], [*quality, *sampling]):
        raise OSError(f"cannot write {path}")


def _write_coco(folder: Path, spec: Shapes, split: str, index: int) -> tuple[dict, list[dict]]:
    """Write a photo; return the image's record and those of its annotations, yet without id."""
    image, boxes, classes, masks = render(spec, split, index)
    name = f"{index + 1:012d}.jpg"
    _write_photo(folder / f"{split}2017" / name, image)
    annotations = []
    for box, label, mask in zip(boxes, classes, masks):
        code = rle.encode(np.asfortranarray(mask, np.uint8))
        x1, y1, x2, y2 = box.tolist()
        annotations.append(
            dict(
                id=0,
                image_id=index + 1,
                category_id=CATEGORY_IDS[label],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=int(mask.sum()),
                iscrowd=0,
                segmentation=dict(size=code["size"], counts=code["counts"].decode()),
            )
        )
    return dict(id=index + 1, file_name=name, width=spec.image_size, height=spec.image_size), annotations


def _write_voc(folder: Path, spec: Shapes, split: str, index: int) -> str:
    """Write a photo and its mask; return their stem."""
    image, _, classes, masks = render(spec, split, index)
    stem = f"{split}_{index + 1:06d}"
    _write_photo(folder / "VOC2012" / "JPEGImages" / f"{stem}.jpg", image)
    class_map = np.zeros(image.shape[:2], np.uint8)
    for label, mask in zip(classes, masks):
        class_map[mask] = 1 + label
    (folder / "VOC2012" / "SegmentationClass" / f"{stem}.png").write_bytes(encode_mask(class_map))
    return stem


def _finish_coco(folder: Path, spec: Shapes, records: dict[str, list[tuple]], mark: dict) -> None:
    """Write the annotation file of each split from what `_write_coco` returned."""
    for split, rows in records.items():
        annotations = [annotation for row in rows for annotation in row[1]]
        for i, annotation in enumerate(annotations, 1):
            annotation["id"] = i
        coco = dict(
            info=dict(description="generated shapes", split=split, **mark),
            licenses=[],
            images=[row[0] for row in rows],
            annotations=annotations,
            categories=spec.categories(),
        )
        (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(coco))


def _finish_voc(folder: Path, spec: Shapes, records: dict[str, list[str]], mark: dict) -> None:
    """Write the list of each split from what `_write_voc` returned, and the names of the classes."""
    for split, stems in records.items():
        path = folder / "VOC2012" / "ImageSets" / "Segmentation" / f"{split}.txt"
        path.write_text("".join(f"{stem}\n" for stem in stems))
    names = ("background", *spec.names())
    (folder / "VOC2012" / "classes.txt").write_text("".join(f"{name}\n" for name in names))
