"""The operations that change pixels alone, against PIL's."""

import albumentations as A
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from augment import Sample, ops
from tests.augment.makers import extent, photo, run


def against_pil(ours, theirs):
    """Largest difference in grey levels over pictures of several kinds and sizes."""
    pictures = [
        photo(),
        photo(33, 47, 1),
        photo() // 3 + 70,
        np.full((20, 20, 3), 77, np.uint8),
        np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8),
        photo(2, 9),
        photo(1, 1),
    ]
    return max(
        np.abs(ours(p).astype(int) - np.asarray(theirs(Image.fromarray(p))).astype(int)).max()
        for p in pictures
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ops.autocontrast, ImageOps.autocontrast),
        (ops.equalize, ImageOps.equalize),
        (lambda p: A.InvertImg(p=1)(image=p)["image"], ImageOps.invert),
        *[(lambda p, b=b: ops.posterize(p, b), lambda p, b=b: ImageOps.posterize(p, b)) for b in (1, 4, 8)],
        *[(lambda p, t=t: ops.solarize(p, t), lambda p, t=t: ImageOps.solarize(p, t)) for t in (0, 100, 256)],
    ],
)
def test_table_operations_equal_pil_exactly(ours, theirs):
    assert against_pil(ours, theirs) == 0


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.64, 1.0, 1.18, 1.9])
@pytest.mark.parametrize(
    ("name", "tolerance"), [("Brightness", 1), ("Contrast", 1), ("Color", 2), ("Sharpness", 2)]
)
def test_enhancements_equal_pil_within_rounding(name, tolerance, factor):
    """PIL rounds the poorer picture before mixing and truncates after; here two of them round once."""
    ours, theirs = getattr(ops, name.lower()), getattr(ImageEnhance, name)
    assert against_pil(lambda p: ours(p, factor), lambda p: theirs(p).enhance(factor)) <= tolerance
    if factor == 1:
        assert np.array_equal(ours(photo(), 1.0), photo())


def test_solarize_add_brightens_the_dark_half_only():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    values = ops.solarize_add(image, 110)[..., 0].ravel()
    assert values[:128].tolist() == list(range(110, 238)) and values[128:].tolist() == list(range(128, 256))
    assert ops.solarize_add(image, 200).ravel()[3 * 100] == 255


@pytest.mark.filterwarnings("ignore:Got processor for bboxes")
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000))
def test_cutout_paints_one_grey_square_in_proportion(height, width, seed):
    sample = Sample(np.zeros((height, width, 3), np.uint8), [[0, 0, 1, 1]], [0], [False])
    out = run(ops.Cutout(80, reference=90), sample, seed)
    side = 2 * int(80 * max(height, width) / 90)
    grey = (out.image == 128).all(-1)
    assert grey.any() == (side > 0) and grey.sum() >= min(side // 2, height) * min(side // 2, width)
    if not side:
        return
    x1, y1, x2, y2 = extent(grey)
    assert grey[y1:y2, x1:x2].all() and x2 - x1 <= side and y2 - y1 <= side and len(out.boxes) == 1
