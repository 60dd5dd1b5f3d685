"""Where cells lie: what the networks look at, what the official code says, and resizing that agrees with
both.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.models.anchors import grid_anchors
from selftrain.models.backbone import Backbone
from selftrain.models.fpn import FPN
from selftrain.models.grid import cell_centres, resize_map, resize_to_pixels

LEVELS = (3, 4, 5)


def middle_taps(module: nn.Module) -> nn.Module:
    """A network of which each convolution looks at its middle alone (all of its patch, of even sides).

    Without norms and activations its gradient then says exactly where a cell looks.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.BatchNorm2d, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.GELU)):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.Conv2d):
                weight = torch.zeros_like(child.weight)
                rows, columns = (
                    slice(k // 2, k // 2 + 1) if k % 2 else slice(None) for k in child.kernel_size
                )
                weight[:, :, rows, columns] = 1.0
                child.weight.data = weight / weight[0].sum()
    return module.double()


def looked_at(network: nn.Module, size: int) -> list[Tensor]:
    """For each map of an image of `size` pixels: the mean row (n,) at which its diagonal's n cells look."""
    image = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    rows, pixels = [], torch.arange(size) + 0.5
    for x in network(image):
        found = []
        for i in range(x.shape[2]):
            (gradient,) = torch.autograd.grad(x[0, :, i, i].sum(), image, retain_graph=True)
            weights = gradient.abs().sum((0, 1, 3))
            found.append((weights * pixels).sum() / weights.sum())
        rows.append(torch.stack(found))
    return rows


@pytest.mark.parametrize("size", [65, 97, 129])
def test_cells_are_centred_where_a_network_with_same_padding_looks_at_32_k_plus_1(size):
    torch.manual_seed(0)
    for level, rows in zip(LEVELS, looked_at(middle_taps(Backbone("tf_efficientnet_lite0", LEVELS)), size)):
        torch.testing.assert_close(rows.float(), cell_centres(len(rows), 2**level, size))
        assert rows[0] == 0.5 and rows[-1] == size - 0.5


def test_so_are_the_cells_of_the_pyramid_on_it():
    """P3 and P4 look through the coarser levels besides; P6 and P7 are convolutions of stride 2."""
    torch.manual_seed(0)
    backbone = Backbone("tf_efficientnet_lite0", LEVELS)
    network = middle_taps(nn.Sequential(backbone, FPN(backbone.channels, 4, 2)))
    for level, rows in zip((3, 4, 5, 6, 7), looked_at(network, 129)):
        # between two cells of a coarser level nearest upsampling can only look at one of them
        shared = slice(None, None, max(1, 32 // 2**level))
        torch.testing.assert_close(rows.float()[shared], cell_centres(len(rows), 2**level, 129)[shared])


@pytest.mark.parametrize("size", [64, 65, 72, 95, 97])
def test_cells_of_a_network_that_rounds_down_begin_at_the_edge(size):
    torch.manual_seed(0)
    for level, rows in zip(LEVELS, looked_at(middle_taps(Backbone("convnext_atto", LEVELS)), size)):
        assert len(rows) == size // 2**level
        torch.testing.assert_close(rows.float(), cell_centres(len(rows), 2**level, size))


sides = st.integers(1, 700)
rounding = st.sampled_from(["up", "down"])


def cells_of(size: int, stride: int, rounded: str) -> int:
    return max(1, -(-size // stride) if rounded == "up" else size // stride)


@settings(max_examples=100, deadline=None)
@given(sides, sides, st.integers(2, 7), rounding)
def test_no_anchor_is_centred_outside_the_picture(height, width, level, rounded):
    stride = 2**level
    shape = tuple(cells_of(side, stride, rounded) for side in (height, width))
    anchors = grid_anchors([shape], [stride], (height, width))
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    inside = (centres > 0) & (centres < torch.tensor([width, height]))
    assert inside.all() and len(anchors) == 9 * shape[0] * shape[1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 7))
def test_at_multiples_of_the_stride_cells_are_where_the_official_code_has_them(rows, columns, level):
    stride = 2**level
    assert torch.equal(cell_centres(rows, stride, rows * stride), (torch.arange(rows) + 0.5) * stride)
    anchors = grid_anchors([(rows, columns)], [stride], (rows * stride, columns * stride))
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2).view(rows, columns, 9, 2)
    torch.testing.assert_close(
        centres[1:, :, :, 1] - centres[:-1, :, :, 1], torch.full_like(centres[1:, :, :, 1], stride)
    )
    torch.testing.assert_close(centres[0, 0].mean(0), torch.full((2,), stride / 2))


# ---- resizing ----


@settings(max_examples=150, deadline=None)
@given(sides, sides, st.integers(2, 7), rounding)
def test_a_ramp_of_positions_is_resized_to_the_positions_of_the_pixels(height, width, level, rounded):
    """Inside the outermost cells; beyond them their value goes on."""
    stride, size = 2**level, (height, width)
    y, x = (cell_centres(cells_of(side, stride, rounded), stride, side).double() for side in size)
    ramp = torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]
    pixels = [torch.arange(side, dtype=torch.float64) + 0.5 for side in size]
    wanted = [at.clamp(centres[0], centres[-1]) for at, centres in zip(pixels, (y, x))]
    expected = torch.stack(torch.meshgrid(*wanted, indexing="ij"))[None]
    torch.testing.assert_close(resize_to_pixels(ramp, stride, size, size), expected)
    quarter = tuple(-(-side // 4) for side in size)
    wanted = [
        cell_centres(n, 4, side).double().clamp(centres[0], centres[-1])
        for n, side, centres in zip(quarter, size, (y, x))
    ]
    expected = torch.stack(torch.meshgrid(*wanted, indexing="ij"))[None]
    torch.testing.assert_close(resize_map(ramp, stride, quarter, 4, size), expected)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(2, 5))
def test_at_multiples_of_the_stride_resizing_is_torchs_bit_for_bit(rows, columns, level):
    stride, size = 2**level, (rows * 2**level, columns * 2**level)
    x = torch.randn(2, 3, rows, columns)
    for shape, found in (
        (size, resize_to_pixels(x, stride, size, size)),
        ((size[0] // 4, size[1] // 4), resize_map(x, stride, (size[0] // 4, size[1] // 4), 4, size)),
        ((37, 91), resize_to_pixels(x, stride, (37, 91), size)),  # a photo's own size
    ):
        assert torch.equal(found, F.interpolate(x, shape, mode="bilinear", align_corners=False))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(2, 5))
def test_at_32_k_plus_1_resizing_is_torchs_with_aligned_corners(rows, columns, level):
    stride, size = 2**level, (32 * rows + 1, 32 * columns + 1)
    x = torch.randn(2, 3, *(-(-side // stride) for side in size))
    found = resize_to_pixels(x, stride, size, size)
    assert torch.equal(found, F.interpolate(x, size, mode="bilinear", align_corners=True))


def test_resizing_has_gradients_and_keeps_the_precision():
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize_to_pixels(x, 8, (19, 30), (19, 30)), x)
    for dtype in (torch.float32, torch.bfloat16):
        assert resize_to_pixels(x.to(dtype), 8, (19, 30), (19, 30)).dtype == dtype
