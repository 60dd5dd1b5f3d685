"""The operations that move pixels: boxes and class maps move with them, and every picture gets its size."""

import albumentations as A
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment import POLICIES, Sample, build_policy, fit, geometry
from tests.augment.makers import extent, painted, photo, run, same, scenes, street

FILL = (124, 116, 104)


# ---- boxes stay on their objects

WARPS = [
    geometry.Rotate(30),
    geometry.ShearX(0.3),
    geometry.ShearY(0.3),
    geometry.TranslateX(100),
    geometry.TranslateY(100),
]


@settings(max_examples=60, deadline=None)
@given(scenes(), st.sampled_from(WARPS), st.integers(0, 9))
def test_a_warped_box_encloses_its_object(sample, warp, seed):
    out = run(warp, sample, seed)
    seen = (out.image == 255).all(-1)
    assert np.array_equal(seen, out.mask == 1)
    if not seen.any():
        return
    box, found = out.boxes[0], extent(seen)
    assert (box[:2] <= found[:2] + 1).all() and (box[2:] >= found[2:] - 1).all()
    assert (box >= 0).all() and (box[[2, 3]] <= np.array(seen.shape)[::-1] + 1e-3).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.sampled_from(WARPS))
def test_a_warped_box_is_tight_where_the_object_stays_in_sight(seed, warp):
    """The box's sides touch the object, so no box could be smaller by more than the rounding to pixels."""
    out = run(warp, painted(300, 300, (130, 135, 170, 160)), seed)
    assert np.abs(out.boxes[0] - extent(out.mask == 1)).max() <= 1.5


@settings(max_examples=80, deadline=None)
@given(scenes(), st.integers(8, 200), st.integers(0, 1000), st.sampled_from([(0.8, 1.2), (0.5, 2.0)]))
def test_box_image_and_mask_agree_after_flip_and_jitter(sample, size, seed, scale_range):
    out = build_policy("S1", size, scale_range=scale_range)(sample, seed)
    seen = out.mask == 1
    bright = (out.image > 127).all(-1) & (out.mask != 255)
    # One source pixel, in target pixels, and some more.
    zoom = max(2.0, 2 * size / max(sample.image.shape[:2]))
    if not len(out.boxes):
        assert not seen.any()
        return
    x1, y1, x2, y2 = out.boxes[0]
    valid = extent(out.mask != 255)
    assert 0 <= x1 < x2 <= valid[2] and 0 <= y1 < y2 <= valid[3]
    if seen.any() and min(x2 - x1, y2 - y1) > 2:
        assert np.abs(out.boxes[0] - extent(seen)).max() <= 1
    if seen.any() and min(x2 - x1, y2 - y1) > 2 * zoom + 2:
        assert np.abs(extent(bright) - extent(seen)).max() <= zoom


def test_flipping_twice_gives_the_picture_back():
    flip, sample = A.HorizontalFlip(p=1), street()
    once, twice = run(flip, sample), run(flip, run(flip, sample))
    assert same(twice, Sample(sample.image, twice.boxes, sample.classes, sample.ignore, sample.mask))
    assert np.abs(twice.boxes - sample.boxes).max() < 1e-3
    assert np.array_equal(once.image, sample.image[:, ::-1])
    assert np.allclose(once.boxes[:, [0, 2]], 128 - sample.boxes[:, [2, 0]], atol=1e-3)


def test_classes_and_ignore_flags_follow_their_boxes():
    """Each box has an index of its own on the class map; where a box survives, its index is inside it."""
    mask = np.zeros((120, 160), np.uint8)
    boxes, ignore = [], [False, True, False, True, False, True]
    for i in range(6):
        x, y = 5 + 50 * (i % 3), 5 + 60 * (i // 3)
        mask[y : y + 40, x : x + 40] = i + 1
        boxes.append([x, y, x + 40, y + 40])
    sample, dropped = Sample(photo(120, 160), boxes, range(1, 7), ignore, mask), 0
    for policy in (build_policy(name, 97) for name in ("S1", "S4")):
        for seed in range(90):
            out = policy(sample, seed)
            dropped += 6 - len(out.boxes)
            for box, number, flag in zip(out.boxes, out.classes, out.ignore, strict=True):
                x1, y1, x2, y2 = box.round().astype(int)
                if min(x2 - x1, y2 - y1) > 6:
                    assert number in out.mask[y1:y2, x1:x2]
                assert flag == ignore[number - 1]
    assert dropped > 20  # the crop of a large jitter does lose boxes


def test_a_box_moved_out_of_the_picture_is_dropped():
    sample = painted(64, 640, (0, 10, 40, 30))
    results = [run(geometry.TranslateX(100), sample, seed).boxes for seed in range(20)]
    assert {len(boxes) for boxes in results} == {0, 1}
    assert all(np.allclose(boxes, [[100, 10, 140, 30]], atol=1e-3) for boxes in results if len(boxes))


def test_thin_boxes_at_the_border_come_and_go_without_error():
    """A box of no width left by one operation must not reach the next, nor albumentations' final check."""
    boxes = [[0, 0, 3, 60], [77, 0, 80, 60], [0, 0, 80, 3], [0, 57, 80, 60]]
    sample, policy = Sample(photo(), boxes, range(4), [False] * 4), build_policy("S4", 64, num_ops=3)
    lost = 0
    for seed in range(150):
        out = policy(sample, seed)
        assert (out.boxes[:, 2:] - out.boxes[:, :2] > 0).all()
        lost += 4 - len(out.boxes)
    assert lost > 100


def test_a_quarter_turn_moves_every_pixel_to_its_place():
    """Half a pixel between corners and centres would show here as a shift by one."""
    sample = street(96, 96)
    for seed in range(4):
        out = run(geometry.Rotate(90), sample, seed)
        k = 1 if np.array_equal(out.image, np.rot90(sample.image)) else -1
        assert np.array_equal(out.image, np.rot90(sample.image, k))
        assert np.array_equal(out.mask, np.rot90(sample.mask, k))


def test_invalid_boxes_are_dropped_not_raised():
    """COCO train2017 has boxes of zero height, on which albumentations raises."""
    boxes = [
        [5, 5, 20, 20],
        [30, 7, 40, 7],
        [9, 9, 9, 20],
        [40, 30, 20, 10],
        [np.nan, 0, 5, 5],
        [200, 0, 300, 9],
    ]
    sample = Sample(photo(), boxes, range(6), [False] * 6)
    for policy in (build_policy(name, 64) for name in POLICIES):
        for seed in range(15):
            assert set(policy(sample, seed).classes) <= {0}
    assert fit(sample, 64)[0].classes.tolist() == [0]


def test_uncovered_area_is_grey_and_unknown():
    sample = Sample(np.zeros((100, 100, 3), np.uint8), [], [], [], np.ones((100, 100), np.uint8))
    for warp in WARPS:
        out = run(warp, sample)
        revealed = out.mask == 255
        assert 0.02 < revealed.mean() < 0.9
        assert (out.image[revealed] == 128).all() and (out.image[~revealed] == 0).all()


def test_shifting_inside_boxes_touches_nothing_else():
    sample = street(320, 320)
    sample.ignore[:] = [False, True, False]
    x1, y1, x2, y2 = sample.boxes[0].round().astype(int)
    shifted = 0
    for seed in range(40):
        # The shift is 36 pixels at this size, in every box.
        out = run(geometry.TranslateYInBoxes(72, box_p=3.0), sample, seed)
        assert np.allclose(out.boxes, sample.boxes, atol=1e-3)
        changed = (out.image != sample.image).any(-1)
        changed[y1:y2, x1:x2] = False
        third = sample.boxes[2]
        changed[int(third[1]) : int(np.ceil(third[3])), int(third[0]) : int(np.ceil(third[2]))] = False
        assert not changed.any()  # the second box is to be ignored
        down = np.array_equal(out.image[y1 + 36 : y1 + 100, x1:x2], sample.image[y1 : y1 + 64, x1:x2])
        shifted += down
        if down:
            assert (out.image[y1 : y1 + 36, x1:x2] == 128).all() and (
                out.mask[y1 : y1 + 36, x1:x2] == 255
            ).all()
    assert 8 <= shifted <= 32  # a fair coin decides up or down


def test_each_box_is_shifted_with_a_third_of_the_probability():
    boxes = [[20 * i, 20 * j, 20 * i + 16, 20 * j + 16] for i in range(16) for j in range(16)]
    sample = Sample(photo(320, 320), boxes, [0] * 256, [False] * 256)
    changed = 0
    for seed in range(12):
        out = run(geometry.TranslateYInBoxes(8, box_p=0.6), sample, seed)
        moved = (out.image != sample.image).any(-1)
        changed += sum(moved[y1:y2, x1:x2].any() for x1, y1, x2, y2 in boxes)
    assert abs(changed / (12 * 256) - 0.2) < 0.03  # four standard deviations


# ---- sizes


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([1, 2, 33, 64]),
    st.sampled_from(POLICIES),
    st.integers(0, 10**12),
)
def test_any_picture_becomes_exactly_size_by_size(height, width, size, name, seed):
    sample = Sample(
        photo(height, width), [[0, 0, width, height]], [7], [False], np.ones((height, width), np.uint8)
    )
    out = build_policy(name, size)(sample, seed)
    assert out.image.shape == (size, size, 3) and out.image.dtype == np.uint8 and out.image.flags.c_contiguous
    assert out.mask.shape == (size, size) and out.mask.dtype == np.uint8
    assert out.boxes.dtype == np.float32 and out.classes.dtype == np.int64 and out.ignore.dtype == bool
    assert (out.boxes >= 0).all() and (out.boxes <= size).all()


def test_no_boxes_stay_no_boxes():
    for policy in (build_policy(name, 50) for name in POLICIES):
        for seed in range(20):
            out = policy(Sample.unlabelled(photo()), seed)
            assert (
                out.boxes.shape == (0, 4)
                and out.classes.shape == out.ignore.shape == (0,)
                and out.mask is None
            )


def test_padding_is_bottom_right_in_the_mean_colour():
    out = build_policy("S1", 100, scale_range=(0.5, 0.5))(street(60, 80), 0)
    inside = np.zeros((100, 100), bool)
    inside[:38, :50] = True
    assert (
        (out.image[~inside] == FILL).all()
        and (out.mask[~inside] == 255).all()
        and (out.mask[inside] < 4).all()
    )
    other = build_policy("S1", 100, fill=(1, 2, 3), scale_range=(0.5, 0.5))(street(), 0)
    assert (other.image[99, 99] == (1, 2, 3)).all()


@settings(max_examples=40, deadline=None)
@given(scenes(), st.integers(20, 200))
def test_fit_keeps_everything_and_tells_the_scale(sample, size):
    out, scale = fit(sample, size)
    assert scale == pytest.approx(size / max(sample.image.shape[:2]))
    assert np.abs(out.boxes / scale - sample.boxes).max() <= 0.5 / scale + 1e-3
    assert np.abs(extent(out.mask == 1) - out.boxes[0]).max() <= 1.01
    assert extent(out.mask != 255).tolist()[:2] == [0, 0] and max(extent(out.mask != 255)) == size
    assert (out.image[out.mask == 255] == FILL).all()


def test_shrinking_does_not_alias():
    """Stripes of one pixel become even grey, not bands."""
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    bilinear = cv2.resize(stripes, (130, 130), interpolation=cv2.INTER_LINEAR)
    assert fit(Sample.unlabelled(stripes), 130)[0].image.std() < bilinear.std() / 3
