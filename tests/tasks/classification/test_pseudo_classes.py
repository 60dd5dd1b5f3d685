"""Pseudo-labels of whole pictures: which are kept, the csv, and the report that judges them."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from selftrain.data.pool import read_pool
from selftrain.parts import Parts
from selftrain.tasks.classification.pseudo_classes import as_many_of_each
from tests.data.makers import photo, refuses, write
from tests.tasks.classification.small import human, task

CHANCES = np.array(  # best class and its probability: a .7, a .6, a .4, b .9, b .5, a .28
    [
        [0.7, 0.1, 0.1, 0.1],
        [0.6, 0.2, 0.1, 0.1],
        [0.4, 0.3, 0.2, 0.1],
        [0.05, 0.9, 0.03, 0.02],
        [0.3, 0.5, 0.1, 0.1],
        [0.28, 0.24, 0.24, 0.24],
    ],
    np.float32,
)


@pytest.fixture
def pool(tmp_path):
    for i in range(len(CHANCES)):
        photo(tmp_path / "pool" / f"{i}.png", i)
    return read_pool([tmp_path / "pool"])


def label(tmp_path, pool, counts=(2, 2, 1, 1), **options):
    """The rows of the label file, the report, and the file as a student reads it."""
    parts = Parts(tmp_path / "parts")
    parts.write(0, {i: {"chances": each[None]} for i, each in enumerate(CHANCES)}, 1.0)
    labeller, path = task(**options).labeller, tmp_path / "labels.csv"
    report = labeller.select(path, parts, pool, human(tmp_path, counts), {})
    with open(path) as file:
        rows = list(csv.reader(file))
    return rows, report, labeller.read(path, pool)


def test_each_class_has_as_many_if_need_be_more_than_once_the_surest_most_often():
    scores, labels = np.array([0.9, 0.5, 0.8, 0.7, 0.2, 0.6]), np.array([0, 0, 0, 1, 1, 3])
    assert as_many_of_each(scores, labels, 3, 0.3).tolist() == [0, 1, 2, 3, 3, 3, 5, 5, 5]
    assert as_many_of_each(scores, labels, 2, 0.1).tolist() == [0, 2, 3, 4, 5, 5]
    assert as_many_of_each(scores[:2], labels[:2], 5, 0.1).tolist() == [0, 0, 0, 1, 1]


def test_hard_labels_are_the_best_class_where_it_reaches_the_threshold(tmp_path, pool):
    rows, report, data = label(tmp_path, pool, pseudo_threshold=0.5)
    assert rows == [
        ["file", "class", "score"],
        ["0.png", "a", "0.700000"],
        ["1.png", "a", "0.600000"],
        ["3.png", "b", "0.900000"],
        ["4.png", "b", "0.500000"],
    ]
    assert len(data) == 4 and data.path(2) == pool.path(3)
    assert data.sample(2).target.tolist() == [0, 1, 0, 0]
    assert data.sample(2).image.tolist() == pool.sample(3).image.tolist()
    assert report["kept_images"] == 4 and report["images_per_class"] == {"a": 2, "b": 2, "c": 0, "d": 0}
    human_shares = {row["class"]: row["human"] for row in report["by_class"]}
    assert human_shares == pytest.approx({"a": 2 / 6, "b": 2 / 6, "c": 1 / 6, "d": 1 / 6})
    assert report["vanished"] == []  # of four labels less than one is expected of c and d
    assert report["examples"][2] == {"photo": "2.png", "caption": "a 0.40, left out"}
    assert report["examples"][3]["caption"] == "b 0.90"


def test_auto_keeps_as_many_of_a_class_as_the_human_labels_have_and_none_below_the_floor(tmp_path, pool):
    rows, report, _ = label(tmp_path, pool, (2, 1, 1, 2), pseudo_threshold="auto")
    # of six pictures two a (of which there are four), one b (of two), none of c and d
    assert [row[0] for row in rows[1:]] == ["0.png", "1.png", "3.png"] and report["threshold"] == 0.3
    rows, _, _ = label(tmp_path, pool, (9, 1, 0, 0), pseudo_threshold="auto")
    assert [row[0] for row in rows[1:]] == ["0.png", "1.png", "2.png", "3.png"]  # 5.png is below the floor


def test_soft_labels_are_all_probabilities_with_as_many_pictures_of_each_class(tmp_path, pool):
    rows, report, data = label(tmp_path, pool, pseudo_labels="soft", pseudo_threshold="auto")
    # six pictures over four classes: two of each; 5.png is below 0.3
    assert rows[0] == ["file", "class", "score", "a", "b", "c", "d"]
    assert [row[0] for row in rows[1:]] == ["0.png", "1.png", "3.png", "4.png"]
    np.testing.assert_allclose(data.sample(3).target, CHANCES[4], atol=1e-6)
    assert data.sample(0).target.sum() == pytest.approx(1) and report["labels"] == "soft"
    rows, report, data = label(tmp_path, pool, pseudo_labels="soft", pseudo_threshold=0.65)
    assert [row[0] for row in rows[1:]] == ["0.png", "0.png", "3.png", "3.png"] and len(data) == 4
    assert report["rows"] == 4 and report["kept_images"] == 2
    said = task().labeller.describe(report)
    assert "2 of 6 pictures kept, 2 of them again" in said


def test_the_report_is_measured_by_hidden_labels_and_warns_of_a_class_that_vanishes(tmp_path, pool):
    hidden = replace(human(tmp_path, (3, 3, 0, 0)), names=pool.names, folder=pool.folder)
    _, report, _ = label(tmp_path, replace(pool, hidden=hidden), pseudo_threshold=0.5)
    assert report["accuracy"] == 1.0
    by_threshold = {row["threshold"]: (row["precision"], row["recall"]) for row in report["by_threshold"]}
    assert by_threshold[0.1] == (5 / 6, 5 / 6) and by_threshold[0.5] == (1, 4 / 6)
    assert by_threshold[0.95] == (0, 0)
    said = task().labeller.describe(report)
    for words in ("4 of 6 pictures kept", "share of the pictures", "100.0%"):
        assert words in said, said


def test_a_class_that_vanishes_is_named_on_the_screen(tmp_path, pool):
    _, report, _ = label(tmp_path, pool, (1, 1, 9, 1), pseudo_threshold=0.5)
    assert report["vanished"] == ["c"]  # three of four labels are expected of it
    assert "hardly any of c, which people labelled" in task().labeller.describe(report)


def test_a_teacher_that_is_sure_of_nothing_is_refused_with_the_cure(tmp_path, pool):
    refuses(lambda: label(tmp_path, pool, pseudo_threshold=0.95), "best 0.900 of 6", "lower the threshold")
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize(
    "text, words",
    [
        ("file,class,score\n0.png,cow,0.9\n", "the class 'cow' of 0.png is not one of this run, a, b, c, d"),
        ("file,class,score\ngone.png,a,0.9\n", "gone.png is not in the pool"),
        ("file,class,score,a,c,b,d\n0.png,a,1,1,0,0,0\n", "same names in another order"),
        ("file,class,score\n0.png,a\n", "not a csv of pseudo-labels"),
        ("file,class,score\n", "delete it, and it is written again"),
        ("", "delete it, and it is written again"),
    ],
)
def test_a_label_file_that_does_not_fit_is_refused(tmp_path, pool, text, words):
    path = write(tmp_path / "labels.csv", text)
    refuses(lambda: task().labeller.read(path, pool), path, words)


def test_soft_labels_say_what_disk_they_take(pool):
    assert task().labeller.announce(pool) is None
    assert "4 probabilities a picture" in task(pseudo_labels="soft").labeller.announce(pool)
