"""The parts of a recipe's data in COCO's layout."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.coco.files import read_coco
from selftrain.data.coco.layout import find_layout
from selftrain.data.coco.unbiased_teacher import import_unbiased_teacher
from selftrain.data.dataset import Labelled
from selftrain.data.pool import Pool, read_pool
from selftrain.data.source import Warn


class CocoSource:
    """COCO's layout: one json and one folder of photos for each part."""

    layout = "coco"

    @staticmethod
    def read(recipe: Any, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
        """(train, val, test) of a COCO folder; test is val where there is no labelled test part."""
        layout = find_layout(
            root,
            train_json=recipe.train_json,
            val_json=recipe.val_json,
            test_json=recipe.test_json,
            train_images=recipe.train_images,
            val_images=recipe.val_images,
            test_images=recipe.test_images,
        )
        train = read_coco(layout.train_json, layout.train_images)
        val = read_coco(layout.val_json, layout.val_images, classes=train.class_names)
        test = (
            read_coco(layout.test_json, layout.test_images, classes=train.class_names)
            if layout.test_json
            else val
        )
        for name, dataset in (("train", train), ("val", val), ("test", test)):
            if any(dataset.dropped.values()) and not (name == "test" and test is val):
                warn(
                    f"{name}: {', '.join(f'{n} {what}' for what, n in dataset.dropped.items() if n)} "
                    "(dropped or clipped)"
                )
        return train, val, test

    @staticmethod
    def import_ids(recipe: Any, train: Labelled) -> np.ndarray | None:
        """Ids of a fold of Unbiased Teacher's lists, FILE:PERCENT:FOLD; None for another list."""
        fold = re.fullmatch(r"(.+):([\d.]+):(\d+)", recipe.image_ids)
        return import_unbiased_teacher(fold[1], train, float(fold[2]), int(fold[3])) if fold else None

    @staticmethod
    def own_pool(recipe: Any, root: Path, train: Labelled) -> Pool:
        """The pool that comes with a generated set."""
        return read_pool((root / "unlabeled2017",))
