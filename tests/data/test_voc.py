"""Data sets in PASCAL VOC's format."""

import numpy as np
import pytest
from PIL import Image

from selftrain.data.fractions import missing_classes
from selftrain.data.voc import VOC_CLASSES, class_pixels, encode_mask, has_labels, import_ids, read_voc
from tests.data.makers import SHARED, label, refuses, stem, voc, write


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
    # An unknown stem is not cut to a known one that it begins with.
    unknown = stem(1) + "0"
    refuses(lambda: data.subset([stem(1), unknown]), data.folder, f"no image with id {unknown} (1 of 2")
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
