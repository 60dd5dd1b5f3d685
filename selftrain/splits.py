"""The data of one run: labelled fraction, val and test split, pool."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selftrain.data.dataset import Labelled
from selftrain.data.fractions import fraction_ids, missing_classes, read_fraction, write_fraction
from selftrain.data.pool import Pool, read_pool, rest_pool
from selftrain.data.source import Source
from selftrain.recipe import Recipe, digest
from selftrain.system.errors import UserError


@dataclass(frozen=True)
class Splits:
    """The data of one run."""

    train: Labelled
    """the labelled fraction"""
    val: Labelled
    """for the curve and for tuning"""
    test: Labelled
    """for the reported score; the val split itself where the data set has no labelled test split"""
    test_name: str
    """what a person calls it: test or val"""
    pool: Pool | None
    """the unlabelled images"""
    hash: str
    """of everything above but the pool, which has its own"""
    others: dict[str, Any] = field(default_factory=dict)
    """further data sets that a cell learns from, or is scored on, by name"""

    def named(self, name: str) -> Labelled:
        """The set of that name that cells are scored on: test, val, or one of the others."""
        return {"val": self.val, "test": self.test, **self.others}[name]

    def title(self, name: str) -> str:
        """What a person calls that set: the test set is called val where there is no other."""
        return self.test_name if name == "test" else name

    def by_hash(self, hash: str) -> Any:
        """The data that a feed learns from.  Raises UserError where this run has no such data."""
        known = [self.train, *([self.pool] if self.pool else []), *self.others.values()]
        for data in known:
            if data.hash == hash:
                return data
        raise UserError(
            f"no data set of this run has the hash {hash}; give the data that the cell was declared with"
        )


def load(
    recipe: Recipe,
    source: Source,
    warn: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> Splits:
    """Read what `recipe` asks for by `source`, such as CocoSource, generating it first where that is the
    `shapes` set.

    Of several processes the main one goes first (accelerator.main_process_first): the others then find the
    set finished. Raises UserError for anything wrong.
    """
    root = source.generated(recipe, progress) if recipe.data == "shapes" else Path(recipe.data)
    every, val, test = source.read(recipe, root, warn)
    whole, only_val = _with_classes(recipe, every), test is val
    val = _with_classes(recipe, val)
    test = val if only_val else _with_classes(recipe, test)
    ids = _labelled(recipe, source, whole)
    train = whole.subset(ids)
    missing = missing_classes(whole, ids)
    if recipe.classes and set(recipe.classes) <= set(missing):
        raise UserError(
            f"--classes {' '.join(recipe.classes)}: none of the {len(ids)} labelled images shows one; "
            "name other classes, or give a larger --fraction"
        )
    if missing:
        warn(f"the {len(ids)} labelled images show nothing of: {', '.join(missing)}")
    listed = Path(recipe.out) / "fractions" / f"{train.hash}.json"
    if (
        len(train) < len(whole) and not listed.exists()
    ):  # published beside the results: which images were labelled
        write_fraction(listed, ids, whole.hash, recipe.fraction, recipe.seed)
    pool = _pool(recipe, source, root, every, train, warn) if recipe.self_training else None
    if pool is not None:
        _refuse_scored(pool, {"val": val, "test": test})
    return Splits(
        train, val, test, "val" if test is val else "test", pool, digest([train.hash, val.hash, test.hash])
    )


def _labelled(recipe: Recipe, source: Source, whole: Labelled) -> np.ndarray:
    """Ids of the labelled images: a list from a file, or a fraction drawn from the seed."""
    if recipe.image_ids is None:
        return fraction_ids(whole, recipe.fraction, recipe.seed)
    if (ids := source.import_ids(recipe, whole)) is not None:
        return ids
    listed = read_fraction(recipe.image_ids)
    if listed.dataset_hash != whole.hash:
        raise UserError(
            f"{recipe.image_ids}: lists images of another data set ({listed.dataset_hash}, --data is "
            f"{whole.hash}); give the --data it was written for"
        )
    return listed.ids


def _with_classes(recipe: Recipe, data: Labelled) -> Labelled:
    """The data set with the labels that --classes asks for."""
    return data.of_classes(recipe.classes) if recipe.classes else data


def _pool(
    recipe: Recipe, source: Source, root: Path, every: Labelled, train: Labelled, warn: Callable[[str], None]
) -> Pool:
    """The unlabelled images; `every`: the training part with the labels of all classes."""
    if recipe.unlabeled == ("rest",):
        pool = rest_pool(every, train.image_ids)
    elif not recipe.unlabeled:
        pool = source.own_pool(recipe, root, every)
    else:
        pool = read_pool(recipe.unlabeled)
        pool = replace(pool, hidden=source.hidden_labels(recipe, pool, every.class_names))
    if pool.hidden is not None and pool.hidden.class_names != every.class_names:
        warn("the pool's own labels are of other classes, so pseudo-labels cannot be measured by them")
        return replace(pool, hidden=None)
    return pool if pool.hidden is None else replace(pool, hidden=_with_classes(recipe, pool.hidden))


def _refuse_scored(pool: Pool, scored: dict[str, Labelled]) -> None:
    """UserError if a photo that gives the curve or the score is in the pool: a student would train on it."""
    names = {dataset.path(i).name for dataset in scored.values() for i in range(len(dataset))}
    paths = (pool.path(i) for i in range(len(pool)))
    # only of photos with such a name: the real path of a million photos would take a minute
    pooled = {os.path.realpath(path) for path in paths if path.name in names}
    for name, dataset in scored.items():
        both = [i for i in range(len(dataset)) if os.path.realpath(dataset.path(i)) in pooled]
        if both:
            raise UserError(
                f"{dataset.path(both[0])}: {len(both)} photos of the {name} split are in the pool, this one "
                "first; students would be trained on what they are scored on. Give --unlabeled folders "
                "without them, or take them out of the list"
            )
