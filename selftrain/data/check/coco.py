"""Everything wrong with a COCO folder: every fault of its annotations at once, and its photos."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from selftrain.data import cocojson
from selftrain.data.check.images import Photo, check_photos, check_pool, decode_all, decode_photo
from selftrain.data.check.report import Report
from selftrain.data.coco import box_faults, read_coco, repeated
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError


def check_coco(
    layout: dict[str, tuple[Path, Path]],
    pool: list[Path],
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] = lambda results, total: results,
) -> Report:
    """Look at every annotation and decode every image.

    Args:
        layout: (annotation file, image folder) of each part, as {"train": (json, folder), ...}.
        pool: folders of unlabelled pictures.
        workers: processes that decode.
        progress: wraps the stream of decoded images, given their number.
    """
    report, photos, classes = Report(), [], {}
    for part, (json_path, folder) in layout.items():
        columns = _check_annotations(report, part, json_path)
        if columns is not None:
            classes[part] = columns.class_names
            photos += [
                Photo(part, name, str(folder / name), (width, height))
                for name, (width, height) in zip(columns.names, columns.sizes.tolist(), strict=True)
            ]
    if pool:
        photos += check_pool(report, pool)
    for part in list(classes)[1:]:
        first = next(iter(classes))
        if classes[part] != classes[first]:
            differing = sorted(set(classes[part]) ^ set(classes[first])) or [
                "the same names in another order"
            ]
            report.add(
                "error",
                f"{first}, {part}",
                "categories differ",
                differing,
                "give every part the same categories",
            )
    check_photos(
        report,
        photos,
        progress(decode_all(decode_photo, [photo.path for photo in photos], workers), len(photos)),
    )
    return report


def _check_annotations(report: Report, part: str, path: Path) -> cocojson.Columns | None:
    try:
        data = read_bytes(path)
        columns, faults = cocojson.parse_all(data, path)
    except UserError as err:
        report.parts[part] = {"json": str(path)}
        report.add("error", part, "annotations unreadable", [str(err)], "download or repair the file")
        return None

    def add(level: str, what: str, items: Iterable[str], cure: str) -> None:
        report.add(level, part, what, items, cure)

    add("error", "entries that do not fit COCO's form", faults, "correct or remove them")
    if not len(columns.ids):
        add("error", "no annotations", [path.name], "give the file with labels (instances_*.json)")
    for kind, ids in (
        ("image", columns.image_ids),
        ("annotation", columns.ids),
        ("category", columns.category_ids),
    ):
        add("error", f"{kind} ids used twice", (f"id {i}" for i in repeated(ids)), "make the ids unique")
    names = np.array(columns.class_names, dtype=str)
    add("error", "category names used twice", repeated(names).tolist(), "rename or merge them")
    shapeless = columns.image_ids[(columns.sizes <= 0).any(1)]
    add("error", "images without width or height", (f"image {i}" for i in shapeless), "correct their sizes")
    add(
        "warning",
        "files listed twice",
        repeated(np.array(columns.names, dtype=str)).tolist(),
        "remove the repeated entry",
    )

    known_image = np.isin(columns.image_of, columns.image_ids)
    known_category = np.isin(columns.category_of, columns.category_ids)
    for what, known, used in (
        ("category", known_category, columns.category_of),
        ("image", known_image, columns.image_of),
    ):
        rows = np.flatnonzero(~known)
        cases = (f"annotation {columns.ids[r]} ({what} {used[r]})" for r in rows)
        add("error", f"annotations for an unknown {what}", cases, f"add the {what} or remove them")

    rows = np.flatnonzero(known_image)
    first = np.unique(columns.image_ids, return_index=True)
    position = first[1][np.searchsorted(first[0], columns.image_of[rows])] if len(rows) else rows
    _, zero, outside, sticking = box_faults(columns.bbox[rows], columns.sizes[position])
    for what, mask, cure in (
        ("boxes without area", zero, "none needed: they are dropped"),
        ("boxes outside their image", outside, "they are dropped; many mean the wrong images"),
        ("boxes that stick out of their image", sticking & ~zero & ~outside, "none needed: they are clipped"),
    ):
        cases = (f"annotation {columns.ids[r]} (image {columns.image_of[r]})" for r in rows[mask])
        add("warning", what, cases, cure)
    unlabelled = np.flatnonzero(~np.isin(columns.image_ids, columns.image_of))
    add(
        "note",
        "images without annotation",
        (columns.names[i] for i in unlabelled),
        "none needed: they train as background",
    )
    crowds = columns.ids[columns.crowd]
    add(
        "note",
        "crowd annotations",
        (f"annotation {i}" for i in crowds),
        "none needed: neither object nor background",
    )
    report.parts[part] = {
        "json": str(path),
        "hash": hashlib.blake2b(data, digest_size=8).hexdigest(),
        "images": len(columns.names),
        "annotations": len(columns.ids),
        "crowds": len(crowds),
        "unannotated": len(unlabelled),
        "categories": len(columns.class_names),
    }
    _check_reader(report, part, path)
    return columns


def _check_reader(report: Report, part: str, path: Path) -> None:
    """The reader's own word: were it to refuse for a reason not looked for above, the check would promise too much."""
    if any(finding.level == "error" and finding.part == part for finding in report.findings):
        return
    try:
        read_coco(path, path.parent)
    except UserError as err:
        report.add("error", part, "annotations refused", [str(err)], "")
