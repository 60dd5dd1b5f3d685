"""Readers of images and COCO files."""

import contextlib
import io
import json
import multiprocessing
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from selftrain.data.coco import CocoDataset, find_layout, read_coco, write_coco
from selftrain.data.image import image_size, read_image
from selftrain.system.errors import UserError

MINI = Path(__file__).parents[2] / "../shared/data/coco-mini"


def picture(width=32, height=24):
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (width + height - 2)], -1
    ).astype(np.uint8)


def coco(count=3, **changes):
    """A small valid COCO dictionary: image i (id 10 i + 10) is 32x24 and has one box."""
    content = {
        "images": [
            {"id": 10 * i + 10, "file_name": f"{i}.jpg", "width": 32, "height": 24} for i in range(count)
        ],
        "annotations": [
            {
                "id": i + 1,
                "image_id": 10 * i + 10,
                "category_id": 7,
                "bbox": [2, 3, 10, 5],
                "area": 40.5,
                "iscrowd": 0,
            }
            for i in range(count)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    return {**content, **changes}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(tmp_path, content):
    return read_coco(write(tmp_path / "labels.json", content), tmp_path)


def refuses(action, *parts):
    """The refusal's message, which names each of `parts`."""
    with pytest.raises(UserError) as caught:
        action()
    for part in parts:
        assert str(part) in str(caught.value)
    return str(caught.value)


# Images -------------------------------------------------------------------------------------------------------------------------


def image_kinds():
    """Name, suffix, encoded bytes of every kind of picture a folder of photos may hold."""
    rgb = Image.fromarray(picture())
    y, x = np.mgrid[:24, :32]
    deep = (x * 2000 + y * 100).astype(np.uint16)
    colour16 = np.stack([deep, 65535 - deep, deep // 2], -1)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray((x * 8).astype(np.uint8)))
    palette = rgb.quantize(16)

    def encode(image, form, **options):
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        return buffer.getvalue()

    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"jpeg-exif{orientation}", "jpg", encode(rgb, "JPEG", quality=95, exif=exif)
        yield f"png-exif{orientation}", "png", encode(rgb, "PNG", exif=exif)
        yield f"webp-exif{orientation}", "webp", encode(rgb, "WEBP", lossless=True, exif=exif)
        yield f"tiff-exif{orientation}", "tif", encode(rgb, "TIFF", exif=exif)
    yield "jpeg-progressive", "jpg", encode(rgb, "JPEG", progressive=True)
    yield "jpeg-grey", "jpg", encode(rgb.convert("L"), "JPEG")
    yield "jpeg-cmyk", "jpg", encode(rgb.convert("CMYK"), "JPEG", quality=98)
    yield "png-grey", "png", encode(rgb.convert("L"), "PNG")
    yield "png-grey-alpha", "png", encode(alpha.convert("LA"), "PNG")
    yield "png-one-bit", "png", encode(rgb.convert("1"), "PNG")
    yield "png-palette", "png", encode(palette, "PNG")
    yield "png-palette-transparent", "png", encode(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    yield "png-alpha", "png", encode(alpha, "PNG")
    yield "png-grey16", "png", encode(Image.fromarray(deep), "PNG")
    yield "png-colour16", "png", cv2.imencode(".png", colour16[:, :, ::-1])[1].tobytes()
    yield "bmp", "bmp", encode(rgb, "BMP")
    yield "bmp-palette", "bmp", encode(palette, "BMP")
    yield "webp-alpha", "webp", encode(alpha, "WEBP", lossless=True, exact=True)
    yield "tiff-alpha", "tif", encode(alpha, "TIFF")
    yield "tiff-cmyk", "tif", encode(rgb.convert("CMYK"), "TIFF")
    yield "tiff-grey16", "tif", encode(Image.fromarray(deep), "TIFF")


KINDS = {name: (suffix, data) for name, suffix, data in image_kinds()}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # of the reference
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_what_pillow_sees(kind, tmp_path):
    suffix, data = KINDS[kind]
    path = tmp_path / f"photo.{suffix}"
    path.write_bytes(data)
    image = read_image(path)
    reference = ImageOps.exif_transpose(Image.open(path))
    if reference.mode.startswith("I;16"):  # Pillow's conversion would clip
        reference = Image.fromarray((np.asarray(reference) >> 8).astype(np.uint8))
    reference = np.asarray(reference.convert("RGB"))
    assert image.dtype == np.uint8 and image.flags["C_CONTIGUOUS"] and image.flags["WRITEABLE"]
    assert image.shape == reference.shape
    assert image_size(path) == (image.shape[1], image.shape[0])
    assert np.abs(image.astype(int) - reference).max() <= 1  # CMYK is converted with another rounding


def test_orientation_really_turns_the_picture(tmp_path):
    upright = picture()
    path = tmp_path / "turned.png"
    path.write_bytes(KINDS["png-exif6"][1])
    np.testing.assert_array_equal(read_image(path), np.rot90(upright, -1))


def padded(data):
    """A download that stopped half-way in a file whose space was reserved."""
    return data[: len(data) // 2] + bytes(len(data) - len(data) // 2)


DAMAGE = {
    "half": lambda data: data[: len(data) // 2],
    "last-bytes-missing": lambda data: data[:-20],
    "zero-padded": padded,
    "empty": lambda data: b"",
    "text": lambda data: b"<html>404 not found</html>",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("form", ["JPEG", "progressive", "thumbnail", "PNG", "WEBP", "TIFF", "BMP"])
def test_damaged_images_are_refused_by_name(form, damage, tmp_path):
    buffer, options = io.BytesIO(), {"progressive": True} if form == "progressive" else {}
    photo = Image.fromarray(picture(320, 240))
    photo.save(buffer, "JPEG" if form in ("progressive", "thumbnail") else form, **options)
    data = buffer.getvalue()
    if form == "thumbnail":  # the end mark of the picture inside must not pass for that of the picture
        segment = b"Exif\0\0" + KINDS["jpeg-grey"][1]
        data = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + data[2:]
    path = tmp_path / "photo.img"
    path.write_bytes(data)
    assert read_image(path).shape == (240, 320, 3)
    if damage == "zero-padded" and form in ("BMP", "TIFF", "WEBP"):
        pytest.skip("the format has neither end mark nor checksum: zeros are pixels")
    path.write_bytes(DAMAGE[damage](data))
    refuses(lambda: read_image(path), path, "Download or copy it again")


def test_missing_image_is_refused_by_name(tmp_path):
    refuses(lambda: read_image(tmp_path / "gone.jpg"), tmp_path / "gone.jpg", "no such file")
    refuses(lambda: image_size(tmp_path / "gone.jpg"), tmp_path / "gone.jpg", "no such file")


# COCO files ---------------------------------------------------------------------------------------------------------------------


def random_coco(seed, images=40, annotations=300):
    rng = np.random.default_rng(seed)
    ids = rng.choice(10**6, images, replace=False).tolist()
    content = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": 640, "height": 480} for i in ids],
        "annotations": [],
        "categories": [{"id": int(i), "name": f"class {i}"} for i in rng.permutation([1, 5, 13, 90])],
    }
    for n in range(annotations):
        x, y = rng.uniform(0, 600), rng.uniform(0, 440)
        w, h = rng.uniform(1, 640 - x), rng.uniform(1, 480 - y)
        content["annotations"].append(
            {
                "id": n + 100,
                "image_id": ids[rng.integers(images - 3)],  # three images stay without
                "category_id": int(rng.choice([1, 5, 13, 90])),
                "bbox": [float(x), float(y), float(w), float(h)],
                "area": float(w * h / 2),
                "iscrowd": int(rng.random() < 0.1),
                "segmentation": [[1.0, 2.0, 3.0]],
            }
        )
    return content


def test_reader_agrees_with_pycocotools(tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco")
    path = write(tmp_path / "labels.json", random_coco(0))
    data = read_coco(path, tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = pycocotools.COCO(str(path))
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
    assert data.dropped == {
        "zero-area boxes": 2,
        "outside boxes": 2,
        "clipped boxes": 1,
    }  # 1/100 pixel is COCO's rounding
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


@pytest.mark.skipif(not MINI.is_dir(), reason="needs the photos in ../shared/data/coco-mini")
def test_real_photos():
    layout = find_layout(MINI)
    train, val = (
        read_coco(layout.train_json, layout.train_images),
        read_coco(layout.val_json, layout.val_images),
    )
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
