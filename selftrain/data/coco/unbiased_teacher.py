"""The published folds of Unbiased Teacher: which images of COCO count as labelled."""

import json
from pathlib import Path

import numpy as np

from selftrain.data.coco.dataset import CocoDataset
from selftrain.data.image import read_bytes
from selftrain.system.errors import UserError


def import_unbiased_teacher(path: str | Path, dataset: CocoDataset, percent: float, fold: int) -> np.ndarray:
    """Return the image ids (n,) int64, ascending, of one fold of Unbiased Teacher's COCO_supervision.txt.

    That file, {percent: {fold: [positions]}}, counts positions in the list detectron2 makes of train2017:
    images by ascending id, without those that have no annotation or only crowds.

    Raises:
        UserError: the file has no such percent or fold, or was made for other images.
    """
    data = read_bytes(path)
    try:
        folds = {float(key): value for key, value in json.loads(data).items()}
    except (ValueError, AttributeError) as err:
        raise UserError(
            f"{path}: not Unbiased Teacher's COCO_supervision.txt ({err}). "
            "Download dataseed/COCO_supervision.txt."
        ) from None
    if float(percent) not in folds:
        there = ", ".join(f"{p:g}" for p in sorted(folds))
        raise UserError(f"{path}: has no {percent} %. Choose one of {there}.")
    of_percent = folds[float(percent)]
    if str(fold) not in of_percent:
        raise UserError(f"{path}: has no fold {fold} for {percent} %. Choose one of {', '.join(of_percent)}.")
    positions = np.array(of_percent[str(fold)], np.int64)
    listed = np.sort(dataset.image_ids[dataset.listed > 0])
    # The original checks the count too; without this a shifted list would pass for the published split.
    expected = int(percent / 100 * len(listed))
    outside = len(positions) and not 0 <= positions.min() <= positions.max() < len(listed)
    if len(positions) != expected or outside:
        raise UserError(
            f"{path}: its {percent} % are {len(positions)} of other images "
            f"than the {len(listed)} with objects here (expected {expected} positions below {len(listed)}). "
            "Use it with COCO's instances_train2017.json."
        )
    return np.sort(listed[positions])
