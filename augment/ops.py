"""The operations that change pixels and leave every box where it is.

Each takes and returns an (H, W, 3) uint8 RGB image and never writes into its argument. Definitions are those
of PIL's `ImageOps` and `ImageEnhance`, which the official `autoaugment_utils.py` (tensorflow/tpu, detection)
re-implements. An operation on single values is one look-up in a table of 256: no float image is ever made.
"""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

GREY = 128
"""the value that fills what an operation leaves empty (official `replace_value`)"""


class Pixel(A.ImageOnlyTransform):
    """Apply `function(image, *args)` with probability `p`."""

    def __init__(self, function, args: tuple = (), p: float = 1.0):
        super().__init__(p=p)
        self.function, self.args = function, args

    def apply(self, img, **params):
        """Return what the function makes of the image (H, W, 3)."""
        return self.function(img, *self.args)

    def get_transform_init_args(self):
        """Return what `repr` shows: the function's name and its further arguments."""
        return {"function": self.function.__name__, "args": self.args}


class Cutout(A.ImageOnlyTransform):
    """Paint a grey square of half-size `pixels` around a random point; near the border less of it shows.

    `pixels` is for a picture of long side `reference` and grows with the picture. Labels stay: the network is
    to guess what is hidden.
    """

    def __init__(self, pixels: int, reference: int = 640, p: float = 1.0):
        super().__init__(p=p)
        self.pixels, self.reference = pixels, reference

    def get_params_dependent_on_data(self, params, data):
        """Draw the centre of the square and return the rows and columns that it covers."""
        height, width = params["shape"][:2]
        y, x = self.py_random.randrange(height), self.py_random.randrange(width)
        pad = int(self.pixels * max(height, width) / self.reference)
        return {"rows": slice(max(0, y - pad), y + pad), "columns": slice(max(0, x - pad), x + pad)}

    def apply(self, img, rows, columns, **params):
        """Return a copy of the image (H, W, 3) with the square painted grey."""
        img = img.copy()
        img[rows, columns] = GREY
        return img


def _look_up(image, table):
    """Replace each value by its entry in `table`, (256,) for all channels or (3, 256).

    Entries are clipped to 0..255 and truncated to whole numbers.
    """
    table = np.clip(table, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else np.ascontiguousarray(table.T)[None])


def _histograms(image):
    """Counts of each value in each channel, (3, 256) int64."""
    counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    return np.stack(counts).astype(np.int64)


VALUES = np.arange(256)
"""every value that a pixel may have: what a table of 256 is computed from"""


def autocontrast(image: np.ndarray) -> np.ndarray:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255."""
    table = np.tile(VALUES.astype(float), (3, 1))
    for channel, histogram in zip(table, _histograms(image), strict=True):
        low, high = np.flatnonzero(histogram)[[0, -1]]
        if high > low:
            scale = 255 / (high - low)
            channel[:] = VALUES * scale - low * scale
    return _look_up(image, table)


def equalize(image: np.ndarray) -> np.ndarray:
    """Spread each channel's values so that its histogram becomes flat."""
    table = np.tile(VALUES, (3, 1))
    for channel, histogram in zip(table, _histograms(image), strict=True):
        step = (histogram.sum() - histogram[np.flatnonzero(histogram)[-1]]) // 255
        if step > 0:
            below = np.cumsum(histogram) - histogram
            channel[:] = (below + step // 2) // step
    return _look_up(image, table)


def posterize(image: np.ndarray, bits: int) -> np.ndarray:
    """Keep the highest `bits` bits of each value: 8 changes nothing, 0 gives black."""
    shift = 8 - min(bits, 8)
    return _look_up(image, VALUES >> shift << shift)


def solarize(image: np.ndarray, threshold: int) -> np.ndarray:
    """Invert the values from `threshold` on: 256 changes nothing."""
    return _look_up(image, np.where(VALUES < threshold, VALUES, 255 - VALUES))


def solarize_add(image: np.ndarray, addition: int) -> np.ndarray:
    """Add `addition` to the values below 128."""
    return _look_up(image, np.where(VALUES < 128, VALUES + addition, VALUES))


# The four functions below mix the image with a poorer version of itself: factor 0 gives that version, 1 the
# image, and more than 1 exaggerates the difference (PIL `ImageEnhance`, official `blend`).


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Mix the image with black."""
    return _look_up(image, VALUES * factor)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Mix the image with its mean grey.

    The official code means this, but divides the number of pixels by 256 in place of the sum of grey values:
    any picture above 256 x 255 pixels is mixed with white there. Here, as in PIL, it is the mean.
    """
    mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return _look_up(image, mean + factor * (VALUES - mean))


def color(image: np.ndarray, factor: float) -> np.ndarray:
    """Mix the image with its grey version."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""the kernel of PIL's `ImageFilter.SMOOTH`"""
CENTRE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
"""the kernel that changes nothing"""


def sharpness(image: np.ndarray, factor: float) -> np.ndarray:
    """Mix the image with its smoothed version; the outermost pixels stay as they are."""
    if min(image.shape[:2]) < 3:
        return image
    # Smoothing and mixing are both linear, so one filter does both.
    sharp = cv2.filter2D(image, -1, factor * CENTRE + (1 - factor) * SMOOTH)
    sharp[[0, -1]] = image[[0, -1]]
    sharp[:, [0, -1]] = image[:, [0, -1]]
    return sharp
