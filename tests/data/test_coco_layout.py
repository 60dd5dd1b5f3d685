"""Where the parts of a data set in COCO's format lie."""

from selftrain.data.coco import find_layout
from tests.data.makers import coco, refuses, write


def folder(root, *parts):
    for part in parts:
        write(root / "annotations" / f"instances_{part}.json", coco())
        (root / part).mkdir(parents=True, exist_ok=True)
    return root


def test_layout_of_coco_of_any_year_and_of_a_generated_set(tmp_path):
    root = folder(tmp_path / "a", "train2017", "val2017")
    layout = find_layout(root)
    assert (
        layout.train_json == root / "annotations" / "instances_train2017.json"
        and layout.val_images == root / "val2017"
    )
    assert layout.test_json is None and layout.test_images is None
    layout = find_layout(folder(tmp_path / "b", "train", "val", "test2030"))
    assert layout.train_images.name == "train" and layout.test_images.name == "test2030"


def test_layout_missing_shows_the_tree_and_the_options(tmp_path):
    refuses(
        lambda: find_layout(tmp_path / "gone"),
        "gone: no such folder",
        "instances_train2017.json",
        "--train-json",
    )
    (tmp_path / "pictures").mkdir()
    write(tmp_path / "annotations" / "captions_train2017.json", {})
    message = refuses(
        lambda: find_layout(tmp_path),
        "instances_train*.json",
        "--train-json",
        "Expected:",
        "  train2017/*.jpg",
    )
    assert "    captions_train2017.json" in message and "  pictures/" in message
    root = folder(tmp_path / "set", "train2017", "val2017")
    (root / "val2017").rmdir()
    refuses(lambda: find_layout(root), root, "val2017/", "--val-images")


def test_layout_options_replace_what_is_found(tmp_path):
    root = folder(tmp_path, "train2014", "train2017", "val2017")
    refuses(lambda: find_layout(root), "instances_train2014.json, instances_train2017.json", "--train-json")
    layout = find_layout(root, train_json=root / "annotations/instances_train2014.json", val_images=tmp_path)
    assert layout.train_images.name == "train2014" and layout.val_images == tmp_path
    below_root = "annotations/instances_train2014.json"
    assert find_layout(root, train_json=below_root).train_json == layout.train_json
    refuses(lambda: find_layout(root, train_json=tmp_path / "gone.json"), "--train-json", "gone.json")
    refuses(
        lambda: find_layout(root, train_json=layout.train_json, val_images=tmp_path / "gone"),
        "--val-images",
        "gone",
    )
