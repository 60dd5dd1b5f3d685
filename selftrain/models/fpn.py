"""Feature pyramid network (Lin et al. 2017) with the official RetinaNet's extra levels and batch norm."""

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock


class ExtraLevels(ExtraFPNBlock):
    """`count` levels that are coarser than the backbone's: P6, then P7.

    Each is a 3x3 convolution of stride 2 of the level before, with a ReLU before all but the first.
    """

    def __init__(self, channels: int, count: int):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(count)
        )

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        """Append the coarser levels and their names to `results`; the pyramid's inputs `x` are unused."""
        level = results[-1]
        for i, conv in enumerate(self.convs):
            level = conv(F.relu(level) if i else level)
            results, names = [*results, level], [*names, f"extra{i}"]
        return results, names


class FPN(nn.Module):
    """Lateral 1x1 convolutions, nearest upsampling, 3x3 convolutions, and a batch norm for each level."""

    def __init__(
        self,
        in_channels: list[int],
        channels: int,
        extra: int,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-4,
    ):
        """Take maps of `in_channels`, finest first, and give `extra` coarser levels more than those."""
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(
            in_channels, channels, ExtraLevels(channels, extra) if extra else None
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(channels, eps=bn_eps, momentum=bn_momentum)
            for _ in range(len(in_channels) + extra)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Turn the maps [C_min .. C_5] into [P_min .. P_max], each (B, channels, H_l, W_l), finest first."""
        levels = self.pyramid({str(i): feature for i, feature in enumerate(features)}).values()
        return [norm(level) for norm, level in zip(self.norms, levels, strict=True)]
