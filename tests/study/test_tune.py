"""Equal tuning: the same trials for every start, once, by whatever calls; and what a study makes of them."""

import json
import math
import shutil
import sys
from pathlib import Path

import msgspec
import pytest

import selftrain.train
from selftrain import record
from selftrain.report.matrix import read_study
from selftrain.study import command, trials
from selftrain.study.progress import Progress
from selftrain.study.runner import Runner
from selftrain.study.search_space import own_values, ranges
from selftrain.study.stale import find_stale
from selftrain.study.tuning import FILE, read_tuning
from selftrain.system.errors import UserError
from selftrain.system.stop import Stopped
from tests.study.faked import Fake
from tests.study.tiny import BENCHMARKS, RECORDS, TINY, begin, change_json, main
from tests.study.tuned import (
    JOURNAL,
    OWN,
    STUDY,
    TUNED,
    TUNING,
    planner_of,
    records,
    refusal,
    wants_another_rate,
)

# ---- a study that is tuned ------------------------------------------------------------------------------


def test_every_start_gets_the_same_trials_and_is_trained_with_its_best(fake, capsys):
    assert main(TUNED) == 0
    out = capsys.readouterr().out
    assert fake.seeds == [1000] * 6 + [0] * 2
    tried = [(node.cell.arm.start, own_values(node.recipe)) for node in fake.ran[:6]]
    own, *others = (values for start, values in tried if start == "random")
    assert own == OWN and [values for start, values in tried if start == "imagenet"] == [own, *others]
    assert all(node.recipe.steps == 6 and node.recipe.policy == "S1" for node in fake.ran)
    tuning = read_tuning(TUNING)
    by_rate = sorted([own, *others], key=lambda values: values["lr"])
    assert tuning.chosen == {("random", "none"): by_rate[-1], ("imagenet", "none"): by_rate[0]}
    assert tuning.metric == "AP" and tuning.ranges == {
        name: pytest.approx(ends) for name, ends in ranges(fake.ran[0].recipe).items()
    }
    assert (
        "tuning: 3 trials of each start at S1, 100 % of the labels, 6 steps, seed 1000; 6 trials, 6 left"
        in out
    )
    assert out.count("tuned: ") == 2 and f"as {TUNING} says" in out
    trained = {name: own_values(node.recipe) for name, node in zip(("random", "imagenet"), fake.ran[6:])}
    assert trained == {"random": by_rate[-1], "imagenet": by_rate[0]}


def test_the_records_say_how_they_were_tuned(fake):
    main(TUNED)
    made = records()
    assert sorted(made) == ["imagenet-S1-f1-s0.json", "random-S1-f1-s0.json"]  # no trial is among them
    for done in made.values():
        tuned = done.tuned
        assert (tuned.trials, tuned.seed, tuned.metric, tuned.own) == (3, 1000, "AP", OWN)
        assert tuned.at == {"policy": "S1", "fraction": 1.0, "steps": 6}
        assert tuned.score > tuned.own_score
        assert {name: done.settings[name] for name in tuned.chosen} == tuned.chosen
    assert len({done.tuned.hash for done in made.values()}) == 2
    study = read_study(RECORDS)
    assert study.axes == ("policy", "fraction", "labels") and len(study.arms) == 2
    cells = [record.read(file) for file in Path("runs", "cells").glob("*/record.json")]
    assert len(cells) == 8 and not any(done.tuned for done in cells)


def test_all_that_is_trained_of_a_start_carries_its_values(fake):
    more = ["--policies", "S1", "S4", "--fractions", "0.5", "1", "--budgets", "1", "3", "--seeds", "0", "1"]
    with_students = [word for word in TUNED if word != "--supervised-only"]
    assert main([*with_students, *more, "--tune-at", "fraction=.5"]) == 0
    chosen = read_tuning(TUNING).chosen
    trials_of, study = fake.ran[:6], fake.ran[6:]
    assert {(node.recipe.policy, node.recipe.fraction, node.recipe.steps) for node in trials_of} == {
        ("S4", 0.5, 6)
    }
    kinds = {node.kind for node in study}
    assert kinds == {"supervised", "labels", "student"} and len(study) == 2 * 2 * 3 * 4
    for node in study:
        values = chosen[node.cell.arm.start, "none"]
        assert own_values(node.recipe) == values
        words = list(node.options)
        assert float(words[words.index("--lr") + 1]) == values["lr"]
        again = BENCHMARKS["coco"].parse(["study", *node.options])
        assert own_values(again) == values
    assert read_study(RECORDS).axes == ("policy", "fraction", "labels", "budget")


def test_of_equal_trials_the_earlier_one_is_chosen(fake):
    fake.score = lambda cell: 50.0
    main(TUNED)
    assert read_tuning(TUNING).chosen == dict.fromkeys([("random", "none"), ("imagenet", "none")], OWN)


def test_a_frozen_start_is_a_start_of_its_own(fake):
    main([*TUNED, "--freeze", "none", "backbone"])
    assert sorted(read_tuning(TUNING).chosen) == [
        ("imagenet", "backbone"),
        ("imagenet", "none"),
        ("random", "none"),
    ]
    assert read_study(RECORDS).axes == ("policy", "fraction", "labels")


def test_a_dry_run_counts_the_trials_and_leaves_nothing(fake, capsys):
    assert main([*TUNED, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "6 trials, 6 left" in out and out.count("seed 1000  ") == 6 and "2 to do" in out
    assert not fake.ran and not JOURNAL.exists() and not RECORDS.exists()
    main(TUNED)
    before = JOURNAL.read_bytes()
    capsys.readouterr()
    assert main([*TUNED, "--dry-run"]) == 0
    assert "2 done" in capsys.readouterr().out and JOURNAL.read_bytes() == before


def test_the_trainer_says_of_a_diverged_loss_what_is_looked_for():
    assert trials.DIVERGED in Path(selftrain.train.__file__).read_text()


# ---- interrupted, shared, grown -------------------------------------------------------------------------


def interrupt(fake: Fake, after: int) -> None:
    """Told to stop when the next trial begins after so many."""

    def _stop(node) -> None:
        if len(fake.ran) > after:
            raise Stopped(143)

    fake.before = _stop


def test_an_interrupted_tuning_goes_on_where_it_was(fake, capsys):
    interrupt(fake, after=2)
    with pytest.raises(Stopped):
        main(TUNED)
    assert not TUNING.exists() and (RECORDS / "contrasts.toml").exists()
    assert main([*TUNED, "--dry-run"]) == 0
    assert "6 trials, 4 left" in capsys.readouterr().out
    fake.before = lambda node: None
    assert main(TUNED) == 0
    ran = [node.cell.key for node in fake.ran]
    assert len(ran) == 9 and ran[2] == ran[3]  # the one that was interrupted, and no other, began twice
    assert len(set(ran)) == 8


def test_two_calls_share_the_trials(fake, monkeypatch):
    """While the first call runs its first trial, another call runs all others, and finds that one taken."""
    others: list[bool] = []

    def _another_call(node) -> None:
        fake.before = lambda node: None
        planner = planner_of(TUNED)
        request = planner.trials(planner.tuning())
        with request.lock().wait():
            second = trials.plan_trials(request, request.journal)
        assert [each.cell.key for each in second.graph.nodes][0] == node.cell.key
        runner = Runner(second.graph, Progress(second.graph, request.trials_folder), None)
        others.extend(runner._run_unless_locked(each) for each in second.graph.nodes)

    fake.before = _another_call
    assert main(TUNED) == 0
    assert others == [False] + [True] * 5
    assert fake.seeds == [1000] * 6 + [0] * 2 and len({node.cell.key for node in fake.ran}) == 8


def test_a_tuning_stands_for_later_calls_and_a_new_start_is_tuned_alike(fake, capsys):
    alone = [*TINY, "--supervised-only"]
    main([*alone, "--tune", "3"])
    before = read_tuning(TUNING)
    del fake.ran[:]
    assert main([*alone, "--seeds", "0", "1"]) == 0  # without --tune
    assert fake.seeds == [1] and read_tuning(TUNING) == before
    assert own_values(fake.ran[0].recipe) == before.chosen["random", "none"]
    shutil.rmtree("runs/cells")  # nor is a trial needed any more
    assert main([*STUDY, "--seeds", "0", "1"]) == 0
    assert fake.seeds == [1] + [1000] * 3 + [0, 1]
    random, imagenet = read_tuning(TUNING).starts
    assert random == before.starts[0]
    assert [own_values(node.recipe) for node in fake.ran[1:4]] == [
        {name: trial[name] for name in OWN} for trial in random.trials
    ]
    assert {done.tuned.trials for done in records().values()} == {3} and len(records()) == 4
    # no record of either start is of other settings than a further part of the matrix
    for starts in (["random"], ["imagenet"], ["random", "imagenet"]):
        planner = planner_of([*STUDY, "--starts", *starts, "--fractions", "0.5"])
        stale = find_stale(planner.graph(planner.tuning()))
        assert not stale.foreign and not stale.lines
    read_study(RECORDS)


def test_a_trial_that_diverges_is_the_worst_and_is_not_run_again(fake):
    fake.score = lambda cell: math.nan if cell.recipe.lr > 0.01 else wants_another_rate(cell)
    interrupt(fake, after=5)
    with pytest.raises(Stopped):
        main(TUNED)
    fake.before = lambda node: None
    assert main(TUNED) == 0
    tuning = read_tuning(TUNING)
    assert [["score" in trial for trial in each.trials] for each in tuning.starts] == [
        [True, True, False]
    ] * 2
    assert tuning.chosen["random", "none"] == OWN
    keys = [node.cell.key for node in fake.ran]
    assert len(keys) - len(set(keys)) == 1  # the one that was interrupted
    assert read_study(RECORDS)


def test_another_failure_stops_the_study_until_it_is_mended(fake, monkeypatch):
    fake.score = lambda cell: math.nan if cell.recipe.lr > 0.01 else 50.0
    monkeypatch.setattr(trials, "DIVERGED", "other words")
    assert main(TUNED) == 1
    assert not TUNING.exists() and fake.seeds == [1000] * 6
    fake.score = wants_another_rate
    assert main(TUNED) == 0 and fake.seeds == [1000] * 8 + [0] * 2


def test_a_trial_whose_score_is_no_number_is_as_bad_as_one_that_diverged(fake, monkeypatch):
    monkeypatch.setattr(
        trials,
        "_score",
        lambda graph, node, score=trials._score: None if node is fake.ran[2] else score(graph, node),
    )
    assert main(TUNED) == 0
    random, imagenet = read_tuning(TUNING).starts
    assert ["score" in trial for trial in (*random.trials, *imagenet.trials)] == [True] * 2 + [False] + [
        True
    ] * 3
    assert random.best == 0


def test_all_trials_diverge(fake):
    fake.score = lambda cell: math.nan
    assert "random: every trial diverged; give a smaller --lr" in refusal(*TUNED)
    assert not TUNING.exists()


def test_on_a_cluster_the_trials_are_jobs_and_the_study_follows(fake, monkeypatch, capsys):
    submitted = []
    for module in (command, trials):
        monkeypatch.setattr(module, "submit", lambda graph, *_: submitted.append(graph) or 0)
    slurm = [*TUNED, "--on", "slurm"]
    assert main(slurm) == 0 and main(slurm) == 0
    assert [len(graph.nodes) for graph in submitted] == [6, 6] and not fake.ran
    assert "these are the trials; give the command again" in capsys.readouterr().out
    for node in submitted[0].nodes:  # what the jobs would do
        runner = Runner(submitted[0], Progress(submitted[0], Path("runs", "study", "study", "tuning")), None)
        runner._run_unless_locked(node)
    assert main(slurm) == 0
    assert [cell.recipe.seed for cell in submitted[2].cells] == [0, 0] and TUNING.exists()


# ---- what is refused ------------------------------------------------------------------------------------


def test_options_that_contradict_each_other_are_refused(folder):
    assert "--seeds 1000 is the seed of the tuning" in refusal(*TUNED, "--seeds", "0", "1000")
    assert "--seeds 0 is the seed of the tuning" in refusal(*TUNED, "--tune-seed", "0")
    assert "--tune 1: the first trial" in refusal(*STUDY, "--tune", "1")
    assert "--vary lr is what --tune chooses" in refusal(*TUNED, "--vary", "lr=0.1,0.2")
    for words, message in (
        ("budget=3", "give policy=POLICY, fraction=SHARE"),
        ("fraction=half", "a fraction is a number"),
        ("fraction=2", "is not in (0, 1]"),
        ("policy=S4", "the study has S1"),
    ):
        assert message in refusal(*TUNED, "--tune-at", words)


def test_without_optuna_the_cure_is_named(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "--tune needs optuna: pip install -e '.[tune]'" in refusal(*TUNED)
    assert main([*TUNED, "--dry-run"]) == 0 and "--tune needs optuna" in capsys.readouterr().out


def test_a_study_is_tuned_once(fake, capsys):
    main(TUNED)
    for option, value in (("--tune", "4"), ("--tune-seed", "7"), ("--tune-at", "fraction=0.5")):
        message = refusal(*STUDY, option, value)
        assert f"{TUNING} was made with" in message and "another --name" in message
        assert main([*STUDY, option, value, "--dry-run"]) == 0
        assert "was made with" in capsys.readouterr().out
    assert "--seeds 1000 is the seed of the tuning" in refusal(*STUDY, "--seeds", "1000")
    text = TUNING.read_text()
    TUNING.write_text(text.replace("score = 4", "score = 3", 1))
    assert "was tuned by other trials" in refusal(*TUNED)
    TUNING.write_text("trials = 3")
    assert f"{TUNING}: is no file of a study's tuning" in refusal(*TUNED)
    TUNING.unlink()
    assert f"but {TUNING} is missing; put it back" in refusal(*STUDY)
    TUNING.write_text(text)
    assert main(STUDY) == 0


def test_a_study_that_began_without_tuning_goes_on_without(fake):
    assert main(STUDY) == 0 and fake.seeds == [0, 0]
    assert "was run without tuning" in refusal(*TUNED)
    assert main(STUDY) == 0 and not any(done.tuned for done in records().values())
    # the same cells in a study that is tuned: that the recipe's values were the best was found later
    fake.score = lambda cell: 50.0
    assert main([*TUNED, "--name", "second"]) == 0
    assert fake.seeds == [0, 0] + [1000] * 6
    second = [record.read(file) for file in Path("records", "second").glob("*.json")]
    assert [done.tuned.chosen for done in second] == [OWN, OWN]


def test_other_readers_of_records_do_not_see_the_file(fake):
    main(TUNED)
    assert len(read_study(RECORDS).records) == 2
    assert {file.name for file in RECORDS.iterdir()} == {*records(), "contrasts.toml", FILE}


def test_records_that_are_older_are_read_as_not_tuned(fake):
    main(STUDY)
    file = next(RECORDS.glob("*.json"))
    content = json.loads(file.read_text())
    del content["tuned"]
    assert record.parse(content) == record.read(file) and record.read(file).tuned is None
    change_json(file, tuned={"trials": 3})
    with pytest.raises(UserError, match="not a record"):
        record.read(file)


# ---- with real launches ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_calls_at_once_tune_and_train(tmp_path):
    options = ("--tune", "2", "--supervised-only")
    both = [begin(tmp_path, *options), begin(tmp_path, *options)]
    outs = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert sum(out.count("accelerate launch") for out in outs) == 3
    tuning = read_tuning(tmp_path / TUNING)
    (done,) = (record.read(file) for file in (tmp_path / RECORDS).glob("*.json"))
    assert done.tuned == tuning.signatures()["random", "none"]
    assert msgspec.to_builtins(tuning.starts[0])["trials"][0]["lr"] == 0.008
    cells = [record.read(file) for file in (tmp_path / "runs" / "cells").glob("*/record.json")]
    scores = [each.curve[-1]["AP"] for each in cells if each.seed == 1000]
    assert sorted(scores) == sorted(trial["score"] for trial in tuning.starts[0].trials)
