"""Detection: RetinaNet's head on a feature pyramid, trained on boxes and scored by COCO's AP.

Teachers give pseudo-boxes.
"""

from functools import cached_property

from torch import nn

from selftrain.models.network import TimmTrunk
from selftrain.models.retinanet import RetinaHead
from selftrain.tasks.detection.boxes import BoxObjective, BoxScorer
from selftrain.tasks.detection.labeller import BoxLabeller
from selftrain.tasks.pyramid import PyramidTask


class Detection(PyramidTask):
    """The task of `benchmarks/coco.py`."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels of the pyramid, finest first."""
        return self.recipe.levels

    def head(self, name: str, trunk: TimmTrunk) -> nn.Module:
        """RetinaNet's head with its pyramid, with fresh weights; it is the task's only head."""
        r = self.recipe
        return RetinaHead(
            self.neck(trunk),
            classes=len(self.class_names),
            levels=r.levels,
            channels=r.channels,
            head_depth=r.head_depth,
            anchor_scale=r.anchor_scale,
            bn_momentum=r.bn_momentum,
        )

    @cached_property
    def objectives(self) -> dict[str, BoxObjective]:
        """The only objective: boxes by focal loss and Huber loss."""
        return {"boxes": BoxObjective(self.recipe, self.fill)}

    @cached_property
    def scorer(self) -> BoxScorer:
        """The scorer by COCO's AP."""
        return BoxScorer(self.recipe, self.fill)

    @cached_property
    def labeller(self) -> BoxLabeller:
        """The labeller that makes pseudo-boxes."""
        return BoxLabeller(self.recipe, self.fill, self.class_names)
