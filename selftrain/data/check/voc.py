"""Everything wrong with a folder in PASCAL VOC's layout: its lists, photos and masks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from selftrain.data.check.images import (
    Photo,
    Size,
    check_photos,
    check_pool,
    decode_all,
    decode_photo,
    overlap,
    reason,
)
from selftrain.data.check.report import Report
from selftrain.data.coco import repeated
from selftrain.data.voc import (
    IGNORED,
    LISTS,
    class_names,
    find_voc,
    list_file,
    mask_files,
    mask_size_fault,
    photo_files,
    read_list,
    read_mask,
    read_voc,
)
from selftrain.system.errors import UserError


@dataclass
class _Part:
    """One list; paths by stem, of those stems only that have a file."""

    stems: list[str]
    photos: dict[str, str] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)


def check_voc(
    folder: Path,
    pool: list[Path],
    workers: int = 1,
    progress: Callable[[Iterable, int], Iterable] = lambda results, total: results,
) -> Report:
    """Look at every list and decode every photo and mask that one of them names.

    Args:
        folder: as for `find_voc`.
        pool: folders of unlabelled pictures.
        workers: processes that decode.
        progress: wraps the stream of decoded photos and masks, given their number.
    """
    report, parts, names = Report(), {}, None
    try:
        root = find_voc(folder)
        photos, masks = photo_files(root), {name: mask_files(root, name) for name in LISTS}
    except UserError as err:
        report.add("error", "folder", "folder unreadable", [str(err)], "")
    else:
        try:
            names = class_names(root)
        except UserError as err:
            report.add("error", "classes", "class names unreadable", [str(err)], "")
        found = {name: _check_list(report, root, name, photos, masks[name]) for name in LISTS}
        parts = {name: part for name, part in found.items() if part is not None}
    for one, other in combinations(parts, 2):
        if {one, other} != {"train", "train_aug"}:  # the coarse labels are of the train part and of more
            level, cure = overlap((one, other))
            report.add(
                level,
                f"{one}, {other}",
                "stems in two lists",
                sorted({*parts[one].stems} & {*parts[other].stems}),
                cure,
            )

    # A photo or mask of several lists is decoded once, and counts for the first of them.
    shown: dict[str, str] = {}
    owner: dict[str, str] = {}
    for name, part in parts.items():
        for paths, first in ((part.photos, shown), (part.masks, owner)):
            for path in paths.values():
                first.setdefault(path, name)
    pictures = [Photo(name, Path(path).name, path, None) for path, name in shown.items()] + (
        check_pool(report, pool) if pool else []
    )
    classes = IGNORED if names is None else len(names)
    items = [(photo.path, None) for photo in pictures] + [(path, classes) for path in owner]
    results = iter(progress(decode_all(_decode, items, workers), len(items)))
    sizes = check_photos(report, pictures, islice(results, len(pictures)))
    counts = _check_masks(report, owner, results)
    _check_sizes(report, parts, dict(zip((photo.path for photo in pictures), sizes, strict=True)), counts)
    for name, part in parts.items():
        if part.masks:
            _conclude(report, name, part, root, names, counts)
    return report


def _check_list(
    report: Report, root: Path, name: str, photos: dict[str, str], masks: dict[str, str]
) -> _Part | None:
    """None for a list that is not there, cannot be read, is empty, or needs no check as it has no labels."""
    path = list_file(root, name)
    if path is None:
        if name in ("train", "val"):
            path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
            report.add("error", name, "list missing", [str(path)], "write the stems of its photos there")
        return None
    try:
        listed = read_list(path)
    except UserError as err:
        report.add("error", name, "list unreadable", [str(err)], "")
        return None
    if not listed:
        level = "note" if name in ("test", "unlabeled") else "error"
        report.add(level, name, "list empty", [str(path)], "write the stems of its photos there")
        return None
    report.add(
        "error", name, "stems listed twice", repeated(np.array(listed)).tolist(), "remove the repeated lines"
    )
    part = _Part(list(dict.fromkeys(listed)))
    labelled = not masks.keys().isdisjoint(part.stems)
    if not labelled and name == "test":
        report.add("note", name, "list without masks", [str(path)], "none needed: scores are those of val")
        return None
    report.parts[name] = {"list": str(path), "images": len(part.stems)}
    if not labelled and name == "unlabeled":
        report.add(
            "warning",
            name,
            "list without masks",
            [str(path)],
            "name the folder of its photos with --unlabeled",
        )
    for what, files, paths, folder, suffix in (
        ("photo", photos, part.photos, root / "JPEGImages", ".jpg"),
        ("mask", masks, part.masks, root / "SegmentationClass", ".png"),
    ):
        if what == "mask" and not labelled and name == "unlabeled":
            continue
        base = folder if what == "photo" else root
        paths.update((stem, str(base / files[stem])) for stem in part.stems if stem in files)
        missing = [stem for stem in part.stems if stem not in files]
        report.add(
            "error",
            name,
            f"stems without a {what} in {folder.name}",
            missing,
            f"put the {what}s there, or take the stems out of the list",
        )
        report.quarantine += [
            {"part": name, "file": str(folder / f"{stem}{suffix}"), "reason": f"no {what} of this stem"}
            for stem in missing
        ]
    return part


def _decode(item: tuple[str, int | None]) -> tuple:
    """`decode_photo` where the number of classes is None; of a mask: what is wrong or None, (width, height), pixels of each index (256,)."""
    path, classes = item
    if classes is None:
        return decode_photo(path)
    try:
        mask = read_mask(path, classes)
    except UserError as err:
        return reason(err, path), None, None
    return None, mask.shape[::-1], np.bincount(mask.ravel(), minlength=256)


def _check_masks(
    report: Report, owner: dict[str, str], results: Iterable[tuple]
) -> dict[str, tuple[Size, np.ndarray]]:
    """Put what decoding said of each mask into findings; returns (size, pixels of each index) of those that can be used, by path."""
    usable, refused, empty = {}, {}, {}
    for (path, part), (fault, size, counts) in zip(owner.items(), results, strict=True):
        if fault is not None:
            refused.setdefault(part, []).append(f"{Path(path).name}: {fault}")
            report.quarantine.append({"part": part, "file": path, "reason": fault})
            continue
        usable[path] = size, counts
        if counts[IGNORED] == counts.sum():
            empty.setdefault(part, []).append(Path(path).name)
    for part, items in refused.items():
        cure = "save each as a PNG of one byte a pixel: the index of the class, 255 = ignored; name every class in classes.txt"
        report.add("error", part, "masks damaged or not of class indices", items, cure)
    for part, items in empty.items():
        report.add(
            "warning",
            part,
            "masks that are ignored everywhere",
            items,
            "none needed; nothing is learnt from them",
        )
    return usable


def _check_sizes(
    report: Report,
    parts: dict[str, _Part],
    sizes: dict[str, Size | None],
    masks: dict[str, tuple[Size, np.ndarray]],
) -> None:
    seen = set()
    for name, part in parts.items():
        differing = []
        for stem, path in part.photos.items():
            pair = path, part.masks.get(stem)
            if pair in seen or sizes[path] is None or pair[1] not in masks:
                continue
            seen.add(pair)
            size, mask_size = sizes[path], masks[pair[1]][0]
            if size != mask_size:
                differing.append(f"{Path(path).name}: {mask_size_fault(size, Path(pair[1]), mask_size)}")
                report.quarantine.append({"part": name, "file": path, "reason": differing[-1]})
        report.add(
            "error",
            name,
            "photos whose mask is of another size",
            differing,
            "use the masks that were drawn on these photos",
        )


def _conclude(
    report: Report,
    name: str,
    part: _Part,
    root: Path,
    names: tuple[str, ...] | None,
    masks: dict[str, tuple[Size, np.ndarray]],
) -> None:
    """The part's facts, and the reader's own word: were it to refuse for a reason not looked for, the check would promise too much."""
    pixels = sum((masks[path][1] for path in part.masks.values() if path in masks), np.zeros(256, np.int64))
    report.parts[name]["ignored"] = float(pixels[IGNORED] / max(pixels.sum(), 1))
    if names is None:
        return
    report.parts[name]["categories"] = len(names)
    if pixels.any():
        unseen = [label for label, count in zip(names, pixels, strict=False) if count == 0]
        report.add(
            "note",
            name,
            "classes of which there is no pixel",
            unseen,
            "none needed, but they are neither learnt nor scored",
        )
    try:
        report.parts[name]["hash"] = read_voc(root, name).hash
    except UserError as err:
        if not any(finding.level == "error" and finding.part == name for finding in report.findings):
            report.add("error", name, "list refused", [str(err)], "")
