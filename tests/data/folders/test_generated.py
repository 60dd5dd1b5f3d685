"""The generated set as folders of classes: every picture shows one object, drawn as in the other layouts."""

import json
from dataclasses import replace

import cv2
import pytest

from selftrain.data.folders import read_parts
from selftrain.data.folders.generated import generate_folders, next_of_one_object
from selftrain.data.shapes.draw import Shapes, render
from tests.data.makers import files, refuses

SPEC = Shapes(image_size=33, train=60, val=8, test=8, unlabeled=9, classes=3, objects=(1, 1), seed=5)


def test_every_picture_shows_one_object_of_the_class_of_its_folder(tmp_path):
    steps = []
    root = generate_folders(tmp_path / "set", SPEC, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (85, 85)
    train, val, test = read_parts(root)
    assert (len(train), len(val), len(test)) == (60, 8, 8)
    assert train.class_names == ("checks", "solid", "stripes")
    for i in range(60):
        number = int(train.names[i].decode()[-10:-4]) - 1
        image, _, classes, _ = render(SPEC, "train", number)
        name = SPEC.categories()[classes.item()]["name"]
        assert train.class_names[train.classes[i]] == name and (train.image(i) == image).all()
    assert sorted(int(name[-10:-4]) for name in train.names.tolist()) != list(range(1, 61))  # one is left out
    before = files(root)
    assert files(generate_folders(root, SPEC)) == before == files(generate_folders(tmp_path / "again", SPEC))


def test_a_set_of_other_parameters_or_other_files_is_left_alone(tmp_path):
    root = generate_folders(tmp_path / "set", replace(SPEC, train=2, val=0, test=0, unlabeled=0))
    refuses(lambda: generate_folders(root, SPEC), root, "move it away")
    (root / "shapes.json").write_text(json.dumps({"digest": "x"}))
    refuses(lambda: generate_folders(root, SPEC), root, "move it away")


def test_an_interrupted_set_is_none(tmp_path, monkeypatch):
    written = iter(range(20))

    def write(*args):
        if next(written) == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(cv2, "imwrite", write)
    with pytest.raises(KeyboardInterrupt):
        generate_folders(tmp_path / "set", SPEC)
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_pictures_of_one_object_is_refused():
    refuses(lambda: next_of_one_object(replace(SPEC, objects=(0, 0)), "train", 0), "--shapes.objects 1 1")
