"""Semantic segmentation on a feature pyramid: its levels summed at stride 4, then a few convolutions.

Shapes: B images, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 4  # of the logits


class SegmentationHead(nn.Module):
    """A trunk's maps -> logits (B, K, ceil(H / 4), ceil(W / 4)) float32.

    The caller resizes the logits to the size it needs (that of its labels, or of the photo), which at stride
    1 is 16 times as much memory.
    """

    def __init__(
        self,
        neck: nn.Module,
        *,
        classes: int,
        channels: int,
        head_depth: int = 3,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-3,
    ):
        """`neck`: the trunk's maps -> pyramid levels; `channels`: of these levels and of the head's
        convolutions.
        """
        super().__init__()
        self.neck = neck
        self.head = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels, eps=bn_eps, momentum=bn_momentum),
                    nn.ReLU(inplace=True),
                )
                for _ in range(head_depth)
            )
        )
        self.classifier = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """`size`: (H, W) of the images in pixels."""
        shape = [-(-side // STRIDE) for side in size]
        levels = self.neck(maps)
        fused = F.interpolate(levels[0], shape, mode="bilinear", align_corners=False)
        for level in levels[1:]:
            fused += F.interpolate(level, shape, mode="bilinear", align_corners=False)
        return self.classifier(self.head(fused)).float()
