"""Any convolutional network of timm as a feature extractor.

`C3..C5` in other modules are its maps at strides 8, 16 and 32.
"""

import difflib
from typing import Any

import timm
import torch
from torch import Tensor, nn

from selftrain.system.errors import UserError


class Backbone(nn.Module):
    """A network of timm that gives the maps of some levels; the map of level l has the stride 2**l.

    timm's module is `self.net`, so that its own names of weights survive behind one prefix.
    """

    def __init__(
        self,
        name: str,
        levels: tuple[int, ...] = (3, 4, 5),
        drop_path: float = 0.0,
        bn_momentum: float | None = None,
    ):
        """Build the network with random weights.

        name: any model of timm whose `features_only` form has maps at the strides 2**level.  drop_path: rate
        of stochastic depth.  bn_momentum: that of all batch norms, None for timm's own.  Raises UserError for
        a name that timm does not know, and for a network without such maps.
        """
        super().__init__()
        options = dict(features_only=True)
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            with torch.device("meta"):  # only to read which map has which stride
                strides = timm.create_model(name, **options).feature_info.reduction()
            indices = tuple(strides.index(2**level) for level in levels)
        except (RuntimeError, AttributeError, ValueError, TypeError) as error:
            raise _unsuitable(name, levels, error) from None
        self.net = timm.create_model(name, out_indices=indices, **options)
        self.name, self.levels, self.indices = name, levels, indices
        self.channels: list[int] = self.net.feature_info.channels()
        if hasattr(self.net, "blocks"):
            # EfficientNets keep the stages after the last map, whose weights would be unused:
            # DistributedDataParallel refuses that.
            last = max(
                int(info["module"].split(".")[1])
                for info in self.net.feature_info.get_dicts()
                if info["module"].startswith("blocks")
            )
            self.net.blocks = self.net.blocks[: last + 1]
        if bn_momentum is not None:
            set_bn_momentum(self, bn_momentum)

    def again(self, **options: Any) -> nn.Module:
        """A second network like `net`, with further options of `timm.create_model`, such as pretrained."""
        return timm.create_model(self.name, features_only=True, out_indices=self.indices, **options)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Turn normalised images (B, 3, H, W) into one map (B, C_l, H_l, W_l) for each level, finest first.

        H_l is H / 2**l, rounded up by most networks and down by some (ConvNeXt); W_l alike.
        """
        return self.net(images)


def set_bn_momentum(network: nn.Module, momentum: float) -> None:
    """Give all batch norms of a network this momentum: the new batch's share in their statistics."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = momentum


def _unsuitable(name: str, levels: tuple[int, ...], error: Exception) -> UserError:
    """The message for a network that timm does not know, or one without maps at the strides of `levels`."""
    if timm.is_model(name):
        return UserError(
            f"{name} has no feature maps at strides {[2**level for level in levels]} ({error}); "
            "choose a convolutional backbone such as resnet50 or tf_efficientnet_b0"
        )
    return unknown_backbone(name)


def unknown_backbone(name: str) -> UserError:
    """The message for a network that timm does not know, with the nearest ones that it knows."""
    near = difflib.get_close_matches(name, timm.list_models(), n=3)
    near = near or timm.list_models(f"*{name[:6]}*")[:3]
    return UserError(f"timm has no backbone {name!r}; nearest: {', '.join(near) or 'see timm.list_models()'}")
