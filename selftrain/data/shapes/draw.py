"""Textured shapes over calm, cluttered ground: what a generated set holds, and how its images are drawn.

The class of an object is its texture; silhouette, colour, size and turn are drawn without regard to it. Each
image is a pure function of the set's seed, its split and its index. `selftrain.data.shapes` writes them to
files.
"""

import hashlib
import json
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from selftrain.data.shapes import textures

VERSION = 1
"""version of the images: raise it when the code below, or textures.py, gives other images"""
SPLITS = ("train", "val", "test", "unlabeled")
"""the parts of a set"""
CATEGORY_IDS = (1, 2, 4, 5, 7, 8, 10, 11)
"""COCO ids of the classes, with gaps as COCO's, so that code which takes an id for an index fails here too"""
EMPTY = 0.02
"""share of images without an object"""


@dataclass(frozen=True)
class Shapes:
    """The generated set.

    Counts say how many images there are and never what is in them; every other field changes the images.
    """

    image_size: int = 65
    """side of the square images in pixels; at 32 k + 1 TensorFlow's SAME and symmetric padding agree; all
    that is drawn scales with it"""
    train: int = 2000
    """labelled images"""
    val: int = 300
    """images for tuning"""
    test: int = 500
    """images for reporting"""
    unlabeled: int = 2000
    """images of the pool"""
    classes: int = 6
    """how many textures, 2 to 8, in the order of textures.NAMES"""
    objects: tuple[int, int] = (1, 5)
    """fewest and most objects of an image; a crowded image gets fewer than were drawn, and one image in fifty
    has none"""
    difficulty: float = 0.3
    """0 to 1: smaller objects, less contrast, more clutter, noise, blur and occlusion"""
    seed: int = 0
    """another seed, other images"""

    def __post_init__(self):
        object.__setattr__(self, "objects", tuple(self.objects))  # a list where it came from json
        # 0 and 0.0 are one set, and one digest.
        object.__setattr__(self, "difficulty", float(self.difficulty))
        fewest_first = len(self.objects) == 2 and 0 <= self.objects[0] <= self.objects[1]
        for ok, need in (
            (self.image_size >= 33, "image_size >= 33"),
            (min(self.train, self.val, self.test, self.unlabeled) >= 0, "no negative count"),
            (2 <= self.classes <= len(textures.NAMES), f"2 <= classes <= {len(textures.NAMES)}"),
            (fewest_first, "0 <= objects[0] <= objects[1]"),
            (0 <= self.difficulty <= 1, "0 <= difficulty <= 1"),
            (self.seed >= 0, "seed >= 0"),
        ):
            if not ok:
                raise ValueError(f"shapes: {need} does not hold in {self}")

    def between(self, easy: float, hard: float) -> float:
        """Return the value at this difficulty, linear between the easiest and the hardest."""
        return easy + (hard - easy) * self.difficulty

    def smallest(self) -> float:
        """Return the side of the smallest object in pixels."""
        return self.between(18, 8) * self.image_size / 65

    def categories(self) -> list[dict]:
        """Return COCO's category records; the class `i` of `render` is the i-th of them."""
        return [
            dict(id=i, name=name, supercategory="texture")
            for i, name in zip(CATEGORY_IDS[: self.classes], textures.NAMES)
        ]

    def digest(self) -> str:
        """Return 16 hex digits of the fields and of the code's version: equal digests mean equal files."""
        return hashlib.sha256(json.dumps([VERSION, asdict(self)], sort_keys=True).encode()).hexdigest()[:16]


# ---- drawing. The canvas is twice as large as the image and shrunk at the end, which smooths the edges.


def render(spec: Shapes, split: str, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw one image of a split: the same arguments give the same pixels.

    Args:
        spec: the set.
        split: one of SPLITS.
        index: counts from 0; it may exceed the split's size.

    Returns:
        The image (H, W, 3) uint8 RGB; boxes (N, 4) float32, x1, y1, x2, y2 in pixels, tight round what is
        visible, so that a one-pixel object is 1 wide; classes (N,) int64 from 0; and masks (N, H, W) bool,
        the visible pixels of each object. Masks do not overlap: later objects hide earlier ones.

    Raises:
        ValueError: the split is unknown.
    """
    entropy = np.random.SeedSequence([spec.seed, SPLITS.index(split), index])
    rng = np.random.Generator(np.random.Philox(entropy))
    side = spec.image_size
    canvas = _ground(spec, rng)
    owner = np.full((side, side), -1, np.int64)  # which object each pixel shows
    needed, classes = [], []  # pixels that each object must keep visible
    count = 0 if rng.random() < EMPTY else rng.integers(spec.objects[0], spec.objects[1] + 1)
    for _ in range(count):
        # The class is drawn before the place, so that no class is dropped more often than another.
        label = int(rng.integers(spec.classes))
        placed = _place(spec, rng, owner, needed)
        if placed:
            size, centre, corner, fine, shown, need = placed
            _paint(spec, rng, canvas, textures.NAMES[label], size, centre, corner, fine)
            _window(owner, corner, shown)[shown] = len(needed)
            needed.append(need)
            classes.append(label)
    image = cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)
    masks = owner == np.arange(len(needed))[:, None, None]
    return _photograph(spec, rng, image), _tight(masks), np.array(classes, np.int64), masks


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


def _place(spec: Shapes, rng: np.random.Generator, owner: np.ndarray, needed: list[float]) -> tuple | None:
    """Find room for one more object.

    It must show enough of itself inside the frame and leave enough of the earlier ones, of which `owner` (H,
    W) says which is seen at each pixel, and `needed` how many pixels each must keep.

    Returns its size and centre in pixels, the corner (x, y) of the window round it, its mask there on the
    canvas (2h, 2w) bool and in the image (h, w) bool, and the number of pixels that it must keep; None where
    there is no room.
    """
    side = spec.image_size
    least, visible = spec.smallest(), spec.between(0.9, 0.4)
    size = least * (38 / 65 * side / least) ** rng.random()  # log-uniform
    kept = np.bincount(owner.ravel() + 1, minlength=len(needed) + 1)[1:]
    for _ in range(12):
        centre = rng.uniform(0, side, 2)
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


def _paint(spec: Shapes, rng: np.random.Generator, canvas, name: str, size, centre, corner, fine) -> None:
    """Draw one object into the canvas, in two colours that stand out from each other and from what is behind.

    `name` is its texture; the rest is as `_place` returns it.
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
    first, second = behind + spec.between(1.0, 0.5) * (pairs[merit.argmax()] - behind)
    turn = rng.uniform(0, 2 * np.pi)
    middle = 2 * (centre - corner) - 0.5
    dx = (np.arange(fine.shape[1]) - middle[0]).astype(np.float32)
    dy = (np.arange(fine.shape[0]) - middle[1]).astype(np.float32)[:, None]
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    share = textures.weights(name, dx * cos + dy * sin, dy * cos - dx * sin, 2 * size, rng)[..., None]
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
