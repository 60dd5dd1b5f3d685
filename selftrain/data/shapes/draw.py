"""Textured shapes over calm, cluttered ground: how the images of a generated set are drawn.

The class of an object is its texture; silhouette, colour, size and turn are drawn without regard to it. Each
image is a pure function of the set's seed, its split and its index. `selftrain.data.shapes` writes them to
files.

The canvas is twice as large as the image and shrunk at the end, which smooths the edges.
"""

import cv2
import numpy as np

from selftrain.data.shapes import textures
from selftrain.data.shapes.spec import SPLITS, Shapes

EMPTY = 0.02
"""share of images without an object"""
_NO_CLASS = -1


def render(spec: Shapes, split: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw one image of a split: the same arguments give the same pixels.

    Args:
        spec: the set.
        split: one of SPLITS.
        index: counts from 0; it may exceed the split's size.

    Returns:
        The image (H, W, 3) uint8 RGB; boxes (N, 4) float32, x1, y1, x2, y2 in pixels, tight round what is
        visible, so that a one-pixel object is 1 wide; classes (N,) int64 from 0; and masks (N, H, W) bool,
        the visible pixels of each object. Masks do not overlap: later objects hide earlier ones. Distractors
        hide objects too, and are in none of these.

    Raises:
        ValueError: the split is unknown.
    """
    entropy = np.random.SeedSequence([spec.seed, SPLITS.index(split), index])
    rng = np.random.Generator(np.random.Philox(entropy))
    side = spec.image_size
    canvas = _ground(spec, rng)
    owner = np.full((side, side), -1, np.int64)  # which object each pixel shows
    needed, centres, labels = [], [], []  # pixels that each object must keep visible
    count = 0 if rng.random() < EMPTY else rng.integers(spec.objects[0], spec.objects[1] + 1)
    for has_class in _order(spec, rng, int(count)):
        # The class is drawn before the place, so that no class is dropped more often than another.
        label = int(rng.integers(spec.classes)) if has_class else _NO_CLASS
        placed = _place(spec, rng, owner, needed, centres)
        if placed:
            size, centre, corner, fine, shown, need = placed
            _paint(spec, rng, canvas, label, size, centre, corner, fine)
            _window(owner, corner, shown)[shown] = len(needed)
            needed.append(need)
            centres.append(centre)
            labels.append(label)
    image = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    classes = np.array(labels, np.int64)
    masks = owner == np.flatnonzero(classes != _NO_CLASS)[:, None, None]
    return _photograph(spec, rng, image), _tight(masks), classes[classes != _NO_CLASS], masks


def _order(spec: Shapes, rng: np.random.Generator, count: int) -> list[bool]:
    """Return of each thing to be placed, in this order, whether it is an object with a class."""
    if not spec.distractors[1]:  # without any draw: older sets know no distractors
        return [True] * count
    others = int(rng.integers(spec.distractors[0], spec.distractors[1] + 1))
    return rng.permutation([True] * count + [False] * others).tolist()


def _ground(spec: Shapes, rng: np.random.Generator) -> np.ndarray:
    """Draw the background (2H, 2W, 3) float32 in 0..1: slow colour noise, soft blobs and thin strokes.

    Nothing with a hard edge is as wide as an object.
    """
    side = 2 * spec.image_size
    base, swing = rng.uniform(0.25, 0.75, 3), spec.between(0.06, 0.22)
    cells = int(rng.integers(2, 6))
    noise = (base + swing * rng.uniform(-1, 1, (cells, cells, 3))).astype(np.float32)
    coarse = cv2.resize(noise, (16, 16), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.poisson(spec.between(1, 5))):
        colour = np.clip(base + swing * rng.uniform(-1.5, 1.5, 3), 0, 1)
        centre, axes = rng.integers(0, 16, 2), rng.integers(1, 4, 2)
        angle = float(rng.uniform(0, 180))
        cv2.ellipse(
            coarse, tuple(map(int, centre)), tuple(map(int, axes)), angle, 0, 360, colour.tolist(), -1
        )
    coarse = cv2.GaussianBlur(coarse, (0, 0), 0.8)  # a blob with a sharp edge would be a solid object
    canvas = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    _draw_strokes(spec, rng, canvas, base)
    return np.clip(canvas, 0, 1)


def _draw_strokes(spec: Shapes, rng: np.random.Generator, canvas: np.ndarray, base: np.ndarray) -> None:
    """Draw thin bent strokes into the canvas (2H, 2W, 3), in colours round `base`."""
    side, unit = 2 * spec.image_size, 2 * spec.image_size / 65
    for _ in range(rng.poisson(spec.between(1, 12))):
        colour = np.clip(base + spec.between(0.2, 0.45) * rng.uniform(-1, 1, 3), 0, 1)
        start, heading = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        length = rng.uniform(4, 30) * unit
        bend = heading + rng.uniform(-1.5, 1.5) * np.linspace(0, 1, 12)
        steps = np.stack([np.cos(bend), np.sin(bend)], 1) * length / 12
        points = np.round((start + np.cumsum(steps, 0)) * 16).astype(np.int32)  # 4 fractional bits, see shift
        width = max(1, round(rng.uniform(0.6, 1.5) * unit))
        cv2.polylines(canvas, [points], False, colour.tolist(), width, cv2.LINE_8, 4)


def _window(array: np.ndarray, corner: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return the part of `array` (a view) that `like` covers when its upper left lies at `corner` (x, y)."""
    x, y = corner
    return array[y : y + like.shape[0], x : x + like.shape[1]]


def _place(
    spec: Shapes, rng: np.random.Generator, owner: np.ndarray, needed: list[float], centres: list[np.ndarray]
) -> tuple | None:
    """Find room for one more object.

    It must show enough of itself inside the frame and leave enough of the earlier ones, of which `owner` (H,
    W) says which is seen at each pixel, `needed` how many pixels each must keep, and `centres` where they
    are.

    Returns its size and centre in pixels, the corner (x, y) of the window round it, its mask there on the
    canvas (2h, 2w) bool and in the image (h, w) bool, and the number of pixels that it must keep; None where
    there is no room.
    """
    side = spec.image_size
    least, visible = spec.smallest(), spec.visible()
    size = least * (spec.largest() / least) ** rng.random()  # log-uniform
    kept = np.bincount(owner.ravel() + 1, minlength=len(needed) + 1)[1:]
    for _ in range(12):
        centre = rng.uniform(0, side, 2)
        if spec.occlusion and centres and rng.random() < spec.occlusion:  # close to another
            centre = (centres[rng.integers(len(centres))] + rng.uniform(-0.6, 0.6, 2) * size).clip(0, side)
        outline = textures.silhouette(size, rng) + centre
        corner = np.floor(outline.min(0)).clip(0, side).astype(int)
        width, height = np.ceil(outline.max(0) + 1).clip(0, side).astype(int) - corner
        fine = np.zeros((2 * height, 2 * width), np.uint8)
        points = np.round((outline - corner) * 32 - 8).astype(np.int32)  # 4 fractional bits; centres at .5
        cv2.fillPoly(fine, [points], 1, cv2.LINE_8, 4)
        shown = fine.reshape(height, 2, width, 2).sum((1, 3)) >= 2
        # A sliver of a small object tells no texture.
        need = max(visible * textures.FILL * size**2, 0.35 * least**2)
        hidden = np.bincount(_window(owner, corner, shown)[shown] + 1, minlength=len(needed) + 1)[1:]
        if shown.sum() >= need and (kept - hidden >= needed).all():
            return size, centre, corner, fine.astype(bool), shown, need
        size = max(least, 0.9 * size)  # a crowded image takes smaller ones
    return None


def _paint(spec: Shapes, rng: np.random.Generator, canvas, label: int, size, centre, corner, fine) -> None:
    """Draw one object into the canvas, in two colours that stand out from each other and from what is behind.

    `label` is its class or _NO_CLASS; the rest is as `_place` returns it.
    """
    window = _window(canvas, 2 * corner, fine)
    behind = window[fine].mean(0)
    pairs = rng.random((48, 2, 3))
    # The two must differ in brightness, which JPEG and grey photos keep.
    inner = np.abs((pairs[:, 0] - pairs[:, 1]) @ (0.299, 0.587, 0.114))
    shades = np.stack([pairs[:, 0], pairs[:, 1], pairs.mean(1)], 1)  # the mean is what a solid object shows
    outer = np.linalg.norm(shades - behind, axis=2).min(1)
    # The first pair that is good enough is taken, or else the best.
    merit = np.minimum(np.minimum(inner / 0.40, outer / 0.40), 1)
    first, second = behind + spec.contrast * spec.between(1.0, 0.5) * (pairs[merit.argmax()] - behind)
    turn = rng.uniform(0, 2 * np.pi)
    middle = 2 * (centre - corner) - 0.5
    dx = (np.arange(fine.shape[1]) - middle[0]).astype(np.float32)
    dy = (np.arange(fine.shape[0]) - middle[1]).astype(np.float32)[:, None]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = dx * cos + dy * sin, dy * cos - dx * sin
    if label == _NO_CLASS:
        share = textures.clutter(u, v, 2 * size, rng)[..., None]
    else:
        names = spec.names()
        share = textures.weights(names[label], u, v, 2 * size, rng, spec.similarity, names)[..., None]
    window[fine] = (share * first + (1 - share) * second)[fine]


def _photograph(spec: Shapes, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Put slanting light, blur and sensor noise over (H, W, 3) float32 in 0..1, and return it as uint8."""
    side, turn = spec.image_size, rng.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    light = 1 + 0.12 * (np.cos(turn) * ramp + np.sin(turn) * ramp[:, None])
    image = image * light[..., None].astype(np.float32)
    blur = spec.between(0.2, 0.8) * rng.random() * side / 65
    if blur > 0.2:  # below that the kernel is a single pixel
        image = cv2.GaussianBlur(image, (0, 0), blur)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(spec.between(2, 20))
    return np.clip(image * 255 + noise + 0.5, 0, 255).astype(np.uint8)


def _tight(masks: np.ndarray) -> np.ndarray:
    """Return the boxes (N, 4) float32 x1, y1, x2, y2 round masks (N, H, W) bool, none of them empty."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks):
        x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
        box[:] = x, y, x + w, y + h
    return boxes
