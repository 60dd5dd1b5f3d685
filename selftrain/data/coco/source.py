"""The parts of a recipe's data in COCO's layout."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.coco.dataset import CocoDataset
from selftrain.data.coco.files import read_coco
from selftrain.data.coco.layout import find_layout
from selftrain.data.coco.unbiased_teacher import import_unbiased_teacher
from selftrain.data.dataset import Labelled
from selftrain.data.pool import Pool, read_pool
from selftrain.data.shapes.files import Progress
from selftrain.data.source import Warn, generated_shapes
from selftrain.system.errors import UserError


class CocoSource:
    """COCO's layout: one json and one folder of photos for each part."""

    @staticmethod
    def generated(recipe: Any, progress: Progress | None) -> Path:
        """The folder of the recipe's generated set; see `Source.generated`."""
        return generated_shapes(recipe, "coco", progress)

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
        pool = read_pool((root / "unlabeled2017",))
        return replace(pool, hidden=labels_beside(pool))

    @staticmethod
    def hidden_labels(recipe: Any, pool: Pool, class_names: tuple[str, ...]) -> Labelled | None:
        """The labels beside a pool of one folder; see `labels_beside`."""
        return labels_beside(pool) if len(recipe.unlabeled) == 1 else None


def labels_beside(pool: Pool) -> CocoDataset | None:
    """Labels of the pool's images in ../annotations/instances_F.json, where the pool is the folder F.

    None where there is no such file, or where it does not know every image.  Raises UserError for a broken
    file.
    """
    path = pool.folder.parent / "annotations" / f"instances_{pool.folder.name}.json"
    if not path.is_file():
        return None
    try:
        labels = read_coco(path, pool.folder)
    except UserError as err:
        raise UserError(
            f"{err} These labels only measure the pool: without them, move the file away."
        ) from None
    order = np.argsort(labels.names)
    at = np.minimum(np.searchsorted(labels.names, pool.names, sorter=order), len(labels) - 1)
    positions = order[at]
    return labels.take(positions) if np.array_equal(labels.names[positions], pool.names) else None
