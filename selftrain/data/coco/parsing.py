"""The text of a COCO json as columns, one array for each field.

Decoding is typed, so that what is not needed (polygons above all) is skipped and never becomes an object.
"""

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from selftrain.system.errors import UserError

_INT64 = 2**63


class ImageRow(Struct, gc=False):
    """One entry of `images`."""

    id: int
    file_name: str
    width: int
    height: int


class AnnotationRow(Struct, gc=False):
    """One entry of `annotations`; other fields of it, such as polygons, are not read."""

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels"""
    area: float | None = None
    iscrowd: int | bool = 0
    ignore: int | bool = 0
    score: float = 1.0


class CategoryRow(Struct, gc=False):
    """One entry of `categories`."""

    id: int
    name: str


class _Typed(Struct):
    images: list[ImageRow]
    annotations: list[AnnotationRow]
    categories: list[CategoryRow]


class _Identity(Struct):
    id: msgspec.Raw = msgspec.Raw(b"")


class _Loose(Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


@dataclass(frozen=True)
class Columns:
    """The fields of a file as arrays in its order: N images, M annotations, and K categories sorted by id."""

    image_ids: np.ndarray
    """(N,) int64"""
    names: list[str]
    """N file names"""
    sizes: np.ndarray
    """(N, 2) int32: width and height in pixels"""
    ids: np.ndarray
    """(M,) int64"""
    image_of: np.ndarray
    """(M,) int64: the id of each annotation's image"""
    category_of: np.ndarray
    """(M,) int64: the id of each annotation's category"""
    bbox: np.ndarray
    """(M, 4) float64: x, y, width, height in pixels"""
    areas: np.ndarray
    """(M,) float64 square pixels, NaN where the file has none"""
    crowd: np.ndarray
    """(M,) bool: the annotation has iscrowd or ignore"""
    scores: np.ndarray
    """(M,) float32"""
    category_ids: np.ndarray
    """(K,) int64"""
    class_names: tuple[str, ...]
    """K names"""


def parse(data: bytes, path: Path) -> Columns:
    """Decode a whole file.

    Raises:
        UserError: the file is no json or not COCO-like; the message names it and the first row that does not
            fit.
    """
    try:
        rows = msgspec.json.decode(data, type=_Typed)
        return _columns(rows.images, rows.annotations, rows.categories)
    except msgspec.ValidationError as err:
        raise UserError(_unlike_coco(data, path, str(err))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise UserError(_broken(data, path, str(err))) from None
    except OverflowError:
        raise UserError(
            f"{path}: an id or a size does not fit into 64 bits; number the entries anew."
        ) from None


def parse_all(data: bytes, path: Path) -> tuple[Columns, list[str]]:
    """Decode the rows that fit, and say of each other row what is wrong with it.

    Raises:
        UserError: there are no rows to read, as the file is no json or lacks one of COCO's lists.
    """
    try:
        raw = msgspec.json.decode(data, type=_Loose)
    except msgspec.ValidationError as err:
        raise UserError(_unlike_coco(data, path, str(err))) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise UserError(_broken(data, path, str(err))) from None
    faults: list[str] = []
    fitting_rows = []
    for kind, rows, row_type in (
        ("images", raw.images, ImageRow),
        ("annotations", raw.annotations, AnnotationRow),
        ("categories", raw.categories, CategoryRow),
    ):
        decoder, fitting = msgspec.json.Decoder(row_type), []
        for position, row in enumerate(rows):
            try:
                value = decoder.decode(row)
                numbers = [v for v in msgspec.structs.astuple(value) if isinstance(v, int)]
                if not all(-_INT64 <= number < _INT64 for number in numbers):
                    raise msgspec.ValidationError("Number out of range")
                fitting.append(value)
            except msgspec.ValidationError as err:
                faults.append(_row_fault(kind, position, row, str(err)))
        fitting_rows.append(fitting)
    return _columns(*fitting_rows), faults


def _columns(
    images: list[ImageRow], annotations: list[AnnotationRow], categories: list[CategoryRow]
) -> Columns:
    n, m = len(images), len(annotations)
    categories = sorted(categories, key=lambda row: row.id)
    sizes = np.array([(row.width, row.height) for row in images], np.int64).reshape(n, 2)
    bbox = np.fromiter(chain.from_iterable(row.bbox for row in annotations), np.float64, 4 * m)
    return Columns(
        image_ids=np.fromiter((row.id for row in images), np.int64, n),
        names=[row.file_name for row in images],
        sizes=np.clip(sizes, -1, 2**31 - 1).astype(np.int32),
        ids=np.fromiter((row.id for row in annotations), np.int64, m),
        image_of=np.fromiter((row.image_id for row in annotations), np.int64, m),
        category_of=np.fromiter((row.category_id for row in annotations), np.int64, m),
        bbox=bbox.reshape(m, 4),
        areas=np.fromiter((np.nan if row.area is None else row.area for row in annotations), np.float64, m),
        crowd=np.fromiter((bool(row.iscrowd or row.ignore) for row in annotations), np.bool_, m),
        scores=np.fromiter((row.score for row in annotations), np.float32, m),
        category_ids=np.fromiter((row.id for row in categories), np.int64, len(categories)),
        class_names=tuple(row.name for row in categories),
    )


def _broken(data: bytes, path: Path, message: str) -> str:
    """Return the message for a text that is no json, with the place where it breaks."""
    if not data or "truncated" in message:
        return (
            f"{path}: broken json: the file ends too early, after {len(data)} bytes. "
            "Download or copy it again, and compare its size with the original."
        )
    byte = re.search(r"\(byte (\d+)\)", message)
    at = int(byte[1]) if byte else 0
    line, column = data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)
    where = f"line {line}, column {column} (byte {at})"
    around = data[max(at - 1, 0) : at + 9].lstrip(b"-")
    if re.match(rb"NaN|-?Infinity", around) or data[at : at + 3] == b"NaN":
        return (
            f"{path}: a number that is not finite (NaN or Infinity) at {where}. "
            "Remove that annotation or give it real numbers."
        )
    near = data[max(at - 30, 0) : at + 30].decode("utf-8", "replace")
    return (
        f"{path}: broken json at {where}: {message.split(' (byte')[0]}, near {near!r}. "
        "Repair or download the file again."
    )


def _unlike_coco(data: bytes, path: Path, message: str) -> str:
    """Return the message for a json that has not COCO's form, with the entry that does not fit."""
    entry = re.search(r"\$\.(images|annotations|categories)\[(\d+)\]", message)
    if entry:
        kind, position = entry[1], int(entry[2])
        rows = msgspec.json.decode(data, type=_Loose)
        fault = _row_fault(kind, position, getattr(rows, kind)[position], message)
        cure = "Correct or remove it; `python -m selftrain.data.check DIR` lists all such entries."
        return f"{path}: {fault}. {cure}"
    if "missing required field `annotations`" in message:
        return (
            f"{path}: has no annotations at all. "
            "Give the file with labels (instances_*.json), not a list of images."
        )
    return (
        f"{path}: not COCO-like ({message}). "
        "Wanted: an object with the lists `images`, `annotations` and `categories`, "
        "as in instances_train2017.json."
    )


def _row_fault(kind: str, position: int, row: msgspec.Raw, message: str) -> str:
    """Return one line: which entry it is, its id, and what is wrong in it."""
    try:
        identity = bytes(msgspec.json.decode(row, type=_Identity).id).decode("utf-8", "replace") or "none"
    except msgspec.ValidationError:  # not even an object
        identity = "none"
    reason = re.sub(r"\$(\.\w+\[(\d+|\.\.\.)\])?\.?", "", message).replace(" - at ``", "")
    return f"{kind}[{position}] (id {identity}): {reason}"
