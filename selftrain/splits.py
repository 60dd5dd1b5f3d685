"""The data of one detection run: labelled fraction, val and test split, pool."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selftrain.data.coco import CocoDataset, read_coco
from selftrain.data.fractions import fraction_ids, import_unbiased_teacher, missing_classes, read_fraction, write_fraction
from selftrain.data.layout import find_layout
from selftrain.data.pool import Pool, read_pool, rest_pool
from selftrain.data.shapes import generate
from selftrain.errors import UserError
from selftrain.recipe import Recipe, digest


@dataclass(frozen=True)
class Splits:
    train: CocoDataset               # the labelled fraction
    val: CocoDataset                 # for the curve and for tuning
    test: CocoDataset                # for the reported score; the val split itself where the data set has no labelled test split
    test_name: str                   # "test" or "val"
    pool: Pool | None
    hash: str                        # of everything above but the pool, which has its own


def load(recipe: Recipe, warn: Callable[[str], None], progress: Callable[[int, int], None] | None = None) -> Splits:
    """Read what `recipe` asks for, generating it first where that is the `shapes` set.  Raises UserError for anything wrong.

    Of several processes the main one goes first (accelerator.main_process_first): the others then find the set finished.
    """
    if recipe.data != "shapes":
        return _read(recipe, Path(recipe.data), warn)
    try:
        return _read(recipe, generate(Path(recipe.out) / f"shapes-{recipe.shapes.digest()}", recipe.shapes, progress=progress), warn)
    except FileExistsError as error:
        raise UserError(str(error)) from error


def _read(recipe: Recipe, root: Path, warn: Callable[[str], None]) -> Splits:
    layout = find_layout(root, train_json=recipe.train_json, val_json=recipe.val_json, test_json=recipe.test_json,
                         train_images=recipe.train_images, val_images=recipe.val_images, test_images=recipe.test_images)
    whole = read_coco(layout.train_json, layout.train_images)
    val = read_coco(layout.val_json, layout.val_images, classes=whole.class_names)
    test = read_coco(layout.test_json, layout.test_images, classes=whole.class_names) if layout.test_json else val
    for name, dataset in (("train", whole), ("val", val), ("test", test)):
        if any(dataset.dropped.values()) and not (name == "test" and test is val):
            warn(f"{name}: {', '.join(f'{n} {what}' for what, n in dataset.dropped.items() if n)} (dropped or clipped)")
    ids = _labelled(recipe, whole)
    missing = missing_classes(whole, ids)
    if missing:
        warn(f"the {len(ids)} labelled images hold no object of: {', '.join(missing)}")
    train = whole.subset(ids)
    listed = Path(recipe.out) / "fractions" / f"{train.hash}.json"
    if len(train) < len(whole) and not listed.exists():  # published beside the results: which images were labelled
        write_fraction(listed, ids, whole.hash, recipe.fraction, recipe.seed)
    pool = None
    if recipe.self_training:
        if recipe.unlabeled == ("rest",):
            pool = rest_pool(whole, ids)
        else:
            pool = read_pool(recipe.unlabeled or (root / "unlabeled2017",))
            if pool.hidden is not None and pool.hidden.class_names != whole.class_names:
                warn("the pool's own labels are of other classes, so pseudo-labels cannot be measured by them")
                pool = replace(pool, hidden=None)
    return Splits(train, val, test, "val" if test is val else "test", pool, digest([train.hash, val.hash, test.hash]))


def _labelled(recipe: Recipe, whole: CocoDataset) -> np.ndarray:
    """Ids of the labelled images: a list from a file, or a fraction drawn from the seed."""
    if recipe.image_ids is None:
        return fraction_ids(whole, recipe.fraction, recipe.seed)
    if fold := re.fullmatch(r"(.+):([\d.]+):(\d+)", recipe.image_ids):
        return import_unbiased_teacher(fold[1], whole, float(fold[2]), int(fold[3]))
    listed = read_fraction(recipe.image_ids)
    if listed.dataset_hash != whole.hash:
        raise UserError(f"{recipe.image_ids}: lists images of another data set ({listed.dataset_hash}, --data is {whole.hash}); give the --data it was written for")
    return listed.ids
