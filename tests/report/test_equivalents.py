"""What an arm is worth in labels, as a study's table, figure and sentences say it, and what labels cost."""

import csv
import io
import subprocess
import sys
import time

import pytest
from matplotlib import pyplot as plt
from msgspec.structs import replace

from selftrain.record import RANDOM, Arm, Record
from selftrain.report.available import figure_names
from selftrain.report.equivalents import Equivalent, find_series, show_labels
from selftrain.report.equivalents_figure import equivalents as draw
from selftrain.report.equivalents_table import equivalents_table, rough_duration, worth_sentences
from selftrain.report.label_cost import LabelCost, boxes_an_image
from selftrain.report.label_curves import Needed, Reading
from selftrain.report.matrix import Matrix
from selftrain.report.page import study_tables
from selftrain.system.errors import UserError
from tests.programs import ROOT
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up, with_settings

FRACTIONS = (0.1, 0.2, 0.5, 1.0)
WORTH = {RANDOM: 1.0, IMAGENET: 2.0, RANDOM_STUDENT: 1.5, IMAGENET_STUDENT: 2.0 * 0.6}


def scored(arm: Arm, fraction: float, seed: int) -> float:
    """Of an arm whose n labels are worth `WORTH` n random ones, with noise of 0.2."""
    noise = 0.2 * ((hash_of(arm, fraction) + seed) % 3 - 1)
    return 80 - 40 * (300 * fraction * WORTH[arm] / 30) ** -0.5 + noise


def hash_of(arm: Arm, fraction: float) -> int:
    return list(WORTH).index(arm) + FRACTIONS.index(fraction)


def records(arms=ARMS, fractions=FRACTIONS, seeds=(0, 1, 2), policy="S1", **fields) -> list[Record]:
    return [
        made_up(arm, policy, fraction, seed, scored(arm, fraction, seed), **fields)
        for arm in arms
        for fraction in fractions
        for seed in seeds
    ]


def labelled(records: list[Record], boxes: float) -> list[Record]:
    """The same with the boxes an image that people labelled, which a student's record knows."""
    known = {"human_boxes_per_image": boxes}
    return [replace(r, pseudo_labels=r.pseudo_labels | known) if r.arm.rounds else r for r in records]


def known(matrix: Matrix) -> dict[tuple[str, int], Equivalent]:
    return {(str(of.arm), of.labels): of for each in find_series(matrix) for of in each.equivalents}


def test_each_arm_is_read_against_the_one_that_a_reader_asks_about():
    matrix = Matrix("x", records())
    (series,) = find_series(matrix)
    assert [(str(arm), str(base)) for arm, base in series.pairs] == [
        ("imagenet", "random"),
        ("random + self-training", "random"),
        ("imagenet + self-training", "imagenet"),
    ]
    found = known(matrix)
    assert len(found) == 12
    assert found["imagenet", 150].value.labels == pytest.approx(150, abs=15)
    assert found["random + self-training", 60].value.labels == pytest.approx(30, abs=5)
    # worse than its teacher: a worth below nothing
    assert found["imagenet + self-training", 150].value.labels == pytest.approx(-60, abs=10)
    assert found["imagenet + self-training", 150].high.labels < 0
    for of in found.values():
        assert of.low.labels <= of.value.labels <= of.high.labels and of.reason is None


def test_the_table_has_a_row_an_arm_and_number_of_labels_and_stands_beside_the_others():
    matrix = Matrix("x", records())
    table = equivalents_table(matrix)
    assert [each.name for each in study_tables(matrix)].count("equivalents") == 1
    assert table.header == ["arm", "labels", "AP", "worth in labels", "of", "training"]
    assert len(table.rows) == 12
    row = next(row for row in table.rows if row[:2] == ["S1, 20 %: random + self-training", "60"])
    assert row[4:] == ["random", "+1 min"] and row[3].startswith("30 (")
    numbers = list(csv.DictReader(io.StringIO(table.csv())))
    assert len(numbers) == 12 and {row["n"] for row in numbers} == {"3"}
    assert all(float(row["low_worth"]) <= float(row["worth"]) <= float(row["high_worth"]) for row in numbers)


def test_three_shares_of_the_labels_under_one_policy_are_needed():
    two = Matrix("x", records(fractions=(0.1, 1.0)))
    spread = Matrix("x", records(fractions=(0.1, 0.2)) + records(fractions=(1.0,), policy="S4"))
    alone = Matrix("x", records(arms=(RANDOM,)))
    for matrix in (two, spread, alone):
        assert equivalents_table(matrix) is None and "equivalents" not in figure_names(matrix)
        assert worth_sentences(matrix) == []
    assert "equivalents" in figure_names(Matrix("x", records(fractions=FRACTIONS[1:])))


def test_policies_and_further_axes_are_read_apart():
    more = [with_settings(r, backbone="large") for r in records(arms=(RANDOM, IMAGENET))]
    more = [replace(r, key=r.key + "l") for r in more]
    small = [with_settings(r, backbone="small") for r in records(arms=(RANDOM, IMAGENET))]
    every = find_series(Matrix("x", small + more))
    assert [series.place["backbone"] for series in every] == ["large", "small"]
    assert all(len(series.equivalents) == 4 for series in every)


def test_what_cannot_be_read_says_why():
    flat = [replace(r, metrics=r.metrics | {"AP": 40 + r.seed}) if r.arm == RANDOM else r for r in records()]
    assert known(Matrix("x", flat))["imagenet", 60].reason == (
        "more labels do not raise the score of random beyond its uncertainty"
    )
    falling = [
        replace(r, metrics=r.metrics | {"AP": 20.0 + r.seed / 9}) for r in records() if r.arm == RANDOM
    ]
    falling = [r for r in falling if r.settings["fraction"] == 1.0]
    others = [r for r in records() if r.key not in {r.key for r in falling}]
    matrix = Matrix("x", others + falling)
    assert known(matrix)["imagenet", 60].reason == "the score of random clearly falls from 150 to 300 labels"
    row = next(row for row in equivalents_table(matrix).rows if row[0].endswith(": imagenet"))
    assert row[3] == "unknown" and "unknown: imagenet: the score of random" in equivalents_table(matrix).note
    assert "cannot be read in labels of random" in worth_sentences(matrix)[0]
    few = records(arms=(RANDOM,)) + records(arms=(IMAGENET,), fractions=(0.2, 1.0))
    assert "imagenet ran with 2 numbers of labels" in known(Matrix("x", few))["imagenet", 60].reason
    one = known(Matrix("x", records(seeds=(0,))))["imagenet", 60]
    assert one.needed is None and "one seed" in one.reason


@pytest.mark.parametrize(
    "reading, text",
    [
        (Reading(144.0), "140"),
        (Reading(1250.1, 1), "more than 1,200"),
        (Reading(1299.0, 1), "more than 1,200"),
        (Reading(-12.5, -1), "less than -12"),
        (Reading(-137.0, -1), "less than -130"),
        (Reading(-137.0), "-140"),
        (Reading(0.3), "0"),
        (Reading(-0.3), "0"),
        (Reading(7.4), "7"),
    ],
)
def test_numbers_of_labels_have_two_digits_and_bounds_are_safe(reading, text):
    assert show_labels(reading) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (-0.4, "0 s"),
        (27, "27 s"),
        (-90, "-2 min"),
        (3360, "56 min"),
        (7180, "2.0 h"),
        (10_080, "2.8 h"),
        (1e5, "28 h"),
    ],
)
def test_times_have_few_digits(seconds, text):
    assert rough_duration(seconds) == text


def test_an_open_end_is_said_and_said_once():
    of = Equivalent(IMAGENET, RANDOM, Matrix("x", records()).places[0], 300, None)
    beyond, inside = Reading(1200.0, 1), Reading(360.0)
    assert replace_needed(of, beyond, beyond, beyond).show() == "more than 900"
    assert replace_needed(of, Reading(440.0), inside, beyond).show() == "140 (60 to more than 900)"
    assert replace_needed(of, beyond, inside, beyond).show() == "more than 900 (at least 60)"
    few = Reading(7.5, -1)
    assert replace_needed(of, few, few, few).show() == "less than -290"
    assert replace_needed(of, few, few, inside).show() == "less than -290 (at most 60)"


def replace_needed(of: Equivalent, *needed: Reading) -> Equivalent:
    return Equivalent(of.arm, of.base, of.setting, of.labels, Needed(*needed))


def test_labels_and_training_make_one_bill():
    matrix = Matrix("x", labelled(records(), 2.5))
    cost = LabelCost.parse(["class=.1", "box=.4", "mask=1.3"])
    table = equivalents_table(matrix, cost)
    assert table.header[-1] == "labelling instead" and "0.4 minutes a box, 2.5 boxes an image" in table.note
    of = known(matrix)["random + self-training", 60]
    row = next(row for row in table.rows if row[:2] == ["S1, 20 %: random + self-training", "60"])
    # a minute an image
    assert row[-1].startswith(rough_duration(60 * of.value.labels) + " (")
    sentence = next(text for text in worth_sentences(matrix, cost) if "random + self-training" in text)
    assert "for 1 min more training; labelling these would take " in sentence
    assert all("labelling" not in text for text in worth_sentences(matrix))
    # a worth below nothing saves no labelling
    worse = next(text for text in worth_sentences(matrix, cost) if "imagenet + self-training" in text)
    assert "labelling" not in worse


def test_a_price_says_what_it_assumes():
    cost = LabelCost.parse(["box=.4"])
    assert boxes_an_image(Matrix("x", records())) is None
    assert "one box an image assumed" in equivalents_table(Matrix("x", records()), cost).note
    masks = Matrix("x", records(metric="mIoU"))
    assert "labelling instead" not in equivalents_table(masks, cost).header
    assert LabelCost.parse(["mask=1.3"]).of(masks).seconds(10) == pytest.approx(780)
    classes = Matrix("x", records(metric="top-1"))
    assert LabelCost.parse(["class=.1"]).of(classes).words == "0.1 minutes a class, one an image"


@pytest.mark.parametrize(
    "words, says",
    [
        (["boxs=.4"], "did you mean box?"),
        (["masks=.4"], "did you mean mask?"),
        (["xyzzy=.4"], "the kinds are: class, box, mask"),
        (["0.4"], "which kind of label"),
        (["box=much"], "box=.4"),
        (["box=-1"], "above 0"),
        (["box=nan"], "above 0"),
        (["box=.4", "box=.5"], "given twice"),
    ],
)
def test_a_wrong_price_names_the_option_and_the_cure(words, says):
    with pytest.raises(UserError, match="--label-cost") as error:
        LabelCost.parse(words)
    assert says in str(error.value)


def test_the_program_takes_prices(tmp_path):
    program = [sys.executable, ROOT / "benchmarks" / "tables.py", "--label-cost"]
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "camvid").symlink_to(ROOT / "results" / "records" / "camvid")

    def _run(*options: str) -> subprocess.CompletedProcess:
        options = [*options, "--studies", tmp_path / "records", "--out", tmp_path / "results"]
        return subprocess.run([*program, *options], capture_output=True, text=True)

    wrong = _run("boxes=.4")
    assert (
        wrong.returncode == 1
        and wrong.stderr.startswith("error: --label-cost")
        and "mean box" in wrong.stderr
    )
    done = _run("box=.4", "mask=1.3")
    assert done.returncode == 0, done.stderr
    assert "labelling instead" in (tmp_path / "results" / "tables" / "camvid-equivalents.md").read_text()
    assert "labels imagenet scores what random would with" in done.stdout


def test_the_figure_has_a_curve_an_arm_and_an_arrow_a_pair():
    matrix = Matrix("x", records())
    figure = draw(matrix)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(arm) for arm in ARMS]
    assert len(axes.containers) == len(ARMS)
    texts = [text.get_text() for text in axes.texts if text.get_text()]
    assert texts == [
        ("+" if of.value.labels > 0 else "") + show_labels(of.value) for of in find_series(matrix)[0].examples
    ]
    arrows = [text for text in axes.texts if text.arrow_patch]
    for arrow, of in zip(arrows, find_series(matrix)[0].examples):
        assert arrow.xyann[0] == of.labels and arrow.xy[0] == pytest.approx(of.needed.value.labels)
        assert arrow.xyann[1] == arrow.xy[1]
    plt.close(figure)


def test_a_thousand_records_take_seconds():
    many = [r for n in range(7) for r in labelled(records(policy=f"S{n}"), 2.5)]
    many += [r for n in range(7) for r in records(policy=f"S{n}", seeds=(3, 4, 5, 6, 7, 8))]
    assert len(many) > 1000
    matrix = Matrix("x", many)
    began = time.process_time()
    assert len(equivalents_table(matrix).rows) == 7 * 12
    assert time.process_time() - began < 10
