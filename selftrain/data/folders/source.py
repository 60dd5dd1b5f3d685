"""The parts of a recipe's data where each picture has one class."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.dataset import Labelled
from selftrain.data.folders.dataset import ClassDataset, from_files
from selftrain.data.folders.generated import generate_folders
from selftrain.data.folders.layout import read_parts
from selftrain.data.pool import Pool, read_pool
from selftrain.data.shapes.files import Progress
from selftrain.data.source import Warn


class FolderSource:
    """Folders of classes, a csv, or index files; see `selftrain.data.folders`."""

    @staticmethod
    def generated(recipe: Any, progress: Progress | None) -> Path:
        """The folder of the recipe's generated set; see `Source.generated`."""
        folder = Path(recipe.out) / f"shapes-folders-{recipe.shapes.digest()}"
        return generate_folders(folder, recipe.shapes, progress)

    @staticmethod
    def read(recipe: Any, root: Path, warn: Warn) -> tuple[Labelled, Labelled, Labelled]:
        """(train, val, test); see `read_parts`."""
        return read_parts(root, warn)

    @staticmethod
    def import_ids(recipe: Any, train: Labelled) -> np.ndarray | None:
        """None: no list of these layouts is published."""
        return None

    @staticmethod
    def own_pool(recipe: Any, root: Path, train: Labelled) -> Pool:
        """The pool that comes with the generated set, with its hidden labels."""
        pool = read_pool((root / "unlabeled",))
        return replace(pool, hidden=labels_by_folder(pool, train.class_names))

    @staticmethod
    def hidden_labels(recipe: Any, pool: Pool, class_names: tuple[str, ...]) -> Labelled | None:
        """The classes of a pool of one folder, by the names of the folders in it; see `labels_by_folder`."""
        return labels_by_folder(pool, class_names) if len(recipe.unlabeled) == 1 else None


def labels_by_folder(pool: Pool, class_names: tuple[str, ...]) -> ClassDataset | None:
    """The classes of a pool's pictures where each lies in a folder of a class's name; None otherwise."""
    names = [name.decode() for name in pool.names.tolist()]
    labels = [name.partition("/")[0] for name in names]
    if not all("/" in name for name in names) or not set(labels) <= set(class_names):
        return None
    files = zip(names, labels, pool.sizes.tolist(), strict=True)
    return from_files(pool.folder, files, class_names)
