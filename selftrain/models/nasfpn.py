"""NAS-FPN (Ghiasi et al. 2019) as the official TensorFlow code builds it.

Five feature maps, P3..P7, go through the same small graph, the cell, several times over; every time with
weights of its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.system.errors import UserError

LEVELS = (3, 4, 5, 6, 7)  # of the cell's inputs, which have the indices 0..4


class Node(NamedTuple):
    """One node of the cell: two maps are resampled to its level, combined, and convolved."""

    index: int  # the cell's inputs are 0..4
    level: int  # of its map, whose stride is 2**level
    op: str  # how the two are combined: "sum" or "attention"
    inputs: tuple[int, int]  # indices of inputs of the cell or of earlier nodes
    output: bool  # whether its map is one of the cell's outputs


CELL = (
    #    index level op          inputs   output
    Node(5, 4, "attention", (1, 3), False),
    Node(6, 4, "sum", (1, 5), False),
    Node(7, 3, "sum", (0, 6), True),
    Node(8, 4, "sum", (6, 7), True),
    Node(9, 5, "attention", (7, 8), True),
    Node(10, 7, "attention", (6, 9), True),
    Node(11, 6, "attention", (9, 10), True),
)


def unconsumed(cell: tuple[Node, ...] = CELL) -> dict[int, list[int]]:
    """Return for each output node the inputs of its level that no node takes.

    They are added to its map, or they would be lost.
    """
    consumed = {i for node in cell for i in node.inputs}
    unused = [i for i in range(len(LEVELS)) if i not in consumed]
    return {node.index: [i for i in unused if LEVELS[i] == node.level] for node in cell if node.output}


def max_pool_same(x: Tensor, kernel: int) -> Tensor:
    """Turn (B, C, H, W) into (B, C, ceil(H / kernel), ceil(W / kernel)).

    This is TensorFlow's max-pooling with stride `kernel` and SAME padding: of the missing `kernel * ceil(H /
    kernel) - H` rows TensorFlow adds half before, rounded down, and the rest after.  In torch that is the
    smaller half on both sides and `ceil_mode` for the odd row, without a padded copy.
    """
    return F.max_pool2d(
        x, kernel, kernel, padding=tuple(-size % kernel // 2 for size in x.shape[2:]), ceil_mode=True
    )


def resample(x: Tensor, level: int, target: int, size: torch.Size) -> Tensor:
    """Turn a map (B, C, H, W) of `level` into one (B, C, *size) of the level `target`.

    Coarser maps come from max-pooling, finer ones from nearest upsampling.  `size` is the (height, width) of
    that level, which says whether a map was odd before it was halved.
    """
    if level < target:
        x = max_pool_same(x, 2 ** (target - level))
        # of odd maps some backbones (ConvNeXt) drop the last row: here too, then
        return x[:, :, : size[0], : size[1]]
    # of one pixel, as small images have, torch cannot tell the memory format, and would go on in the other
    # one
    if x.shape[2:] == (1, 1):
        return x.expand(-1, -1, *size)
    return _enlarge(x, 2 ** (level - target), size) if level > target else x


def _enlarge(x: Tensor, factor: int, size: torch.Size) -> Tensor:
    """Turn (B, C, H, W) into (B, C, *size) by nearest upsampling, the cells kept where they lie in the image.

    A map that was rounded up reaches as far beyond the finer one on both sides (see `models/grid.py`), so
    both sides are cut alike; of one that was rounded down the last cells go on.
    """
    x = F.interpolate(x, scale_factor=factor, mode="nearest")
    tops = [max(0, have - want) // 2 for have, want in zip(x.shape[2:], size)]
    x = x[:, :, tops[0] : tops[0] + size[0], tops[1] : tops[1] + size[1]]
    bottom, right = (want - have for have, want in zip(x.shape[2:], size))
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def attention(coarse: Tensor, fine: Tensor) -> Tensor:
    """Combine two maps (B, C, H, W) into one: the coarser one tells which channels of the finer one matter.

    coarse: the map whose level was the coarser one before both were resampled.  Global max-pooling and a
    sigmoid make of it a gate for each channel of `fine`; the gated map is added to `coarse`.
    """
    return torch.addcmul(coarse, fine, coarse.amax((2, 3), keepdim=True).sigmoid())


class Cell(nn.Module):
    """The small graph that `CELL` lists, with weights of its own."""

    def __init__(self, channels: int, separable: bool, bn_momentum: float, bn_eps: float):
        """Build one block for each node; `separable` as in NASFPN."""
        super().__init__()
        self.unconsumed = unconsumed()
        self.blocks = nn.ModuleList(self._block(channels, separable, bn_momentum, bn_eps) for _ in CELL)

    @staticmethod
    def _block(channels: int, separable: bool, bn_momentum: float, bn_eps: float) -> nn.Sequential:
        """Activation, convolution, norm in this order, so that the sums stay linear."""
        if separable:  # as TensorFlow's: neither norm nor activation between the two
            convs = [
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
            ]
        else:
            convs = [nn.Conv2d(channels, channels, 3, padding=1, bias=False)]
        return nn.Sequential(
            nn.ReLU(inplace=True), *convs, nn.BatchNorm2d(channels, eps=bn_eps, momentum=bn_momentum)
        )

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Turn the maps P3..P7, each (B, channels, H_l, W_l), into as many of the same shapes."""
        sizes = {level: x.shape[2:] for level, x in zip(LEVELS, levels, strict=True)}
        maps = [(level, x) for level, x in zip(LEVELS, levels)]
        outputs = {}
        for node, block in zip(CELL, self.blocks):
            sources = sorted((maps[i] for i in node.inputs), key=lambda source: -source[0])
            coarse, fine = (resample(x, level, node.level, sizes[node.level]) for level, x in sources)
            x = attention(coarse, fine) if node.op == "attention" else coarse + fine
            for i in self.unconsumed.get(node.index, ()):
                x = x + maps[i][1]
            x = block(x)
            maps.append((node.level, x))
            if node.output:
                outputs[node.level] = x
        return [outputs[level] for level in LEVELS]


class NASFPN(nn.Module):
    """The whole neck: projections of the backbone's maps to `channels`, then `repeats` cells."""

    def __init__(
        self,
        in_channels: list[int],
        channels: int,
        repeats: int = 7,
        separable: bool = False,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-3,
    ):
        """Build the neck for the three maps C3, C4, C5 of `in_channels`.

        separable: a depthwise 3x3 and a 1x1 convolution in place of each 3x3 convolution of the cells.
        Raises UserError unless there are exactly three maps.
        """
        super().__init__()
        if len(in_channels) != 3:
            raise UserError(
                f"NAS-FPN takes the backbone's maps at strides 8, 16 and 32, not {len(in_channels)} maps; "
                "choose levels 3 to 7"
            )
        self.projections = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(c, channels, 1, bias=False),
                nn.BatchNorm2d(channels, eps=bn_eps, momentum=bn_momentum),
            )
            for c in in_channels
        )
        self.cells = nn.ModuleList(Cell(channels, separable, bn_momentum, bn_eps) for _ in range(repeats))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Turn the maps [C3, C4, C5] into [P3 .. P7], each (B, channels, H_l, W_l).

        P6 and P7 are half as large as the level before, rounded up.
        """
        levels = [projection(feature) for projection, feature in zip(self.projections, features, strict=True)]
        while len(levels) < len(LEVELS):
            levels.append(max_pool_same(levels[-1], 2))
        for cell in self.cells:
            levels = cell(levels)
        return levels
