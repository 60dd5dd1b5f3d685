"""Which format a folder is in, and so which check it gets."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from selftrain.data.check.coco import check_coco
from selftrain.data.check.images import Progress, no_progress
from selftrain.data.check.report import Report
from selftrain.data.check.voc import check_voc
from selftrain.data.coco import find_part
from selftrain.data.folders.check import ABOUT, check_classes, is_classified
from selftrain.data.voc import voc_folders
from selftrain.system.errors import UserError

PARTS = ("train", "val", "test")
"""the parts of a folder in COCO's layout"""
Place = tuple[Path | None, Path | None]
"""annotation file and image folder of a part, as the user named them; None for what is to be found"""


class Layout(NamedTuple):
    """A layout besides COCO's that folders of data sets may have."""

    about: str
    """what a person is told to have, after `a folder`"""
    fits: Callable[[Path], Any]
    """whether a folder is in this layout"""
    check: Callable[[Path, list[Path], int, Progress], Report]
    """folder, pool, workers, progress -> all that is wrong"""


LAYOUTS = (
    Layout(
        "in PASCAL VOC's layout, with ImageSets/Segmentation, JPEGImages and SegmentationClass",
        voc_folders,
        check_voc,
    ),
    Layout(ABOUT, is_classified, check_classes),
)
"""the first that fits is taken; a folder of annotations/instances_*.json, or of none of them, is COCO's"""


def check_folder(
    folder: Path,
    places: Mapping[str, Place],
    pool: list[Path],
    workers: int = 1,
    progress: Progress = no_progress,
) -> Report:
    """Check a folder in COCO's layout, or in one of `LAYOUTS`, and a pool of photos.

    Args:
        folder: the folder of the data set.
        places: for each of PARTS, where its annotations and images lie in COCO's layout, if elsewhere.
        pool: folders of unlabelled pictures.
        workers: processes that decode.
        progress: wraps the stream of decoded images, given their number.
    """
    named = any(place is not None for part in PARTS for place in places[part])
    if not named and not any((folder / "annotations").glob("instances_*.json")):
        for layout in LAYOUTS:
            if layout.fits(folder):
                return layout.check(folder, pool, workers, progress)
    return _check_coco_folder(folder, places, pool, workers, progress)


def _check_coco_folder(
    folder: Path, places: Mapping[str, Place], pool: list[Path], workers: int, progress: Progress
) -> Report:
    """Check the parts that a folder in COCO's layout has, and report those that it lacks."""
    layout, missing = {}, {}
    for part in PARTS:
        try:
            json_path, images = find_part(folder, part, *places[part])
        except UserError as err:
            missing[part] = str(err)
        else:
            if json_path is not None:
                layout[part] = (json_path, images)
    report = check_coco(layout, pool, workers, progress)
    for part, message in missing.items():
        cure = ""
        if message is not list(missing.values())[-1]:
            message = message.split(" Expected:")[0]  # the tree it ends with is shown once
        elif not layout:
            cure = f"or give a folder {', or '.join(layout.about for layout in LAYOUTS)}"
        report.add("error", part, "part missing", [message], cure)
    return report
