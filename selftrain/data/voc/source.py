"""The parts of a recipe's data in PASCAL VOC's layout."""

from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.dataset import Labelled
from selftrain.data.pool import Pool, listed_pool, rest_pool
from selftrain.data.shapes.files import Progress
from selftrain.data.source import Warn, generated_shapes
from selftrain.data.voc import find_voc, has_labels, import_ids, read_voc
from selftrain.system.errors import UserError


class VocSource:
    """PASCAL VOC's layout: lists of names, photos, and an index PNG for each."""

    @staticmethod
    def generated(recipe: Any, progress: Progress | None) -> Path:
        """The folder of the recipe's generated set; see `Source.generated`."""
        return generated_shapes(recipe, "voc", progress)

    @staticmethod
    def read(recipe: Any, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
        """(train, val, test) of a VOCdevkit; train by the protocol; test is val where no test photo has a
        mask, as in PASCAL's own.
        """
        root = find_voc(root)
        train = read_voc(root, "train_aug" if recipe.protocol == "train_aug" else "train")
        val = read_voc(root, "val", classes=train.class_names)
        test = read_voc(root, "test", classes=train.class_names) if has_labels(root, "test") else val
        for name, dataset in (("val", val), ("test", test)):
            if len(shared := np.intersect1d(train.image_ids, dataset.image_ids)):
                raise UserError(
                    f"{root}: {len(shared)} photos of the {name} list are in the training list too, "
                    f"{shared[0]} first: the score would "
                    "count photos trained on. Take them out of one list"
                )
        return train, val, test

    @staticmethod
    def import_ids(recipe: Any, train: Labelled) -> np.ndarray | None:
        """Stems of a published text list; None if --image-ids is no text file."""
        return import_ids(recipe.image_ids, train) if recipe.image_ids.endswith(".txt") else None

    @staticmethod
    def own_pool(recipe: Any, root: Path, train: Labelled) -> Pool:
        """The generated set's pool; of train+pseudo_aug the photos that have coarse labels only, which stay
        hidden.
        """
        root = find_voc(root)
        if recipe.protocol == "train+pseudo_aug":
            return rest_pool(read_voc(root, "train_aug", classes=train.class_names), train.image_ids)
        return listed_pool(read_voc(root, "unlabeled", classes=train.class_names))

    @staticmethod
    def hidden_labels(recipe: Any, pool: Pool, class_names: tuple[str, ...]) -> Labelled | None:
        """None: of photos in folders this layout knows no masks."""
        return None
