"""Where the cells of a feature map lie in the image, and resizing that keeps them there.

Positions are in pixels of the network's input; the image reaches from 0 to `size`, and its first pixel has
its centre at 0.5.
"""

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional as F


def first_centre(cells: int, stride: Fraction | int, size: int) -> Fraction:
    """The position of the first of `cells` cells that lie `stride` pixels apart over `size` pixels.

    Where the cells reach beyond the image, the network has rounded its size up, and has padded both sides
    alike: the grid is centred on the image.  Of a side of 32 k + 1 pixels, the centres of the first and the
    last cell are then those of the first and the last pixel, which is where these cells look.  Where the
    cells do not cover the image, the network has rounded down (ConvNeXt) and does not see the last pixels:
    the grid begins at the image's edge.  At multiples of the stride the two are one, and the first centre is
    half a stride.
    """
    return Fraction(stride) / 2 - max(Fraction(0), cells * Fraction(stride) - size) / 2


def cell_centres(cells: int, stride: int, size: int) -> Tensor:
    """The positions (cells,) float32 of a level's cells along one side of an image of `size` pixels."""
    return torch.arange(cells, dtype=torch.float32) * stride + float(first_centre(cells, stride, size))


def nearest_pixels(cells: int, stride: int, size: int) -> Tensor:
    """The indices (cells,) int64 of the pixels at the centres of a level's cells, along one side of an image.

    Where a centre lies between two pixels, as at multiples of the stride, it is the first of them.
    """
    return (cell_centres(cells, stride, size).ceil().long() - 1).clamp(0, size - 1)


def resize_map(
    x: Tensor, stride: int, shape: tuple[int, int], to_stride: int, size: tuple[int, int]
) -> Tensor:
    """Resample a map (B, C, H, W) of one stride bilinearly at the cells of another map of the same image.

    `shape` and `to_stride` are the other map's, `size` is (H, W) of the image.  Beyond the outermost cells
    their value goes on.
    """
    axes = [_Axis(*each, Fraction(stride), Fraction(to_stride)) for each in zip(x.shape[2:], shape, size)]
    return _resample(x, axes)


def resize_to_pixels(x: Tensor, stride: int, shape: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Resample a map (B, C, H, W) bilinearly at the pixels of its image, which may have been resized.

    `size` is (H, W) of the network's input, of which the map has the stride `stride`; `shape` is (H, W) of
    the same image as it is wanted, often the same.
    """
    axes = [
        _Axis(cells, to, side, Fraction(stride), Fraction(side, to))
        for cells, to, side in zip(x.shape[2:], shape, size)
    ]
    return _resample(x, axes)


class _Axis:
    """One side of a resampling: cell i of the result lies at `step * i + start` cells of the source."""

    def __init__(self, cells: int, to: int, size: int, stride: Fraction, to_stride: Fraction):
        self.cells, self.to = cells, to
        self.step = to_stride / stride
        self.start = (first_centre(to, to_stride, size) - first_centre(cells, stride, size)) / stride

    @property
    def edges_meet(self) -> bool:
        """Whether this is torch's resizing without `align_corners`, as at multiples of the stride."""
        return self.cells == 1 or (self.step * self.to == self.cells and self.start == (self.step - 1) / 2)

    @property
    def corners_meet(self) -> bool:
        """Whether this is torch's resizing with `align_corners`, as at sizes of 32 k + 1."""
        return self.cells == 1 or (self.step * (self.to - 1) == self.cells - 1 and self.start == 0)

    def positions(self) -> Tensor:
        """(to,) float64, in cells of the source."""
        at = torch.arange(self.to, dtype=torch.float64) * float(self.step) + float(self.start)
        return at.clamp(0, self.cells - 1)


def _resample(x: Tensor, axes: list[_Axis]) -> Tensor:
    shape = tuple(axis.to for axis in axes)
    for aligned, met in ((False, "edges_meet"), (True, "corners_meet")):
        if all(getattr(axis, met) for axis in axes):
            return F.interpolate(x, shape, mode="bilinear", align_corners=aligned)
    for dim, axis in enumerate(axes, 2):
        at = axis.positions()
        low = at.long()
        share = (at - low).to(x).view(-1, *[1] * (3 - dim))
        low = low.to(x.device)
        high = (low + 1).clamp(max=axis.cells - 1)
        x = torch.lerp(x.index_select(dim, low), x.index_select(dim, high), share)
    return x
