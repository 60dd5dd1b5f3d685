"""Semantic segmentation on a feature pyramid: its levels summed at stride 4, then a few convolutions.

Shapes: B images, K classes.
"""

from torch import Tensor, nn

from selftrain.models.grid import resize_map

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
        levels: tuple[int, ...],
        channels: int,
        head_depth: int = 3,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-3,
    ):
        """`neck`: the trunk's maps -> the `levels` of a pyramid, of strides 2**level; `channels`: of these
        levels and of the head's convolutions.
        """
        super().__init__()
        self.neck = neck
        self.strides = [2**level for level in levels]
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
        shape = (-(-size[0] // STRIDE), -(-size[1] // STRIDE))
        first, *others = zip(self.neck(maps), self.strides, strict=True)
        fused = resize_map(*first, shape, STRIDE, size)
        for level, stride in others:
            fused += resize_map(level, stride, shape, STRIDE, size)
        return self.classifier(self.head(fused)).float()
