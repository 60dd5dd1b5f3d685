"""Small networks that several tests build, with weights that follow from the seed."""

import torch
from torch import Tensor

from selftrain.models.backbone import Backbone
from selftrain.models.fpn import FPN
from selftrain.models.nasfpn import LEVELS, NASFPN
from selftrain.models.network import Branch, TimmTrunk
from selftrain.models.retinanet import RetinaHead
from selftrain.models.segmenter import SegmentationHead

CLASSES, SIZE = 5, 128  # of the detector and its images
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of pixels in 0..1


def trunk(name: str = "resnet10t", levels: tuple[int, ...] = (3, 4, 5)) -> TimmTrunk:
    """A timm network with ImageNet's normalisation."""
    return TimmTrunk(Backbone(name, levels), *IMAGENET)


def retinanet(norm: bool = True, **options) -> Branch:
    """In eval mode, on a feature pyramid P3..P7 of 32 channels."""
    torch.manual_seed(0)
    maps = trunk()
    neck = FPN(maps.channels, 32, 2)
    head = RetinaHead(neck, classes=CLASSES, levels=(3, 4, 5, 6, 7), channels=32, norm=norm, **options)
    return Branch(maps, head).eval()


def segmenter(separable: bool = True, name: str = "resnet10t") -> Branch:
    """In training mode, of 4 classes, on NAS-FPN of 16 channels."""
    torch.manual_seed(0)
    maps = trunk(name)
    neck = NASFPN(maps.channels, 16, repeats=2, separable=separable)
    return Branch(maps, SegmentationHead(neck, classes=4, levels=LEVELS, channels=16, head_depth=2))


def pixels(*size: int) -> Tensor:
    """Two images (2, 3, *size), always the same."""
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
