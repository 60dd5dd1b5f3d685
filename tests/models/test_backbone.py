"""Backbones have no unused weights, and those without the maps that are asked for are refused."""

import pytest
import torch

from selftrain.models.backbone import Backbone
from selftrain.system.errors import UserError


def test_pruned_backbone_keeps_no_unused_weight():
    backbone = Backbone("tf_efficientnet_lite0", (3, 4))
    sum(level.sum() for level in backbone(torch.randn(2, 3, 65, 65))).backward()
    assert all(p.grad is not None for p in backbone.parameters())
    assert [level.shape[1:] for level in backbone(torch.randn(1, 3, 65, 65))] == [(40, 9, 9), (112, 5, 5)]


@pytest.mark.parametrize("name, word", [("resnet5", "nearest"), ("vit_tiny_patch16_224", "strides")])
def test_unfit_backbones_are_refused_by_name(name, word):
    with pytest.raises(UserError, match=word):
        Backbone(name)
