"""The options of a study: its matrix, its commands, the fields that it varies, and what it refuses."""

import re
from dataclasses import replace

import pytest

from selftrain.study import options
from selftrain.system.errors import UserError
from tests.study.tiny import BENCHMARKS, commands_of, main

ONE = ["coco", "study", "--policies", "S1", "--fractions", "1", "--seeds", "0", "--budgets", "1"]
PASCAL = ["pascal", "mini", "--data", "d", "--unlabeled", "rest", "--budgets", "1", "--policies", "S1"]


def test_the_papers_matrix_is_72_cells_and_the_product_more():
    one_budget = ["coco", "study", "--budgets", "1"]
    paper, full = commands_of(one_budget), commands_of([*one_budget, "--matrix", "full"])
    assert len(paper) * 2 == 72 and len(full) * 2 == 4 * 3 * 2 * 3 * 2
    assert len({command.options for command in paper}) == len(paper)
    seeds = [command.recipe.seed for command in paper]
    assert seeds == sorted(seeds)  # a whole matrix a seed


def test_every_cell_is_a_command_that_gives_its_recipe():
    few = ["--fractions", ".05", ".5", "--steps", "S1=700", "S4=900", "--lr", "0.01"]
    arguments = [*PASCAL, "S4", *few]
    _, rest = options.parse(arguments)
    assert rest == ["--data", "d", "--unlabeled", "rest", "--lr", "0.01"]
    for command in commands_of(arguments):
        recipe = command.recipe
        again = BENCHMARKS["pascal"].parse(["mini", *command.options])
        assert replace(again, precision="no") == recipe
        assert recipe.steps == {"S1": 700, "S4": 900}[recipe.policy] and len(recipe.starts) == 1


def test_every_seed_may_draw_a_generated_set_of_its_own():
    arguments = [*ONE[:-4], "--seeds", "0", "1", "--budgets", "1", "--redraw"]
    for command in commands_of(arguments):
        again = BENCHMARKS["coco"].parse(["study", *command.options])
        assert again.shapes == command.recipe.shapes and again.shapes.seed == command.recipe.seed
    with pytest.raises(UserError, match="--redraw is for generated data"):
        commands_of([*PASCAL, "--redraw"])


def test_a_third_of_the_labels_is_the_same_third_in_the_command():
    for command in commands_of(["coco", "study", "--policies", "S1", "--fractions", str(1 / 3)]):
        assert BENCHMARKS["coco"].parse(["study", *command.options]).fraction == 1 / 3


def test_precision_is_part_of_a_cell_wherever_it_was_said():
    for arguments, wanted in (
        ([], {"no"}),
        (["--launch=--mixed_precision bf16 --cpu"], {"bf16"}),
        (["--precision", "bf16"], {"bf16"}),
        (["--vary", "precision=bf16,fp16", "--launch=--mixed_precision no"], {"bf16", "fp16"}),
    ):
        assert {command.recipe.precision for command in commands_of([*ONE, *arguments])} == wanted


def test_all_labels_leave_no_rest_to_label():
    found = commands_of([*PASCAL, "--fractions", ".5", "1", "--seeds", "0"])
    places = [(command.recipe.fraction, command.recipe.self_training) for command in found]
    assert places == [(1.0, False)] * 2 + [(0.5, True)] * 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--seed", "3"], "give --seeds"),
        (["--policy", "S1"], "give --policies"),
        (["--until", "labels"], "leave it out"),
        (["--image-ids", "f.json"], "leave it out"),
        (["--no-self-training"], "give --supervised-only"),
        (["--fractions", "10"], "10 % is 0.1"),
        (["--seeds", "1", "1"], "names one twice"),
        (["--starts", "random", "random"], "names one twice"),
        (["--steps", "S1=5"], "for each of"),
        (["--budgets", "0", "1"], "--budgets 0 is no multiple of --steps"),
        (["--budgets", "1", "inf"], "--budgets inf is no multiple of --steps"),
        (["--budgets", "1", "1.0001"], "--budgets 1 1.0001 are 2000 2000 steps of S1: each must be another"),
        (["--budgets", "0.0001"], "are 0 steps of S1"),
        (["--budgets", "3", "3"], "--budgets names one twice"),
        (["--student-budgets", "2"], "--student-budgets 2: a student needs a teacher of the same budget"),
        (["--student-budgets", "3", "--supervised-only"], "drop one of the two"),
        (["--warmup-steps", "2000"], "is not in 0 to 1999"),
        (["--batch-size", "0"], "--batch-size 0: at least 1"),
        (["--weights", "w.pth", "--starts", "imagenet", "imagenet++"], "the two arms would be one"),
        (["--launch=--cpu 'x"], "--launch --cpu 'x: No closing quotation"),
    ],
)
def test_contradictions_are_refused_with_the_cure(arguments, words):
    with pytest.raises(UserError, match=re.escape(words)):
        commands_of(["coco", "study", *arguments])


# ---- fields that are varied -----------------------------------------------------------------------------


def test_a_varied_field_is_crossed_with_every_place():
    study = ["coco", "study", "--budgets", "1"]
    places = {(c.recipe.policy, c.recipe.fraction) for c in commands_of(study)}
    found = commands_of([*study, "--vary", "channels=32,64", "--vary", "neck-separable=True,False"])
    assert len(found) == 4 * 36
    seen = {(c.recipe.policy, c.recipe.fraction, c.recipe.channels, c.recipe.neck_separable) for c in found}
    assert seen == {(*place, width, deep) for place in places for width in (32, 64) for deep in (True, False)}
    for command in found:  # the printed command gives the same recipe
        if command.recipe.seed == 0 and command.recipe.policy == "S1":
            again = BENCHMARKS["coco"].parse(["study", *command.options])
            assert replace(again, precision="no") == command.recipe


def test_values_are_read_as_the_option_itself():
    found = commands_of([*ONE, "--vary", "pseudo_threshold=auto,0.3", "--vary", "backbone=resnet18"])
    values = [command.recipe.pseudo_threshold for command in found]
    assert values == ["auto", "auto", 0.3, 0.3]
    assert {command.recipe.backbone for command in found} == {"resnet18"}
    scales = commands_of([*PASCAL, "--fractions", ".5", "--seeds", "0", "--vary", "eval_scales=1,0.5 1"])
    assert {command.recipe.eval_scales for command in scales} == {(1.0,), (0.5, 1.0)}


def test_freezing_is_an_axis_of_pretrained_starts_alone():
    depths = ("none", "stages:1", "backbone")
    found = commands_of([*ONE, "--starts", "random", "imagenet", "--vary", f"freeze={','.join(depths)}"])
    arms = [(*command.recipe.starts, *command.recipe.freeze) for command in found]
    assert arms == [("random", "none"), *(("imagenet", depth) for depth in depths)]
    same = commands_of([*ONE, "--starts", "random", "imagenet", "--freeze", *depths])
    assert [command.options for command in same] == [command.options for command in found]
    for command in found:
        again = BENCHMARKS["coco"].parse(["study", *command.options])
        assert replace(again, precision="no") == command.recipe


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["freeze=all"], "--freeze all is unknown; give none, backbone, or stages:N with N from 1"),
        (["freeze=stages:0"], "--freeze stages:0 is unknown"),
        (["freeze=none,backbone", "--freeze", "none"], "--freeze is varied by --vary; give one of the two"),
        (["chanels=32"], "--vary chanels: the recipe has no such field; nearest: channels (there are"),
        (["out=a,b"], "--vary out: a study does not vary it; nearest:"),
        (["policy=S1,S2"], "--vary policy: a study has an option of its own for that; give --policies"),
        (["fraction=.5"], "give --fractions"),
        (["seed=1,2"], "give --seeds"),
        (["starts=random"], "give --starts"),
        (["channels"], "give a field and its values, FIELD=VALUE,VALUE"),
        (["channels=32,"], "give a field and its values, FIELD=VALUE,VALUE"),
        (["channels=32,32"], "names one twice"),
        (["channels=32", "--vary", "channels=64"], "--vary names one field twice"),
        (["channels=many"], "--vary channels=many: give a value of type int"),
        (["optimizer=sgdd"], "--vary optimizer=sgdd: give one of sgd, adamw; nearest: sgd"),
        (["pseudo_threshold=a"], "--vary pseudo_threshold=a: give a value of type float or auto"),
        (["neck_separable=2"], "--vary neck_separable=2: give True or False"),
        (["channels=32,64", "--channels", "32"], "--channels is varied by --vary; give one of the two"),
        (["neck-separable=True", "--no-neck-separable"], "--no-neck-separable is varied by --vary"),
        (["steps=9,18"], "--vary steps: a study has an option of its own for that; give --budgets, mult"),
        (["channels=0"], "--channels 0: at least 1"),
    ],
)
def test_what_cannot_be_varied_is_refused_with_the_cure(arguments, words):
    with pytest.raises(UserError, match=re.escape(words)):
        commands_of([*ONE, "--vary", *arguments])


@pytest.mark.parametrize("program", BENCHMARKS)
def test_a_study_of_every_program_is_planned(program, tmp_path, monkeypatch, capsys):
    """A listing of its cells at both budgets, before any has run."""
    monkeypatch.chdir(tmp_path)
    few = [f"--shapes.{part}=2" for part in ("train", "val", "test", "unlabeled")]
    one = ["--policies", "S1", "--fractions", "1", "--seeds", "0", "--starts", "random", "--dry-run"]
    assert main([program, "demo", *one, *few, "--batch-size", "2"]) == 0
    assert "3 cells, 4 commands: 2 to do, 2 waiting" in capsys.readouterr().out
