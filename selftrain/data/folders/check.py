"""Everything wrong with a folder of classified pictures: files, classes, and pictures of two classes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

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
from selftrain.data.folders.dataset import HELD_OUT, ClassDataset
from selftrain.data.folders.idx import is_idx, read_idx
from selftrain.data.folders.layout import KINDS, read_parts
from selftrain.data.folders.table import TABLES, classes_of, is_table, read_rows, table_file
from selftrain.data.folders.tree import PARTS, class_folders
from selftrain.data.pool import IMAGE_SUFFIXES, list_images
from selftrain.system.errors import UserError

ABOUT = (
    "of classes (train/CLASS/*.jpg, val/CLASS/*.jpg), with a train.csv of file and class, or of index files"
)


class Listed(NamedTuple):
    """A picture that the data set has under a class."""

    part: str
    name: str
    path: str
    label: str


def is_classified(folder: Path) -> bool:
    """Whether a folder holds classified pictures in any of the layouts of `selftrain.data.folders`."""
    return any(kind.fits(folder) for kind in KINDS)


def check_classes(
    folder: Path, pool: list[Path], workers: int = 1, progress: Progress = no_progress
) -> Report:
    """Look at every class and decode every picture, and report all that is wrong with them.

    Args:
        folder: in one of the layouts of `selftrain.data.folders`.
        pool: folders of unlabelled pictures.
        workers: processes that decode.
        progress: wraps the stream of decoded pictures, given their number.
    """
    report = Report()
    if is_idx(folder):
        listed = _check_idx(report, folder)
    else:
        listed = _check_table(report, folder) if is_table(folder) else _check_tree(report, folder, pool)
    photos = [Photo(each.part, each.name, each.path, None) for each in listed]
    photos += check_pool(report, pool) if pool else []
    decoded = decode_all(decode_photo, [photo.path for photo in photos], workers)
    results = list(progress(decoded, len(photos)))
    check_photos(report, photos, results)
    _check_two_classes(report, zip(listed, (result.digest for result in results)))
    _conclude(report, folder)
    return report


# ---- folders of classes ---------------------------------------------------------------------------------


def _check_tree(report: Report, root: Path, pool: list[Path]) -> list[Listed]:
    """Put what is wrong with the folders into findings; returns the pictures that lie in a class folder."""
    classes, listed = class_folders(root / "train"), []
    for part in PARTS:
        if not (root / part).is_dir():
            continue
        try:
            pictures = [name for name, _, _ in list_images(root / part)]
        except UserError as err:
            report.add("error", part, "folder unreadable", [str(err)], "")
            continue
        stray = [f"{part}/{name}" for name in pictures if "/" not in name]
        cure = "move each into the folder of its class"
        report.add("error", part, "misplaced: pictures in no class folder", stray, cure)
        own = [name for name in pictures if "/" in name]
        _check_folders(report, root / part, classes, own)
        listed += [Listed(part, name, str(root / part / name), name.partition("/")[0]) for name in own]
        report.parts[part] = {"folder": str(root / part), "images": len(own), "categories": len(classes)}
    _check_val(report, (root / "val").is_dir())
    known = {(root / part).resolve() for part in (*PARTS, "unlabeled")} | {each.resolve() for each in pool}
    others = [entry for entry in root.iterdir() if entry.is_dir() and entry.resolve() not in known]
    others = [f"{entry.name}/" for entry in others if entry.name[0] != "." and list_images(entry)]
    cure = "none needed; a part is called train, val or test, and a pool is named with --pool"
    report.add("warning", "folder", "misplaced: folders of pictures that are no part", others, cure)
    return listed


def _check_folders(report: Report, folder: Path, classes: list[str], pictures: list[str]) -> None:
    """Find classes without pictures, classes that train does not have, and files that are no pictures."""
    part, shown = folder.name, {name.partition("/")[0] for name in pictures}
    empty = [f"{part}/{name}/" for name in classes if name not in shown]
    if part == "train":
        cure = "put pictures of the class there, or remove its folder from every part"
        report.add("warning", part, "empty: class folders without a picture", empty, cure)
    else:
        cure = "none needed, but they are not scored"
        report.add("note", part, "classes of which there is no picture", empty, cure)
    unknown = [f"{part}/{name}/" for name in class_folders(folder) if name not in classes]
    cure = "rename each as a class of train, or add the class to train"
    report.add("error", part, "misplaced: classes that train does not have", unknown, cure)
    others = sorted(
        f"{part}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and path.name[0] != "." and not path.name.lower().endswith(IMAGE_SUFFIXES)
    )
    cure = f"they are not read: save what is a picture as one of {' '.join(IMAGE_SUFFIXES)}"
    report.add("warning", part, "unknown: files that are no pictures", others, cure)


def _check_val(report: Report, there: bool) -> None:
    cure = f"none needed: {HELD_OUT:.0%} of the training pictures are val"
    report.add("note", "val", "no val part", [] if there else ["val"], cure)


# ---- a csv ----------------------------------------------------------------------------------------------


def _check_table(report: Report, root: Path) -> list[Listed]:
    """Put what is wrong with the csv files into findings; returns the pictures that they list, each once."""
    listed, classes = [], ()
    for part in TABLES:
        try:
            if not (path := table_file(root, part)):
                continue
            rows = read_rows(path)
        except UserError as err:
            report.add("error", part, "csv unreadable", [str(err)], "")
            continue
        classes = classes_of(rows) if part == "train" else classes
        labels: dict[str, list[str]] = {}
        for name, label in rows:
            labels.setdefault(name, []).append(label)
        twice = {name: each for name, each in labels.items() if len(each) > 1}
        cure = "keep one row of each"
        same = [name for name, each in twice.items() if len(set(each)) == 1]
        report.add("error", part, "duplicated: files listed twice", same, cure)
        cases = [f"{name}: {', '.join(each)}" for name, each in twice.items() if len(set(each)) > 1]
        cure = "decide which class it is of, and remove the other row"
        report.add("error", part, "one picture under two classes", cases, cure)
        unknown = sorted({label for _, label in rows} - set(classes))
        cure = "correct the class, or list pictures of it in train.csv"
        report.add("error", part, "misplaced: classes that train does not have", unknown, cure)
        report.add("error", part, "empty: no picture listed", [] if rows else [path.name], "list some")
        listed += [Listed(part, name, str(root / name), each[0]) for name, each in labels.items()]
        report.parts[part] = {"csv": str(path), "images": len(labels), "categories": len(classes)}
    _check_val(report, (root / TABLES["val"][0]).is_file())
    names = {each.name for each in listed}
    cases = [name for name, _, _ in list_images(root) if name not in names]
    report.add("note", "folder", "pictures that no csv lists", cases, "none needed; they may be the pool")
    return listed


# ---- index files ----------------------------------------------------------------------------------------


def _check_idx(report: Report, root: Path) -> list[Listed]:
    """Put what is wrong with index files into findings; returns none, as no picture is a file to decode."""
    try:
        parts = read_idx(root)
    except UserError as err:
        report.add("error", "folder", "index files damaged or not fitting", [str(err)], "")
        return []
    _check_val(report, "val" in parts)
    first: dict[bytes, tuple[str, str]] = {}
    copies, leaks, two = [], [], []
    for part, data in parts.items():
        report.parts[part] = {"images": len(data), "categories": len(data.class_names), "hash": data.hash}
        _check_counts(report, part, data)
        for i, label in enumerate(data.classes.tolist()):
            digest = hashlib.blake2b(data.pixels[i].tobytes(), digest_size=16).digest()
            this = f"{part} {i}", data.class_names[label]
            before = first.setdefault(digest, this)
            if before[1] != this[1]:
                two.append(f"{before[0]} ({before[1]}) = {this[0]} ({this[1]})")
            elif before is not this:
                same_part = before[0].split()[0] == part
                (copies if same_part else leaks).append(f"{before[0]} = {this[0]}")
    cure = "none needed, unless they are many"
    report.add("warning", "folder", "the same picture more than once", copies, cure)
    cure = "take it out of one of the parts: the score would count pictures trained on"
    report.add("error", "folder", "the same picture in two parts", leaks, cure)
    cure = "decide which class it is of, and correct the file of classes"
    report.add("error", "folder", "one picture under two classes", two, cure)
    return []


def _check_counts(report: Report, part: str, data: ClassDataset) -> None:
    empty = [name for name, count in zip(data.class_names, data.class_counts.tolist()) if not count]
    level = "warning" if part == "train" else "note"
    cure = "take the name out of classes.txt, or give pictures of it"
    report.add(level, part, "empty: classes of which there is no picture", empty, cure)


# ---- all of them ----------------------------------------------------------------------------------------


def _check_two_classes(report: Report, pictures: Iterable[tuple[Listed, bytes | None]]) -> None:
    """Find pictures that have the same bytes and different classes."""
    groups: dict[bytes, list[Listed]] = {}
    for each, digest in pictures:
        if digest is not None:
            groups.setdefault(digest, []).append(each)
    cases = [
        " = ".join(f"{each.part}/{each.name} ({each.label})" for each in group)
        for group in groups.values()
        if len({each.label for each in group}) > 1
    ]
    cure = "decide which class it is of, and remove the other"
    report.add("error", "all parts", "one picture under two classes", cases, cure)


def _conclude(report: Report, root: Path) -> None:
    """Note the hashes, and ask the reader itself, once no fault is known.

    Were it to refuse for a reason not looked for, the check would promise too much.
    """
    if report.count("error"):
        return
    try:
        parts = dict(zip(PARTS, read_parts(root), strict=True))
    except UserError as err:
        report.add("error", "folder", "refused", [str(err)], "")
        return
    for part, facts in report.parts.items():
        if part in parts:
            facts["hash"] = parts[part].hash
