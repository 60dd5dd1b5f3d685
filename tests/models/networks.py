"""Small networks that several tests build, with weights that follow from the seed."""

import torch
from torch import Tensor

from selftrain.models.backbone import Backbone
from selftrain.models.fpn import FPN
from selftrain.models.nasfpn import NASFPN
from selftrain.models.retinanet import RetinaNet
from selftrain.models.segmenter import Segmenter

CLASSES, SIZE = 5, 128  # of the detector and its images


def retinanet(norm: bool = True, **options) -> RetinaNet:
    """In eval mode, on a feature pyramid P3..P7 of 32 channels, anchors centred as torchvision's are."""
    torch.manual_seed(0)
    backbone = Backbone("resnet10t", (3, 4, 5))
    options = dict(anchor_offset=0.0) | options
    return RetinaNet(
        backbone,
        FPN(backbone.channels, 32, 2),
        classes=CLASSES,
        levels=(3, 4, 5, 6, 7),
        channels=32,
        norm=norm,
        **options,
    ).eval()


def segmenter(separable: bool = True, name: str = "resnet10t") -> Segmenter:
    """In training mode, of 4 classes, on NAS-FPN of 16 channels."""
    torch.manual_seed(0)
    backbone = Backbone(name)
    return Segmenter(
        backbone,
        NASFPN(backbone.channels, 16, repeats=2, separable=separable),
        classes=4,
        channels=16,
        head_depth=2,
    )


def pixels(*size: int) -> Tensor:
    """Two images (2, 3, *size), always the same."""
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
