"""Everything wrong with a data set in COCO's format: all faults of its annotations, and of its photos."""

import hashlib
from pathlib import Path

import numpy as np

from selftrain.data.check.images import (
    Photo,
    Progress,
    check_photos,
    check_pool,
    decode_all,
    decode_photo,
    no_progress,
)
from selftrain.data.check.report import Report
from selftrain.data.coco import box_faults, parsing, read_coco, repeated
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError


def check_coco(
    layout: dict[str, tuple[Path, Path]],
    pool: list[Path],
    workers: int = 1,
    progress: Progress = no_progress,
) -> Report:
    """Look at every annotation, decode every image, and report all that is wrong with them.

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
            differing = sorted(set(classes[part]) ^ set(classes[first]))
            differing = differing or ["the same names in another order"]
            cure = "give every part the same categories"
            report.add("error", f"{first}, {part}", "categories differ", differing, cure)
    results = decode_all(decode_photo, [photo.path for photo in photos], workers)
    check_photos(report, photos, progress(results, len(photos)))
    return report


def _check_annotations(report: Report, part: str, path: Path) -> parsing.Columns | None:
    """Put every fault of one annotation file into findings; None if it cannot be read."""
    try:
        data = read_bytes(path)
        columns, faults = parsing.parse_all(data, path)
    except UserError as err:
        report.parts[part] = {"json": str(path)}
        report.add("error", part, "annotations unreadable", [str(err)], "download or repair the file")
        return None
    cure = "correct or remove them"
    report.add("error", part, "entries that do not fit COCO's form", faults, cure)
    if not len(columns.ids):
        cure = "give the file with labels (instances_*.json)"
        report.add("error", part, "no annotations", [path.name], cure)
    _check_entries(report, part, columns)
    known_image = _check_references(report, part, columns)
    _check_boxes(report, part, columns, np.flatnonzero(known_image))
    unlabelled = np.flatnonzero(~np.isin(columns.image_ids, columns.image_of))
    cases = (columns.names[i] for i in unlabelled)
    report.add("note", part, "images without annotation", cases, "none needed: they train as background")
    crowds = columns.ids[columns.crowd]
    cases = (f"annotation {i}" for i in crowds)
    report.add("note", part, "crowd annotations", cases, "none needed: neither object nor background")
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


def _check_entries(report: Report, part: str, columns: parsing.Columns) -> None:
    """Find ids, names and files that are there more than once, and images without size."""
    for kind, ids in (
        ("image", columns.image_ids),
        ("annotation", columns.ids),
        ("category", columns.category_ids),
    ):
        cases = (f"id {i}" for i in repeated(ids))
        report.add("error", part, f"{kind} ids used twice", cases, "make the ids unique")
    names = repeated(np.array(columns.class_names, dtype=str)).tolist()
    report.add("error", part, "category names used twice", names, "rename or merge them")
    shapeless = columns.image_ids[(columns.sizes <= 0).any(1)]
    cases = (f"image {i}" for i in shapeless)
    report.add("error", part, "images without width or height", cases, "correct their sizes")
    files = repeated(np.array(columns.names, dtype=str)).tolist()
    report.add("warning", part, "files listed twice", files, "remove the repeated entry")


def _check_references(report: Report, part: str, columns: parsing.Columns) -> np.ndarray:
    """Find annotations for unknown categories or images; return (M,) bool, whether each image is known."""
    known_image = np.isin(columns.image_of, columns.image_ids)
    known_category = np.isin(columns.category_of, columns.category_ids)
    for what, known, used in (
        ("category", known_category, columns.category_of),
        ("image", known_image, columns.image_of),
    ):
        rows = np.flatnonzero(~known)
        cases = (f"annotation {columns.ids[row]} ({what} {used[row]})" for row in rows)
        cure = f"add the {what} or remove them"
        report.add("error", part, f"annotations for an unknown {what}", cases, cure)
    return known_image


def _check_boxes(report: Report, part: str, columns: parsing.Columns, rows: np.ndarray) -> None:
    """Find boxes without area or not inside their image; `rows` are the annotations whose image is known."""
    ids, positions = np.unique(columns.image_ids, return_index=True)
    image_at = positions[np.searchsorted(ids, columns.image_of[rows])] if len(rows) else rows
    _, zero, outside, sticking = box_faults(columns.bbox[rows], columns.sizes[image_at])
    for what, faulty, cure in (
        ("boxes without area", zero, "none needed: they are dropped"),
        ("boxes outside their image", outside, "they are dropped; many mean the wrong images"),
        ("boxes that stick out of their image", sticking & ~zero & ~outside, "none needed: they are clipped"),
    ):
        cases = (f"annotation {columns.ids[row]} (image {columns.image_of[row]})" for row in rows[faulty])
        report.add("warning", part, what, cases, cure)


def _check_reader(report: Report, part: str, path: Path) -> None:
    """Ask the reader itself, once no fault is known.

    Were it to refuse for a reason not looked for above, the check would promise too much.
    """
    if any(finding.level == "error" and finding.part == part for finding in report.findings):
        return
    try:
        read_coco(path, path.parent)
    except UserError as err:
        report.add("error", part, "annotations refused", [str(err)], "")
