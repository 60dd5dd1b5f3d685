"""The photos of all parts and of the pool: decoded, compared with what is stated and with each other."""

import hashlib
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2

from selftrain.data.check.near import near_pairs, perceptual_hash
from selftrain.data.check.report import Report
from selftrain.data.coco import size_fault
from selftrain.data.image import decode_image, read_bytes
from selftrain.data.pool import read_pool
from selftrain.system.errors import UserError

Item, Result = TypeVar("Item"), TypeVar("Result")
Size = tuple[int, int]
"""width and height in pixels"""
Progress = Callable[[Iterable, int], Iterable]
"""what wraps a stream of results, given their number, to show how far it is"""
# The role of a part, where it is not its name; the empty one is that of the pool, which is no labelled part.
_ROLES = {"train_aug": "train", "pool": "", "unlabeled": ""}
# (scored role, the other role): between which nearly the same pictures are looked for.
_COMPARED = (("val", "train"), ("val", "test"), ("val", ""), ("test", "train"), ("test", ""))
# ImageNet's own names, of a file or of a folder around it, such as n01440764_10026.JPEG or n01440764.
_IMAGENET = re.compile(r"n\d{8}(_\d+\.\w+)?|ILSVRC2012_.*")


def no_progress(results: Iterable, total: int) -> Iterable:
    """Return the results as they are: progress that shows nothing."""
    return results


@dataclass(frozen=True)
class Photo:
    """A photo to decode."""

    part: str
    """the part it belongs to"""
    name: str
    """its name as it is shown"""
    path: str
    """its file"""
    stated: Size | None
    """its size as the json states it, where there is one"""


class Decoded(NamedTuple):
    """What `decode_photo` gives for a photo."""

    fault: str | None
    """what is wrong with it"""
    size: Size | None
    """its width and height, where it can be decoded"""
    digest: bytes | None
    """of the file's bytes, where there are any"""
    look: bytes | None
    """its perceptual hash, where it can be decoded and is not almost plain"""


def check_pool(report: Report, folders: list[Path]) -> list[Photo]:
    """Note the pool in the report and return its photos; none if it cannot be read, which is an error."""
    try:
        pool = read_pool(folders)
    except UserError as err:
        report.add("error", "pool", "pool unreadable", [str(err)], "")
        return []
    report.parts["pool"] = {"folder": str(pool.folder), "hash": pool.hash, "images": len(pool)}
    photos = [
        Photo("pool", os.fsdecode(name), str(pool.path(i)), None)
        for i, name in enumerate(pool.names.tolist())
    ]
    _check_imagenet(report, photos)
    return photos


def _check_imagenet(report: Report, photos: list[Photo]) -> None:
    """Warn once of all photos of the pool that ImageNet's names tell to be ImageNet's."""
    found = [photo for photo in photos if any(map(_IMAGENET.fullmatch, Path(photo.path).parts))]
    if found:
        case = f"{len(found):,} of {len(photos):,} photos, such as {found[0].name}"
        cure = (
            "ImageNet weights have seen that set with its labels, so the start from them knows this pool "
            "and the random one does not; compare starts on other photos"
        )
        report.add("warning", "pool", "ImageNet photos", [case], cure)


def check_photos(report: Report, photos: list[Photo], results: Iterable[Decoded]) -> list[Size | None]:
    """Put what `decode_photo` gave for each photo into findings.

    Returns the sizes of the photos, None where one cannot be used.
    """
    sizes: list[Size | None] = []
    damaged: dict[str, list[str]] = {}
    resized: dict[str, list[str]] = {}
    by_digest: dict[bytes, list[Photo]] = {}
    hashed: list[tuple[Photo, bytes, bytes]] = []
    for photo, (fault, size, digest, look) in zip(photos, results, strict=True):
        if fault is None and photo.stated is not None and size != photo.stated:
            resized.setdefault(photo.part, []).append(size_fault(Path(photo.name), size, photo.stated))
            fault = resized[photo.part][-1]
        elif fault is not None:
            damaged.setdefault(photo.part, []).append(f"{photo.name}: {fault}")
        sizes.append(size if fault is None else None)
        if fault is not None:
            report.quarantine.append({"part": photo.part, "file": photo.path, "reason": fault})
        if digest is not None:
            by_digest.setdefault(digest, []).append(photo)
        if look is not None:
            hashed.append((photo, digest, look))
    for part, items in damaged.items():
        report.add("error", part, "image files missing or damaged", items, "download or copy them again")
    for part, items in resized.items():
        cure = "use the images the labels were made for"
        report.add("error", part, "image sizes that disagree with the json", items, cure)
    _check_copies(report, by_digest.values())
    _check_near_copies(report, hashed)
    return sizes


def _check_copies(report: Report, groups: Iterable[list[Photo]]) -> None:
    """Find pictures that are there more than once; the photos of a group have the same bytes."""
    copies: dict[tuple[str, ...], list[str]] = {}
    for group in groups:
        if len(group) > 1:
            parts = tuple(dict.fromkeys(photo.part for photo in group))
            files = dict.fromkeys(f"{photo.part}/{photo.name}" for photo in group)
            copies.setdefault(parts, []).append(" = ".join(files))
    for parts, items in copies.items():
        level, cure = overlap(parts)
        report.add(level, ", ".join(parts), "the same picture more than once", items, cure)


def _check_near_copies(report: Report, hashed: list[tuple[Photo, bytes, bytes]]) -> None:
    """Find photos of other parts, and of the pool, that are nearly the same picture as a scored photo.

    Each photo comes with the digest of its bytes, since copies of the same bytes are found elsewhere, and
    with its perceptual hash.
    """
    by_role: dict[str, list[tuple[Photo, bytes, bytes]]] = {}
    for entry in hashed:
        by_role.setdefault(_ROLES.get(entry[0].part, entry[0].part), []).append(entry)
    for scored, role in _COMPARED:
        ours, theirs = by_role.get(scored, []), by_role.get(role, [])
        copies: dict[tuple[str, str], dict[str, list[str]]] = {}
        for i, j, mirrored in near_pairs([look for *_, look in ours], [look for *_, look in theirs]):
            (photo, digest, _), (other, other_digest, _) = ours[i], theirs[j]
            if digest != other_digest:
                name = f"{other.part}/{other.name}{' (mirrored)' if mirrored else ''}"
                cases = copies.setdefault((photo.part, other.part), {})
                cases.setdefault(f"{photo.part}/{photo.name}", []).append(name)
        why = "tuned on" if role == "test" else "trained on"
        cure = f"look at them; remove copies from {role or 'the pool'}: the score would count pictures {why}"
        for parts, cases in copies.items():
            items = (f"{name} ~ {', '.join(names)}" for name, names in cases.items())
            report.add("warning", ", ".join(parts), "nearly the same picture as a scored one", items, cure)


def overlap(parts: tuple[str, ...]) -> tuple[str, str]:
    """Return (level, cure) of the finding for a picture that all of these parts have."""
    roles = dict.fromkeys(_ROLES.get(part, part) for part in parts)
    labelled, pooled = [role for role in roles if role], "" in roles
    if len(labelled) > 1:
        return "error", "remove them from one part: the score would count pictures trained on"
    if pooled and labelled and labelled != ["train"]:
        return "warning", "remove them from the pool: students would train on pictures they are scored on"
    return ("note" if pooled and labelled else "warning"), "none needed, unless they are many"


def decode_all(decode: Callable[[Item], Result], items: list[Item], workers: int) -> Iterable[Result]:
    """Yield `decode` of every item in turn, by this many processes."""
    if workers <= 1 or len(items) < 100:  # starting processes would take longer
        yield from map(decode, items)
        return
    # Spawned, not forked: the progress bar's thread and OpenCV's may hold a lock at that moment, which no
    # child could release.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,)
    ) as executor:
        yield from executor.map(decode, items, chunksize=16)


def decode_photo(path: str) -> Decoded:
    """Read and decode a photo; what is wrong with it is said in the result, not raised."""
    try:
        data = read_bytes(path)
    except UserError as err:
        return Decoded(reason(err, path), None, None, None)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        image = decode_image(data, path)
    except UserError as err:
        return Decoded(reason(err, path), None, digest if data else None, None)
    height, width, _ = image.shape
    return Decoded(None, (width, height), digest, perceptual_hash(image))


def reason(err: UserError, path: str) -> str:
    """Return the message without its file, which stands before it, and its cure, which stands below."""
    return str(err).removeprefix(f"{path}: ").split(". ")[0]
