"""What the tasks share: backbone and neck, policy, inputs."""

import copy
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from augment import Sample, build_policy, fit
from augment.policies import Policy
from selftrain.models.backbone import Backbone
from selftrain.models.fold import fold
from selftrain.models.fpn import FPN
from selftrain.models.nasfpn import LEVELS, NASFPN
from selftrain.recipe import Recipe
from selftrain.system.errors import UserError
from selftrain.tasks.protocol import Batch


class BaseTask:
    def __init__(self, recipe: Recipe, class_names: tuple[str, ...]):
        self.recipe, self.class_names = recipe, class_names

    def backbone_and_neck(self, levels: tuple[int, ...]) -> tuple[Backbone, nn.Module]:
        """Together: images -> maps of `levels`, (B, channels, H_l, W_l) each."""
        r = self.recipe
        backbone = Backbone(
            r.backbone, tuple(level for level in levels if level <= 5), r.drop_path, r.bn_momentum
        )
        if r.neck == "fpn":
            return backbone, FPN(
                backbone.channels, r.channels, len(levels) - len(backbone.channels), r.bn_momentum
            )
        if levels != LEVELS:
            raise UserError(
                f"--neck nasfpn has the levels {LEVELS[0]} to {LEVELS[-1]}, not {levels[0]} to {levels[-1]}; choose --min-level 3 --max-level 7, or --neck fpn"
            )
        return backbone, NASFPN(
            backbone.channels, r.channels, r.neck_repeats, r.neck_separable, r.bn_momentum
        )

    def normalised(self, mean: tuple[float, ...]) -> Self:
        """The task for networks whose inputs are normalised by `mean`: what a picture is padded with becomes zero."""
        made = copy.copy(self)
        made.fill = tuple(round(m * 255) for m in mean)
        return made

    def policy(self) -> Policy:
        r = self.recipe
        return build_policy(
            r.policy, r.image_size, num_ops=r.randaugment_ops, magnitude=r.magnitude, fill=self.fill
        )

    def prepare(self, sample: Sample) -> tuple[Sample, float]:
        return fit(sample, self.recipe.image_size, self.fill)

    def for_prediction(self, model: nn.Module, batch: Batch) -> nn.Module:
        return fold(model, batch["images"][:2])

    def announce_labels(self, pool) -> str | None:
        return None


def stack_images(samples: list[Sample]) -> Tensor:
    """(B, 3, H, W) uint8, channels_last in memory."""
    return torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2)
