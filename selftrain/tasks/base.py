"""What the tasks on images share: augmentation, and how images become batches."""

from collections.abc import Callable
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from augment import Sample, build_policy, fit
from augment.policies import Policy
from selftrain.recipe import Recipe
from selftrain.tasks.protocol import Batch


class BaseTask:
    """A task on labelled images: its recipe, its classes, and the colour of its padding."""

    strategies: dict[str, Callable] = {}
    """Strategies to buy labels by: none yet"""

    def __init__(self, recipe: Recipe, class_names: tuple[str, ...], fill: tuple[int, ...] = (124, 116, 104)):
        """`class_names`: in the order of their indices; `fill`: RGB of the padding, see `normalised`."""
        self.recipe, self.class_names, self.fill = recipe, class_names, fill

    def normalised(self, mean: tuple[float, ...], recipe: Recipe | None = None) -> Self:
        """The task for networks whose inputs are normalised by `mean`, which is of RGB pixels in 0..1.

        Images are padded with this mean, so that the padding is zero in the network.
        """
        fill = tuple(round(m * 255) for m in mean)
        return type(self)(recipe or self.recipe, self.class_names, fill)


class Augmented:
    """The base of objectives on augmented images: one view of each sample, by the recipe's policy."""

    floor = 1.0
    """The official RetinaNet's normaliser, kept for every task"""
    whole_batch = False
    """An image's loss does not depend on the other images of its batch"""

    def __init__(self, recipe: Recipe, fill: tuple[int, ...]):
        """`fill`: RGB of the padding."""
        self.recipe, self.fill = recipe, fill

    @cached_property
    def policy(self) -> Policy:
        """The recipe's policy: sample and seed -> augmented sample of the training size."""
        r = self.recipe
        return build_policy(
            r.policy,
            r.image_size,
            num_ops=r.randaugment_ops,
            magnitude=r.magnitude,
            fill=self.fill,
            scale_range=r.jitter,
        )

    def views(self, sample: Sample, seed: int) -> tuple[Sample, ...]:
        """One augmented view of a sample, of `image_size` x `image_size` pixels."""
        return (self.policy(sample, seed),)


def prepare(samples: list[Sample], size: int, fill: tuple[int, ...]) -> Batch:
    """A batch for prediction, from samples without augmentation.

    `images` (B, 3, size, size) uint8 are the photos, resized to fit and padded with `fill`.  Of each photo,
    `scales` has the factor by which it was resized, `sizes` its own (height, width) in pixels, and `truths`
    its class map at that size, or None.
    """
    fitted, scales = zip(*(fit(sample, size, fill) for sample in samples))
    return {
        "images": stack_images(list(fitted)),
        "scales": list(scales),
        "sizes": [sample.image.shape[:2] for sample in samples],
        "truths": [sample.mask for sample in samples],
    }


def stack_images(samples: list[Sample]) -> Tensor:
    """The images of B samples of one size as (B, 3, H, W) uint8, channels_last in memory."""
    return torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
