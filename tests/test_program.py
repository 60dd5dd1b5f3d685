"""The commands as a person types them: mistakes are refused with the cure, the demo runs through `accelerate launch`."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from selftrain.data.shapes.generate import Shapes, generate
from selftrain.recipe import digest, identity
from selftrain.record import read_many
from selftrain.report.run_table import grid
from selftrain.system.errors import UserError
from selftrain.tasks.detection.task import DetectionRecipe
from selftrain.tasks.segmentation.task import SegmentationRecipe
from tests.programs import load, path

parse, parse_pascal = load("coco").parse, load("pascal").parse


def run(name: str, *arguments: str, cwd: Path, launcher: bool = False) -> subprocess.CompletedProcess:
    command = (
        [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1"]
        if launcher
        else [sys.executable]
    )
    return subprocess.run([*command, path(name), *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["dmeo"], "nearest: demo"),
        (["--fraction", "10"], "10 % is 0.1"),
        (["--starts", "imagnet"], "random, imagenet, imagenet++, checkpoint:FILE"),
        (["--starts", "random", "random"], "twice"),
        (["--unlabeled", "rest"], "--fraction 1 leaves no unlabelled image"),
        (["mini", "--data", "x"], "--unlabeled DIR"),
        (["--pseudo-threshold", "0.3", "--pseudo-ignore", "0.4"], "--pseudo-ignore 0.4 must lie between"),
        (["--rounds", "2", "--no-self-training"], "drop one of the two"),
        (["--steps", "10"], "--warmup-steps 50 leaves nothing"),
        (["--val-json", "x.json"], "give --data DIR"),
        (["--min-level", "6"], "--min-level"),
    ],
)
def test_contradictions_are_refused_with_the_cure(arguments, words):
    with pytest.raises(UserError) as error:
        parse(arguments)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["mini", "--data", "x"], "--unlabeled DIR"),
        (["--teacher-scales", "0"], "--teacher-scales 0.0: give one or more from 0.1 to 4"),
        (["--protocol", "train_aug"], "--protocol train_aug needs PASCAL's coarse masks"),
        (["mini", "--data", "x", "--protocol", "train+pseudo_aug", "--unlabeled", "y"], "drop --unlabeled"),
        (["--fraction", "10"], "10 % is 0.1"),
    ],
)
def test_contradictions_in_segmentation_are_refused_with_the_cure(arguments, words):
    with pytest.raises(UserError) as error:
        parse_pascal(arguments)
    assert words in str(error.value)


def test_an_unknown_option_is_refused_with_the_nearest_one(capsys):
    with pytest.raises(SystemExit) as stop:
        parse(["mini", "--bach-size", "4"])
    assert stop.value.code == 2 and "--batch-size" in capsys.readouterr().err


def test_an_impossible_value_is_refused_with_the_possible_ones(capsys):
    with pytest.raises(SystemExit):
        parse(["--policy", "S5"])
    assert "S1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "program, recipe, words",
    [
        (parse, DetectionRecipe, ("neither object nor background", "accelerate launch benchmarks/coco.py")),
        (parse_pascal, SegmentationRecipe, ("fine masks", "accelerate launch benchmarks/pascal.py")),
    ],
)
def test_help_explains_every_field(capsys, program, recipe, words):
    with pytest.raises(SystemExit) as stop:
        program(["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert stop.value.code == 0
    for field in (field.name for field in fields(recipe)):
        assert f"--{field.replace('_', '-')}" in text, field
    assert all(word in text for word in words)


def test_every_option_reaches_the_recipe():
    recipe = parse(
        [
            "mini",
            "--data",
            "d",
            "--unlabeled",
            "a",
            "b",
            "--starts",
            "imagenet++",
            "checkpoint:x.pt",
            "--policy",
            "S3",
            "--fraction",
            "0.1",
            "--seed",
            "3",
            "--backbone",
            "resnet18",
            "--image-size",
            "97",
            "--steps",
            "900",
            "--batch-size",
            "4",
            "--out",
            "o",
            "--pseudo-threshold",
            "auto",
            "--no-self-training",
        ]
    )
    assert (
        recipe.unlabeled == ("a", "b")
        and recipe.starts == ("imagenet++", "checkpoint:x.pt")
        and not recipe.self_training
    )
    assert (recipe.policy, recipe.fraction, recipe.seed, recipe.backbone, recipe.pseudo_threshold) == (
        "S3",
        0.1,
        3,
        "resnet18",
        "auto",
    )


def test_what_decides_a_result_is_a_cells_identity_and_nothing_else():
    one = parse([])
    for option, same in (
        ("--out", True),
        ("--workers", True),
        ("--save-every", True),
        ("--seed", False),
        ("--lr", False),
        ("--policy", False),
    ):
        other = parse([option, "S2" if option == "--policy" else "3"])
        assert (digest(identity(one, student=False)) == digest(identity(other, student=False))) is same, (
            option
        )
    assert identity(parse(["--magnitude", "5"]), student=False) == identity(
        one, student=False
    )  # S1 knows no RandAugment
    assert identity(parse(["--policy", "S4", "--magnitude", "5"]), student=False) != identity(
        parse(["--policy", "S4"]), student=False
    )
    other = parse(["--alpha", "2"])  # the teacher does not know of it
    assert identity(one, student=False) == identity(other, student=False) and identity(
        one, student=True
    ) != identity(other, student=True)
    for recipe in (DetectionRecipe, SegmentationRecipe):
        assert recipe.NOT_IDENTITY | recipe.STUDENT_ONLY <= {field.name for field in fields(recipe)}


@pytest.mark.parametrize(
    "name, words",
    [
        ("coco", ("annotations", "instances_train2017.json", "--train-json")),
        ("pascal", ("JPEGImages", "SegmentationClass", "train")),
    ],
)
def test_a_missing_layout_shows_the_expected_tree(name, words, tmp_path):
    (tmp_path / "photos").mkdir()
    done = run(name, "mini", "--data", "photos", "--no-self-training", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    for word in ("error:", *words):
        assert word in done.stderr


@pytest.mark.parametrize(
    "name, own, stages",
    [
        ("coco", ["--score-threshold", "0.001"], ("pseudo-labels at score", "precision")),
        ("pascal", ["--pseudo-threshold", "0.1"], ("pseudo-masks at probability", "pixels right")),
    ],
)
def test_the_shortened_demo_runs_through_accelerate_and_again_at_once(name, own, stages, tmp_path):
    short = [
        "--steps",
        "12",
        "--warmup-steps",
        "2",
        "--batch-size",
        "4",
        "--eval-every",
        "4",
        "--shapes.train",
        "20",
        "--shapes.val",
        "10",
        "--shapes.test",
        "10",
        "--shapes.unlabeled",
        "24",
        *own,
    ]
    first = run(name, *short, cwd=tmp_path, launcher=True)
    assert first.returncode == 0, first.stderr[-3000:]
    folder = next((tmp_path / "runs").glob("*demo-*"))
    records = read_many(folder / "records.json")
    assert sorted(str(r.arm) for r in records) == [
        "imagenet",
        "imagenet + self-training",
        "random",
        "random + self-training",
    ]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG") and all(
        r.split == "test" for r in records
    )
    for stage in ("estimate:", "label the pool", "learning rate", *stages):
        assert stage in first.stdout, stage
    began = time.monotonic()
    again = run(name, *short, cwd=tmp_path)
    assert again.returncode == 0 and time.monotonic() - began < 60
    assert "finished" in again.stdout and "step" not in again.stdout.split("finished")[-1].replace(
        "steps", ""
    )
    assert first.stdout.split("test split")[-1] == again.stdout.split("test split")[-1]  # the same table
    assert (folder / "table.md").read_text() == grid(records)
    assert len(list((tmp_path / "runs" / "cells").iterdir())) == 4 and not list(
        (tmp_path / "runs").rglob("last.pt")
    )


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


def test_one_real_step_of_the_papers_segmenter(tmp_path):
    """EfficientNet-B7 with seven NAS-FPN cells at 512 px: a step at batch 2 (P7 is 4 x 4), its evaluation and its record."""
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


def test_a_list_of_papers_and_hidden_coarse_labels(tmp_path):
    """--image-ids with a published list, and --protocol train+pseudo_aug, end to end on a tiny VOCdevkit with coarse masks."""
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
