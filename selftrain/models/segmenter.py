"""Semantic segmentation on a feature pyramid: its levels summed at stride 4, then a few convolutions.

Shapes: B images, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.models.normalise import Normalised

STRIDE = 4  # of the logits


class Segmenter(Normalised):
    """RGB (B, 3, H, W), uint8 or float in 0..255 -> logits (B, K, ceil(H / 4), ceil(W / 4)) float32.

    The caller resizes the logits to the size it needs (that of its labels, or of the photo), which at stride 1 is 16 times as much memory.
    """

    def __init__(
        self,
        backbone: nn.Module,
        neck: nn.Module,
        *,
        classes: int,
        channels: int,
        head_depth: int = 3,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-3,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
    ):
        """channels: of the neck's levels and of the head; mean, std: of the backbone's weights, for pixels in 0..1."""
        super().__init__(mean, std)
        self.backbone, self.neck = backbone, neck
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

    def forward(self, images: Tensor) -> Tensor:
        size = [-(-side // STRIDE) for side in images.shape[2:]]
        levels = self.neck(self.backbone(self.normalise(images)))
        fused = F.interpolate(levels[0], size, mode="bilinear", align_corners=False)
        for level in levels[1:]:
            fused += F.interpolate(level, size, mode="bilinear", align_corners=False)
        return self.classifier(self.head(fused)).float()
