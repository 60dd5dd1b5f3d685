"""A tuning stands for what it was made for: other trials, recipes, data or budgets are refused."""

import shutil
from pathlib import Path

import pytest

from selftrain import record
from selftrain.report.matrix import read_study
from selftrain.report.page import verdict_markdown
from selftrain.study import trials
from selftrain.study.options import parse
from selftrain.study.tuning import read_tuning
from selftrain.system.errors import UserError
from tests.study.tiny import RECORDS, TINY, main
from tests.study.tuned import JOURNAL, STUDY, TUNED, TUNING, planner_of, refusal

ALONE = [*TINY, "--supervised-only"]


def refused(arguments: list[str]) -> str:
    with pytest.raises(UserError) as found:
        planner_of(arguments).tuning()
    return str(found.value)


def test_a_call_that_was_asked_otherwise_does_not_take_the_trials_of_another_for_its_own(fake):
    options = (("--tune", "2"), ("--tune", "3", "--tune-seed", "7"), ("--tune", "3", "--image-size", "97"))
    planners = [planner_of([*STUDY, *each]) for each in (*options, ("--tune", "3"))]
    others = [planner.trials(planner.tuning()) for planner in planners]  # all begin before one has ended
    main(TUNED)
    before = read_tuning(TUNING)
    messages = []
    for request in others[:3]:
        planned = trials.plan_trials(request, request.journal)
        scores = {start: [40.0] * len(each) for start, each in planned.trials.items()}
        with pytest.raises(UserError, match="another call has tuned this study meanwhile") as found:
            trials.merged(request, planned, scores)
        messages.append(str(found.value))
    assert "3 trials of each start at S1, 100 % of the labels, 6 steps, seed 1000 there" in messages[0]
    assert "2 trials of each start at S1, 100 % of the labels, 6 steps, seed 1000 now" in messages[0]
    assert "seed 1000 there" in messages[1] and "seed 7 now" in messages[1]
    assert "image_size 65 there, 97 now" in messages[2]
    assert all(f"{TUNING}: " in each and "or give another --name" in each for each in messages)
    planned = trials.plan_trials(others[3], JOURNAL)
    assert trials.merged(others[3], planned, {start: [1.0] * 3 for start in planned.trials}) == before


def test_what_records_say_of_a_tuning_covers_all_of_its_file(fake):
    main([*ALONE, "--tune", "2"])
    text = TUNING.read_text()
    for before, after in (
        ("seed = 1000", "seed = 1001"),
        ("trials = 2", "trials = 3"),
        ("momentum = 0.9", "momentum = 0.8"),
        ('weights = "random"', 'weights = "other"'),
    ):
        assert text.count(before) == 1
        TUNING.write_text(text.replace(before, after))
        message = refused(ALONE)
        assert "was tuned by other trials" in message or "has other trials than the file says" in message
    (done,) = (record.read(file) for file in RECORDS.glob("*.json"))
    assert (done.tuned.trials, done.tuned.seed) == (2, 1000)


def test_a_tuning_for_another_recipe_data_set_or_budget_is_refused(fake, capsys):
    main([*ALONE, "--tune", "2"])
    del fake.ran[:]
    for option, value, differs in (
        ("--image-size", "97", "image_size 65 there, 97 now"),
        ("--batch-size", "5", "batch_size 4 there, 5 now"),
        ("--lr", "0.02", "lr 0.008 there, 0.02 now"),
        ("--steps", "60", "base_steps 6 there, 60 now"),
        ("--shapes.val", "11", "val_split "),
    ):
        for start in (["random"], ["imagenet"]):  # one that is tuned, and one that is to be
            message = refused([*ALONE, option, value, "--starts", *start])
            assert f"{TUNING}: was tuned for other settings than are asked for: " in message
            assert differs in message and "give another --name, or delete that file" in message
    assert "image_size 65 there, 97 now" in refusal(*ALONE, "--image-size", "97", "--stale", "rerun")
    assert main([*ALONE, "--steps", "60", "--dry-run"]) == 0
    assert "base_steps 6 there, 60 now" in capsys.readouterr().out
    assert not fake.ran
    text = TUNING.read_text()
    for file in RECORDS.glob("*.json"):
        file.unlink()
    TUNING.write_text(text.replace('weights = "random"', 'weights = "other"'))
    assert "weights of random other there, random now" in refused(ALONE)
    TUNING.unlink()  # the cure
    assert main([*ALONE, "--steps", "60", "--tune", "2"]) == 0 and fake.seeds == [1000] * 2 + [0]


def test_what_leaves_the_trials_as_they_were_is_not_refused(fake):
    vary = ["--vary", "image_size=65,97"]
    main([*ALONE, *vary, "--tune", "2"])
    for arguments in (
        [*vary, "--budgets", "3"],
        [*vary, "--budgets", "0.5", "1"],
        [*vary, "--policies", "S1", "S4", "--fractions", "0.5"],
        [*vary, "--policies", "S4", "--steps", "S4=60"],  # T of S1, where the trials are, is not said
        ["--vary", "image_size=97,65"],
        ["--image-size", "65", "--seeds", "0", "1"],
        [*vary, "--vary", "channels=16,64", "--launch=--num_processes 1"],
    ):
        assert planner_of([*ALONE, *arguments]).tuning().standing == read_tuning(TUNING)
    assert "image_size 65 there, 97 now" in refused([*ALONE, "--image-size", "97"])
    # a start that is added has the trials that stand, whatever value comes first now
    planner = planner_of([*STUDY, "--vary", "image_size=97,65"])
    planned = trials.plan_trials(planner.trials(planner.tuning()), JOURNAL)
    assert {node.recipe.image_size for node in planned.graph.nodes} == {65}
    assert {node.cell.arm.start for node in planned.graph.nodes} == {"imagenet"}


def test_trials_on_the_images_that_are_reported_are_called_so(fake, capsys):
    main([*ALONE, "--tune", "2"])
    reported = "chosen on the images that are reported"
    assert reported not in capsys.readouterr().out
    assert reported not in verdict_markdown(read_study(RECORDS))
    (drawn,) = Path("runs").glob("shapes-*")
    shutil.copytree(drawn, "photos")
    for file in Path("photos", "annotations").glob("*test2017.json"):
        file.unlink()
    shutil.rmtree("runs/cells")
    photos = [*ALONE, "--data", "photos", "--name", "photos", "--tune", "2"]
    main([*photos, "--dry-run"])
    assert reported in capsys.readouterr().out
    fake.before = lambda node: before.append(capsys.readouterr().out)
    before: list[str] = []
    assert main(photos) == 0
    assert reported in before[0] and "note: the data set has no test split" in before[0]
    assert reported in verdict_markdown(read_study(Path("records", "photos")))


def test_a_weight_decay_that_no_trial_can_have_is_refused_before_the_first_one(fake):
    message = refusal(*ALONE, "--tune", "2", "--weight-decay", "0")
    assert "--weight-decay 0: --tune tries weight decays on a logarithmic scale" in message
    assert "give one above 0, such as 0.0001, or leave --tune out" in message and not fake.ran


def test_trials_have_the_steps_of_the_smallest_budget_and_the_help_says_so(fake, capsys):
    asked = planner_of([*ALONE, "--budgets", "0.5", "1", "--tune", "2"]).tuning()
    assert asked.place.steps == 3
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = " ".join(word for word in capsys.readouterr().out.split() if word.isascii())
    assert "of the smallest of --budgets" in shown and "trials of T steps" not in shown
