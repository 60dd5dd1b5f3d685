"""Which format a folder is in, and so which check it gets."""

from collections.abc import Mapping
from pathlib import Path

from selftrain.data.check.coco import check_coco
from selftrain.data.check.images import Progress, no_progress
from selftrain.data.check.report import Report
from selftrain.data.check.voc import check_voc
from selftrain.data.coco import find_part
from selftrain.data.voc import voc_folders
from selftrain.system.errors import UserError

PARTS = ("train", "val", "test")
"""the parts of a folder in COCO's layout"""
Place = tuple[Path | None, Path | None]
"""annotation file and image folder of a part, as the user named them; None for what is to be found"""


def check_folder(
    folder: Path,
    places: Mapping[str, Place],
    pool: list[Path],
    workers: int = 1,
    progress: Progress = no_progress,
) -> Report:
    """Check a folder in COCO's or PASCAL VOC's layout and a pool of photos.

    Args:
        folder: the folder of the data set.
        places: for each of PARTS, where its annotations and images lie in COCO's layout, if elsewhere.
        pool: folders of unlabelled pictures.
        workers: processes that decode.
        progress: wraps the stream of decoded images, given their number.
    """
    if _is_voc(folder, places):
        return check_voc(folder, pool, workers, progress)
    return _check_coco_folder(folder, places, pool, workers, progress)


def _is_voc(folder: Path, places: Mapping[str, Place]) -> bool:
    """Say whether the folder is in VOC's layout and not in COCO's.

    What is in neither is taken for COCO's, whose options say where parts lie.
    """
    if any(place is not None for part in PARTS for place in places[part]):
        return False
    return not any((folder / "annotations").glob("instances_*.json")) and bool(voc_folders(folder))


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
            cure = (
                "or give a folder in PASCAL VOC's layout, "
                "with ImageSets/Segmentation, JPEGImages and SegmentationClass"
            )
        report.add("error", part, "part missing", [message], cure)
    return report
