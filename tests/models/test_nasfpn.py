"""NAS-FPN against the table of the official code, node by node; the segmenter's shapes, gradients and the paper's sizes."""

import math

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selftrain.models.backbone import Backbone
from selftrain.models.nasfpn import NASFPN, Cell, attention, max_pool_same, unconsumed
from selftrain.models.norm import synchronise
from selftrain.models.retinanet import RetinaNet
from selftrain.models.segmenter import Segmenter
from selftrain.system.errors import UserError

CHANNELS = [6, 10, 12]
C = 8


def neck(repeats: int = 2, separable: bool = False) -> NASFPN:
    """In eval mode, with running statistics that are not those of a fresh norm."""
    torch.manual_seed(0)
    module = NASFPN(CHANNELS, C, repeats=repeats, separable=separable).eval()
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.3)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 2.0)
        nn.init.normal_(norm.bias, std=0.3)
    return module


def features(height: int, width: int, batch: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, c, -(-height // 2**level), -(-width // 2**level), generator=generator)
        for c, level in zip(CHANNELS, (3, 4, 5))
    ]


# ---- the cell, once more and slowly -------------------------------------------------------------------------------------------


def slow_pool(x: np.ndarray, k: int) -> np.ndarray:
    """TensorFlow's SAME max-pool of (..., H, W), window by window."""
    out = [-(-size // k) for size in x.shape[-2:]]
    before = [(n * k - size) // 2 for n, size in zip(out, x.shape[-2:])]
    result = np.empty((*x.shape[:-2], *out), x.dtype)
    for i in range(out[0]):
        for j in range(out[1]):
            top, left = i * k - before[0], j * k - before[1]
            result[..., i, j] = x[..., max(top, 0) : top + k, max(left, 0) : left + k].max((-2, -1))
    return result


def pool(x: Tensor, k: int) -> Tensor:
    return torch.from_numpy(slow_pool(x.numpy(), k))


def grow(x: Tensor, like: Tensor) -> Tensor:
    (h, w), (height, width) = x.shape[2:], like.shape[2:]
    rows, columns = [i * h // height for i in range(height)], [j * w // width for j in range(width)]
    return x[:, :, rows][:, :, :, columns]


def gated(a: Tensor, b: Tensor) -> Tensor:
    return a + b / (1 + torch.exp(-a.flatten(2).max(2).values))[:, :, None, None]


def convolved(block: nn.Sequential, x: Tensor) -> Tensor:
    """Activation, convolutions, norm; nothing after."""
    _, *convs, norm = block
    x = x.clamp(min=0)
    for conv in convs:
        assert conv.bias is None
        x = nn.functional.conv2d(
            x, conv.weight, padding=conv.weight.shape[-1] // 2, groups=C if conv.weight.shape[1] == 1 else 1
        )
    scale = norm.weight / (norm.running_var + 1e-3).sqrt()
    return x * scale[:, None, None] + (norm.bias - norm.running_mean * scale)[:, None, None]


def slow_cell(cell: Cell, p3: Tensor, p4: Tensor, p5: Tensor, p6: Tensor, p7: Tensor) -> list[Tensor]:
    """The table as seven lines; `cell` lends its weights."""
    block5, block6, block7, block8, block9, block10, block11 = cell.blocks
    n5 = convolved(block5, gated(grow(p6, p4), p4))
    n6 = convolved(block6, p4 + n5)
    n7 = convolved(block7, p3 + grow(n6, p3))
    n8 = convolved(block8, n6 + pool(n7, 2))
    n9 = convolved(block9, gated(pool(n8, 2), pool(n7, 4)) + p5)
    n10 = convolved(block10, gated(pool(n9, 4), pool(n6, 8)) + p7)
    n11 = convolved(block11, gated(grow(n10, p6), pool(n9, 2)))
    return [n7, n8, n9, n11, n10]


@torch.no_grad()
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("height, width", [(128, 192), (65, 65), (97, 80), (33, 250)])
def test_the_cell_is_that_of_the_table(height, width, separable):
    module = neck(separable=separable)
    given_maps = features(height, width)
    levels = [
        norm(nn.functional.conv2d(x, conv.weight))
        for x, (conv, norm) in zip(given_maps, module.projections, strict=True)
    ]
    levels += [pool(levels[2], 2)]
    levels += [pool(levels[3], 2)]
    for cell in module.cells:
        levels = slow_cell(cell, *levels)
    found = module(given_maps)
    assert [tuple(x.shape) for x in found] == [
        (2, C, math.ceil(height / 2**n), math.ceil(width / 2**n)) for n in (3, 4, 5, 6, 7)
    ]
    for mine, theirs in zip(found, levels, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    "level, reached",
    [(3, {3, 4, 5, 6, 7}), (4, {3, 4, 5, 6, 7}), (5, {5, 6, 7}), (6, {3, 4, 5, 6, 7}), (7, {6, 7})],
)
def test_each_input_reaches_the_outputs_that_the_table_says(level, reached):
    cell = neck(1).cells[0]
    levels = [torch.randn(2, C, 2 ** (9 - n), 2 ** (9 - n)) for n in (3, 4, 5, 6, 7)]
    changed = [x + 3 * torch.randn_like(x) if n == level else x for n, x in zip((3, 4, 5, 6, 7), levels)]
    differ = {n for n, a, b in zip((3, 4, 5, 6, 7), cell(levels), cell(changed)) if not torch.equal(a, b)}
    assert differ == reached


def test_inputs_without_a_consumer_follow_from_the_table():
    assert unconsumed() == {7: [], 8: [], 9: [2], 10: [4], 11: []}


# ---- resampling and attention -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_max_pool_is_tensorflows_same(height, width, delta, seed):
    x = (
        np.random.default_rng(seed).normal(-5, 1, (1, 3, height, width)).astype(np.float32)
    )  # below 0, so that a padding of 0 would win
    for memory_format in (torch.contiguous_format, torch.channels_last):
        pooled = max_pool_same(torch.from_numpy(x).contiguous(memory_format=memory_format), 2**delta)
        np.testing.assert_array_equal(pooled.numpy(), slow_pool(x, 2**delta))


def test_attention_by_golden_numbers():
    coarse, fine = (
        torch.tensor([[[[0.0, 2.0], [-9.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]]]),
        torch.full((1, 2, 2, 2), 10.0),
    )
    expected = coarse + 10 * torch.tensor([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))])[:, None, None]
    torch.testing.assert_close(attention(coarse, fine), expected)


@torch.no_grad()
@pytest.mark.parametrize("node, coarser, finer", [(5, 6, 4), (9, 8, 7), (10, 9, 6), (11, 10, 9)])
def test_the_gate_is_the_maximum_of_the_coarser_map(node, coarser, finer):
    """One pixel of the coarser map opens the gate, whatever the finer map is; a closed gate lets nothing of the finer map through."""
    cell = neck(1).cells[0]
    inputs = {n: torch.randn(2, C, 2 ** (9 - n), 2 ** (9 - n)) for n in (3, 4, 5, 6, 7)}
    combined = {}
    cell.blocks[node - 5].register_forward_pre_hook(lambda _, args: combined.update(at=args[0].clone()))

    def run(spike: bool, shift: float) -> Tensor:
        """What node `node` makes of a coarser map of -1000, with or without one pixel of 1000, and of a finer map moved by `shift`."""
        given_maps, hooks = dict(inputs), []

        def coarse_map(x: Tensor) -> Tensor:
            x = torch.full_like(x, -1000.0)
            x[:, :, 0, 0] = 1000.0 if spike else -1000.0
            return x

        for index, change in ((coarser, coarse_map), (finer, lambda x: x + shift)):
            if node == 5:  # its two inputs are the cell's
                given_maps[index] = change(given_maps[index])
            else:
                hooks.append(
                    cell.blocks[index - 5].register_forward_hook(lambda _, __, x, change=change: change(x))
                )
        cell([given_maps[n] for n in (3, 4, 5, 6, 7)])
        for hook in hooks:
            hook.remove()
        return combined["at"]

    torch.testing.assert_close(run(False, 7.0), run(False, 0.0))
    torch.testing.assert_close(run(True, 7.0), run(True, 0.0) + 7.0)


@pytest.mark.parametrize("count", [2, 4])
def test_other_than_three_maps_are_refused(count):
    with pytest.raises(UserError, match=f"not {count} maps"):
        NASFPN([8] * count, C)


# ---- under the detector, under autocast, over processes -----------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (65, 65), (96, 80)])
def test_retinanet_takes_it_for_its_neck(size):
    backbone = Backbone("resnet10t")
    model = RetinaNet(
        backbone,
        NASFPN(backbone.channels, 16, repeats=2),
        classes=3,
        levels=(3, 4, 5, 6, 7),
        channels=16,
        head_depth=1,
    ).eval()
    logits, deltas = model(torch.zeros(2, 3, *size, dtype=torch.uint8))
    anchors = model.anchors(size, logits.device)
    cells = sum(math.ceil(size[0] / 2**n) * math.ceil(size[1] / 2**n) for n in (3, 4, 5, 6, 7))
    assert len(anchors) == 9 * cells
    assert logits.shape == (2, len(anchors), 3) and deltas.shape == (2, len(anchors), 4)


def segmenter(separable: bool = True, name: str = "resnet10t") -> Segmenter:
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
    return torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_memory_format_is_kept():
    model = segmenter().eval()
    levels = model.neck(
        [x.contiguous(memory_format=torch.channels_last) for x in model.backbone(torch.randn(2, 3, 128, 128))]
    )
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in levels)


@torch.no_grad()
def test_bfloat16_changes_little():
    model = segmenter().eval()
    nn.init.normal_(model.classifier.weight)
    exact = model(pixels(64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(pixels(64, 64))
    assert exact.dtype == rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().max() < 0.1 * exact.abs().max()


def test_synchronised_norms_change_nothing_on_one_process():
    images = pixels(64, 64)
    expected = segmenter().train()(images)
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = synchronise(segmenter().train(), torch.device("cpu"))
        assert sum(type(m).__name__.startswith("Gloo") for m in model.neck.modules()) == 3 + 2 * 7
        torch.testing.assert_close(
            model(images), expected, rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max())
        )
    finally:
        dist.destroy_process_group()


# ---- the segmenter ------------------------------------------------------------------------------------------------------------


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
        assert [tuple(x.shape[2:]) for x in model.backbone(torch.zeros(1, 3, *size))][1] == (
            size[0] // 16,
            size[1] // 16,
        )
        assert model(pixels(*size)).shape == (2, 4, size[0] // 4, size[1] // 4)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (65, 65)])
def test_levels_are_summed_at_stride_4(size):
    model = segmenter().eval()
    seen = {}
    model.neck.register_forward_hook(lambda _, __, levels: seen.update(levels=levels))
    model.head.register_forward_pre_hook(lambda _, args: seen.update(fused=args[0].clone()))
    model(pixels(*size))
    height, width = seen["fused"].shape[2:]

    def weights(n: int, to: int) -> Tensor:
        """(to, n): pixel centres lie at (i + 1/2) / n, values beyond the outermost centres are the outermost."""
        at = ((torch.arange(to, dtype=torch.float64) + 0.5) * n / to - 0.5).clamp(0, n - 1)
        return (1 - (at[:, None] - torch.arange(n)).abs()).clamp(min=0).float()

    expected = sum(weights(x.shape[2], height) @ x @ weights(x.shape[3], width).T for x in seen["levels"])
    assert len(seen["levels"]) == 5
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

    Both count the whole classification network, its last 1x1 convolution and its classifier of 1000 classes included, which segmentation
    does not use: without them there would be 67M and 472M parameters.  The tables print whole millions, cut.  The multiply-adds here are
    those of the convolutions; 1 % is for what no source states: the head's details, and whether norms, activations, resizing count.
    """
    images = torch.empty(1, 3, 512, 512, device="meta")

    def multiply_adds(module: nn.Module) -> float:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(images)
        return counter.get_total_flops() / 2

    with torch.device("meta"):
        backbone = Backbone(name)
        model = Segmenter(
            backbone,
            NASFPN(backbone.channels, 256, repeats=7, separable=True),
            classes=21,
            channels=256,
            head_depth=3,
        )
        classifier = timm.create_model(name)
        assert model.eval()(images).shape == (1, 21, 128, 128)
    used = [sum(p.numel() for p in model.parameters()), multiply_adds(model)]
    unused = [
        sum(p.numel() for p in classifier.parameters()) - sum(p.numel() for p in backbone.parameters()),
        multiply_adds(classifier) - multiply_adds(backbone),
    ]
    print(
        f"{name}: {used[0] / 1e6:.2f} + {unused[0] / 1e6:.2f} M parameters, {used[1] / 1e9:.2f} + {unused[1] / 1e9:.2f} B multiply-adds"
    )
    assert millions <= (used[0] + unused[0]) / 1e6 < millions + 1
    assert (used[1] + unused[1]) / 1e9 == pytest.approx(billions, rel=0.01)
