"""A whole network of timm without its classifier, and a linear layer in the classifier's place.

Shapes: B images, C numbers that the network makes of each, K classes.
"""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from selftrain.models.backbone import set_bn_momentum, unknown_backbone
from selftrain.system.errors import UserError

# of transformers that can take images of any size; other networks do not know these options
ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}


class WholeBackbone(nn.Module):
    """Any network of timm up to its classifier: images (B, 3, H, W) to one map (B, C, 1, 1).

    All layers before the classifier are part of it, such as EfficientNet's `conv_head`, so that all that was
    pre-trained is used.  timm's module is `self.net`, and knows its stages by `self.net.feature_info`.
    """

    levels: tuple[int, ...] = ()
    """Its only map is one cell, the whole picture, and has no stride"""

    def __init__(self, name: str, image_size: int, drop_path: float = 0.0, bn_momentum: float | None = None):
        """Build the network with random weights.

        name: any model of timm.  image_size: side of the images in pixels.  drop_path: rate of stochastic
        depth.  bn_momentum: that of all batch norms, None for timm's own.  Raises UserError for a name that
        timm does not know, and for a network that does not take images of this size.
        """
        super().__init__()
        if not timm.is_model(name):
            raise unknown_backbone(name)
        self.name = name
        self._options, channels = _fitting_options(name, image_size)
        self.channels = [channels]
        self.net = self.again(**({"drop_path_rate": drop_path} if drop_path else {}))
        if bn_momentum is not None:
            set_bn_momentum(self, bn_momentum)

    def again(self, **options: Any) -> nn.Module:
        """A second network like `net`, with further options of `timm.create_model`, such as pretrained."""
        return timm.create_model(self.name, num_classes=0, **self._options, **options)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Turn normalised images (B, 3, H, W) into a list of one map (B, C, 1, 1)."""
        pooled = self.net.forward_head(self.net.forward_features(images), pre_logits=True)
        return [pooled[..., None, None]]


def _fitting_options(name: str, image_size: int) -> tuple[dict[str, bool], int]:
    """The options by which a network takes images of this size, and how many numbers C it makes of each.

    Raises UserError where there are none.
    """
    error: Exception | None = None
    for options in (ANY_SIZE, {}):
        try:
            with torch.device("meta"):  # shapes alone: nothing is computed
                net = timm.create_model(name, num_classes=0, **options).eval()
                image = torch.zeros(1, 3, image_size, image_size)
                return options, net.forward_head(net.forward_features(image), pre_logits=True).shape[1]
        except (TypeError, AssertionError, RuntimeError, ValueError) as why:
            error = why
    raise UserError(
        f"{name} does not take images of --image-size {image_size} ({error}); give the size that it was made "
        "for, or another --backbone"
    )


class LinearHead(nn.Module):
    """The trunk's map (B, C, 1, 1) -> logits (B, K) float32, by dropout and one linear layer."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.0):
        """`dropout`: the share of the C numbers that is dropped in training."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """`size`: (H, W) of the images in pixels; it is not needed here."""
        return self.classifier(self.dropout(maps[0].flatten(1))).float()
