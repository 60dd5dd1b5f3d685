"""A small task with four classes, and a network whose output depends on the pixels alone."""

from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from selftrain.tasks.segmentation.task import Segmentation
from tests.programs import load

PASCAL = load("recipes.segmentation").PASCAL
K = 4


def task(**options) -> Segmentation:
    recipe = replace(PASCAL["demo"](), image_size=16, **options)
    return Segmentation(recipe, tuple("abcd")).normalised((0.5, 0.5, 0.5))


class Quarter(nn.Module):
    """Logits that depend on the pixels alone, at a quarter of the side, as a segmenter's."""

    def forward(self, images):
        x = F.avg_pool2d(images.float() / 64, 4, ceil_mode=True)
        return torch.cat([x, x[:, :1] * x[:, 1:2]], 1) - 1


class QuarterHead(Quarter):
    """The same as the head of a network whose trunk gives the images themselves as its only map."""

    def forward(self, maps, size):
        (images,) = maps
        assert size == tuple(images.shape[2:])
        return super().forward(images)
