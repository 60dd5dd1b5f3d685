"""A study may vary any field of its recipe: each value has a column, a place in the verdict, a panel."""

import pytest

from selftrain.record import RANDOM, Setting
from selftrain.report.comparison import compare
from selftrain.report.figures import FIGURES
from selftrain.report.matrix import Matrix, find_axes
from selftrain.report.page import study_tables
from selftrain.report.places import place_name
from selftrain.report.verdict import overview, verdict
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up
from tests.report.studies import said

PLACES = (("S1", 1.0), ("S4", 1.0), ("S4", 0.2))


def of_backbones() -> Matrix:
    """All arms and places with two backbones; the larger one 10 AP ahead."""
    records = [
        made_up(arm, policy, fraction, seed, 30 + extra + 5 * n + seed, backbone=backbone)
        for backbone, extra in (("resnet18", 0), ("resnet50", 10))
        for policy, fraction in PLACES
        for seed in range(2)
        for n, arm in enumerate(ARMS)
    ]
    return Matrix("backbones", records)


def of_alphas() -> Matrix:
    """Students with two weights of the pseudo-labels, and their teachers, which know of no such weight."""
    records = [made_up(arm, seed=seed, score=30.0) for arm in (RANDOM, IMAGENET) for seed in range(2)]
    records += [
        made_up(arm, seed=seed, score=32 + alpha + seed, alpha=alpha)
        for arm in (RANDOM_STUDENT, IMAGENET_STUDENT)
        for alpha in (0.5, 2.0)
        for seed in range(2)
    ]
    return Matrix("alphas", records)


def tables(matrix: Matrix) -> dict:
    return {table.name: table for table in study_tables(matrix)}


def test_each_backbone_has_its_columns_and_rows():
    made = tables(of_backbones())
    assert made["table2"].header == [
        "arm",
        "S1, backbone resnet18",
        "S1, backbone resnet50",
        "S4, backbone resnet18",
        "S4, backbone resnet50",
    ]
    assert made["table3"].header[1:3] == ["20 %, backbone resnet18", "20 %, backbone resnet50"]
    random = made["table2"].rows[0]
    assert [cell.split(" ")[0] for cell in random] == ["random", "30.5", "40.5", "30.5", "40.5"]
    assert not any("[" in cell for cell in random)  # no place of the paper's tables
    assert {row["backbone"] for row in made["table2"].numbers} == {"resnet18", "resnet50"}
    assert list(made["cost"].numbers[0])[:5] == ["arm", "policy", "fraction", "labels", "backbone"]
    assert [row[0] for row in made["gains"].rows][:2] == [
        "S1, 100 %, backbone resnet18: imagenet",
        "S1, 100 %, backbone resnet50: imagenet",
    ]


def test_the_verdict_compares_within_a_backbone():
    matrix = of_backbones()
    assert len(matrix.places) == len(verdict(matrix)) == 6
    assert "Pre-training: **open**: +5.0 AP with every one of n = 2 seeds" in said(
        matrix, "S1, 100 % of the labels, backbone resnet50"
    )
    assert len(overview(matrix).rows) == 6


@pytest.mark.parametrize("name", ["policies", "fractions", "labels"])
def test_figures_over_policies_and_labels_have_a_panel_for_each_backbone(name):
    axes = FIGURES[name](of_backbones()).axes
    assert len(axes) == 2
    assert [each.get_title().count("resnet") for each in axes] == [1, 1]
    assert {"random", "imagenet"} & {text for each in axes for text in each.get_legend_handles_labels()[1]}


@pytest.mark.parametrize("name", ["frontier", "curves", "quality"])
def test_figures_of_curves_have_a_panel_for_each_place(name):
    axes = [each for each in FIGURES[name](of_backbones()).axes if each.axison]
    assert [each.get_title() for each in axes][:2] == [
        "S1, 100 %, backbone resnet18",
        "S1, 100 %, backbone resnet50",
    ]
    assert len(axes) == 6


def test_a_field_of_students_alone_repeats_no_teacher():
    """A teacher is shown beside each weight, but has one place, and is compared with random once."""
    matrix = of_alphas()
    assert [place_name(place) for place in matrix.places] == [
        "S1, 100 %",
        "S1, 100 %, alpha 0.5",
        "S1, 100 %, alpha 2",
    ]
    made = tables(matrix)
    assert made["table2"].header == ["arm", "S1, alpha 0.5", "S1, alpha 2"]
    rows = {row[0]: [cell.split(",")[0].split(" ")[0] for cell in row[1:]] for row in made["table2"].rows}
    assert rows["random"] == ["30.0", "30.0"] and rows["random + self-training"] == ["33.0", "34.5"]
    assert [row[0] for row in made["cost"].rows].count("S1, 100 %: random") == 1
    assert [row[0] for row in made["gains"].rows] == ["S1, 100 %: imagenet"]
    texts = {place: "\n".join(lines) for place, lines in verdict(matrix)}
    assert [place for place, text in texts.items() if "Pre-training" in text] == ["S1, 100 % of the labels"]
    assert "Self-training from random" in texts["S1, 100 % of the labels, alpha 2"]


def test_a_field_that_its_policy_makes_idle_is_no_axis_and_steps_of_each_policy_are_none():
    idle = [made_up(RANDOM, "S1", steps=800), made_up(RANDOM, "S4", steps=2400, magnitude=10.0)]
    assert find_axes(idle) == ("policy", "fraction", "labels")
    varied = [*idle, made_up(RANDOM, "S4", steps=2400, magnitude=5.0)]
    matrix = Matrix("magnitudes", varied)
    assert matrix.axes == ("policy", "fraction", "labels", "magnitude")
    assert tables(matrix)["table2"].header == ["arm", "S1", "S4, magnitude 5", "S4, magnitude 10"]
    longer = [made_up(RANDOM, "S4", steps=800), made_up(RANDOM, "S4", steps=2400)]
    assert find_axes(longer) == ("policy", "fraction", "labels", "budget")


def test_a_warm_up_that_goes_with_the_steps_is_no_axis_and_one_of_its_own_is():
    shares = [
        made_up(RANDOM, steps=800, warmup_steps=40),
        made_up(RANDOM, "S4", steps=800, warmup_steps=40),
        made_up(RANDOM, "S4", steps=2400, warmup_steps=120),
    ]
    assert Matrix("x", shares).axes == ("policy", "fraction", "labels", "budget")
    own = [*shares, made_up(RANDOM, "S4", steps=2400, warmup_steps=40)]
    assert Matrix("x", own).axes == ("policy", "fraction", "labels", "budget", "warmup_steps")


def test_records_of_two_learning_rates_are_two_places_and_never_one_mean():
    matrix = Matrix("x", [made_up(RANDOM, lr=0.1), made_up(IMAGENET, lr=0.2)])
    assert [place["lr"] for place in matrix.places] == [0.1, 0.2]
    assert not any(compare(matrix, IMAGENET, RANDOM, place) for place in matrix.places)


def test_a_setting_is_a_place_whatever_the_order_of_its_axes():
    one, other = Setting(policy="S1", fraction=1.0), Setting(fraction=1, policy="S1")
    assert one == other and hash(one) == hash(other) and {one: 1}[other] == 1
    assert one.within(one.but(alpha=2.0)) and not one.but(alpha=2.0).within(one)
    assert hash(Setting(scales=[0.5, 1])) == hash(Setting(scales=[0.5, 1.0]))
    odd = Setting(
        policy="S4", fraction=0.05, labels="train_aug", eval_scales=[1, 1.5], soft=True, image_ids=None
    )
    assert place_name(odd, " of the labels") == (
        "S4, 5 % of the labels, train_aug, eval scales 1 1.5, soft yes, image ids none"
    )
