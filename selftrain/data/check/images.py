"""Photos of all parts and of the pool: decoded, compared with what is said of them, and with each other."""

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2

from selftrain.data.check.report import Report
from selftrain.data.coco import size_fault
from selftrain.data.image import decode_image, read_bytes
from selftrain.data.pool import read_pool
from selftrain.system.errors import UserError

Item, Result = TypeVar("Item"), TypeVar("Result")
Size = tuple[int, int]  # width, height
_ROLES = {
    "train_aug": "train",
    "pool": "",
    "unlabeled": "",
}  # of a part, if not its name; the pool is no labelled part


@dataclass(frozen=True)
class Photo:
    """A photo to decode."""

    part: str
    name: str  # as shown
    path: str
    stated: Size | None  # by the json, where there is one


def check_pool(report: Report, folders: list[Path]) -> list[Photo]:
    """The pool's photos, noted in the report; none if it cannot be read, which is an error."""
    try:
        pool = read_pool(folders, labels=False)
    except UserError as err:
        report.add("error", "pool", "pool unreadable", [str(err)], "")
        return []
    report.parts["pool"] = {"folder": str(pool.folder), "hash": pool.hash, "images": len(pool)}
    return [
        Photo("pool", os.fsdecode(name), str(pool.path(i)), None)
        for i, name in enumerate(pool.names.tolist())
    ]


def check_photos(report: Report, photos: list[Photo], results: Iterable[tuple]) -> list[Size | None]:
    """Put what `decode_photo` said of each photo into findings. Returns their sizes, None where one cannot be used."""
    sizes: list[Size | None] = []
    damaged: dict[str, list[str]] = {}
    resized: dict[str, list[str]] = {}
    seen: dict[bytes, list[Photo]] = {}
    for photo, (fault, size, digest) in zip(photos, results, strict=True):
        if fault is None and photo.stated is not None and size != photo.stated:
            resized.setdefault(photo.part, []).append(size_fault(Path(photo.name), size, photo.stated))
            fault = resized[photo.part][-1]
        elif fault is not None:
            damaged.setdefault(photo.part, []).append(f"{photo.name}: {fault}")
        sizes.append(size if fault is None else None)
        if fault is not None:
            report.quarantine.append({"part": photo.part, "file": photo.path, "reason": fault})
        if digest is not None:
            seen.setdefault(digest, []).append(photo)
    for part, items in damaged.items():
        report.add("error", part, "image files missing or damaged", items, "download or copy them again")
    for part, items in resized.items():
        report.add(
            "error",
            part,
            "image sizes that disagree with the json",
            items,
            "use the images the labels were made for",
        )

    shared: dict[tuple[str, ...], list[str]] = {}
    for same in seen.values():
        if len(same) > 1:
            parts = tuple(dict.fromkeys(photo.part for photo in same))
            shared.setdefault(parts, []).append(
                " = ".join(dict.fromkeys(f"{photo.part}/{photo.name}" for photo in same))
            )
    for parts, items in shared.items():
        level, cure = overlap(parts)
        report.add(level, ", ".join(parts), "the same picture more than once", items, cure)
    return sizes


def overlap(parts: tuple[str, ...]) -> tuple[str, str]:
    """(level, cure) for a picture that all of these parts have."""
    roles = dict.fromkeys(_ROLES.get(part, part) for part in parts)
    labelled, pooled = [role for role in roles if role], "" in roles
    if len(labelled) > 1:
        return "error", "remove them from one part: the score would count pictures trained on"
    if pooled and labelled and labelled != ["train"]:
        return "warning", "remove them from the pool: students would train on pictures they are scored on"
    return ("note" if pooled and labelled else "warning"), "none needed, unless they are many"


def decode_all(decode: Callable[[Item], Result], items: list[Item], workers: int) -> Iterable[Result]:
    """`decode` of every item in turn, by this many processes."""
    if workers <= 1 or len(items) < 100:  # starting processes would take longer
        yield from map(decode, items)
        return
    # Spawned, not forked: the progress bar's thread and OpenCV's may hold a lock at that moment, which no child could release.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,)
    ) as executor:
        yield from executor.map(decode, items, chunksize=16)


def decode_photo(path: str) -> tuple[str | None, tuple[int, int] | None, bytes | None]:
    """(what is wrong or None, (width, height), digest of the file's bytes)."""
    try:
        data = read_bytes(path)
    except UserError as err:
        return reason(err, path), None, None
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        height, width, _ = decode_image(data, path).shape
    except UserError as err:
        return reason(err, path), None, digest if data else None
    return None, (width, height), digest


def reason(err: UserError, path: str) -> str:
    """The message without the file, which stands before it, and without the cure, which stands once below."""
    return str(err).removeprefix(f"{path}: ").split(". ")[0]
