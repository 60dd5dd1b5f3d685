"""NAS-FPN against the table of the official code, node by node."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from selftrain.models.nasfpn import NASFPN, Cell, attention, max_pool_same, unconsumed
from selftrain.system.errors import UserError
from tests.models.networks import segmenter

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


# ---- the cell, once more and slowly ----


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


def grow(x: Tensor, like: Tensor, factor: int) -> Tensor:
    """Each cell of `like` has the value of the nearest cell of `x`, whose cells lie `factor` as far apart.

    Both grids have one middle.  Of two nearest cells the first counts.
    """
    chosen = []
    for cells, wanted in zip(x.shape[2:], like.shape[2:]):
        ours = [factor * (j - (cells - 1) / 2) for j in range(cells)]
        theirs = [i - (wanted - 1) / 2 for i in range(wanted)]
        chosen.append([min(range(cells), key=lambda j: abs(ours[j] - at)) for at in theirs])
    return x[:, :, chosen[0]][:, :, :, chosen[1]]


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
    n5 = convolved(block5, gated(grow(p6, p4, 4), p4))
    n6 = convolved(block6, p4 + n5)
    n7 = convolved(block7, p3 + grow(n6, p3, 2))
    n8 = convolved(block8, n6 + pool(n7, 2))
    n9 = convolved(block9, gated(pool(n8, 2), pool(n7, 4)) + p5)
    n10 = convolved(block10, gated(pool(n9, 4), pool(n6, 8)) + p7)
    n11 = convolved(block11, gated(grow(n10, p6, 2), pool(n9, 2)))
    return [n7, n8, n9, n11, n10]


@torch.no_grad()
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("height, width", [(128, 192), (65, 65), (97, 80), (33, 250), (321, 577)])
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
    for level, expected in zip(found, levels, strict=True):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)


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


# ---- resampling and attention ----


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_max_pool_is_tensorflows_same(height, width, delta, seed):
    # below 0, so that a padding of 0 would win
    x = np.random.default_rng(seed).normal(-5, 1, (1, 3, height, width)).astype(np.float32)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        pooled = max_pool_same(torch.from_numpy(x).contiguous(memory_format=memory_format), 2**delta)
        np.testing.assert_array_equal(pooled.numpy(), slow_pool(x, 2**delta))


def test_attention_by_golden_numbers():
    coarse = torch.tensor([[[[0.0, 2.0], [-9.0, 1.0]], [[-1.0, -1.0], [-1.0, -1.0]]]])
    fine = torch.full((1, 2, 2, 2), 10.0)
    expected = coarse + 10 * torch.tensor([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))])[:, None, None]
    torch.testing.assert_close(attention(coarse, fine), expected)


@torch.no_grad()
@pytest.mark.parametrize("node, coarser, finer", [(5, 6, 4), (9, 8, 7), (10, 9, 6), (11, 10, 9)])
def test_the_gate_is_the_maximum_of_the_coarser_map(node, coarser, finer):
    """One pixel of the coarser map opens the gate for any finer map; a closed gate lets nothing through."""
    cell = neck(1).cells[0]
    inputs = {n: torch.randn(2, C, 2 ** (9 - n), 2 ** (9 - n)) for n in (3, 4, 5, 6, 7)}
    combined = {}
    cell.blocks[node - 5].register_forward_pre_hook(lambda _, args: combined.update(at=args[0].clone()))

    def run(spike: bool, shift: float) -> Tensor:
        """What `node` reads of a coarser map of -1000 (a spike: 1000) and a finer one moved by `shift`."""
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


@torch.no_grad()
@pytest.mark.parametrize("size", [128, 129])
def test_memory_format_is_kept(size):
    model = segmenter().eval()
    levels = model.head.neck(
        [
            x.contiguous(memory_format=torch.channels_last)
            for x in model.trunk.backbone(torch.randn(2, 3, size, size))
        ]
    )
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in levels)
