"""What the objects of the generated set look like.

There are eight textures, which are its classes, and six silhouettes, which are not.
A texture is a field of blending weights in [0, 1] between two colours. Its edges are softened over one pixel
from their signed distance, so that it stays clean when it is turned and shrunk.
"""

import numpy as np

NAMES = ("solid", "stripes", "checks", "dots", "rings", "spokes", "gradient", "grid")
"""textures in the order in which a set of `n` classes takes them: the first differ most clearly"""

FILL = 0.7
"""area of every silhouette as a share of its size squared: so no shape, and no class, is smaller than
another"""


def _soft(distance):
    """Turn the signed distance to an edge in pixels into a weight in [0, 1], by a ramp one pixel wide."""
    return np.clip(distance + 0.5, 0, 1)


def _bands(x, period, share=0.5):
    """Return the signed distance in pixels to the nearest edge of bands across `x`.

    It is above 0 in the `share` of each period that is a band.
    """
    return (share / 2 - np.abs((x / period) % 1 - 0.5)) * period


def weights(name: str, u: np.ndarray, v: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Return one texture over a patch: how much of the first of its two colours each pixel has.

    The period is a third to a half of the size, so that a texture shows as many repeats on a small object as
    on a large one.

    Args:
        name: one of NAMES.
        u: (H, W) float32, pixel coordinates from the object's centre along the texture's first axis.
        v: (H, W) float32, the same along its second axis.
        size: the object's side in pixels.
        rng: draws the texture's phase and shape.

    Returns:
        (H, W) float32 in [0, 1]. Its mean over an object is near one half for each texture, and on either
        side of it equally often: colours drawn without regard to the class then leave the mean colour saying
        nothing of the class.

    Raises:
        ValueError: the name is unknown.
    """
    # There are as many draws for each texture, and Python's floats keep the arrays float32.
    phase_u, phase_v, a, b = rng.random(4).tolist()
    flip = rng.random() < 0.5
    size = float(size)
    period = size / (2.2 + a)
    if name == "solid":
        w = np.full_like(u, 0.5 + 0.15 * b)
    elif name == "stripes":
        w = _soft(_bands(u + phase_u * period, period, 0.4 + 0.2 * b))
    elif name == "checks":
        x, y = _bands(u + phase_u * period, period), _bands(v + phase_v * period, period)
        w = _soft(np.sign(x * y) * np.minimum(np.abs(x), np.abs(y)))
    elif name == "dots":
        x, y = ((c / period + p) % 1 - 0.5 for c, p in ((u, phase_u), (v, phase_v)))
        w = _soft((0.30 + 0.06 * b - np.hypot(x, y)) * period)
    elif name == "rings":
        w = _soft(_bands(np.hypot(u, v) + phase_u * period, period))
    elif name == "spokes":
        count, radius = 4 + int(3 * a), np.hypot(u, v)
        w = _soft(_bands(np.arctan2(v, u) / (2 * np.pi), 1 / count) * 2 * np.pi * radius)
    elif name == "gradient":
        w = np.clip(0.5 + u / (0.8 * size), 0, 1)
    elif name == "grid":
        x, y = _bands(u + phase_u * period, period, 0.25), _bands(v + phase_v * period, period, 0.25)
        w = _soft(np.maximum(x, y))
    else:
        raise ValueError(f"no texture {name!r}: one of {', '.join(NAMES)}")
    return 1 - w if flip else w


def silhouette(size: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a random outline round the origin, stretched by up to 1.5 and turned.

    It is a rectangle, an ellipse, a triangle, an irregular polygon, a star or a blob, and encloses an area of
    `FILL * size**2`, with `size` in pixels. Returns its corner points (K, 2) float64, x and y in pixels.
    """
    kind = rng.integers(6)
    if kind == 0:  # rectangle
        angle, radius = np.pi * np.array([0.25, 0.75, 1.25, 1.75]), 1.0
    elif kind == 1:  # ellipse
        angle, radius = np.linspace(0, 2 * np.pi, 32, endpoint=False), 1.0
    elif kind == 2:  # triangle
        angle, radius = 2 * np.pi / 3 * (np.arange(3) + rng.uniform(-0.12, 0.12, 3)), 1.0
    elif kind == 3:  # irregular polygon
        k = rng.integers(5, 9)
        angle, radius = 2 * np.pi / k * (np.arange(k) + rng.uniform(-0.25, 0.25, k)), rng.uniform(0.8, 1.0, k)
    elif kind == 4:  # star
        k = rng.integers(5, 8)
        angle, radius = np.pi / k * np.arange(2 * k), np.where(np.arange(2 * k) % 2, 0.55, 1.0)
    else:  # blob: a circle with two slow waves
        angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        slow, fast = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
        radius = 1 + 0.18 * np.sin(2 * angle + slow) + 0.12 * np.sin(3 * angle + fast)
    stretch, turn = np.sqrt(rng.uniform(1.0, 1.5)), rng.uniform(0, 2 * np.pi)
    x, y = radius * np.cos(angle) * stretch, radius * np.sin(angle) / stretch
    points = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return points * size * np.sqrt(FILL / area)
