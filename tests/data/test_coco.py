"""The reader and writer of COCO's format."""

import contextlib
import io
import json
import multiprocessing
import pickle

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from selftrain.data.coco import CocoDataset, find_layout, read_coco, write_coco
from selftrain.data.image import image_size, read_image
from tests.data.makers import SHARED, coco, picture, random_coco, read, refuses, write


def test_reader_agrees_with_pycocotools(tmp_path):
    path = write(tmp_path / "labels.json", random_coco(0))
    data = read_coco(path, tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(path))
    assert data.category_ids == tuple(sorted(reference.getCatIds()))
    assert set(data.image_ids.tolist()) == set(reference.getImgIds())
    for i, image_id in enumerate(data.image_ids.tolist()):
        wanted = reference.loadAnns(reference.getAnnIds([image_id]))
        boxes, classes, crowd = data.labels(i)
        rows = slice(data.offsets[i], data.offsets[i + 1])
        corners = np.array([a["bbox"] for a in wanted]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_array_equal(data.boxes[rows], corners)
        assert boxes.dtype == np.float32 and classes.dtype == np.int64 and crowd.dtype == bool
        assert [data.category_ids[c] for c in classes] == [a["category_id"] for a in wanted]
        assert crowd.tolist() == [bool(a["iscrowd"]) for a in wanted]
        assert data.areas[rows].tolist() == [a["area"] for a in wanted]
        assert data.path(i).name == reference.imgs[image_id]["file_name"]
        assert data.sizes[i].tolist() == [640, 480]


def test_categories_are_numbered_by_id_and_checked(tmp_path):
    data = read(tmp_path, coco())
    assert data.class_names == ("dog", "cat") and data.category_ids == (3, 7)
    assert data.classes.tolist() == [1, 1, 1] and data.class_counts.tolist() == [0, 3]
    path = tmp_path / "labels.json"
    assert len(read_coco(path, tmp_path, classes=("dog", "cat"))) == 3
    refuses(
        lambda: read_coco(path, tmp_path, classes=("cat", "dog")), path, "another order", "'dog'", "'cat'"
    )
    refuses(
        lambda: read_coco(path, tmp_path, classes=("dog", "cow")), path, "missing: cow", "not expected: cat"
    )


def test_bad_boxes_are_dropped_or_clipped_and_counted(tmp_path):
    content = coco(2)
    for n, box in enumerate(
        [[5, 5, 0, 4], [5, 5, 3, -1], [40, 2, 5, 5], [-9, 2, 5, 5], [-2, -2, 100, 6], [0, 0, 32.01, 24]]
    ):
        content["annotations"].append({"id": 50 + n, "image_id": 20, "category_id": 3, "bbox": box})
    data = read(tmp_path, content)
    # The last box sticks out by 1/100 pixel, which is COCO's rounding and not counted.
    assert data.dropped == {"zero-area boxes": 2, "outside boxes": 2, "clipped boxes": 1}
    assert data.labels(1)[0].tolist() == [[2, 3, 12, 8], [0, 0, 32, 4], [0, 0, 32, 24]]
    assert data.areas[-2:].tolist() == [128, 768]  # none given: that of the box
    assert data.listed.tolist() == [1, 7]


def test_a_sliver_that_vanishes_in_float32_is_dropped(tmp_path):
    content = coco(1, images=[{"id": 10, "file_name": "0.jpg", "width": 9000, "height": 24}])
    content["annotations"].append({"id": 9, "image_id": 10, "category_id": 3, "bbox": [8000, 1, 1e-6, 5]})
    data = read(tmp_path, content)
    assert data.dropped["zero-area boxes"] == 1 and len(data.boxes) == 1


def test_images_without_annotation_stay_and_ignore_reads_as_crowd(tmp_path):
    content = coco(3)
    content["annotations"] = content["annotations"][:2]
    content["annotations"][1]["ignore"] = 1
    data = read(tmp_path, content)
    assert len(data) == 3 and data.counts.tolist() == [1, 1, 0]
    assert data.crowd.tolist() == [False, True] and data.has_objects.tolist() == [True, False, False]
    assert data.labels(2)[0].shape == (0, 4)


def entry(kind, **changes):
    content = coco()
    content[kind][1].update(changes)
    return content


def without(kind, key):
    content = coco()
    del content[kind][1][key]
    return content


BROKEN = {
    "truncated": (json.dumps(coco())[:150], "ends too early, after 150 bytes"),
    "misspelt": ('{"images": [],\n "annotations" []}', "line 2, column 16"),
    "nan": (json.dumps(entry("annotations", bbox=[1, 2, float("nan"), 3])), "not finite"),
    "minus-infinity": (json.dumps(entry("annotations", bbox=[float("-inf"), 2, 2, 3])), "not finite"),
    "too-large": (
        json.dumps(coco()).replace("40.5", "1e999", 1),
        "annotations[0] (id 1): Number out of range",
    ),
    "list": ([], "not COCO-like"),
    "other-keys": ({"data": []}, "not COCO-like"),
    "no-annotation-list": ({"images": coco()["images"], "categories": []}, "no annotations at all"),
    "no-annotations": (coco(annotations=[]), "no annotations at all"),
    "no-images": (coco(0), "no images at all"),
    "box-of-three": (
        entry("annotations", bbox=[1, 2, 3]),
        "annotations[1] (id 2): Expected `array` of length 4 - at `bbox`",
    ),
    "null-box": (entry("annotations", bbox=None), "annotations[1] (id 2)"),
    "text-id": (entry("images", id="20"), 'images[1] (id "20"): Expected `int`, got `str`'),
    "no-file-name": (
        without("images", "file_name"),
        "images[1] (id 20): Object missing required field `file_name`",
    ),
    "huge-id": (entry("images", id=2**70), "64 bits"),
    "unknown-category": (entry("annotations", category_id=8), "annotation 2 is for unknown category id 8"),
    "unknown-image": (entry("annotations", image_id=8), "annotation 2 is for unknown image id 8"),
    "image-twice": (entry("images", id=10), "image id 10 is used twice"),
    "annotation-twice": (entry("annotations", id=1), "annotation id 1 is used twice"),
    "category-twice": (entry("categories", id=7), "category id 7 is used twice"),
    "name-twice": (entry("categories", name="cat"), "two categories have the same name"),
    "flat-image": (entry("images", height=0), "image id 20 has no width or height"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_json_is_refused_by_name_and_place(fault, tmp_path):
    content, message = BROKEN[fault]
    refuses(lambda: read(tmp_path, content), tmp_path / "labels.json", message)


def test_missing_json_is_refused_by_name(tmp_path):
    refuses(lambda: read_coco(tmp_path / "gone.json", tmp_path), tmp_path / "gone.json", "no such file")


def test_sample_decodes_and_refuses_another_size(tmp_path):
    data = read(tmp_path, entry("annotations", iscrowd=1))
    for i, shape in enumerate([(32, 24), (32, 24), (24, 32)]):
        Image.fromarray(picture(*shape)).save(data.path(i))
    sample = data.sample(1)
    np.testing.assert_array_equal(sample.image, read_image(data.path(1)))
    assert (
        sample.boxes.tolist() == [[2, 3, 12, 8]]
        and sample.classes.tolist() == [1]
        and sample.ignore.tolist() == [True]
    )
    refuses(lambda: data.sample(2), data.path(2), "24x32", "32x24", "EXIF")
    data.path(0).unlink()
    refuses(lambda: data.sample(0), data.path(0), "no such file")


def test_subset_keeps_the_parents_order_and_labels(tmp_path):
    data = read(tmp_path, random_coco(1))
    chosen = data.image_ids[[30, 2, 17]]
    part = data.subset(chosen)
    assert part.image_ids.tolist() == data.image_ids[[2, 17, 30]].tolist()
    for i, parent in enumerate([2, 17, 30]):
        assert part.path(i) == data.path(parent)
        for mine, theirs in zip(part.labels(i), data.labels(parent), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert part.hash == data.subset(sorted(chosen)).hash != data.hash
    assert data.subset(data.image_ids) is data
    refuses(lambda: data.subset([-5]), data.folder, "no image with id -5")
    refuses(lambda: data.subset([]), "without any image")


def test_write_and_read_back(tmp_path):
    data = read(tmp_path, random_coco(2))
    scored = CocoDataset(**{**vars(data), "scores": np.linspace(0, 1, len(data.boxes), dtype=np.float32)})
    path = tmp_path / "pseudo" / "round1.json"
    write_coco(path, scored, {"teacher": "abc", "threshold": 0.5})
    back = read_coco(path, tmp_path, classes=data.class_names)
    order = np.argsort(data.image_ids)
    wanted = scored.take(order)
    np.testing.assert_array_equal(back.image_ids, wanted.image_ids)
    np.testing.assert_array_equal(back.offsets, wanted.offsets)
    np.testing.assert_allclose(back.boxes, wanted.boxes, atol=1.1e-3)
    np.testing.assert_allclose(back.scores, wanted.scores, atol=1e-6)
    np.testing.assert_array_equal(back.classes, wanted.classes)
    np.testing.assert_array_equal(back.crowd, wanted.crowd)
    first = path.read_bytes()
    write_coco(path, back, {"threshold": 0.5, "teacher": "abc"})
    assert path.read_bytes() == first  # rounding is stable, and no order of keys or images enters
    assert json.loads(first)["info"] == {"teacher": "abc", "threshold": 0.5}
    assert [p.name for p in path.parent.iterdir()] == ["round1.json"]


def _pages(data, queue):
    queue.put((int(data.boxes.sum()), data.names[0]))


def test_arrays_are_flat_read_only_and_cross_processes(tmp_path):
    data = read(tmp_path, random_coco(3, images=500, annotations=5000))
    arrays = [value for value in vars(data).values() if isinstance(value, np.ndarray)]
    assert all(a.dtype != object and not a.flags["WRITEABLE"] for a in arrays)
    pickled = pickle.dumps(data)
    assert len(pickled) < sum(a.nbytes for a in arrays) + 5000
    assert pickle.loads(pickled).hash == data.hash
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=_pages, args=(data, queue))
    worker.start()
    assert queue.get() == (int(data.boxes.sum()), data.names[0])
    worker.join()


MINI = SHARED / "coco-mini"


@pytest.mark.skipif(not MINI.is_dir(), reason="needs the photos in ../shared/data/coco-mini")
def test_real_photos():
    layout = find_layout(MINI)
    train = read_coco(layout.train_json, layout.train_images)
    val = read_coco(layout.val_json, layout.val_images)
    assert (len(train), len(val), len(train.class_names)) == (294, 310, 80) and len(train.boxes) == 2509
    assert (
        train.class_names == val.class_names
        and train.class_names[0] == "person"
        and train.category_ids[-1] == 90
    )
    for i in range(0, 294, 60):
        sample = train.sample(i)
        assert sample.image.shape[:2] == tuple(train.sizes[i][::-1])
        assert image_size(train.path(i)) == tuple(train.sizes[i])
