"""The segmenter's shapes, sums, gradients and precision; the paper's sizes."""

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selftrain.models.backbone import Backbone
from selftrain.models.nasfpn import LEVELS, NASFPN
from selftrain.models.network import Branch, TimmTrunk
from selftrain.models.segmenter import SegmentationHead
from tests.models.networks import IMAGENET, pixels, segmenter


@torch.no_grad()
def test_bfloat16_changes_little():
    model = segmenter().eval()
    nn.init.normal_(model.head.classifier.weight)
    exact = model(pixels(64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(pixels(64, 64))
    assert exact.dtype == rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0"])
@pytest.mark.parametrize("size, logits", [((64, 64), (16, 16)), ((65, 65), (17, 17)), ((96, 80), (24, 20))])
def test_logits_at_stride_4(size, logits, name):
    model = segmenter(name=name).eval()
    images = pixels(*size)
    with torch.no_grad():
        found = model(images)
        assert found.shape == (2, 4, *logits) and found.dtype == torch.float32
        assert torch.equal(found, model(images.float()))  # as multi-scale inference hands them in
        assert torch.equal(found, model(images.contiguous(memory_format=torch.channels_last)))


@torch.no_grad()
def test_backbones_that_round_odd_sizes_down():
    model = segmenter(name="convnext_atto").eval()
    for size in ((72, 104), (168, 72)):
        level4 = model.trunk.backbone(torch.zeros(1, 3, *size))[1]
        assert tuple(level4.shape[2:]) == (size[0] // 16, size[1] // 16)
        assert model(pixels(*size)).shape == (2, 4, size[0] // 4, size[1] // 4)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (65, 65), (97, 64), (321, 90)])
def test_levels_are_summed_at_stride_4(size):
    model = segmenter().eval()
    seen = {}
    model.head.neck.register_forward_hook(lambda _, __, levels: seen.update(levels=levels))
    model.head.head.register_forward_pre_hook(lambda _, args: seen.update(fused=args[0].clone()))
    model(pixels(*size))
    height, width = seen["fused"].shape[2:]

    def weights(n: int, to: int, factor: int) -> Tensor:
        """(to, n): both grids have one middle; beyond the outermost cell its value goes on."""
        at = ((torch.arange(to, dtype=torch.float64) - (to - 1) / 2) / factor + (n - 1) / 2).clamp(0, n - 1)
        return (1 - (at[:, None] - torch.arange(n)).abs()).clamp(min=0).float()

    expected = sum(
        weights(x.shape[2], height, factor) @ x @ weights(x.shape[3], width, factor).T
        for x, factor in zip(seen["levels"], (2, 4, 8, 16, 32), strict=True)
    )
    torch.testing.assert_close(seen["fused"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("separable", [False, True])
def test_gradient_reaches_every_parameter(separable):
    """Or DistributedDataParallel would refuse the network."""
    model = segmenter(separable).train()
    model(pixels(64, 64)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "name, millions, billions", [("tf_efficientnet_b7", 71, 60), ("tf_efficientnet_l2", 485, 229)]
)
def test_parameters_and_multiply_adds_are_the_papers(name, millions, billions):
    """Zoph et al. 2020, Table 6: 60B and 71M, 229B and 485M, at 512 px with 21 classes.

    Both count the whole classification network, its last 1x1 convolution and its classifier of 1000 classes
    included, which segmentation does not use: without them there would be 67M and 472M parameters.  The
    tables print whole millions, cut.  The multiply-adds here are those of the convolutions; 1 % is for what
    no source states: the head's details, and whether norms, activations, resizing count.
    """
    images = torch.empty(1, 3, 512, 512, device="meta")

    def multiply_adds(module: nn.Module) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(images)
        return counter.get_total_flops() / 2

    with torch.device("meta"):
        backbone = Backbone(name)
        neck = NASFPN(backbone.channels, 256, repeats=7, separable=True)
        head = SegmentationHead(neck, classes=21, levels=LEVELS, channels=256, head_depth=3)
        model = Branch(TimmTrunk(backbone, *IMAGENET), head)
        classifier = timm.create_model(name)
        assert model.eval()(images).shape == (1, 21, 128, 128)
    used = [sum(p.numel() for p in model.parameters()), multiply_adds(model)]
    unused = [
        sum(p.numel() for p in classifier.parameters()) - sum(p.numel() for p in backbone.parameters()),
        multiply_adds(classifier) - multiply_adds(backbone),
    ]
    print(f"{name}: {used[0] / 1e6:.2f} + {unused[0] / 1e6:.2f} M parameters")
    print(f"{name}: {used[1] / 1e9:.2f} + {unused[1] / 1e9:.2f} B multiply-adds")
    assert millions <= (used[0] + unused[0]) / 1e6 < millions + 1
    assert (used[1] + unused[1]) / 1e9 == pytest.approx(billions, rel=0.01)
