"""The commands as a person types them: mistakes show the cure, the demo runs through `accelerate launch`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selftrain.data.shapes.generate import Shapes, generate
from selftrain.record import read_many
from selftrain.report.run_table import grid
from tests.programs import SHORTENED_DEMO, path


def run(name: str, *arguments: str, cwd: Path, launcher: bool = False) -> subprocess.CompletedProcess:
    command = (
        [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
        if launcher
        else [sys.executable]
    )
    return subprocess.run([*command, path(name), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    "name, words",
    [
        ("coco", ("annotations", "instances_train2017.json", "--train-json")),
        ("pascal", ("JPEGImages", "SegmentationClass", "train")),
        ("classify", ("train/CLASS/*.jpg", "train.csv", "train-images-idx3-ubyte", "optional")),
    ],
)
def test_a_missing_layout_shows_the_expected_tree(name, words, tmp_path):
    (tmp_path / "photos").mkdir()
    done = run(name, "mini", "--data", "photos", "--no-self-training", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for word in ("error:", *words):
        assert word in done.stderr


@pytest.mark.parametrize(
    "name, starts, own, stages",
    [
        (
            "coco",
            ["imagenet", "random"],
            ["--score-threshold", "0.001"],
            ("pseudo-labels at the score of each class", "boxes an image", "precision"),
        ),
        (
            "pascal",
            ["imagenet"],
            ["--starts", "imagenet", "--pseudo-threshold", "0.1"],
            ("pseudo-masks at probability", "pixels right"),
        ),
        (
            "classify",
            ["imagenet", "imagenet, frozen", "random"],
            ["--pseudo-threshold", "0.1"],
            ("hard pseudo-labels at probability", "share of the pictures", "of them right"),
        ),
    ],
)
def test_the_shortened_demo_runs_through_accelerate_and_again_at_once(name, starts, own, stages, tmp_path):
    short = [*SHORTENED_DEMO, *own]
    first = run(name, *short, cwd=tmp_path, launcher=True)
    assert first.returncode == 0, first.stderr[-3000:]
    folder = next((tmp_path / "runs").glob("*demo-*"))
    records = read_many(folder / "records.json")
    assert sorted(str(r.arm) for r in records) == [
        arm for start in starts for arm in (start, f"{start} + self-training")
    ]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG") and all(
        r.split == "test" for r in records
    )
    for stage in ("estimate:", "label the pool", "learning rate", *stages):
        assert stage in first.stdout, stage
    again = run(name, *short, cwd=tmp_path)
    assert again.returncode == 0
    assert "finished" in again.stdout and "step" not in again.stdout.split("finished")[-1].replace(
        "steps", ""
    )
    assert first.stdout.split("test split")[-1] == again.stdout.split("test split")[-1]  # the same table
    assert (folder / "table.md").read_text() == grid(records)
    assert len(list((tmp_path / "runs" / "cells").iterdir())) == 2 * len(starts) and not list(
        (tmp_path / "runs").rglob("last.pt")
    )


@pytest.mark.slow
def test_one_real_step_of_the_papers_network(tmp_path):
    """EfficientNet-B7 at 640 px: a step at batch 1, then its evaluation and its record."""
    generate(tmp_path / "data", Shapes(train=2, val=1, test=1, unlabeled=0), workers=1)
    done = run(
        "coco",
        "paper",
        "--data",
        "data",
        "--starts",
        "random",
        "--no-self-training",
        "--steps",
        "1",
        "--warmup-steps",
        "0",
        "--batch-size",
        "1",
        "--workers",
        "0",
        "--ema",
        "0",
        "--eval-batch",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(next((tmp_path / "runs").rglob("record.json")).read_text())
    assert (
        record["steps"] == 1
        and record["settings"]["backbone"] == "tf_efficientnet_b7"
        and record["settings"]["image_size"] == 640
    )
    assert "learning rate 0.00125 = 0.32 x 1 / 256" in done.stdout


@pytest.mark.slow
def test_one_real_step_of_the_papers_segmenter(tmp_path):
    """EfficientNet-B7 with seven NAS-FPN cells at 512 px: a step at batch 2 (P7 is 4 x 4), its evaluation and
    its record.
    """
    generate(tmp_path / "data", Shapes(train=2, val=1, test=1, unlabeled=0), workers=1, layout="voc")
    done = run(
        "pascal",
        "paper",
        "--data",
        "data",
        "--starts",
        "random",
        "--no-self-training",
        "--steps",
        "1",
        "--warmup-steps",
        "0",
        "--batch-size",
        "2",
        "--workers",
        "0",
        "--ema",
        "0",
        "--eval-batch",
        "1",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(next((tmp_path / "runs").rglob("record.json")).read_text())
    assert (
        record["settings"]["neck_repeats"] == 7
        and record["settings"]["image_size"] == 512
        and record["metric"] == "mIoU"
    )
    assert "learning rate 0.000625 = 0.08 x 2 / 256" in done.stdout


def test_photos_that_are_scored_on_are_refused_in_the_pool(tmp_path):
    generate(tmp_path / "data", Shapes(train=6, val=2, test=2, unlabeled=2), workers=1, layout="voc")
    done = run("pascal", "mini", "--data", "data", "--unlabeled", "data/VOC2012/JPEGImages", cwd=tmp_path)
    assert (
        done.returncode == 1
        and "2 photos of the val split are in the pool" in done.stderr
        and "Traceback" not in done.stderr
    )


@pytest.mark.slow
def test_a_list_of_papers_and_hidden_coarse_labels(tmp_path):
    """--image-ids with a published list, and --protocol train+pseudo_aug, end to end on a tiny VOCdevkit with
    coarse masks.
    """
    generate(tmp_path / "data", Shapes(train=12, val=6, test=6, unlabeled=12), workers=1, layout="voc")
    root = tmp_path / "data" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    aug = (
        lists.joinpath("train.txt").read_text().split() + lists.joinpath("unlabeled.txt").read_text().split()
    )
    lists.joinpath("train_aug.txt").write_text("\n".join(aug))
    shutil.copytree(root / "SegmentationClass", root / "SegmentationClassAug")
    few = [
        "mini",
        "--data",
        "data",
        "--image-size",
        "65",
        "--starts",
        "random",
        "--steps",
        "3",
        "--warmup-steps",
        "0",
        "--batch-size",
        "4",
        "--eval-every",
        "3",
        "--workers",
        "2",
        "--pseudo-threshold",
        "0.1",
        "--teacher-scales",
        "1",
        "--neck-repeats",
        "1",
    ]
    done = run("pascal", *few, "--protocol", "train+pseudo_aug", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (
        "12 images with train labels" in done.stdout
        and "pool 12 photos" in done.stdout
        and "against the pool's hidden labels" in done.stdout
    )
    (tmp_path / "half.txt").write_text(
        "\n".join(f"JPEGImages/{s}.jpg SegmentationClass/{s}.png" for s in aug[:6])
    )
    done = run("pascal", *few, "--image-ids", "half.txt", "--unlabeled", "rest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "6 images with train labels (listed)" in done.stdout and "pool 6 photos" in done.stdout
    (tmp_path / "half.txt").write_text(aug[-1])
    done = run("pascal", *few, "--image-ids", "half.txt", "--unlabeled", "rest", cwd=tmp_path)
    assert done.returncode == 1 and "train_aug" in done.stderr and "Traceback" not in done.stderr
