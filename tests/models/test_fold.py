"""Batch norm folded for prediction: no output changes, and what cannot be folded is left."""

import pytest
import torch
from torch import nn

from selftrain.models.backbone import Backbone
from selftrain.models.fold import fold
from tests.models.networks import SIZE, retinanet


def norms_of(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "regnetx_002", "resnetv2_50"])
def test_folding_changes_no_output(name):
    """Also where it must not fold: the last network's convolutions are read by the residual sum as well."""
    torch.manual_seed(0)
    net = Backbone(name)
    images = torch.rand(4, 3, 64, 64)
    for _ in range(3):
        net.train()(images)  # running statistics that are not those of a fresh layer
    folded = fold(net, images[:1])
    assert not norms_of(folded) or name == "resnetv2_50"
    with torch.no_grad():
        for a, b in zip(net.eval()(images), folded(images)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def test_a_convolution_shared_by_levels_keeps_its_norms():
    model = retinanet()
    images = torch.randint(
        0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    folded = fold(model, images)
    assert folded is not model
    assert len(norms_of(folded.head.class_head)) == len(norms_of(model.head.class_head)) > 0
    assert not norms_of(folded.trunk)
    with torch.no_grad():
        for a, b in zip(model(images), folded(images)):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def test_a_wrong_fold_is_noticed_and_left():
    class Read(nn.Module):
        """The convolution's output goes to the norm and past it."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    model = Read()
    model.norm.running_mean.fill_(3.0)
    assert fold(model, torch.rand(1, 3, 8, 8)) is model
