"""PASCAL VOC's format: folders, lists and class names."""

import numpy as np
import pytest

from selftrain.data.dataset import Labelled
from selftrain.data.image import read_image
from selftrain.data.voc import VOC_CLASSES, find_voc, has_labels, import_ids, read_voc
from tests.data.makers import add, label, refuses, stem, voc, write, write_list


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
    path = write_list(root, "trainaug", [0, 1, 8])
    data = read_voc(root, "train_aug")
    for i, mask in enumerate((label(0), coarse, coarse)):
        np.testing.assert_array_equal(data.sample(i).mask, mask)
    # The fine labels stay the fine ones.
    np.testing.assert_array_equal(read_voc(root, "train").mask(1), label(1))
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
    write_list(root, "test", [4, 20, 21])
    (root / "SegmentationClass" / f"{stem(4)}.png").unlink()
    assert not has_labels(root, "test")
    add(root, 20)
    add(root, 21)
    assert has_labels(root, "test")
    refuses(lambda: read_voc(root, "test"), f"no mask of {stem(4)}")
    write_list(root, "test", [])
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
