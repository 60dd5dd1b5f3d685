"""What the tasks share whose head stands on a feature pyramid: trunk and neck."""

from torch import nn

from selftrain.models.backbone import Backbone
from selftrain.models.fpn import FPN
from selftrain.models.nasfpn import LEVELS, NASFPN
from selftrain.models.network import TimmTrunk
from selftrain.system.errors import UserError
from selftrain.tasks.base import BaseTask


class PyramidTask(BaseTask):
    """A task with a timm trunk that gives maps, and one head on a feature pyramid."""

    levels: tuple[int, ...]
    """Levels of the pyramid, finest first; level l has the stride 2**l"""

    def trunk(self, mean: tuple[float, ...], std: tuple[float, ...]) -> TimmTrunk:
        """A timm trunk with fresh weights that gives the maps on which the pyramid is built.

        `mean`, `std`: of RGB pixels in 0..1, by which the trunk normalises its inputs.  Raises UserError for
        a backbone that does not exist or has no such maps.
        """
        r = self.recipe
        levels = tuple(level for level in self.levels if level <= 5)
        return TimmTrunk(Backbone(r.backbone, levels, r.drop_path, r.bn_momentum), mean, std)

    def neck(self, trunk: TimmTrunk) -> nn.Module:
        """The recipe's pyramid with fresh weights: the trunk's maps -> one (B, channels, H_l, W_l) a level.

        Raises UserError for levels that this kind of pyramid cannot have.
        """
        r, levels = self.recipe, self.levels
        if r.neck == "fpn":
            return FPN(trunk.channels, r.channels, len(levels) - len(trunk.channels), r.bn_momentum)
        if levels != LEVELS:
            raise UserError(
                f"--neck nasfpn has the levels {LEVELS[0]} to {LEVELS[-1]}, not {levels[0]} to {levels[-1]}; "
                "choose --min-level 3 --max-level 7, or --neck fpn"
            )
        return NASFPN(trunk.channels, r.channels, r.neck_repeats, r.neck_separable, r.bn_momentum)
