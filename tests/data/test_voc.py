"""Segmentation in PASCAL VOC's layout: lists, data sets, fractions and pools of them, and the generated set."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from selftrain.data.dataset import Labelled
from selftrain.data.fractions import fraction_ids, missing_classes, read_fraction, write_fraction
from selftrain.data.image import read_image
from selftrain.data.pool import listed_pool, rest_pool
from selftrain.data.shapes import generate as shapes
from selftrain.data.shapes import textures
from selftrain.data.shapes.generate import SPLITS, Shapes, generate, render
from selftrain.data.voc import (
    VOC_CLASSES,
    VocDataset,
    class_pixels,
    encode_mask,
    find_voc,
    has_labels,
    import_ids,
    read_voc,
)
from tests.data.test_data import picture, refuses, write

SHARED = Path(__file__).parents[2] / "../shared/data"


def label(i, width=32, height=24):
    """A class map of class i and i + 1 with an ignored border."""
    mask = np.full((height, width), 255, np.uint8)
    mask[2:-2, 2:-2] = i
    mask[4:8, 4:10] = i + 1
    return mask


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def stem(i):
    return f"2007_{i:06d}"


def add(root, i, mask=None, folder="SegmentationClass"):
    """Photo and mask of number i."""
    for path, image in (
        (root / "JPEGImages" / f"{stem(i)}.jpg", Image.fromarray(np.roll(picture(), i, axis=1))),
        (root / folder / f"{stem(i)}.png", None),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path) if image else path.write_bytes(encode_mask(label(i) if mask is None else mask))


def listed(root, name, numbers):
    return write(
        root / "ImageSets" / "Segmentation" / f"{name}.txt", "".join(f"{stem(i)}\n" for i in numbers)
    )


def voc(folder):
    """VOC2012 below `folder` with 4 photos for train and 2 for val; returns it."""
    root = folder / "VOCdevkit" / "VOC2012"
    for i in range(6):
        add(root, i)
    listed(root, "train", range(4))
    listed(root, "val", [4, 5])
    return root


# Layout and lists ---------------------------------------------------------------------------------------------------------------


def test_the_devkit_is_found_from_three_levels(tmp_path):
    root = voc(tmp_path)
    assert find_voc(root) == find_voc(root.parent) == find_voc(tmp_path) == root
    for wrong in (root / "JPEGImages", tmp_path / "gone"):
        refuses(
            lambda: find_voc(wrong),
            wrong,
            "Expected:",
            "ImageSets/Segmentation/{train,val}.txt",
            f"Found in {wrong}",
            "SegmentationClassAug",
        )
    assert f"  {stem(0)}.jpg" in refuses(lambda: find_voc(root / "JPEGImages"))
    (root.parent / "VOC2007" / "ImageSets" / "Segmentation").mkdir(parents=True)
    refuses(lambda: find_voc(tmp_path), tmp_path, "VOCdevkit/VOC2007, VOCdevkit/VOC2012")
    assert find_voc(root) == root


def test_a_list_is_read_with_its_photos_and_masks(tmp_path):
    root = voc(tmp_path)
    data = read_voc(tmp_path, "train")
    assert (
        isinstance(data, Labelled)
        and data.class_names == VOC_CLASSES
        and len(data) == 4
        and len(data.hash) == 16
    )
    assert data.image_ids.tolist() == [stem(i) for i in range(4)] and data.image_ids.dtype.kind == "U"
    assert not data.image_ids.flags["WRITEABLE"] and not data.mask_names.flags["WRITEABLE"]
    sample = data.sample(2)
    np.testing.assert_array_equal(sample.image, read_image(root / "JPEGImages" / f"{stem(2)}.jpg"))
    np.testing.assert_array_equal(sample.mask, label(2))
    np.testing.assert_array_equal(data.mask(2), label(2))
    assert sample.boxes.shape == (0, 4) and data.mask_path(2) == root / "SegmentationClass" / f"{stem(2)}.png"
    assert len(read_voc(root, "val", classes=VOC_CLASSES)) == 2
    message = refuses(
        lambda: read_voc(root, "val", classes=("background", "cow")), root, "not expected: aeroplane"
    )
    assert "21 classes are not the 2 expected" in message
    refuses(lambda: read_voc(root, "test"), root, "no ImageSets/Segmentation/test.txt", "train.txt, val.txt")
    with pytest.raises(ValueError, match="trainval"):
        read_voc(root, "trainval")


def test_lists_come_in_the_forms_of_the_papers(tmp_path):
    root = voc(tmp_path)
    plain = read_voc(root, "train")
    pairs = "".join(f"/JPEGImages/{stem(i)}.jpg /SegmentationClassAug/{stem(i)}.png\n" for i in range(4))
    crlf = "\ufeff" + "\r\n\r\n".join(f"{stem(i)}.jpg  " for i in range(4))
    for content in (pairs, crlf):
        write(root / "ImageSets" / "Segmentation" / "train.txt", content)
        again = read_voc(root, "train")
        assert again.image_ids.tolist() == plain.image_ids.tolist() and again.hash == plain.hash
    add(root, 7)
    (root / "JPEGImages" / f"{stem(7)}.jpg").rename(root / "JPEGImages" / "scene.v2.JPEG")
    (root / "SegmentationClass" / f"{stem(7)}.png").rename(root / "SegmentationClass" / "scene.v2.png")
    write(root / "ImageSets" / "Segmentation" / "train.txt", "scene.v2")
    assert read_voc(root, "train").names.tolist() == [b"scene.v2.JPEG"]


def test_coarse_labels_are_taken_where_there_are_any(tmp_path):
    root = voc(tmp_path)
    coarse = np.full((24, 32), 9, np.uint8)
    for i in (1, 8):
        add(root, i, coarse, "SegmentationClassAug")
    path = listed(root, "trainaug", [0, 1, 8])
    data = read_voc(root, "train_aug")
    for i, mask in enumerate((label(0), coarse, coarse)):
        np.testing.assert_array_equal(data.sample(i).mask, mask)
    np.testing.assert_array_equal(
        read_voc(root, "train").mask(1), label(1)
    )  # the fine labels stay the fine ones
    path.rename(path.with_name("train_aug.txt"))
    assert read_voc(root, "train_aug").hash == data.hash


def test_a_listed_stem_without_photo_or_mask_is_refused_by_name(tmp_path):
    root = voc(tmp_path)
    for folder, suffix, what in (("SegmentationClass", "png", "mask"), ("JPEGImages", "jpg", "photo")):
        for i in (1, 3):
            (root / folder / f"{stem(i)}.{suffix}").unlink()
        refuses(
            lambda: read_voc(root, "train"),
            root / folder,
            f"no {what} of {stem(1)}",
            "train.txt",
            "2 of its 4 have none",
        )
    assert len(read_voc(root, "val")) == 2
    write(root / "JPEGImages" / f"{stem(4)}.png", "x")
    refuses(
        lambda: read_voc(root, "val"), root / "JPEGImages", f"{stem(4)}.jpg", f"{stem(4)}.png", "one stem"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lists no image"),
        ("\n \n", "lists no image"),
        (f"{stem(1)}\n{stem(0)}\n{stem(1)}.jpg", f"{stem(1)} more than once"),
    ],
)
def test_broken_lists_are_refused_by_name(content, message, tmp_path):
    root = voc(tmp_path)
    path = write(root / "ImageSets" / "Segmentation" / "train.txt", content)
    refuses(lambda: read_voc(root, "train"), path, message)
    refuses(lambda: import_ids(path, read_voc(root, "val")), path, message)
    path.write_bytes(b"\xff\xfe\x00")
    refuses(lambda: read_voc(root, "train"), path, "UTF-8")


def test_a_test_list_may_be_without_masks_but_not_in_part(tmp_path):
    root = voc(tmp_path)
    assert (
        has_labels(tmp_path, "train") and not has_labels(root, "test") and not has_labels(root, "train_aug")
    )
    listed(root, "test", [4, 20, 21])
    (root / "SegmentationClass" / f"{stem(4)}.png").unlink()
    assert not has_labels(root, "test")
    add(root, 20)
    add(root, 21)
    assert has_labels(root, "test")
    refuses(lambda: read_voc(root, "test"), f"no mask of {stem(4)}")
    listed(root, "test", [])
    assert not has_labels(root, "test")


def test_class_names_come_from_the_folder_or_beside_it(tmp_path):
    root = voc(tmp_path)
    names = [f"class {i}" for i in range(30)]
    write(root.parent / "classes.txt", "\n".join(names) + "\n\n")
    assert read_voc(root, "train").class_names == tuple(names)
    path = write(root / "classes.txt", "sky\n  road \r\n" + "\n".join(map(str, range(253))))
    assert read_voc(root, "train").class_names[:3] == ("sky", "road", "0")
    for content, message in (
        ("\n", "names no class"),
        ("a\nb\na\n", "'a' more than once"),
        ("a\n\nb\n", "line 2 is empty"),
        ("\n".join(map(str, range(256))), "names 256 classes"),
    ):
        write(path, content)
        refuses(lambda: read_voc(root, "train"), path, message, "one class a line")


# Data sets ----------------------------------------------------------------------------------------------------------------------


def test_the_hash_tells_labels_names_and_choices_apart(tmp_path):
    root = voc(tmp_path)
    data = read_voc(root, "train")
    hashes = {
        data.hash,
        read_voc(root, "val").hash,
        data.subset([stem(1)]).hash,
        data.subset([stem(1), stem(2)]).hash,
    }
    assert data.subset([stem(2), stem(1)]).hash in hashes and len(hashes) == 4
    write(root / "classes.txt", "\n".join(VOC_CLASSES[:-1] + ("screen",)))
    hashes.add(read_voc(root, "train").hash)
    (root / "SegmentationClass" / f"{stem(3)}.png").write_bytes(encode_mask(label(4)))
    hashes.add(read_voc(root, "train").hash)
    assert len(hashes) == 6


def test_subset_keeps_order_masks_and_refuses_unknown_stems(tmp_path):
    root = voc(tmp_path)
    data = read_voc(root, "train")
    part = data.subset(np.array([stem(3), stem(1)]))
    assert (
        part.image_ids.tolist() == [stem(1), stem(3)]
        and part.mask_path(1) == data.mask_path(3)
        and part.path(0) == data.path(1)
    )
    np.testing.assert_array_equal(part.mask(1), label(3))
    assert data.subset(data.image_ids) is data
    refuses(
        lambda: data.subset([stem(1), stem(1) + "0"]), data.folder, f"no image with id {stem(1)}0 (1 of 2"
    )  # not cut to the known stem
    refuses(lambda: data.subset([7]), data.folder, "no image with id 7")
    refuses(lambda: data.subset([]), "without any image")


def test_photo_and_mask_of_different_sizes_are_refused(tmp_path):
    root = voc(tmp_path)
    data = read_voc(root, "train")
    data.mask_path(1).write_bytes(encode_mask(label(1, 30, 24)))
    data.mask_path(2).write_bytes(encode_mask(label(1, 24, 32)))
    assert "EXIF" not in refuses(lambda: data.sample(1), data.path(1), data.mask_path(1), "32x24", "30x24")
    refuses(lambda: data.sample(2), data.path(2), data.mask_path(2), "32x24", "24x32", "EXIF")
    data.path(0).unlink()
    refuses(lambda: data.sample(0), data.path(0), "no such file")
    data.mask_path(3).write_bytes(encode_mask(label(30)))
    refuses(lambda: data.sample(3), data.mask_path(3), "index 31")


def test_pixels_are_counted_by_class_and_missing_classes_named(tmp_path):
    root = voc(tmp_path)
    data = read_voc(root, "train")
    expected = sum(np.bincount(label(i).ravel(), minlength=256) for i in range(4))[:21]
    assert class_pixels(data).tolist() == data.class_counts.tolist() == expected.tolist()
    assert missing_classes(data, data.image_ids) == list(VOC_CLASSES[5:])
    assert missing_classes(data, [stem(1)]) == [name for k, name in enumerate(VOC_CLASSES) if k not in (1, 2)]
    write(data.mask_path(2), "x")
    refuses(lambda: class_pixels(data), data.mask_path(2))


def test_published_lists_are_imported_and_foreign_ones_refused(tmp_path):
    root = voc(tmp_path)
    data = read_voc(root, "train")
    path = write(
        tmp_path / "1_2" / "labeled.txt",
        f"JPEGImages/{stem(3)}.jpg SegmentationClass/{stem(3)}.png\n{stem(0)}\n",
    )
    ids = import_ids(path, data)
    assert ids.tolist() == [stem(0), stem(3)] and ids.dtype.kind == "U"
    assert data.subset(ids).image_ids.tolist() == ids.tolist()
    write(path, f"{stem(0)}\n2011_003148\n{stem(5)}\n")
    refuses(lambda: import_ids(path, data), path, "2007_000005", "2 of 3", "--protocol train_aug")
    refuses(lambda: import_ids(tmp_path / "gone.txt", data), "gone.txt", "no such file")


# Fractions and pools ------------------------------------------------------------------------------------------------------------


def bare(stems):
    names = np.array([f"{s}.jpg".encode() for s in stems])
    return VocDataset(Path("data"), Path("data"), names, names, np.array(stems), VOC_CLASSES, "ab")


stems = st.lists(
    st.text(
        st.characters(codec="utf-8", exclude_characters="\0/\n", exclude_categories=["Cs"]),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=80,
    unique=True,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stems, st.floats(0.02, 1), st.floats(0.02, 1), st.integers(0, 2**32), st.randoms())
def test_fractions_of_stems_are_nested_repeatable_and_independent_of_order(names, one, other, seed, random):
    small, large = sorted([one, other])
    data = bare(names)
    if round(small * len(names)) == 0:
        refuses(lambda: fraction_ids(data, small, seed), "no image is left")
        return
    inner, outer = fraction_ids(data, small, seed), fraction_ids(data, large, seed)
    assert len(inner) == round(small * len(names)) and inner.tolist() == sorted(inner.tolist())
    assert set(inner.tolist()) <= set(outer.tolist()) <= set(names)
    np.testing.assert_array_equal(fraction_ids(bare(random.sample(names, len(names))), small, seed), inner)
    np.testing.assert_array_equal(
        data.subset(inner).image_ids, [name for name in names if name in set(inner.tolist())]
    )


PUBLISHED = [
    "2007_000032",
    "2007_000212",
    "2007_000397",
    "2007_000540",
    "2007_000593",
]  # were these to change, lists could not be made again


def test_fractions_of_stems_stay_the_published_ones():
    assert fraction_ids(bare([stem(i) for i in range(1000)]), 0.005, 0).tolist() == PUBLISHED


def test_fraction_file_of_stems_round_trip_and_edits(tmp_path):
    path = tmp_path / "fraction.json"
    written = write_fraction(path, np.array([stem(3), stem(1)]), "abcd", 0.5, 3)
    back = read_fraction(path)
    assert (
        back.ids.tolist() == [stem(1), stem(3)] and back.ids.dtype.kind == "U" and back.hash == written.hash
    )
    assert (
        write_fraction(tmp_path / "other.json", np.array([stem(1), stem(4)]), "abcd", 0.5, 3).hash
        != written.hash
    )
    content = json.loads(path.read_text())
    for change in (
        {"image_ids": [stem(1), stem(4)]},
        {"image_ids": [stem(1)]},
        {"seed": 4},
        {"image_ids": [1, 3]},
    ):
        write(path, {**content, **change})
        refuses(lambda: read_fraction(path), path, "edited")
    for ids in (["x", 3], stem(1), {stem(1): 0}):
        write(path, {**content, "image_ids": ids})
        refuses(lambda: read_fraction(path), path, "not a list of labelled images")


def test_pools_hide_the_masks(tmp_path):
    data = read_voc(voc(tmp_path), "train")
    pool = rest_pool(data, np.array([stem(0), stem(2)]))
    assert pool.names.tolist() == [f"{stem(i)}.jpg".encode() for i in (1, 3)] and pool.sample(0).mask is None
    assert [pool.path(i) for i in range(2)] == [pool.hidden.path(i) for i in range(2)]
    np.testing.assert_array_equal(pool.hidden.mask(1), label(3))
    refuses(lambda: rest_pool(data, data.image_ids), "none is left", "--unlabeled")
    whole = listed_pool(data)
    assert (
        len(whole) == 4
        and whole.hidden is data
        and whole.sizes.tolist() == [data.path(i).stat().st_size for i in range(4)]
    )
    assert whole.hash != pool.hash and listed_pool(pool.hidden).hash == pool.hash
    data.path(1).unlink()
    refuses(lambda: listed_pool(data), data.path(1), "no such file")


# The generated set --------------------------------------------------------------------------------------------------------------

SMALL = Shapes(
    train=12, val=4, test=3, unlabeled=60, image_size=33
)  # two tasks, so two processes share the work


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("written") / "set", SMALL, workers=1, layout="voc")


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_generated_masks_are_those_drawn_and_photos_those_of_the_coco_layout(written, tmp_path):
    coco = generate(tmp_path / "coco", SMALL, workers=1)
    ours, theirs = files(written / "VOC2012"), files(coco)
    for split in SPLITS:
        data = read_voc(written, split)
        assert data.class_names == ("background", *textures.NAMES[:6]) and len(data) == getattr(SMALL, split)
        assert data.image_ids[0] == f"{split}_000001"
        for i in range(len(data)):
            _, _, classes, masks = render(SMALL, split, i)
            expected = np.zeros((33, 33), int)
            for k, mask in zip(classes, masks, strict=True):
                expected += (k + 1) * mask  # masks do not overlap
            np.testing.assert_array_equal(data.mask(i), expected)
            assert ours[f"JPEGImages/{split}_{i + 1:06d}.jpg"] == theirs[f"{split}2017/{i + 1:012d}.jpg"]
    assert (
        sum(name.startswith("JPEGImages") for name in ours)
        == 79
        == sum(name.endswith(".jpg") for name in theirs)
    )


def test_same_files_whatever_the_number_of_processes(written, tmp_path):
    assert files(generate(tmp_path / "two", SMALL, workers=2, layout="voc")) == files(written)


def test_the_other_layout_is_another_set_and_the_users_files_are_left_alone(tmp_path):
    spec = Shapes(train=2, val=1, test=1, unlabeled=0, image_size=33)
    root = generate(tmp_path / "set", spec, workers=1)
    assert "layout" not in json.loads((root / shapes.MARK).read_text())
    generate(root, spec, workers=1, layout="voc")
    assert (
        sorted(path.name for path in root.iterdir()) == ["VOC2012", shapes.MARK]
        and len(read_voc(root, "train")) == 2
    )
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    generate(root, spec, workers=1, layout="voc")
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before  # whole: left as it is
    (root / "VOC2012" / "classes.txt").unlink()
    generate(root, spec, workers=1, layout="voc")
    assert read_voc(root, "train").class_names[0] == "background"  # not whole: made anew
    for mine in (
        "VOC2012/SegmentationClassAug",
        "VOC2012/ImageSets/Segmentation/trainaug.txt",
        "VOC2012/ImageSets/Main",
        "notes",
    ):
        (root / mine).mkdir()
        for layout in ("coco", "voc"):
            with pytest.raises(FileExistsError, match=f"set.*{mine}"):
                generate(root, replace(spec, seed=1), workers=1, layout=layout)
        (root / mine).rmdir()
    generate(root, spec, workers=1)
    assert not (root / "VOC2012").exists() and [path.name for path in tmp_path.iterdir()] == ["set"]
    with pytest.raises(ValueError, match="yolo"):
        generate(root, spec, layout="yolo")


# Real masks ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not (SHARED / "voc-mini").is_dir(), reason="needs the photos in ../shared/data/voc-mini")
def test_real_photos_with_vocs_classes():
    train, val = read_voc(SHARED / "voc-mini", "train"), read_voc(SHARED / "voc-mini" / "VOCdevkit", "val")
    assert (
        (len(train), len(val)) == (266, 284)
        and train.class_names == VOC_CLASSES
        and not has_labels(SHARED / "voc-mini", "test")
    )
    assert missing_classes(train, train.image_ids) == []
    for i in range(0, 266, 40):
        sample = train.sample(i)
        with Image.open(train.mask_path(i)) as image:
            assert sample.image.shape[:2] == sample.mask.shape == image.size[::-1]
            np.testing.assert_array_equal(np.asarray(image), sample.mask)


@pytest.mark.skipif(not (SHARED / "camvid").is_dir(), reason="needs the photos in ../shared/data/camvid")
def test_real_photos_with_classes_of_their_own():
    data = read_voc(SHARED / "camvid", "test")
    assert len(data) == 233 and data.class_names[0] == "sky" and len(data.class_names) == 11
    assert data.class_counts.min() > 0 and has_labels(SHARED / "camvid", "test")
