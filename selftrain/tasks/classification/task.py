"""Classification: a linear layer on a whole network of timm, trained by cross-entropy.

It is scored by the share of pictures that are right; teachers give classes, hard or as probabilities.
"""

from functools import cached_property

from torch import nn

from selftrain.models.classifier import LinearHead, WholeBackbone
from selftrain.models.network import TimmTrunk
from selftrain.tasks.base import BaseTask
from selftrain.tasks.classification.classes import ClassObjective, ClassScorer
from selftrain.tasks.classification.labeller import ClassLabeller


class Classification(BaseTask):
    """The task of `benchmarks/classify.py`."""

    def trunk(self, mean: tuple[float, ...], std: tuple[float, ...]) -> TimmTrunk:
        """A whole timm network with fresh weights.

        `mean`, `std`: of RGB pixels in 0..1, by which it normalises its inputs.  Raises UserError for a
        backbone that does not exist, or does not take images of this size.
        """
        r = self.recipe
        return TimmTrunk(WholeBackbone(r.backbone, r.image_size, r.drop_path, r.bn_momentum), mean, std)

    def head(self, name: str, trunk: TimmTrunk) -> nn.Module:
        """The linear layer with fresh weights; it is the task's only head."""
        return LinearHead(trunk.channels[0], len(self.class_names), self.recipe.dropout)

    @cached_property
    def objectives(self) -> dict[str, ClassObjective]:
        """The only objective: classes by cross-entropy."""
        return {"classes": ClassObjective(self.recipe, self.fill)}

    @cached_property
    def scorer(self) -> ClassScorer:
        """The scorer by accuracy."""
        return ClassScorer(self.recipe, self.fill, self.class_names)

    @cached_property
    def labeller(self) -> ClassLabeller:
        """The labeller that gives classes."""
        return ClassLabeller(self.recipe, self.fill, self.class_names)
