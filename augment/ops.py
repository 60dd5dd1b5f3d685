"""The operations that change pixels and leave every box where it is.

Each takes and returns an (H, W, 3) uint8 RGB image and never writes into its argument. Definitions are those of PIL's
`ImageOps` and `ImageEnhance`, which the official `autoaugment_utils.py` (tensorflow/tpu, detection) re-implements.
An operation on single values is one look-up in a table of 256: no float image is ever made.
"""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

GREY = 128  # fills what an operation leaves empty (official `replace_value`)


class Pixel(A.ImageOnlyTransform):
    """Apply `function(image, *args)` with probability `p`."""

    def __init__(self, function, args: tuple = (), p: float = 1.0):
        super().__init__(p=p)
        self.function, self.args = function, args

    def apply(self, img, **params):
        return self.function(img, *self.args)

    def get_transform_init_args(self):
        return {"function": self.function.__name__, "args": self.args}


class Cutout(A.ImageOnlyTransform):
    """Paint a grey square of half-size `pixels` around a random point; near the border less of it shows.

    `pixels` is for a picture of long side `reference` and grows with the picture. Labels stay: the network is to
    guess what is hidden.
    """

    def __init__(self, pixels: int, reference: int = 640, p: float = 1.0):
        super().__init__(p=p)
        self.pixels, self.reference = pixels, reference

    def get_params_dependent_on_data(self, params, data):
        height, width = params["shape"][:2]
        y, x = self.py_random.randrange(height), self.py_random.randrange(width)
        pad = int(self.pixels * max(height, width) / self.reference)
        return {"rows": slice(max(0, y - pad), y + pad), "columns": slice(max(0, x - pad), x + pad)}

    def apply(self, img, rows, columns, **params):
        img = img.copy()
        img[rows, columns] = GREY
        return img


def _look_up(image, table):
    """Replace each value by its entry in `table`: (256,) for all channels or (3, 256), clipped to 0..255, truncated."""
    table = np.clip(table, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else np.ascontiguousarray(table.T)[None])


def _histograms(image):
    """Counts of each value in each channel, (3, 256) int64."""
    return np.stack([cv2.calcHist([image], [c], None, [256], [0, 256]).ravel() for c in range(3)]).astype(
        np.int64
    )


VALUES = np.arange(256)


def autocontrast(image):
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255."""
    table = np.tile(VALUES.astype(float), (3, 1))
    for channel, histogram in zip(table, _histograms(image), strict=True):
        low, high = np.flatnonzero(histogram)[[0, -1]]
        if high > low:
            scale = 255 / (high - low)
            channel[:] = VALUES * scale - low * scale
    return _look_up(image, table)


def equalize(image):
    """Spread each channel's values so that its histogram becomes flat."""
    table = np.tile(VALUES, (3, 1))
    for channel, histogram in zip(table, _histograms(image), strict=True):
        step = (histogram.sum() - histogram[np.flatnonzero(histogram)[-1]]) // 255
        if step > 0:
            below = np.cumsum(histogram) - histogram
            channel[:] = (below + step // 2) // step
    return _look_up(image, table)


def posterize(image, bits: int):
    """Keep the highest `bits` bits: 8 changes nothing, 0 gives black."""
    shift = 8 - min(bits, 8)
    return _look_up(image, VALUES >> shift << shift)


def solarize(image, threshold: int):
    """Invert values from `threshold` on: 256 changes nothing."""
    return _look_up(image, np.where(VALUES < threshold, VALUES, 255 - VALUES))


def solarize_add(image, addition: int):
    """Add to the values below 128."""
    return _look_up(image, np.where(VALUES < 128, VALUES + addition, VALUES))


# The four below mix the image with a poorer version of itself: factor 0 gives that version, 1 the image, more than 1
# exaggerates the difference (PIL `ImageEnhance`, official `blend`).


def brightness(image, factor: float):
    """Mix with black."""
    return _look_up(image, VALUES * factor)


def contrast(image, factor: float):
    """Mix with the mean grey of the picture.

    The official code means this, but divides the number of pixels by 256 in place of the sum of grey values: any
    picture above 256 x 255 pixels is mixed with white there. Here, as in PIL, it is the mean.
    """
    mean = int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5)
    return _look_up(image, mean + factor * (VALUES - mean))


def color(image, factor: float):
    """Mix with the grey picture."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13  # PIL `ImageFilter.SMOOTH`
CENTRE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def sharpness(image, factor: float):
    """Mix with the smoothed picture; the outermost pixels stay as they are."""
    if min(image.shape[:2]) < 3:
        return image
    # Smoothing and mixing are both linear, so one filter does both.
    sharp = cv2.filter2D(image, -1, factor * CENTRE + (1 - factor) * SMOOTH)
    sharp[[0, -1]] = image[[0, -1]]
    sharp[:, [0, -1]] = image[:, [0, -1]]
    return sharp
