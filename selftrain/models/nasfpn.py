"""NAS-FPN (Ghiasi et al. 2019) as the official TensorFlow code builds it.

Five feature maps, P3..P7, go through the same small graph, the cell, several times over; every time with weights of its own.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.system.errors import UserError

LEVELS = (3, 4, 5, 6, 7)  # of the cell's inputs, which have the indices 0..4


class Node(NamedTuple):
    index: int
    level: int
    op: str
    inputs: tuple[int, int]
    output: bool


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
    """Output node -> the inputs of its level that no node takes; they are added to it, or their maps would be lost."""
    consumed = {i for node in cell for i in node.inputs}
    loose = [i for i in range(len(LEVELS)) if i not in consumed]
    return {node.index: [i for i in loose if LEVELS[i] == node.level] for node in cell if node.output}


def max_pool_same(x: Tensor, kernel: int) -> Tensor:
    """(B, C, H, W) -> (B, C, ceil(H / kernel), ceil(W / kernel)): TensorFlow's max-pool with stride `kernel` and SAME padding.

    Of a missing `kernel * ceil(H / kernel) - H` rows TensorFlow adds half before, rounded down, and the rest after.  In torch that is
    the smaller half on both sides and `ceil_mode` for the odd row: no padded copy.
    """
    return F.max_pool2d(
        x, kernel, kernel, padding=tuple(-size % kernel // 2 for size in x.shape[2:]), ceil_mode=True
    )


def resample(x: Tensor, level: int, target: int, size: torch.Size) -> Tensor:
    """(B, C, H, W) of `level` -> (B, C, *size) of level `target`; `size` says how large an odd map was before it was halved."""
    if level < target:
        x = max_pool_same(x, 2 ** (target - level))
        return x[
            :, :, : size[0], : size[1]
        ]  # of odd maps some backbones (ConvNeXt) drop the last row: here too, then
    if x.shape[2:] == (
        1,
        1,
    ):  # small images; torch cannot tell its memory format, and would go on in the other one
        return x.expand(-1, -1, *size)
    return F.interpolate(x, size, mode="nearest") if level > target else x


def attention(coarse: Tensor, fine: Tensor) -> Tensor:
    """(B, C, H, W) twice -> the same; `coarse` is of the coarser level before resampling.  It tells which channels of `fine` matter."""
    return torch.addcmul(coarse, fine, coarse.amax((2, 3), keepdim=True).sigmoid())


class Cell(nn.Module):
    """P3..P7 -> P3..P7, (B, channels, H_l, W_l) each."""

    def __init__(self, channels: int, separable: bool, bn_momentum: float, bn_eps: float):
        super().__init__()
        self.unconsumed = unconsumed()
        self.blocks = nn.ModuleList(self._block(channels, separable, bn_momentum, bn_eps) for _ in CELL)

    @staticmethod
    def _block(channels: int, separable: bool, bn_momentum: float, bn_eps: float) -> nn.Sequential:
        """Activation, convolution, norm: the sums stay linear."""
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
    """[C3, C4, C5] -> [P3 .. P7], all (B, channels, H_l, W_l).  P6 and P7 are half the level before, rounded up."""

    def __init__(
        self,
        in_channels: list[int],
        channels: int,
        repeats: int = 7,
        separable: bool = False,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-3,
    ):
        """separable: depthwise 3x3 and 1x1 in place of each cell's 3x3 convolutions.

        Raises UserError unless there are exactly three maps.
        """
        super().__init__()
        if len(in_channels) != 3:
            raise UserError(
                f"NAS-FPN takes the backbone's maps at strides 8, 16 and 32, not {len(in_channels)} maps; choose levels 3 to 7"
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
        levels = [projection(feature) for projection, feature in zip(self.projections, features, strict=True)]
        while len(levels) < len(LEVELS):
            levels.append(max_pool_same(levels[-1], 2))
        for cell in self.cells:
            levels = cell(levels)
        return levels
