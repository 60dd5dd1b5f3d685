"""The whole network before its classifier: all layers are used, and a start brings all their weights."""

from dataclasses import replace

import pytest
import timm
import torch

from selftrain.models.classifier import LinearHead, WholeBackbone
from selftrain.models.network import Network, TimmTrunk
from selftrain.starts.files import package_file, read_state
from selftrain.starts.start import start_model
from selftrain.system.errors import UserError
from tests.tasks.classification.small import task

LITE = "tf_efficientnet_lite0"


@pytest.mark.parametrize(
    "name, size, channels",
    [(LITE, 65, 1280), ("resnet18", 40, 512), ("mobilenetv3_small_050", 64, 1024)],
)
def test_the_map_is_what_timms_classifier_would_get(name, size, channels):
    torch.manual_seed(0)
    backbone = WholeBackbone(name, size).eval()
    (found,) = backbone(torch.rand(2, 3, size, size))
    assert found.shape == (2, channels, 1, 1) and backbone.channels == [channels]
    whole = timm.create_model(name).eval()
    missing, unknown = whole.load_state_dict(backbone.net.state_dict(), strict=False)
    assert all("classifier" in key or key.startswith("fc.") for key in missing) and not unknown
    images = torch.rand(2, 3, size, size)
    torch.testing.assert_close(whole.get_classifier()(backbone(images)[0].flatten(1)), whole(images))


def test_a_transformer_takes_images_of_any_size():
    backbone = WholeBackbone("vit_tiny_patch16_224", 65)
    assert backbone(torch.rand(1, 3, 65, 65))[0].shape == (1, 192, 1, 1)


@pytest.mark.parametrize(
    "name, words",
    [
        ("tf_efficientnet_lte0", "nearest: tf_efficientnet"),
        ("swin_tiny_patch4_window7_224", "--image-size 65"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(name, words):
    with pytest.raises(UserError, match=words):
        WholeBackbone(name, 65)


def test_options_reach_the_network():
    backbone = WholeBackbone(LITE, 65, drop_path=0.2, bn_momentum=0.05)
    assert backbone.net.bn2.momentum == 0.05
    assert {module.drop_prob for module in backbone.modules() if hasattr(module, "drop_prob")} != {0.0}
    assert len(backbone.net.feature_info) == 5  # its stages are known by what timm calls them


def test_a_start_brings_every_weight_before_the_classifier():
    torch.manual_seed(0)
    network = Network(TimmTrunk(WholeBackbone(LITE, 65), (0.5,) * 3, (0.5,) * 3), {})
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start_model(network, "imagenet", LITE) == package_file(LITE).name
    given = {tensor.numpy().tobytes() for tensor in read_state(package_file(LITE)).values()}
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert tensor.numpy().tobytes() in given, name
    assert not torch.equal(
        before["trunk.backbone.net.conv_head.weight"], network.trunk.backbone.net.conv_head.weight
    )


def test_a_linear_head_is_dropout_and_one_layer():
    head = LinearHead(8, 3, dropout=0.5)
    maps = [torch.ones(4, 8, 1, 1)]
    head.train()
    assert not torch.equal(head(maps, (65, 65)), head(maps, (65, 65)))
    head.eval()
    torch.testing.assert_close(head(maps, (65, 65)), head.classifier(torch.ones(4, 8)))
    named = task().head("classes", TimmTrunk(WholeBackbone("resnet10t", 33), (0.5,) * 3, (0.5,) * 3))
    assert named.classifier.weight.shape == (4, 512)
    assert replace(task(dropout=0.3).recipe).check().dropout == 0.3
