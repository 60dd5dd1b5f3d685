"""Semantic segmentation: a head on a feature pyramid, trained by cross-entropy and scored by mIoU.

Teachers give pseudo-masks.
"""

from functools import cached_property

from torch import nn

from selftrain.models.nasfpn import LEVELS
from selftrain.models.network import TimmTrunk
from selftrain.models.segmenter import SegmentationHead
from selftrain.tasks.pyramid import PyramidTask
from selftrain.tasks.segmentation.labeller import MaskLabeller
from selftrain.tasks.segmentation.masks import MaskObjective, MaskScorer


class Segmentation(PyramidTask):
    """The task of `benchmarks/pascal.py`."""

    levels = LEVELS

    def head(self, name: str, trunk: TimmTrunk) -> nn.Module:
        """The segmentation head with its pyramid, with fresh weights; it is the task's only head."""
        r = self.recipe
        return SegmentationHead(
            self.neck(trunk),
            classes=len(self.class_names),
            levels=self.levels,
            channels=r.channels,
            head_depth=r.head_depth,
            bn_momentum=r.bn_momentum,
        )

    @cached_property
    def objectives(self) -> dict[str, MaskObjective]:
        """The only objective: class maps by cross-entropy."""
        return {"masks": MaskObjective(self.recipe, self.fill)}

    @cached_property
    def scorer(self) -> MaskScorer:
        """The scorer by mIoU."""
        return MaskScorer(self.recipe, self.fill, self.class_names)

    @cached_property
    def labeller(self) -> MaskLabeller:
        """The labeller that makes pseudo-masks."""
        return MaskLabeller(self.recipe, self.fill, self.class_names)
