"""Pictures that are nearly those scored on, and ImageNet's photos in a pool."""

import cv2
import numpy as np
import pytest
from PIL import Image

from selftrain.data.check.near import near_pairs, perceptual_hash
from selftrain.data.image import read_image
from tests.data.makers import SHARED, coco, findings, picture, run_check, voc, write

NEAR = "nearly the same picture as a scored one"


def scene(seed, width=160, height=120):
    """A picture (H, W, 3) with forms of all sizes, as a photo has."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24):
        image += cv2.resize(rng.uniform(-2, 2, (cells, cells, 3)) / cells**0.7, (width, height))
    return np.clip(128 + 70 * image, 0, 255).astype(np.uint8)


def compressed(image, quality):
    """The picture after a JPEG of this quality."""
    code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(code, cv2.IMREAD_COLOR_RGB)


def changed(image):
    """Name -> a copy that a person would call the same picture."""
    height, width, _ = image.shape
    rows, columns = round(0.02 * height), round(0.02 * width)
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return {
        "half the size": half,
        "JPEG of quality 50": compressed(image, 50),
        "cropped by 2 %": image[rows : height - rows, columns : width - columns],
        "brighter": np.clip(image * 1.2, 0, 255).astype(np.uint8),
        "darker": (image * 0.7).astype(np.uint8),
        "lifted": np.clip(image.astype(int) + 30, 0, 255).astype(np.uint8),
        "half, brighter and compressed": compressed(np.clip(half * 1.2, 0, 255).astype(np.uint8), 50),
        "mirrored": image[:, ::-1],
        "half and mirrored": half[:, ::-1],
    }


def save(image, path):
    """Write a picture without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path, "PNG")


def dataset(root):
    """Train and val with three scenes each, all different, and a pool of twenty others."""
    for start, part, count in ((0, "train2017", 3), (10, "val2017", 3), (20, "pool", 20)):
        for i in range(count):
            save(scene(start + i), root / part / f"{i}.jpg")
        if part != "pool":
            content = coco()
            for image in content["images"]:
                image |= {"width": 160, "height": 120}
            write(root / "annotations" / f"instances_{part}.json", content)
    return root


def assert_copies_are_told_from_others(images, others):
    """Every changed copy is near its picture, with the right direction, and near no other."""
    hashes = [perceptual_hash(image) for image in images]
    assert None not in hashes
    assert list(near_pairs(hashes, [h for h in map(perceptual_hash, others) if h])) == []
    for i, image in enumerate(images):
        copies = changed(image)
        found = list(near_pairs(hashes, [perceptual_hash(copy) for copy in copies.values()]))
        assert found == [(i, j, "mirrored" in name) for j, name in enumerate(copies)]


def test_changed_copies_are_near_and_other_pictures_are_not():
    assert_copies_are_told_from_others([scene(i) for i in range(40)], [scene(i) for i in range(40, 200)])


@pytest.mark.skipif(not SHARED.is_dir(), reason="real photos are not at hand")
def test_changed_copies_of_real_photos_are_near_and_other_photos_are_not():
    photos, others = sorted(SHARED.glob("coco-mini/val2017/*"))[:60], sorted(SHARED.glob("pool/*"))[:300]
    assert len(photos) == 60 and len(others) == 300
    assert_copies_are_told_from_others(list(map(read_image, photos)), map(read_image, others))


def test_plain_pictures_have_no_hash():
    rng = np.random.default_rng(0)
    noise = rng.integers(118, 122, (90, 90, 3)).astype(np.uint8)
    assert [perceptual_hash(x) for x in (noise, picture(), np.zeros((1, 1, 3), np.uint8))] == [None] * 3


def test_pairs_do_not_depend_on_how_many_are_compared_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    ours = [rng.bytes(32) for _ in range(7)]
    theirs = [rng.bytes(32) for _ in range(50)]
    for j, i in ((3, 6), (20, 0), (49, 6)):
        theirs[j] = bytes([ours[i][0] ^ 0b101]) + ours[i][1:]
    expected = [(6, 3, False), (0, 20, False), (6, 49, False)]
    assert list(near_pairs(ours, theirs)) == expected
    monkeypatch.setattr("selftrain.data.check.near._BLOCK", 20)
    assert list(near_pairs(ours, theirs)) == expected
    assert list(near_pairs([], theirs)) == list(near_pairs(ours, [])) == []


def test_near_copies_of_scored_photos_are_warned_of_once(tmp_path, capsys):
    root = dataset(tmp_path)
    scored = scene(11)  # val/1.jpg
    save(changed(scored)["half the size"], root / "pool" / "small.png")
    save(scored[:, ::-1], root / "pool" / "turned.png")
    (root / "pool" / "exact.jpg").write_bytes((root / "val2017" / "1.jpg").read_bytes())
    save(np.clip(scene(12) * 1.2, 0, 255).astype(np.uint8), root / "train2017" / "2.jpg")
    save(changed(scene(0))["half the size"], root / "pool" / "of_train.png")
    status, report = run_check(root, "--pool", root / "pool")
    assert status == 0 and findings(report) == {
        ("val, train", NEAR): ["val/2.jpg ~ train/2.jpg"],
        ("val, pool", NEAR): ["val/1.jpg ~ pool/small.png, pool/turned.png (mirrored)"],
        ("val, pool", "the same picture more than once"): ["val/1.jpg = pool/exact.jpg"],
    }
    printed = capsys.readouterr().out
    assert "pool/turned.png (mirrored)" in printed and "remove copies from the pool" in printed


def test_near_copies_of_the_test_part_and_between_scored_parts(tmp_path):
    root = dataset(tmp_path)
    (root / "val2017").rename(root / "test2017")
    annotations = root / "annotations"
    (annotations / "instances_val2017.json").rename(annotations / "instances_test2017.json")
    dataset(root)  # writes val again, with the pictures of test
    for i in range(3):
        save(scene(40 + i) if i else changed(scene(10))["darker"], root / "val2017" / f"{i}.jpg")
    save(changed(scene(11))["brighter"], root / "pool" / "copy.png")
    _, report = run_check(root, "--pool", root / "pool")
    assert findings(report) == {
        ("val, test", NEAR): ["val/0.jpg ~ test/0.jpg"],
        ("test, pool", NEAR): ["test/1.jpg ~ pool/copy.png"],
    }


def test_near_copies_are_found_in_the_voc_layout(tmp_path):
    root = voc(tmp_path)
    names = [path.name for path in sorted((root / "JPEGImages").iterdir())]
    for i, name in enumerate(names):
        save(scene(i, 32, 24), root / "JPEGImages" / name)
    save(scene(4, 32, 24)[:, ::-1], tmp_path / "pool" / "a.png")
    _, report = run_check(tmp_path / "VOCdevkit", "--pool", tmp_path / "pool")
    assert findings(report) == {("val, pool", NEAR): [f"val/{names[4]} ~ pool/a.png (mirrored)"]}


@pytest.mark.parametrize(
    "name",
    ["n01440764_10026.JPEG", "ILSVRC2012_val_00000293.JPEG", "n02112018/a.jpg", "train/n02112018/b.png"],
)
def test_imagenet_photos_of_a_pool_are_warned_of_once(name, tmp_path):
    root = dataset(tmp_path)
    save(scene(50), root / "pool" / name)
    save(scene(51), (root / "pool" / name).with_name("n01440764_7.JPEG"))
    status, report = run_check(root, "--pool", root / "pool")
    (case,) = findings(report)["pool", "ImageNet photos"]
    assert status == 0 and len(findings(report)) == 1
    assert case.startswith("2 of 22 photos, such as ") and ("n0" in case or "ILSVRC" in case)


@pytest.mark.parametrize("name", ["n0144076_10026.jpg", "in_00012.jpg", "sun12345678.jpg", "n01440764.jpg"])
def test_other_names_are_not_taken_for_imagenet(name, tmp_path):
    root = dataset(tmp_path)
    save(scene(50), root / "pool" / name)
    _, report = run_check(root, "--pool", root / "pool")
    assert findings(report) == {}
