"""Recipes: mistakes are refused with the cure, `--help` explains every option, metadata tells identity."""

import inspect
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
        (["--starts", "imagnet"], "random, imagenet, imagenet++, timm:MODEL.TAG, checkpoint:FILE"),
        (["--starts", "random", "random"], "twice"),
        (["--freeze", "trunk"], "--freeze trunk is unknown; give none, backbone, or stages:N"),
        (["--freeze", "backbone", "--starts", "random"], "--freeze backbone freezes pre-trained weights"),
        (["--unlabeled", "rest"], "--fraction 1 leaves no unlabelled image"),
        (["mini", "--data", "x"], "--unlabeled DIR"),
        (["--pseudo-threshold", "0.3", "--pseudo-ignore", "0.4"], "--pseudo-ignore 0.4 must lie between"),
        (["--rounds", "2", "--no-self-training"], "drop one of the two"),
        (["--steps", "10", "--warmup-steps", "50"], "--warmup-steps 50 is not in 0 to 9"),
        (["--warmup-share", "1"], "--warmup-share 1.0 is not in [0, 1)"),
        (["--val-json", "x.json"], "give --data DIR"),
        (["--min-level", "6"], "--min-level"),
        (["--classes", "rings", "rings"], "--classes names one class twice"),
        (["--jitter", "2", "0.5"], "--jitter 2.0 0.5: give two shares"),
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
    "name data unlabeled classes shapes image_ids starts freeze self_training rounds weights out workers "
    "threads "
    "save_every track until stale warmup_share contrasts".split()
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
        (SegmentationRecipe, {"protocol"}, {"pseudo_share", "soft", "teacher_scales", "teacher_flip"}),
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
                "loss_at": "image",
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
        "jitter": None,
        "clip_norm": 0.0,
        "ema": 0.0,
        "precision": "no",
    }
    assert neutral_fields(recipe).keys() <= set(identity_fields(recipe, student=True))


WARM_UPS = {
    ("coco", "demo"): (50, 15),
    ("coco", "study"): (100, 8),
    ("coco", "small"): (75, 8),
    ("coco", "mini"): (300, 8),
    ("coco", "paper"): (1000, 1),
    ("pascal", "demo"): (100, 50),
    ("pascal", "small"): (75, 8),
    ("pascal", "mini"): (300, 8),
    ("pascal", "paper"): (500, 2),
}
"""steps of warm-up of a preset as it is, and with 150 steps in all"""


@pytest.mark.parametrize("program, preset", WARM_UPS)
def test_the_warm_up_is_a_share_of_the_steps_unless_it_is_given(program, preset):
    arguments, read = [preset, "--unlabeled", "pool"], load(program).parse
    whole, few = read(arguments), read([*arguments, "--steps", "150"])
    given = read([*arguments, "--steps", "150", "--warmup-steps", "20"])
    one = read([*arguments, "--steps", "1"])
    assert (whole.warmup(), few.warmup()) == WARM_UPS[program, preset]
    assert (given.warmup(), one.warmup()) == (20, 0)
    # the number is what a cell is known by, whichever way it was said
    in_identity = [identity(recipe, student=False)["warmup_steps"] for recipe in (whole, few, given)]
    assert in_identity == [whole.warmup(), few.warmup(), 20]
    assert "warmup_share" not in identity(whole, student=True)


@pytest.mark.parametrize("program", ["coco", "pascal"])
def test_own_data_on_a_cpu_needs_the_data_alone_and_less_than_an_hour(program):
    """By the speed that was measured: 25 images a second of one core's time, and one of two cores at work."""
    recipe = load(program).parse(["small", "--data", "d", "--unlabeled", "p"])
    assert recipe.self_training and recipe.starts == ("random", "imagenet") and recipe.workers == 0
    student = 1 + recipe.pseudo_ratio
    images = recipe.steps * recipe.batch_size * len(recipe.starts) * (1 + student)
    assert images / 25 < 0.85 * 3600  # the rest is for curve, score and the pool
    assert recipe.steps / recipe.eval_every >= 4  # points enough to tell whether a curve is flat
    near = load(program).BENCHMARK.recipes["mini"]()
    assert recipe.backbone == near.backbone and recipe.image_size < near.image_size


CONFLICTS = [
    ("coco", ["--clip-norm", "0", "--steps", "231500", "--jitter", "0.1", "1.9"]),
    ("pascal", ["--clip-norm", "0", "--steps", "20000", "--warmup-steps", "500", "--jitter", "0.2", "1.5"]),
]


@pytest.mark.parametrize("program, options", CONFLICTS)
def test_where_paper_and_released_settings_differ_an_option_gives_the_other(program, options):
    arguments, benchmark = ["paper", "--unlabeled", "pool"], load(program).BENCHMARK
    ours, theirs = benchmark.parse(arguments), benchmark.parse([*arguments, *options])
    task = benchmark.task

    def jitter(recipe) -> tuple[float, float]:
        (objective,) = task(recipe, ("a", "b")).objectives.values()
        return objective.policy.transform[-1].scale_range

    assert jitter(ours) == (0.5, 2.0) and jitter(theirs) == theirs.jitter == tuple(map(float, options[-2:]))
    assert (ours.clip_norm, theirs.clip_norm) == (10.0, 0.0) and ours.steps != theirs.steps
    # the reader of the recipe is told of each of these options
    text = inspect.getsource(benchmark.recipes["paper"])
    for option in re.findall(r"--[a-z-]+ [\d. ]*\d", " ".join(options)):
        assert option in text, option


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
