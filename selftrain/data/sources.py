"""Where a recipe's parts come from: a COCO folder or a VOCdevkit.  The one place that knows which options belong to which layout."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from selftrain.data.coco import find_layout, read_coco
from selftrain.data.dataset import Labelled
from selftrain.data.fractions import import_unbiased_teacher
from selftrain.data.pool import Pool, listed_pool, read_pool, rest_pool
from selftrain.data.voc import find_voc, has_labels, import_ids, read_voc
from selftrain.system.errors import UserError

Warn = Callable[[str], None]


class CocoSource:
    layout = "coco"

    @staticmethod
    def read(recipe, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
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
                    f"{name}: {', '.join(f'{n} {what}' for what, n in dataset.dropped.items() if n)} (dropped or clipped)"
                )
        return train, val, test

    @staticmethod
    def import_ids(recipe, train: Labelled) -> np.ndarray | None:
        """Ids of a fold of Unbiased Teacher's lists, FILE:PERCENT:FOLD; None if --image-ids is no such thing."""
        fold = re.fullmatch(r"(.+):([\d.]+):(\d+)", recipe.image_ids)
        return import_unbiased_teacher(fold[1], train, float(fold[2]), int(fold[3])) if fold else None

    @staticmethod
    def own_pool(recipe, root: Path, train: Labelled) -> Pool:
        """The pool that comes with a generated set."""
        return read_pool((root / "unlabeled2017",))


class VocSource:
    layout = "voc"

    @staticmethod
    def read(recipe, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
        """(train, val, test) of a VOCdevkit; train by the protocol; test is val where no test photo has a mask, as in PASCAL's own."""
        root = find_voc(root)
        train = read_voc(root, "train_aug" if recipe.protocol == "train_aug" else "train")
        val = read_voc(root, "val", classes=train.class_names)
        test = read_voc(root, "test", classes=train.class_names) if has_labels(root, "test") else val
        for name, dataset in (("val", val), ("test", test)):
            if len(shared := np.intersect1d(train.image_ids, dataset.image_ids)):
                raise UserError(
                    f"{root}: {len(shared)} photos of the {name} list are in the training list too, {shared[0]} first: the score would "
                    "count photos trained on. Take them out of one list"
                )
        return train, val, test

    @staticmethod
    def import_ids(recipe, train: Labelled) -> np.ndarray | None:
        """Stems of a published text list; None if --image-ids is no text file."""
        return import_ids(recipe.image_ids, train) if recipe.image_ids.endswith(".txt") else None

    @staticmethod
    def own_pool(recipe, root: Path, train: Labelled) -> Pool:
        """The generated set's pool; of train+pseudo_aug the photos that have coarse labels only, which stay hidden."""
        root = find_voc(root)
        if recipe.protocol == "train+pseudo_aug":
            return rest_pool(read_voc(root, "train_aug", classes=train.class_names), train.image_ids)
        return listed_pool(read_voc(root, "unlabeled", classes=train.class_names))
