"""The fields that make a generated set harder in one thing, and that at their defaults no set changes."""

import hashlib
import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftrain.data.coco import read_coco
from selftrain.data.shapes import textures
from selftrain.data.shapes.draw import Shapes, render
from selftrain.data.shapes.generate import CATEGORY_IDS, MARK, SPLITS, generate
from selftrain.data.shapes.spec import HARD, LATER
from selftrain.data.voc import read_voc

# digest and pixels of sets that were drawn before there were the fields of LATER and more than eight classes
OLDER = [
    (dict(), "c3d1c4433342ec84", "4fbb67ac87d156dd"),
    (dict(classes=8, difficulty=1.0, objects=(3, 9)), "4a98440ed9d08a4a", "1f00f1eb37a59c60"),
    (dict(image_size=33, classes=3, difficulty=0.0, seed=7), "7932c8e976c57804", "a8b7d873cf5360ce"),
    (
        dict(image_size=65, train=300, val=200, test=500, unlabeled=2000, classes=5, difficulty=0.1),
        "b4919f1a7e024410",
        "ef0cb1ea46eb5f11",
    ),
    (dict(image_size=129, objects=(1, 1), difficulty=0.7), "1a4ff7133e79ad16", "37d5638bb47b44cd"),
]


@pytest.mark.parametrize(("fields", "digest", "drawn"), OLDER)
def test_older_sets_are_drawn_as_they_were(fields, digest, drawn):
    spec = Shapes(**fields)
    assert spec.digest() == digest
    arrays = hashlib.blake2b(digest_size=8)
    for split in SPLITS:
        for index in range(10):
            for array in render(spec, split, index):
                arrays.update(array.tobytes())
    # libraries round some floats otherwise with other vector instructions: one of these sets has other pixels
    # on a processor without AVX-512
    if np._core._multiarray_umath.__cpu_features__["AVX512_SKX"]:
        assert arrays.hexdigest() == drawn


def test_older_sets_keep_their_files_and_newer_fields_are_told(tmp_path):
    counts = dict(image_size=33, train=2, val=1, test=0, unlabeled=0)
    root = generate(tmp_path / "older", Shapes(**counts), workers=1)
    older = ("classes", "difficulty", "image_size", "objects", "seed", "test", "train", "unlabeled", "val")
    assert sorted(json.loads((root / MARK).read_text())["spec"]) == list(older)
    assert set(asdict(Shapes())) == {*older, *LATER}
    newer = Shapes(**counts, contrast=0.5, distractors=[0, 1])
    root = generate(tmp_path / "newer", newer, workers=1)
    told = json.loads((root / MARK).read_text())["spec"]
    assert set(told) == {*older, "contrast", "distractors"} and Shapes(**told) == newer


def test_each_newer_field_makes_another_set_and_spellings_do_not():
    changed = dict(similarity=0.5, distractors=(0, 1), occlusion=0.5, contrast=0.5, object_scale=(0.2, 0.5))
    assert set(changed) == set(LATER)
    specs = [Shapes(), *(Shapes(**{name: value}) for name, value in changed.items())]
    assert len({spec.digest() for spec in specs}) == len(specs)
    drawn = {b"".join(render(spec, "train", i)[0].tobytes() for i in range(8)) for spec in specs}
    assert len(drawn) == len(specs)
    assert Shapes(contrast=1).digest() == Shapes().digest() == Shapes(distractors=[0, 0]).digest()
    assert Shapes(object_scale=[1, 1]).digest() == Shapes(object_scale=(1.0, 1.0)).digest()


harder = st.builds(
    Shapes,
    image_size=st.sampled_from([33, 65, 97]),
    classes=st.integers(2, len(textures.NAMES)),
    objects=st.integers(0, 7).map(lambda most: (0, most)),
    difficulty=st.floats(0, 1),
    similarity=st.floats(0, 1),
    distractors=st.integers(0, 6).map(lambda most: (0, most)),
    occlusion=st.floats(0, 1),
    contrast=st.floats(0.01, 1),
    object_scale=st.none() | st.floats(0.2, 1).flatmap(lambda x: st.tuples(st.just(x), st.floats(x, 1))),
    seed=st.integers(0, 1000),
)


@settings(max_examples=60, deadline=None)
@given(spec=harder, split=st.sampled_from(SPLITS), index=st.integers(0, 10**6))
def test_boxes_and_masks_are_valid_whatever_the_fields(spec, split, index):
    image, boxes, labels, masks = render(spec, split, index)
    side = spec.image_size
    assert image.shape == (side, side, 3) and image.dtype == np.uint8
    assert len(boxes) == len(labels) == len(masks) <= spec.objects[1]
    assert masks.sum(0).max(initial=0) <= 1
    for (x1, y1, x2, y2), label, mask in zip(boxes.astype(int), labels, masks):
        assert 0 <= label < spec.classes
        assert mask.sum() >= 0.35 * spec.smallest() ** 2
        assert mask.sum() == mask[y1:y2, x1:x2].sum()
        assert mask[y1, :].any() and mask[y2 - 1, :].any() and mask[:, x1].any() and mask[:, x2 - 1].any()
    again = render(replace(spec), split, index)
    assert all(np.array_equal(one, two) for one, two in zip((image, boxes, labels, masks), again))


def test_all_classes_are_drawn_and_named(tmp_path):
    count = len(textures.NAMES)
    assert count == 20 == len(set(textures.NAMES)) and CATEGORY_IDS[:8] == (1, 2, 4, 5, 7, 8, 10, 11)
    spec = Shapes(image_size=33, train=60, val=1, test=0, unlabeled=0, classes=count)
    root = generate(tmp_path / "coco", spec, workers=1)
    data = read_coco(root / "annotations/instances_train2017.json", root / "train2017")
    assert data.class_names == textures.NAMES and (data.class_counts > 0).all()
    voc = generate(tmp_path / "voc", spec, workers=1, layout="voc")
    assert read_voc(voc, "train").class_names == ("background", *textures.NAMES)


def field(name, seed, **options):
    """A texture over a patch of 61 x 61 pixels."""
    v, u = np.mgrid[-30:31, -30:31].astype(np.float32)
    return textures.weights(name, u, v, 60, np.random.default_rng(seed), **options)


def test_no_texture_is_another_one_in_other_colours():
    """Colours change places at random, so a texture and its negative are one class."""
    fields = {n: np.stack([field(n, seed) for seed in range(12)]) for n in textures.NAMES}
    for i, one in enumerate(textures.NAMES):
        for other in textures.NAMES[:i]:
            difference = np.abs(fields[one] - fields[other]).mean((1, 2))
            assert np.minimum(difference, 1 - difference).mean() > 0.1, (one, other)


@pytest.mark.parametrize("pair", [("checks", "dots"), ("rings", "spokes"), ("solid", "gradient")])
def test_similarity_brings_textures_of_a_kind_together_and_leaves_others(pair):
    def apart(similarity, one, other):
        options = dict(similarity=similarity, classes=(*pair, "stripes"))
        pairs = ((field(one, seed, **options), field(other, seed, **options)) for seed in range(20))
        return np.mean([np.abs(a - b).mean() for a, b in pairs])

    distances = [apart(similarity, *pair) for similarity in (0, 0.33, 0.67, 1)]
    assert all(np.diff(distances) < -0.01) and distances[-1] > 0.2 * distances[0]
    alone = [field("stripes", 1, similarity=s, classes=(*pair, "stripes")) for s in (0, 1)]
    np.testing.assert_allclose(*alone, atol=1e-5)


def detail(image, masks):
    """Contrast between neighbouring pixels outside of these masks."""
    shown = ~cv2.dilate(masks.any(0).astype(np.uint8), np.ones((3, 3))).astype(bool)
    edges = np.abs(np.diff(cv2.GaussianBlur(image, (0, 0), 1).astype(float), axis=1)).mean(2)
    return edges[shown[:, 1:]].mean()


def test_distractors_look_like_objects_and_have_no_label():
    plain = Shapes(objects=(0, 0), difficulty=0)
    for index in range(6):
        image, boxes, labels, masks = render(replace(plain, distractors=(3, 3)), "val", index)
        assert boxes.shape == (0, 4) and masks.shape == (0, 65, 65) and len(labels) == 0
        empty = render(plain, "val", index)
        objects = render(replace(plain, objects=(3, 3), classes=8), "val", index)
        assert detail(image, masks) > 2 * detail(empty[0], empty[3])
        assert detail(image, masks) > 0.4 * detail(objects[0], empty[3])


def test_distractors_are_background_in_masks_of_the_voc_layout(tmp_path):
    spec = Shapes(train=12, val=1, test=0, unlabeled=0, objects=(1, 2), distractors=(2, 4))
    data = read_voc(generate(tmp_path / "set", spec, workers=1, layout="voc"), "train")
    for index in range(len(data)):
        _, _, labels, masks = render(spec, "train", index)
        expected = sum((int(k) + 1) * mask for k, mask in zip(labels, masks)) + np.zeros((65, 65), int)
        np.testing.assert_array_equal(data.mask(index), expected)
        assert (data.mask(index) == 0).any() and len(labels) <= 2


def test_distractors_do_not_crowd_out_one_class_more_than_another():
    spec = Shapes(image_size=33, objects=(3, 5), distractors=(3, 5))
    labels = np.concatenate([render(spec, "test", i)[2] for i in range(400)])
    assert np.bincount(labels, minlength=6) / len(labels) == pytest.approx(np.full(6, 1 / 6), abs=0.04)


def filled(spec, count=80):
    """Mean share of its box that an object fills, which falls where others hide a part of it."""
    shares = []
    for index in range(count):
        _, boxes, _, masks = render(spec, "train", index)
        sides = boxes[:, 2:] - boxes[:, :2]
        shares += (masks.sum((1, 2)) / sides.prod(1)).tolist()
    return np.mean(shares)


def test_occlusion_hides_more_of_objects():
    spec = Shapes(difficulty=0, objects=(4, 4))
    assert spec.visible() == 0.9 and replace(spec, occlusion=0.6).visible() == pytest.approx(0.4)
    assert replace(spec, occlusion=0.05).visible() == 0.9  # no more than difficulty asks for already
    shares = [filled(replace(spec, occlusion=x)) for x in (0, 0.3, 0.6)]
    assert all(np.diff(shares) < -0.015), shares


def test_contrast_fades_objects_and_not_the_ground():
    fields = dict(objects=(1, 1), difficulty=0, classes=8)
    for index in range(12):
        drawn = [render(Shapes(**fields, contrast=c), "train", index) for c in (1, 0.5, 0.2)]
        (mask,) = drawn[0][3] if len(drawn[0][3]) else (np.zeros((65, 65), bool),)
        assert all(np.array_equal(mask, other[3].any(0)) for other in drawn)
        far = ~cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))).astype(bool)
        for other in drawn[1:]:
            np.testing.assert_array_equal(drawn[0][0][far], other[0][far])
        if mask.any():
            faded = [image[mask].std(0).sum() for image, *_ in drawn]
            assert faded[0] > faded[1] > faded[2]


def test_object_scale_sets_the_sizes_whatever_the_difficulty():
    for difficulty in (0, 1):
        spec = Shapes(difficulty=difficulty, objects=(1, 1), object_scale=(0.2, 0.3))
        assert (spec.smallest(), spec.largest()) == pytest.approx((13, 19.5))
        areas = [mask.sum() for index in range(60) for mask in render(spec, "train", index)[3]]
        assert max(areas) <= 1.1 * textures.FILL * spec.largest() ** 2  # of rounding to pixels
        assert min(areas) >= 0.35 * spec.smallest() ** 2
        assert max(areas) > 0.8 * textures.FILL * spec.largest() ** 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("similarity", -0.1),
        ("similarity", 1.1),
        ("similarity", float("nan")),
        ("distractors", (2, 1)),
        ("distractors", (-1, 1)),
        ("distractors", (1,)),
        ("occlusion", 1.01),
        ("occlusion", -1),
        ("contrast", 0),
        ("contrast", 1.5),
        ("object_scale", (0.5, 0.2)),
        ("object_scale", (0.2, 1.2)),
        ("object_scale", (0.01, 0.2)),
        ("object_scale", (0.2,)),
    ],
)
def test_wrong_values_of_the_newer_fields_are_named(name, value):
    with pytest.raises(ValueError, match=f"shapes: .*{name}.* does not hold"):
        Shapes(**{name: value})


def test_the_harder_set_is_harder_in_recognition():
    assert HARD.classes > Shapes().classes and HARD.similarity > 0 and HARD.distractors[1] > 0
    assert HARD.occlusion > 0 and HARD.contrast < 1
    labels = np.concatenate([render(HARD, "train", i)[2] for i in range(100)])
    assert set(labels.tolist()) == set(range(HARD.classes))
