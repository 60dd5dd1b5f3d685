"""Figures show what is there, and equal records give equal bytes."""

import base64
import io
from dataclasses import replace as replace_arm

import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image
from scipy import stats

from selftrain.data.voc import PALETTE
from selftrain.record import RANDOM, Arm
from selftrain.report.available import NAMES, figure_names
from selftrain.report.drawing import look, render
from selftrain.report.examples import pool_split
from selftrain.report.figures import FIGURES
from selftrain.report.gallery import _with_mask
from selftrain.report.matrix import Matrix
from tests.records import ARMS, IMAGENET, IMAGENET_STUDENT, RANDOM_STUDENT, made_up
from tests.report.studies import ladder, study


def test_figures_are_made_of_what_is_there_and_equal_records_give_equal_bytes():
    matrix = study()
    assert tuple(FIGURES) == NAMES
    assert figure_names(matrix) == ["frontier", "policies", "fractions", "curves", "labels", "quality"]
    first, again = render(FIGURES["policies"](matrix)), render(FIGURES["policies"](study()))
    assert first == again and first["png"].startswith(b"\x89PNG") and b"<svg" in first["svg"]
    alone = Matrix("one", [made_up(RANDOM)])
    assert figure_names(alone) == ["curves"]
    assert all(FIGURES[name](alone) for name in figure_names(alone))


def test_figure_1_has_intervals_and_the_published_curve_dashed():
    axes = FIGURES["policies"](study()).axes[0]
    bars = {container.get_label(): container for container in axes.containers}
    assert set(bars) == {str(arm) for arm in ARMS if arm != RANDOM}
    ((low, high),) = [path.vertices[:, 1] for path in bars["imagenet"].lines[2][0].get_paths()][:1]
    half_width = stats.t.ppf(0.975, 2) / 3**0.5
    assert ((low + high) / 2, (high - low) / 2) == pytest.approx((5, half_width))
    line = next(line for line in axes.lines if line.get_label() == "imagenet, published")
    assert line.get_ydata() == pytest.approx([0.3, -1.0]) and line.is_dashed() and line.get_color() == "0.45"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["S1", "S4"]


def test_the_frontier_has_a_line_for_each_arm_with_a_point_for_each_rung():
    matrix = ladder()
    assert figure_names(matrix)[0] == "frontier"
    axes = FIGURES["frontier"](matrix).axes[0]
    lines = {bars.get_label(): bars.lines[0].get_xydata() for bars in axes.containers}
    # four arms stand side by side about their cost
    assert lines["random"] == pytest.approx(np.array([[6400 / 1.02**1.5, 42], [19200 / 1.02**1.5, 52]]))
    assert lines["imagenet + self-training"] == pytest.approx(np.array([[19200 * 1.02**1.5, 63.1]]))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["6.4k", "19.2k"]


def test_no_panel_cuts_off_what_a_later_one_shows():
    """The second rung is higher than the first, and both share their axis."""
    records = [
        made_up(RANDOM, fraction=fraction, seed=seed, score=score + seed, steps=steps)
        for seed in range(3)
        for fraction in (0.2, 1.0)
        for steps, score in ((800, 20.0), (2400, 60.0))
    ]
    figure = FIGURES["labels"](Matrix("x", records))
    assert len(figure.axes) == 2 and all(axes.get_ylim()[1] > 61 for axes in figure.axes)
    assert all(axes.get_ylim()[0] == 0 for axes in figure.axes)


def test_starts_have_colours_and_rounds_have_lines():
    twice = Arm("random", ("self-training", "self-training"))
    assert [look(arm)["linestyle"] for arm in (RANDOM, RANDOM_STUDENT, twice)] == ["-", "--", "-."]
    assert len({look(arm)["color"] for arm in (RANDOM, RANDOM_STUDENT, twice)}) == 1
    assert look(Arm("checkpoint:x2"))["linestyle"] == "-"


def test_freezing_is_an_axis_with_a_line_for_each_start():
    depths = ("none", "stages:1", "stages:2", "backbone")
    arms = [replace_arm(arm, freeze=freeze) for arm in (IMAGENET, IMAGENET_STUDENT) for freeze in depths]
    scores = (30, 33, 32, 20, 35, 38, 37, 25)
    records = [
        made_up(arm, "S1", seed=seed, score=score + seed)
        for arm, score in zip(arms, scores)
        for seed in (0, 1)
    ]
    matrix = Matrix("x", [*records, *(made_up(RANDOM, "S1", seed=seed, score=10) for seed in (0, 1))])
    assert "freezing" in figure_names(matrix)
    axes = FIGURES["freezing"](matrix).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(depths)
    lines = {bars.get_label(): list(bars.lines[0].get_ydata()) for bars in axes.containers}
    assert lines == {
        "imagenet": [30.5, 33.5, 32.5, 20.5],
        "imagenet + self-training": [35.5, 38.5, 37.5, 25.5],
    }
    assert "freezing" not in figure_names(Matrix("x", [r for r in records if r.arm.freeze != "stages:1"][:4]))


def test_the_curves_of_every_panel_are_in_sight():
    """Panels share their axis: the last may hold the highest curve."""
    matrix = Matrix("x", [made_up(RANDOM, "S1", score=10), made_up(RANDOM, "S4", score=60)])
    assert all(axes.get_ylim()[1] > 60 for axes in FIGURES["curves"](matrix).axes)


def test_the_labels_axis_is_logarithmic_and_counts_the_labels_of_the_scores_beside_it():
    coarse = [made_up(IMAGENET, "S4", f, labels="train_aug", metric="mIoU") for f in (0.2, 1.0)]
    coarse = [replace(r, labelled_images=9999) for r in coarse]
    fine = [made_up(IMAGENET, "S4", f, metric="mIoU") for f in (0.2, 1.0)]
    axes = FIGURES["labels"](Matrix("x", fine + coarse)).axes[0]
    assert axes.get_xscale() == "log" and list(axes.get_xticks()) == [60, 300]


def test_a_mask_is_drawn_over_its_photo():
    small = np.zeros((2, 2), np.uint8)
    small[0, 1] = 3
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "PNG")
    drawn = _with_mask(np.full((4, 4, 3), 100, np.uint8), base64.b64encode(buffer.getvalue()).decode())
    assert (drawn[2:] == 100).all() and (drawn[:2, 2:] == 50 + np.asarray(PALETTE)[3] // 2).all()


@pytest.mark.parametrize(
    "photo, images, split",
    [
        ("000000000012.jpg", 1000, "unlabeled"),
        ("000000000012.jpg", 240, "train"),
        ("000000000012.jpg", 77, None),
        ("JPEGImages/train_000012.jpg", 5, "train"),
        ("unlabeled_000001.jpg", 5, "unlabeled"),
    ],
)
def test_the_gallery_draws_the_photos_that_were_labelled(photo, images, split):
    record = replace(
        made_up(RANDOM_STUDENT, fraction=0.2),
        shapes={"train": 300, "unlabeled": 1000},
        pseudo_labels={"examples": [{"photo": photo}], "pool_images": images},
    )
    assert record.labelled_images == 60 and pool_split(record) == split
