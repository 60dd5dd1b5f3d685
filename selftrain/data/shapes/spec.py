"""What a generated set holds: its counts, and what makes it harder or easier."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from selftrain.data.shapes import textures

VERSION = 1
"""version of the images: raise it when draw.py or textures.py give other images of the same fields"""
SPLITS = ("train", "val", "test", "unlabeled")
"""the parts of a set"""
CATEGORY_IDS = tuple(i for i in range(1, 30) if i % 3)
"""COCO ids of the classes, with gaps as COCO's, so that code which takes an id for an index fails here too"""
LATER = ("similarity", "distractors", "occlusion", "contrast", "object_scale")
"""fields that were added to finished sets: at their default they change nothing, and neither files nor digest
name them"""


@dataclass(frozen=True)
class Shapes:
    """The generated set.

    Counts say how many images there are and never what is in them; every other field changes the images.
    `difficulty` makes several things harder at once, and each field from `similarity` on one thing alone.
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
    """how many textures, 2 to 20, in the order of textures.NAMES"""
    objects: tuple[int, int] = (1, 5)
    """fewest and most objects of an image; a crowded image gets fewer than were drawn, and one image in fifty
    has none"""
    difficulty: float = 0.3
    """0 to 1: smaller objects, less contrast, more clutter, noise, blur and occlusion"""
    seed: int = 0
    """another seed, other images"""
    similarity: float = 0.0
    """0 to 1: how far textures of one kind, such as dots and checks, move towards each other"""
    distractors: tuple[int, int] = (0, 0)
    """fewest and most objects of an image that are of no class: they look like the others, with textures
    halfway between two, and are background"""
    occlusion: float = 0.0
    """0 to 1: share of an object that others may hide, if it is more than `difficulty` lets them, and how
    often an object is put close to another"""
    contrast: float = 1.0
    """above 0, to 1: how much objects stand out from what is behind them, and their two colours from each
    other"""
    object_scale: tuple[float, float] | None = None
    """sides of the smallest and of the largest object as shares of the image's; None: as `difficulty` says,
    and at most 38/65"""

    def __post_init__(self):
        object.__setattr__(self, "objects", tuple(self.objects))  # a list where it came from json
        object.__setattr__(self, "distractors", tuple(self.distractors))
        # 0 and 0.0 are one set, and one digest.
        for name in ("difficulty", "similarity", "occlusion", "contrast"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.object_scale is not None:
            object.__setattr__(self, "object_scale", tuple(map(float, self.object_scale)))
        scales = self.object_scale or (0.5, 0.5)
        for ok, need in (
            (self.image_size >= 33, "image_size >= 33"),
            (min(self.train, self.val, self.test, self.unlabeled) >= 0, "no negative count"),
            (2 <= self.classes <= len(textures.NAMES), f"2 <= classes <= {len(textures.NAMES)}"),
            (_rise(self.objects), "0 <= objects[0] <= objects[1]"),
            (0 <= self.difficulty <= 1, "0 <= difficulty <= 1"),
            (0 <= self.similarity <= 1, "0 <= similarity <= 1"),
            (_rise(self.distractors), "0 <= distractors[0] <= distractors[1]"),
            (0 <= self.occlusion <= 1, "0 <= occlusion <= 1"),
            (0 < self.contrast <= 1, "0 < contrast <= 1"),
            (_rise(scales) and scales[1] <= 1, "object_scale[0] <= object_scale[1] <= 1"),
            (scales[0] * self.image_size >= 5, "object_scale[0] * image_size >= 5 pixels"),
            (self.seed >= 0, "seed >= 0"),
        ):
            if not ok:
                raise ValueError(f"shapes: {need} does not hold in {self}")

    def between(self, easy: float, hard: float) -> float:
        """Return the value at this difficulty, linear between the easiest and the hardest."""
        return easy + (hard - easy) * self.difficulty

    def smallest(self) -> float:
        """Return the side of the smallest object in pixels."""
        if self.object_scale is not None:
            return self.object_scale[0] * self.image_size
        return self.between(18, 8) * self.image_size / 65

    def largest(self) -> float:
        """Return the side of the largest object in pixels."""
        return (38 / 65 if self.object_scale is None else self.object_scale[1]) * self.image_size

    def visible(self) -> float:
        """Return the share of an object that must be seen, inside the frame and not hidden by others."""
        return min(self.between(0.9, 0.4), 1 - self.occlusion)

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, which are textures."""
        return textures.NAMES[: self.classes]

    def declared(self) -> dict:
        """Return all fields but those of LATER that have their default."""
        standing = {field.name: field.default for field in fields(self) if field.name in LATER}
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in standing or value != standing[name]
        }

    def categories(self) -> list[dict]:
        """Return COCO's category records; the class `i` of `render` is the i-th of them."""
        return [dict(id=i, name=name, supercategory="texture") for i, name in zip(CATEGORY_IDS, self.names())]

    def digest(self) -> str:
        """Return 16 hex digits of what is declared and of VERSION: equal digests mean equal files."""
        content = json.dumps([VERSION, self.declared()], sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:16]


def _rise(pair: tuple) -> bool:
    """Say whether these are two numbers from 0 on, the smaller one first."""
    return len(pair) == 2 and 0 <= pair[0] <= pair[1]


HARD = Shapes(
    train=3000,
    classes=12,
    difficulty=0.3,
    similarity=0.5,
    distractors=(0, 2),
    occlusion=0.4,
    contrast=0.6,
)
"""a set whose classes are hard to tell apart; a preset changes its counts with `dataclasses.replace`"""
