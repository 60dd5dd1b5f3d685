"""Recipes: mistakes are refused with the cure, `--help` explains every option, metadata tells identity."""

import re
from dataclasses import fields

import pytest

from selftrain.fields import identity_fields
from selftrain.options import groups
from selftrain.recipe import Recipe, digest, identity, neutral_fields
from selftrain.system.errors import UserError
from selftrain.tasks.classification.recipe import ClassificationRecipe
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.segmentation.recipe import SegmentationRecipe
from tests.programs import load

parse, parse_pascal = load("coco").parse, load("pascal").parse
parse_classify = load("classify").parse


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


def test_a_task_without_a_pyramid_has_none_of_its_options_and_none_in_its_keys():
    names = {field.name for field in fields(ClassificationRecipe)}
    assert not names & {"neck", "neck_repeats", "neck_separable", "channels", "head_depth"}
    assert set(identity(parse_classify([]), student=True)) <= names
    for arguments, words in ((["--dropout", "1"], "--dropout 1.0"), (["--batch-size", "0"], "--batch-size")):
        with pytest.raises(UserError, match=words):
            parse_classify(arguments)


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
        (parse_classify, ClassificationRecipe, ("transformers", "accelerate launch benchmarks/classify.py")),
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


NEVER = set(
    "name data unlabeled shapes image_ids starts self_training rounds weights out workers threads save_every "
    "track until stale".split()
)
STUDENT = {"pseudo_threshold", "pseudo_ratio", "alpha", "loss_momentum", "student_start"}


@pytest.mark.parametrize(
    "recipe, never, student",
    [
        (
            DetectionRecipe,
            set("train_json val_json test_json train_images val_images test_images".split()),
            {"pseudo_ignore", "pseudo_empty"},
        ),
        (SegmentationRecipe, {"protocol"}, {"soft", "teacher_scales", "teacher_flip"}),
        (ClassificationRecipe, set(), {"pseudo_labels"}),
    ],
)
def test_which_fields_are_no_part_of_an_identity(recipe, never, student):
    every = {field.name for field in fields(recipe)}
    teachers, students = (identity_fields(recipe, student=is_student) for is_student in (False, True))
    assert every - set(students) == NEVER | never
    assert set(students) - set(teachers) == STUDENT | student
    assert students == [field.name for field in fields(recipe) if field.name in students]  # in their order


@pytest.mark.parametrize(
    "recipe, own",
    [
        (DetectionRecipe, {"neck_separable": False, "pseudo_ignore": None}),
        (ClassificationRecipe, {"dropout": 0.0, "label_smoothing": 0.0}),
        (
            SegmentationRecipe,
            {
                "neck_separable": False,
                "teacher_scales": (1.0,),
                "teacher_flip": False,
                "soft": False,
                "eval_scales": (1.0,),
                "eval_flip": False,
            },
        ),
    ],
)
def test_the_values_at_which_a_field_does_nothing(recipe, own):
    assert neutral_fields(recipe) == own | {
        "drop_path": 0.0,
        "accumulate": 1,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "warmup_steps": 0,
        "clip_norm": 0.0,
        "ema": 0.0,
        "precision": "no",
    }
    assert neutral_fields(recipe).keys() <= set(identity_fields(recipe, student=True))


TITLES = ["data", "start", "model", "optimiser", "self-training", "evaluation", "this run"]


@pytest.mark.parametrize("recipe", [Recipe, ClassificationRecipe, DetectionRecipe, SegmentationRecipe])
def test_every_field_belongs_to_one_group(recipe):
    boxes = groups(recipe)
    assert list(boxes) == TITLES
    names = [field.name for group in boxes.values() for field in fields(group)]
    assert sorted(names) == sorted(field.name for field in fields(recipe))


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize("program", [parse, parse_pascal, parse_classify])
def test_help_shows_one_box_for_each_group(capsys, monkeypatch, program, columns):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        program(["--help"])
    text = capsys.readouterr().out
    shown = re.findall(r"^\W*([a-z -]+) options\b", text, re.MULTILINE)
    assert shown == ["data", "shapes", *TITLES[1:]]
    for title in TITLES:
        assert f"--{title.replace(' ', '-')}." not in text
    assert "--shapes.train INT" in text


def test_the_options_of_groups_have_no_prefix(capsys):
    with pytest.raises(SystemExit):
        parse(["--optimiser.lr", "1"])
    assert "Unrecognized options: --optimiser.lr" in capsys.readouterr().err
    assert parse(["--shapes.train", "7"]).shapes.train == 7
    with pytest.raises(SystemExit):
        parse(["--shapes.val", "-3"])
    assert "Error parsing shapes: shapes: no negative count" in " ".join(capsys.readouterr().err.split())
