"""Everything wrong with a folder in PASCAL VOC's layout: its lists, photos and masks."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from selftrain.data.check.images import (
    Photo,
    Progress,
    Size,
    check_photos,
    check_pool,
    decode_all,
    decode_photo,
    no_progress,
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

_FOLDERS = {"photo": ("JPEGImages", ".jpg"), "mask": ("SegmentationClass", ".png")}


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
    progress: Progress = no_progress,
) -> Report:
    """Look at every list, decode every photo and mask that one of them names, and report all that is wrong.

    Args:
        folder: as for `find_voc`.
        pool: folders of unlabelled pictures.
        workers: processes that decode.
        progress: wraps the stream of decoded photos and masks, given their number.
    """
    report, root, parts, names = Report(), folder, {}, None
    try:
        root = find_voc(folder)
        photos = {stem: f"JPEGImages/{file}" for stem, file in photo_files(root).items()}
        masks = {name: mask_files(root, name) for name in LISTS}
    except UserError as err:
        report.add("error", "folder", "folder unreadable", [str(err)], "")
    else:
        names = _check_names(report, root)
        parts = {name: _check_list(report, root, name, photos, masks[name]) for name in LISTS}
        parts = {name: part for name, part in parts.items() if part is not None}
    _check_overlaps(report, parts)

    # A photo or mask of several lists is decoded once, and counts for the first of them.
    part_of_photo: dict[str, str] = {}
    part_of_mask: dict[str, str] = {}
    for name, part in parts.items():
        for paths, part_of in ((part.photos, part_of_photo), (part.masks, part_of_mask)):
            for path in paths.values():
                part_of.setdefault(path, name)
    pictures = [Photo(name, Path(path).name, path, None) for path, name in part_of_photo.items()]
    pictures += check_pool(report, pool) if pool else []
    classes = IGNORED if names is None else len(names)
    items = [(photo.path, None) for photo in pictures] + [(path, classes) for path in part_of_mask]
    results = iter(progress(decode_all(_decode, items, workers), len(items)))
    sizes = check_photos(report, pictures, islice(results, len(pictures)))
    sizes = dict(zip((photo.path for photo in pictures), sizes, strict=True))
    usable_masks = _check_masks(report, part_of_mask, results)
    _check_sizes(report, parts, sizes, usable_masks)
    for name, part in parts.items():
        if part.masks:
            _conclude(report, name, part, root, names, usable_masks)
    return report


def _check_names(report: Report, root: Path) -> tuple[str, ...] | None:
    """Return the names of the classes; None if they cannot be read, which is an error."""
    try:
        return class_names(root)
    except UserError as err:
        report.add("error", "classes", "class names unreadable", [str(err)], "")
        return None


def _check_overlaps(report: Report, parts: dict[str, _Part]) -> None:
    """Find stems that are in two lists."""
    for one, other in combinations(parts, 2):
        if {one, other} != {"train", "train_aug"}:  # the coarse labels are of the train part and of more
            level, cure = overlap((one, other))
            shared = sorted({*parts[one].stems} & {*parts[other].stems})
            report.add(level, f"{one}, {other}", "stems in two lists", shared, cure)


def _check_list(
    report: Report, root: Path, name: str, photos: dict[str, str], masks: dict[str, str]
) -> _Part | None:
    """Check one list and the files that it names, given the paths below `root` of photos and masks by stem.

    None stands for a list that is not there, cannot be read, is empty, or needs no check as it has no labels.
    """
    path = list_file(root, name)
    stems = _check_stems(report, root, name, path)
    if not stems:
        return None
    part = _Part(list(dict.fromkeys(stems)))
    has_masks = not masks.keys().isdisjoint(part.stems)
    if not has_masks and name == "test":
        report.add("note", name, "list without masks", [str(path)], "none needed: scores are those of val")
        return None
    report.parts[name] = {"list": str(path), "images": len(part.stems)}
    needs_masks = has_masks or name != "unlabeled"
    if not needs_masks:
        cure = "name the folder of its photos with --unlabeled"
        report.add("warning", name, "list without masks", [str(path)], cure)
    part.photos = _check_files(report, root, name, "photo", part.stems, photos)
    if needs_masks:
        part.masks = _check_files(report, root, name, "mask", part.stems, masks)
    return part


def _check_stems(report: Report, root: Path, name: str, path: Path | None) -> list[str]:
    """Return the stems of a list, given its file; none if it is not there, cannot be read, or is empty."""
    cure = "write the stems of its photos there"
    if path is None:
        if name in ("train", "val"):
            path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
            report.add("error", name, "list missing", [str(path)], cure)
        return []
    try:
        stems = read_list(path)
    except UserError as err:
        report.add("error", name, "list unreadable", [str(err)], "")
        return []
    if not stems:
        level = "note" if name in ("test", "unlabeled") else "error"
        report.add(level, name, "list empty", [str(path)], cure)
    twice = repeated(np.array(stems)).tolist()
    report.add("error", name, "stems listed twice", twice, "remove the repeated lines")
    return stems


def _check_files(
    report: Report, root: Path, name: str, what: str, stems: list[str], files: dict[str, str]
) -> dict[str, str]:
    """Return the file of each stem's photo or mask, and find the stems that have none."""
    folder, suffix = _FOLDERS[what]
    missing = [stem for stem in stems if stem not in files]
    cure = f"put the {what}s there, or take the stems out of the list"
    report.add("error", name, f"stems without a {what} in {folder}", missing, cure)
    report.quarantine += [
        {"part": name, "file": str(root / folder / f"{stem}{suffix}"), "reason": f"no {what} of this stem"}
        for stem in missing
    ]
    return {stem: str(root / files[stem]) for stem in stems if stem in files}


def _decode(item: tuple[str, int | None]) -> tuple:
    """Decode a photo as `decode_photo` does where the number of classes is None, or else a mask.

    Returns for a mask what is wrong or None, its (width, height), and the pixels of each index (256,).
    """
    path, classes = item
    if classes is None:
        return decode_photo(path)
    try:
        mask = read_mask(path, classes)
    except UserError as err:
        return reason(err, path), None, None
    return None, mask.shape[::-1], np.bincount(mask.ravel(), minlength=256)


def _check_masks(
    report: Report, part_of_mask: dict[str, str], results: Iterable[tuple]
) -> dict[str, tuple[Size, np.ndarray]]:
    """Put what `_decode` gave for each mask into findings.

    Returns by path, for those that can be used, the size and the pixels of each index (256,).
    """
    usable, refused, empty = {}, {}, {}
    for (path, part), (fault, size, counts) in zip(part_of_mask.items(), results, strict=True):
        if fault is not None:
            refused.setdefault(part, []).append(f"{Path(path).name}: {fault}")
            report.quarantine.append({"part": part, "file": path, "reason": fault})
            continue
        usable[path] = size, counts
        if counts[IGNORED] == counts.sum():
            empty.setdefault(part, []).append(Path(path).name)
    for part, items in refused.items():
        cure = (
            "save each as a PNG of one byte a pixel: the index of the class, 255 = ignored; "
            "name every class in classes.txt"
        )
        report.add("error", part, "masks damaged or not of class indices", items, cure)
    for part, items in empty.items():
        cure = "none needed; nothing is learnt from them"
        report.add("warning", part, "masks that are ignored everywhere", items, cure)
    return usable


def _check_sizes(
    report: Report,
    parts: dict[str, _Part],
    sizes: dict[str, Size | None],
    masks: dict[str, tuple[Size, np.ndarray]],
) -> None:
    """Find photos whose mask is of another size, given the sizes of photos and the usable masks by path."""
    seen = set()
    cure = "use the masks that were drawn on these photos"
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
        report.add("error", name, "photos whose mask is of another size", differing, cure)


def _conclude(
    report: Report,
    name: str,
    part: _Part,
    root: Path,
    names: tuple[str, ...] | None,
    masks: dict[str, tuple[Size, np.ndarray]],
) -> None:
    """Note the part's facts, and ask the reader itself.

    Were it to refuse for a reason not looked for, the check would promise too much.
    """
    pixels = sum((masks[path][1] for path in part.masks.values() if path in masks), np.zeros(256, np.int64))
    report.parts[name]["ignored"] = float(pixels[IGNORED] / max(pixels.sum(), 1))
    if names is None:
        return
    report.parts[name]["categories"] = len(names)
    if pixels.any():
        unseen = [label for label, count in zip(names, pixels, strict=False) if count == 0]
        cure = "none needed, but they are neither learnt nor scored"
        report.add("note", name, "classes of which there is no pixel", unseen, cure)
    try:
        report.parts[name]["hash"] = read_voc(root, name).hash
    except UserError as err:
        if not any(finding.level == "error" and finding.part == name for finding in report.findings):
            report.add("error", name, "list refused", [str(err)], "")
