"""A small task with classes of letters, and data sets of plain pictures."""

from dataclasses import replace

import numpy as np

from augment import Sample
from selftrain.data.folders import ClassDataset
from selftrain.tasks.classification.task import Classification
from tests.programs import load

CLASSIFY = load("recipes.classification").CLASSIFY


def task(classes="abcd", **options) -> Classification:
    recipe = replace(CLASSIFY["demo"](), image_size=33, **options)
    return Classification(recipe, tuple(classes)).normalised((0.5, 0.5, 0.5))


def picture(seed=0, target=None, side=33) -> Sample:
    image = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    return replace(Sample.unlabelled(image), target=None if target is None else np.float32(target))


def human(tmp_path, counts, class_names="abcd") -> ClassDataset:
    """So many pictures of each class; their files are not there."""
    classes = np.repeat(np.arange(len(counts)), counts)
    names = [f"{class_names[k]}{i}.png" for i, k in enumerate(classes.tolist())]
    return ClassDataset(
        tmp_path, np.array(names, bytes), np.array(names), classes, tuple(class_names), "hash"
    )
