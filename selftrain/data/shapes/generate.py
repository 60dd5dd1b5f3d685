"""A generated set of textured shapes in COCO's layout, for detection, or in PASCAL VOC's, for segmentation. It needs no network and takes seconds.

`selftrain/data/shapes/draw.py` says what is drawn. Each image is a pure function of the set's seed, its split and its index, so the number of processes,
the size of the splits and the layout cannot change it. `train` is labelled, `val` is for tuning, `test` for reporting, and `unlabeled` is the pool:
its labels are on disk only so that a teacher's precision and recall, or its pixel accuracy, can be measured.

    python -m selftrain.data.shapes --out data/shapes --image-size 65 --train 2000 --difficulty 0.3
    python -m selftrain.data.shapes --out data/shapes-voc --layout voc
"""

import json
import multiprocessing
import os
import secrets
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from pycocotools import mask as rle

from selftrain.data.shapes import textures
from selftrain.data.shapes.draw import CATEGORY_IDS, SPLITS, VERSION, Shapes, render
from selftrain.data.voc import encode_mask

__all__ = ["CATEGORY_IDS", "MARK", "SPLITS", "VERSION", "Layout", "Shapes", "generate", "render"]

Layout = Literal["coco", "voc"]
MARK = "shapes.json"  # written last: a folder that has it is whole
CHUNK = 50  # images a task
FOLDERS = {  # of a set in each layout
    "coco": ("annotations", *(f"{s}2017" for s in SPLITS)),
    "voc": ("VOC2012/JPEGImages", "VOC2012/SegmentationClass"),
}
FILES = {  # those that are neither photo nor mask
    "coco": (MARK,),  # annotations are written after their folder, and nobody adds any
    "voc": (MARK, "VOC2012/classes.txt", *(f"VOC2012/ImageSets/Segmentation/{s}.txt" for s in SPLITS)),
}


def generate(
    root, spec: Shapes = Shapes(), workers: int | None = None, progress=None, layout: Layout = "coco"
) -> Path:
    """Write the set to `root` and return its path; a folder that holds this very set already is left as it is.

    The files are written to a hidden folder beside `root`, which takes its place when all are there, so an interrupted run leaves nothing that looks
    finished (one that was killed outright leaves the hidden folder, which may be deleted). An older generated set at `root` is replaced.
    layout: "coco" writes boxes and masks as json; "voc" writes `root`/VOC2012 with an index PNG an image: 0 is the ground, then come the textures.
    workers: processes, all usable cores by default; they are spawned, so a script that calls this needs its `if __name__ == "__main__"`.
    progress: called with (images done, images in all). Raises FileExistsError where `root` holds anything that this function did not write.
    """
    root = Path(root).expanduser().absolute()
    if layout not in FOLDERS:
        raise ValueError(f"shapes: layout {layout!r} is none of {', '.join(FOLDERS)}")
    if _holds(root, spec, layout):
        return root
    _assert_ours(root)
    part = root.parent / f".{root.name}-{os.getpid()}-{secrets.token_hex(4)}.part"
    part.mkdir(parents=True)
    try:
        _write(part, spec, layout, workers or _cores(), progress)
        _assert_ours(root)  # minutes may have passed
        old = part.with_suffix(".old")
        if root.exists():
            os.replace(root, old)
        try:
            os.replace(part, root)
        except OSError:  # another process put a set there meanwhile
            if not _holds(root, spec, layout):
                raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _mark(root):
    """what the folder's mark says, {} without a readable one"""
    try:
        mark = json.loads((root / MARK).read_text())
        return mark if isinstance(mark, dict) and mark.get("generator") == "selftrain.data.shapes" else {}
    except (OSError, ValueError):
        return {}


def _contents(layout):
    return [PurePosixPath(name) for name in (*FOLDERS.get(layout, ()), *FILES.get(layout, ()))]


def _layout(mark):
    return mark.get("layout", "coco")  # only the mark of another layout names it


def _holds(root, spec, layout):
    mark = _mark(root)
    return (
        mark.get("digest") == spec.digest()
        and _layout(mark) == layout
        and all((root / name).exists() for name in _contents(layout))
    )


def _assert_ours(root):
    """raises FileExistsError unless `root` is absent, empty, or a generated set and nothing else"""
    if not os.path.lexists(root):
        return
    if root.is_symlink() or not root.is_dir():
        foreign = {root.name}
    elif mark := _mark(root):  # lists or masks of the user's own may stand beside ours at any depth
        ours = _contents(_layout(mark))
        folders = {parent for name in ours for parent in name.parents}
        there = {
            p.relative_to(root).as_posix()
            for folder in folders
            if (root / folder).is_dir()
            for p in (root / folder).iterdir()
        }
        foreign = there - {str(name) for name in (*ours, *folders)}
    else:
        foreign = {p.name for p in root.iterdir()}
    if foreign:
        raise FileExistsError(
            f"{root} holds {sorted(foreign)[0]!r}, which is not of a generated set: it is left alone; choose another folder"
        )


def _write(folder, spec, layout, workers, progress):
    counts = {s: getattr(spec, s) for s in SPLITS}
    tasks = [(s, i, min(i + CHUNK, n)) for s, n in counts.items() for i in range(0, n, CHUNK)]
    for name in {*FOLDERS[layout], *(str(PurePosixPath(file).parent) for file in FILES[layout])}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    workers = min(workers, len(tasks))
    # spawned, since a fork of a process whose torch has threads may hang
    pool = (
        ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)
        if workers > 1
        else nullcontext()
    )
    records, done = {s: [] for s in SPLITS}, 0
    with pool:
        try:
            for task, rows in zip(
                tasks, (pool.map if workers > 1 else map)(partial(_write_chunk, folder, spec, layout), tasks)
            ):
                records[task[0]] += rows  # in the order of the tasks, whoever was first
                done += len(rows)
                if progress:
                    progress(done, sum(counts.values()))
        except BaseException:
            if workers > 1:
                pool.shutdown(cancel_futures=True)
            raise
    mark = dict(generator="selftrain.data.shapes", version=VERSION, digest=spec.digest(), spec=asdict(spec))
    if layout == "voc":
        mark["layout"] = layout
    (_finish_coco if layout == "coco" else _finish_voc)(folder, spec, records, mark)
    (folder / MARK).write_text(json.dumps(mark, indent=1))


def _finish_coco(folder, spec, records, mark):
    for split, rows in records.items():
        annotations = [a for row in rows for a in row[1]]
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


def _finish_voc(folder, spec, records, mark):
    for split, stems in records.items():
        (folder / "VOC2012" / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(
            "".join(f"{stem}\n" for stem in stems)
        )
    (folder / "VOC2012" / "classes.txt").write_text(
        "".join(f"{name}\n" for name in ("background", *textures.NAMES[: spec.classes]))
    )


def _start_worker():
    """a worker ends with its parent: it would wait for ever for work from one that was killed"""
    cv2.setNumThreads(0)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _write_chunk(folder, spec, layout, task):
    """images `start` to `stop` of a split, as files; returns what _finish_coco or _finish_voc needs to know of each"""
    split, start, stop = task
    write = _write_coco if layout == "coco" else _write_voc
    return [write(folder, spec, split, index) for index in range(start, stop)]


def _write_photo(path, image):
    flags = [
        cv2.IMWRITE_JPEG_QUALITY,
        95,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # textures are fine colour
    if not cv2.imwrite(str(path), image[..., ::-1], flags):
        raise OSError(f"cannot write {path}")


def _write_voc(folder, spec, split, index):
    """returns the stem"""
    image, _, classes, masks = render(spec, split, index)
    stem = f"{split}_{index + 1:06d}"
    _write_photo(folder / "VOC2012" / "JPEGImages" / f"{stem}.jpg", image)
    ground = np.zeros(image.shape[:2], np.uint8)
    for label, mask in zip(classes, masks):
        ground[mask] = 1 + label
    (folder / "VOC2012" / "SegmentationClass" / f"{stem}.png").write_bytes(encode_mask(ground))
    return stem


def _write_coco(folder, spec, split, index):
    """returns the image's record and those of its annotations, yet without id"""
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
