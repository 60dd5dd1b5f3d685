"""Some of a data set's classes: what is trained and scored, and how the hashes tell."""

import dataclasses

import msgspec
import numpy as np
import pytest

from selftrain.data.shapes.generate import Shapes, generate
from selftrain.data.voc import IGNORED, read_voc
from selftrain.program import prepare
from selftrain.registry import task_and_source
from selftrain.run import run_cell
from selftrain.splits import Splits, load
from tests.data.makers import label, random_coco, read, refuses, voc, write
from tests.programs import load as program

DEMOS = {name: program(name).BENCHMARK.recipes["demo"]() for name in ("coco", "pascal")}
FEW = Shapes(image_size=65, train=12, val=4, test=4, unlabeled=6, classes=5, difficulty=0.0)


def test_boxes_of_other_classes_go_and_their_images_stay(tmp_path):
    data = read(tmp_path, random_coco(1))
    some = data.of_classes(("class 90", "class 5"))  # in the order of the data set, not of the option
    assert some.class_names == ("class 5", "class 90") and some.category_ids == (5, 90)
    np.testing.assert_array_equal(some.image_ids, data.image_ids)
    for i in range(len(data)):
        boxes, classes, crowd = data.labels(i)
        kept = np.isin(classes, [1, 3])
        for ours, theirs in zip(
            some.labels(i), (boxes[kept], (classes[kept] == 3).astype(int), crowd[kept]), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert some.class_counts.tolist() == data.class_counts[[1, 3]].tolist()
    assert min(some.counts) == 0 < len(some.boxes) < len(data.boxes)
    # published lists count positions among all images with a box of whatever class
    np.testing.assert_array_equal(some.listed, data.listed)
    positions = np.arange(3, 9)
    part, other = some.take(positions), data.take(positions).of_classes(some.class_names)
    np.testing.assert_array_equal(part.boxes, other.boxes)
    np.testing.assert_array_equal(part.classes, other.classes)


def test_pixels_of_other_classes_are_background_or_ignored(tmp_path):
    root = voc(tmp_path)  # VOC's 21; photo i shows class i, i + 1 and an ignored border
    data = read_voc(root, "train")
    some = data.of_classes(("bird", "aeroplane"))
    assert some.class_names == ("background", "aeroplane", "bird")
    expected = np.array([0, 1, 0, 2, 0], np.uint8)  # of the classes 0 to 4
    for i in range(4):
        whole = label(i)
        known = whole != IGNORED
        np.testing.assert_array_equal(some.mask(i)[known], expected[whole[known]])
        assert (some.mask(i)[~known] == IGNORED).all()
    assert some.take([1, 3]).of_classes(["bird"]).class_names == ("background", "bird")
    np.testing.assert_array_equal(some.of_classes(["bird"]).mask(2) == 1, label(2) == 3)
    np.testing.assert_array_equal(some.of_classes(["bird"]).mask(0) == 0, label(0) != IGNORED)
    write(root / "classes.txt", "\n".join(f"c{k}" for k in range(21)))
    some = read_voc(root, "train").of_classes(("c3", "c1"))
    expected = np.array([IGNORED, 0, IGNORED, 1, IGNORED], np.uint8)
    for i in range(4):
        known = label(i) != IGNORED
        np.testing.assert_array_equal(some.mask(i)[known], expected[label(i)[known]])
    refuses(lambda: read_voc(root, "train").of_classes(["c3"]), "no class background; name two")


def test_the_hash_tells_which_classes_and_all_of_them_are_the_set_itself(tmp_path):
    for data in (read(tmp_path, random_coco(1)), read_voc(voc(tmp_path), "train")):
        names = data.class_names
        assert data.of_classes(names[::-1]) is data
        hashes = [data.of_classes(some).hash for some in (names[1:2], names[1:3], names[2:3])]
        assert len({data.hash, *hashes}) == 4
        assert data.of_classes(names[2:0:-1]).hash == hashes[1]
        refuses(lambda: data.of_classes(["birt"]), "--classes birt", "nearest: ", names[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The generated set in both layouts, where a run looks for it."""
    folder = tmp_path_factory.mktemp("classes")
    for start, layout in (("shapes", "coco"), ("shapes-voc", "voc")):
        generate(folder / f"{start}-{FEW.digest()}", FEW, workers=1, layout=layout)
    return folder


def splits_of(name: str, folder, **fields) -> Splits:
    recipe = dataclasses.replace(DEMOS[name], shapes=FEW, out=str(folder), **fields)
    return load(recipe, task_and_source(name)[1], warn=lambda text: None)


@pytest.mark.parametrize("name", DEMOS)
def test_every_part_of_a_runs_data_has_the_classes_and_without_the_option_nothing_changes(name, folder):
    every, some = splits_of(name, folder), splits_of(name, folder, classes=("rings",))
    root = folder / f"shapes{'-voc' if name == 'pascal' else ''}-{FEW.digest()}"
    plain = task_and_source(name)[1].read(DEMOS[name], root, None)
    assert [part.hash for part in (every.train, every.val, every.test)] == [part.hash for part in plain]
    background = () if name == "coco" else ("background",)
    for part in (some.train, some.val, some.test, *([some.pool.hidden] if some.pool.hidden else [])):
        assert part.class_names == (*background, "rings")
    assert len(some.train) == len(every.train) and some.pool.hash == every.pool.hash
    hashes = {part.hash for one in (every, some) for part in (one.train, one.val, one.test)}
    assert len(hashes) == 6 and some.hash != every.hash
    refuses(lambda: splits_of(name, folder, classes=("ring",)), "nearest: rings")


@pytest.mark.parametrize("name", DEMOS)
def test_a_teacher_and_its_student_learn_and_score_some_classes(name, folder):
    own = {"score_threshold": 1e-4} if name == "coco" else {"pseudo_threshold": 0.05}
    recipe = dataclasses.replace(
        DEMOS[name], shapes=FEW, out=str(folder), classes=("dots", "rings"), starts=("imagenet",), steps=2,
        batch_size=2, eval_every=2, threads=1, **own
    )  # fmt: skip
    place, cells = prepare(recipe, say=lambda *_, **__: None)
    records = [run_cell(place, cell, str(cell.arm)) for cell in cells]
    background = [] if name == "coco" else ["background"]
    for record in records:
        assert sorted(record.metrics["per_class"]) == sorted([*background, "dots", "rings"])
        assert record.hashes.train == place.splits.train.hash
    (file,) = folder.glob(f"cells/{name}-*/pool-*/labels-*.json")
    named = msgspec.json.decode(file.read_bytes())["info"]["classes"]
    assert sorted(named) == sorted([*background, "dots", "rings"])
