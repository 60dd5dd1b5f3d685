"""Everything wrong with a data set, before a long run meets it.

    python -m selftrain.data.check DIR
    python -m selftrain.data.check DIR --pool PHOTOS --report report.json

Decodes every image, so COCO's 123,000 take some minutes. Exits with 1 if training would stop or its result be wrong, else with 0.
"""

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import cv2
import msgspec
import numpy as np
import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from selftrain.data import cocojson
from selftrain.data.coco import box_faults, read_coco, repeated, size_fault
from selftrain.data.image import decode_image, read_bytes
from selftrain.data.layout import find_part
from selftrain.data.pool import read_pool
from selftrain.errors import UserError
from selftrain.files import write_atomic

_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One kind of thing found in one part of the data."""

    level: Literal["error", "warning", "note"]
    part: str  # train, val, test, pool, or two of them
    what: str
    items: list[str]  # every case
    cure: str


@dataclass
class Report:
    """What the check found; written as json by --report."""

    parts: dict[str, dict] = field(default_factory=dict)  # of each part: its files, hash and counts
    findings: list[Finding] = field(default_factory=list)
    quarantine: list[dict[str, str]] = field(default_factory=list)  # image files that cannot be used, and why

    def add(self, level: str, part: str, what: str, items: Iterable[str], cure: str) -> None:
        """Note a finding unless there is no case of it."""
        items = list(items)
        if items:
            self.findings.append(Finding(level, part, what, items, cure))

    def count(self, level: str) -> int:
        """Cases of this level."""
        return sum(len(finding.items) for finding in self.findings if finding.level == level)


@dataclass(frozen=True)
class _Photo:
    part: str
    name: str  # as shown
    path: str
    stated: tuple[int, int] | None  # width, height by the json


def check(
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
                _Photo(part, name, str(folder / name), (width, height))
                for name, (width, height) in zip(columns.names, columns.sizes.tolist(), strict=True)
            ]
    if pool:
        photos += _check_pool(report, pool)
    for part in list(classes)[1:]:
        first = next(iter(classes))
        if classes[part] != classes[first]:
            differing = sorted(set(classes[part]) ^ set(classes[first])) or ["the same names in another order"]
            report.add("error", f"{first}, {part}", "categories differ", differing, "give every part the same categories")
    _check_images(report, photos, progress(_decode_all(photos, workers), len(photos)))
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
    for kind, ids in (("image", columns.image_ids), ("annotation", columns.ids), ("category", columns.category_ids)):
        add("error", f"{kind} ids used twice", (f"id {i}" for i in repeated(ids)), "make the ids unique")
    names = np.array(columns.class_names, dtype=str)
    add("error", "category names used twice", repeated(names).tolist(), "rename or merge them")
    shapeless = columns.image_ids[(columns.sizes <= 0).any(1)]
    add("error", "images without width or height", (f"image {i}" for i in shapeless), "correct their sizes")
    add("warning", "files listed twice", repeated(np.array(columns.names, dtype=str)).tolist(), "remove the repeated entry")

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
    add("note", "images without annotation", (columns.names[i] for i in unlabelled), "none needed: they train as background")
    crowds = columns.ids[columns.crowd]
    add("note", "crowd annotations", (f"annotation {i}" for i in crowds), "none needed: neither object nor background")
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


def _check_pool(report: Report, folders: list[Path]) -> list[_Photo]:
    try:
        pool = read_pool(folders, labels=False)
    except UserError as err:
        report.add("error", "pool", "pool unreadable", [str(err)], "")
        return []
    report.parts["pool"] = {"folder": str(pool.folder), "hash": pool.hash, "images": len(pool)}
    return [_Photo("pool", os.fsdecode(name), str(pool.path(i)), None) for i, name in enumerate(pool.names.tolist())]


def _check_images(report: Report, photos: list[_Photo], results: Iterable[tuple]) -> None:
    """Put what decoding said into findings; `results` follows the order of `photos`."""
    damaged: dict[str, list[str]] = {}
    resized: dict[str, list[str]] = {}
    seen: dict[bytes, list[_Photo]] = {}
    for photo, (fault, size, digest) in zip(photos, results, strict=True):
        if fault is None and photo.stated is not None and size != photo.stated:
            resized.setdefault(photo.part, []).append(size_fault(Path(photo.name), size, photo.stated))
            fault = resized[photo.part][-1]
        elif fault is not None:
            damaged.setdefault(photo.part, []).append(f"{photo.name}: {fault}")
        if fault is not None:
            report.quarantine.append({"part": photo.part, "file": photo.path, "reason": fault})
        if digest is not None:
            seen.setdefault(digest, []).append(photo)
    for part, items in damaged.items():
        report.add("error", part, "image files missing or damaged", items, "download or copy them again")
    for part, items in resized.items():
        report.add("error", part, "image sizes that disagree with the json", items, "use the images the labels were made for")

    shared: dict[tuple[str, ...], list[str]] = {}
    for same in seen.values():
        if len(same) > 1:
            parts = tuple(dict.fromkeys(photo.part for photo in same))
            shared.setdefault(parts, []).append(" = ".join(dict.fromkeys(f"{photo.part}/{photo.name}" for photo in same)))
    for parts, items in shared.items():
        labelled = [part for part in parts if part != "pool"]
        if len(labelled) > 1:
            level, cure = "error", "remove them from one part: the score would count pictures trained on"
        elif "pool" in parts and labelled != ["train"] and labelled:
            level, cure = "warning", "remove them from the pool: students would train on pictures they are scored on"
        else:
            level, cure = ("note" if labelled == ["train"] and "pool" in parts else "warning"), "none needed, unless they are many"
        report.add(level, ", ".join(parts), "the same picture more than once", items, cure)


def _decode_all(photos: list[_Photo], workers: int) -> Iterable[tuple]:
    paths = [photo.path for photo in photos]
    if workers <= 1 or len(paths) < 100:  # starting processes would take longer
        yield from map(_decode, paths)
        return
    # Spawned, not forked: the progress bar's thread and OpenCV's may hold a lock at that moment, which no child could release.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,)) as executor:
        yield from executor.map(_decode, paths, chunksize=16)


def _decode(path: str) -> tuple[str | None, tuple[int, int] | None, bytes | None]:
    """(what is wrong or None, (width, height), digest of the file's bytes)."""
    try:
        data = read_bytes(path)
    except UserError as err:
        return _reason(err, path), None, None
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        height, width, _ = decode_image(data, path).shape
    except UserError as err:
        return _reason(err, path), None, digest if data else None
    return None, (width, height), digest


def _reason(err: UserError, path: str) -> str:
    """The message without the file, which stands before it, and without the cure, which stands once below."""
    return str(err).removeprefix(f"{path}: ").split(". ")[0]


_Place = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class Arguments:
    """List everything wrong with a COCO folder and a pool of photos, before a long run meets it.

    Reads every annotation and decodes every image. Exits with 1 if there are errors; warnings and notes do not stop training.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """folder with annotations/instances_{train,val}*.json and the image folders they name"""
    train_json: _Place = None
    """annotations to train on, if elsewhere"""
    train_images: _Place = None
    """their images, if elsewhere"""
    val_json: _Place = None
    """annotations to evaluate on, if elsewhere"""
    val_images: _Place = None
    """their images, if elsewhere"""
    test_json: _Place = None
    """annotations of a second evaluation set, if elsewhere"""
    test_images: _Place = None
    """their images, if elsewhere"""
    pool: tuple[Path, ...] = ()
    """folders of unlabelled photos"""
    report: _Place = None
    """write everything found, the data's hashes and the list of unusable images to this json file"""
    workers: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    """processes that decode images"""


def print_report(report: Report, console: Console) -> None:
    """A table of the parts, a table of the findings, and one line to conclude."""
    parts = Table(box=SIMPLE)
    columns = {"images": "images", "unannotated": "empty", "annotations": "boxes", "crowds": "crowds", "categories": "classes", "hash": "hash"}
    for name in ("part", *columns.values()):
        parts.add_column(name, justify="left" if name in ("part", "hash") else "right", no_wrap=True)
    for part, facts in report.parts.items():
        parts.add_row(part, *(f"{facts.get(c, '-'):,}" if isinstance(facts.get(c), int) else facts.get(c, "-") for c in columns))
    console.print(parts)
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    for level, colour in colours.items():
        for finding in (f for f in report.findings if f.level == level):
            head = f"[{colour}]{level}[/] {finding.part}: {escape(finding.what)}: {len(finding.items):,}"
            cure = f" [dim]({escape(finding.cure)})[/]" if finding.cure else ""
            console.print(head + cure, highlight=False, soft_wrap=True)
            if level != "note":
                for item in finding.items[:_SHOWN]:
                    console.print(f"    {escape(item)}", highlight=False, soft_wrap=True)
                if len(finding.items) > _SHOWN:
                    console.print(f"    and {len(finding.items) - _SHOWN:,} more", highlight=False)
    errors, warnings = report.count("error"), report.count("warning")
    verdict = "[red]not ready for training[/]" if errors else "[green]ready for training[/]"
    console.print(f"{errors:,} errors, {warnings:,} warnings: {verdict}", highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = tyro.cli(Arguments, args=arguments, prog="python -m selftrain.data.check")
    layout, missing = {}, {}
    for part in ("train", "val", "test"):
        try:
            json_path, images = find_part(
                options.folder, part, getattr(options, f"{part}_json"), getattr(options, f"{part}_images")
            )
        except UserError as err:
            missing[part] = str(err)
        else:
            if json_path is not None:
                layout[part] = (json_path, images)
    with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        report = check(
            layout,
            list(options.pool),
            options.workers,
            lambda results, total: bar.track(results, total=total, description="Decoding images"),
        )
    for part, message in missing.items():
        again = message is not list(missing.values())[-1]  # the tree it ends with is shown once
        report.add("error", part, "part missing", [message.split(" Expected:")[0] if again else message], "")
    print_report(report, Console())
    if options.report is not None:
        content = msgspec.json.format(msgspec.json.encode(report), indent=1)
        write_atomic(options.report, lambda file: file.write(content))
        print(f"Written: {options.report}")
    elif report.quarantine or report.count("error") + report.count("warning") > _SHOWN:
        print("Every case, and the list of unusable images: --report report.json")
    return 1 if report.count("error") else 0


if __name__ == "__main__":
    sys.exit(main())
