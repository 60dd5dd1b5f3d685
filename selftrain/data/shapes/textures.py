"""What the objects of the generated set look like.

There are twenty textures, which are its classes, and six silhouettes, which are not.
A texture is a field of blending weights in [0, 1] between two colours. Its edges are softened over one pixel
from their signed distance, so that it stays clean when it is turned and shrunk.

Textures are of four kinds. Those of one kind are drawn on the same lattice, axis or centre, so that one can
be drawn a part of the way towards another: their signed distances are mixed, and so a dot grows corners on
its way to a check.
"""

from dataclasses import dataclass

import numpy as np

NAMES = (
    *("solid", "stripes", "checks", "dots", "rings", "spokes", "gradient", "grid"),
    *("zigzag", "spiral", "bricks", "halo", "waves", "crosses", "frames", "ridge"),
    *("triangles", "barcode", "hoops", "petals"),
)
"""textures in the order in which a set of `n` classes takes them: the first differ most clearly"""

FILL = 0.7
"""area of every silhouette as a share of its size squared: so no shape, and no class, is smaller than
another"""

NEAREST = 0.6
"""how far a texture goes at most towards the mean of its kind: two fifths of what tells it from the
others stay"""


@dataclass(frozen=True)
class _Draw:
    """What is drawn at random of one texture on one object; lengths are in pixels."""

    size: float
    period: float
    phase_u: float
    phase_v: float
    a: float
    b: float


def _soft(distance):
    """Turn the signed distance to an edge in pixels into a weight in [0, 1], by a ramp one pixel wide."""
    return np.clip(distance + 0.5, 0, 1)


def _bands(x, period, share=0.5):
    """Return the signed distance in pixels to the nearest edge of bands across `x`.

    It is above 0 in the `share` of each period that is a band.
    """
    return (share / 2 - np.abs((x / period) % 1 - 0.5)) * period


def _cells(u, v, d):
    """Return each pixel's place in its cell of the lattice, as a share of the period in -0.5..0.5."""
    return ((c / d.period + p) % 1 - 0.5 for c, p in ((u, d.phase_u), (v, d.phase_v)))


# ---- smooth: each returns weights


def _solid(u, v, d):
    return np.full_like(u, 0.5 + 0.15 * d.b)


def _gradient(u, v, d):
    return np.clip(0.5 + u / (0.8 * d.size), 0, 1)


def _halo(u, v, d):
    """From the middle to the border, in all directions alike."""
    return np.clip(1 - np.hypot(u, v) / ((0.45 + 0.1 * d.a) * d.size), 0, 1)


def _ridge(u, v, d):
    """A gradient that turns back in the middle."""
    return np.clip(1 - np.abs(u) / ((0.38 + 0.1 * d.a) * d.size), 0, 1)


# ---- bands, lattice, radial: each returns the signed distance in pixels to the nearest edge


def _stripes(u, v, d):
    return _bands(u + d.phase_u * d.period, d.period, 0.4 + 0.2 * d.b)


def _zigzag(u, v, d):
    side = np.abs((v / d.period + d.phase_v) % 1 - 0.5) * d.period
    return _bands(u + d.phase_u * d.period + 1.2 * side, d.period) / 1.56  # its edges slope


def _waves(u, v, d):
    side = 0.22 * d.period * np.sin(2 * np.pi * (v / (1.2 * d.period) + d.phase_v))
    return _bands(u + d.phase_u * d.period + side, d.period, 0.4 + 0.2 * d.b) / 1.3


def _barcode(u, v, d):
    """A broad band beside a narrow one."""
    period = 1.3 * d.period
    x = u + d.phase_u * period
    return np.maximum(_bands(x, period, 0.36), _bands(x + 0.46 * period, period, 0.16))


def _checks(u, v, d):
    x, y = _bands(u + d.phase_u * d.period, d.period), _bands(v + d.phase_v * d.period, d.period)
    return np.sign(x * y) * np.minimum(np.abs(x), np.abs(y))


def _dots(u, v, d):
    return (0.30 + 0.06 * d.b - np.hypot(*_cells(u, v, d))) * d.period


def _grid(u, v, d):
    x = _bands(u + d.phase_u * d.period, d.period, 0.25)
    return np.maximum(x, _bands(v + d.phase_v * d.period, d.period, 0.25))


def _bricks(u, v, d):
    """Joints between rows, each row shifted by half a brick."""
    y = v / (0.6 * d.period) + d.phase_v
    x = u / d.period + d.phase_u + 0.5 * (np.floor(y) % 2)
    return np.maximum(_bands(y, 1, 0.34) * 0.6 * d.period, _bands(x, 1, 0.2) * d.period)


def _crosses(u, v, d):
    x, y = map(np.abs, _cells(u, v, d))
    return np.minimum(0.37 - np.maximum(x, y), 0.13 - np.minimum(x, y)) * d.period


def _triangles(u, v, d):
    x, y = _cells(u, v, d)
    return np.minimum(y + 0.44, (0.44 - y - 2 * np.abs(x)) / 2.24) * d.period


def _hoops(u, v, d):
    return (0.1 - np.abs(np.hypot(*_cells(u, v, d)) - 0.28)) * d.period


def _rings(u, v, d):
    return _bands(np.hypot(u, v) + d.phase_u * d.period, d.period)


def _spokes(u, v, d):
    count, radius = 4 + int(3 * d.a), np.hypot(u, v)
    return _bands(np.arctan2(v, u) / (2 * np.pi), 1 / count) * 2 * np.pi * radius


def _spiral(u, v, d):
    """Two arms."""
    turn = np.arctan2(v, u) / np.pi
    return _bands(np.hypot(u, v) + (d.phase_u + turn) * d.period, d.period)


def _frames(u, v, d):
    """Squares round the middle."""
    return _bands(np.maximum(np.abs(u), np.abs(v)) + d.phase_u * d.period, d.period)


def _petals(u, v, d):
    """Rings with five bulges."""
    bulge = 1 + 0.3 * np.cos(5 * np.arctan2(v, u))
    return _bands(np.hypot(u, v) * bulge + d.phase_u * d.period, d.period) / 1.3


_KINDS = {
    "smooth": dict(solid=_solid, gradient=_gradient, halo=_halo, ridge=_ridge),
    "bands": dict(stripes=_stripes, zigzag=_zigzag, waves=_waves, barcode=_barcode),
    "lattice": dict(
        checks=_checks,
        dots=_dots,
        grid=_grid,
        bricks=_bricks,
        crosses=_crosses,
        triangles=_triangles,
        hoops=_hoops,
    ),
    "radial": dict(rings=_rings, spokes=_spokes, spiral=_spiral, frames=_frames, petals=_petals),
}
# Textures that resemble each other.


def weights(
    name: str,
    u: np.ndarray,
    v: np.ndarray,
    size: float,
    rng: np.random.Generator,
    similarity: float = 0.0,
    classes: tuple[str, ...] = NAMES,
) -> np.ndarray:
    """Return one texture over a patch: how much of the first of its two colours each pixel has.

    The period is a third to a half of the size, so that a texture shows as many repeats on a small object as
    on a large one.

    Args:
        name: one of NAMES.
        u: (H, W) float32, pixel coordinates from the object's centre along the texture's first axis.
        v: (H, W) float32, the same along its second axis.
        size: the object's side in pixels.
        rng: draws the texture's phase and shape.
        similarity: 0 to 1, how far the texture goes towards the mean of those of its kind among the classes;
            at 1 it keeps two fifths of its difference.
        classes: the textures that it is to resemble.

    Returns:
        (H, W) float32 in [0, 1]. Its mean over an object is near one half for each texture, and on either
        side of it equally often: colours drawn without regard to the class then leave the mean colour saying
        nothing of the class.

    Raises:
        ValueError: the name is unknown.
    """
    kind = next((kind for kind, fields in _KINDS.items() if name in fields), None)
    if kind is None:
        raise ValueError(f"no texture {name!r}: one of {', '.join(NAMES)}")
    draw, flip = _random_draw(size, rng)
    fields = _KINDS[kind]
    field = fields[name](u, v, draw)
    if similarity:
        alike = [fields[other](u, v, draw) for other in fields if other in classes]
        field = field + NEAREST * similarity * (sum(alike) / len(alike) - field)
    w = field if kind == "smooth" else _soft(field)
    return 1 - w if flip else w


def clutter(u: np.ndarray, v: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Return a texture that is none of the classes: halfway between two of different kinds.

    The arguments and what is returned are those of `weights`.
    """
    draw, flip = _random_draw(size, rng)
    one, other = (
        fields[rng.integers(len(fields))](u, v, draw)
        for fields in (
            list(_KINDS[kind].values()) for kind in rng.permutation(["bands", "lattice", "radial"])[:2]
        )
    )
    w = _soft(0.5 * (one + other))
    return 1 - w if flip else w


def _random_draw(size: float, rng: np.random.Generator) -> tuple[_Draw, bool]:
    """Draw what is random of a texture, and whether its two colours change places."""
    # There are as many draws for each texture, and Python's floats keep the arrays float32.
    phase_u, phase_v, a, b = rng.random(4).tolist()
    flip = rng.random() < 0.5
    size = float(size)
    return _Draw(size, size / (2.2 + a), phase_u, phase_v, a, b), flip


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
