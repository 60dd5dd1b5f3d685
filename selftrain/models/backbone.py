"""Any timm convolutional network as a feature extractor.  `C3..C5` below are its maps at strides 8, 16 and 32."""

import difflib

import timm
import torch
from torch import Tensor, nn

from selftrain.system.errors import UserError


class Backbone(nn.Module):
    """(B, 3, H, W) float -> list of (B, C_l, ceil(H / 2**l), ceil(W / 2**l)), one per level l, finest first.

    The timm module is `self.net`, so that its own weight names survive behind one prefix.
    """

    def __init__(
        self,
        name: str,
        levels: tuple[int, ...] = (3, 4, 5),
        drop_path: float = 0.0,
        bn_momentum: float | None = None,
    ):
        """`name` is any timm model with `features_only` maps at the strides 2**level.

        Raises UserError for a name that timm does not know, or a network without such maps.
        """
        super().__init__()
        options = dict(features_only=True, pretrained=False)
        if drop_path:
            options["drop_path_rate"] = drop_path
        try:
            with torch.device("meta"):  # only to read which map has which stride
                strides = timm.create_model(name, **options).feature_info.reduction()
            indices = tuple(strides.index(2**level) for level in levels)
        except (RuntimeError, AttributeError, ValueError, TypeError) as error:
            if not timm.is_model(name):
                near = (
                    difflib.get_close_matches(name, timm.list_models(), n=3)
                    or timm.list_models(f"*{name[:6]}*")[:3]
                )
                raise UserError(
                    f"timm has no backbone {name!r}; nearest: {', '.join(near) or 'see timm.list_models()'}"
                ) from None
            raise UserError(
                f"{name} has no feature maps at strides {[2**level for level in levels]} ({error}); "
                "choose a convolutional backbone such as resnet50 or tf_efficientnet_b0"
            ) from None
        self.net = timm.create_model(name, out_indices=indices, **options)
        self.name, self.levels, self.indices = name, levels, indices
        self.channels: list[int] = self.net.feature_info.channels()
        if hasattr(self.net, "blocks"):
            # EfficientNets keep the stages after the last map; unused weights would upset DistributedDataParallel.
            last = max(
                int(info["module"].split(".")[1])
                for info in self.net.feature_info.get_dicts()
                if info["module"].startswith("blocks")
            )
            self.net.blocks = self.net.blocks[: last + 1]
        if bn_momentum is not None:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.momentum = bn_momentum

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.net(images)
